"""What lies in a folder of logs: entries, whole files that a stranger put together, and their names."""

import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from signaling.errors import SignalError
from signaling.folder import Complaints, opened
from signaling.lobby import LobbySession
from signaling.log_entry import MIN_ENTRY, NO_ENTRY, EntryKind, Segment, make_entry, next_entry
from signaling.log_names import segment_of
from signaling.log_scan import LogScan
from tests.fuzz.decoder import Feed, Refused, same, scratch
from tests.fuzz.forms import BINARY, TEXT
from tests.fuzz.signal_borders import ANN, ANN_ID, NOW, presences, signal_decoder

_SEGMENT: Final = Segment(ANN_ID, b"segment!")
_SIGNATURE: Final = 64
_KEY: Final = bytes(range(32))


def _entries() -> list[bytes]:
    """One of each kind, in a chain."""
    session = msgspec.json.encode(LobbySession(name="tea", url="ff" * 32, last_update=NOW))
    steps = [
        (EntryKind.BEGIN, NO_ENTRY, b""),
        (EntryKind.OVER, b"segment?" + bytes(24), b""),
        (EntryKind.OFFER, _KEY, bytes(512)),
        (EntryKind.ANSWER, _KEY, b"x" * 512),
        (EntryKind.PRESENCE, NO_ENTRY, presences()[0]),
        (EntryKind.SESSION, NO_ENTRY, session),
        (EntryKind.PROFILE, _KEY, b'{"name": "ann"}'),
        (EntryKind.WITHDRAWN, _KEY, bytes((EntryKind.OFFER,))),
    ]
    made, prev = [], NO_ENTRY
    for seq, (kind, key, payload) in enumerate(steps):
        entry, prev = make_entry(
            key=ANN,
            segment=_SEGMENT.id,
            kind=kind,
            seq=seq,
            time=NOW * 1000 + seq,
            prev=prev,
            slot_key=key,
            payload=payload,
        )
        made.append(entry)
    return made


def _entry_feed() -> Feed:
    def feed(data: bytes) -> object:
        found = next_entry(data, 0, _SEGMENT)
        if found is None:
            raise Refused("incomplete")
        entry, end = found
        again, again_hash = make_entry(
            key=ANN,
            segment=_SEGMENT.id,
            kind=entry.kind,
            seq=entry.seq,
            time=entry.time,
            prev=entry.prev,
            slot_key=entry.key,
            payload=entry.payload,
        )
        same(again, data[:end])
        same(again_hash, entry.hash)
        return entry

    return feed


def _signed(data: bytes, dice: random.Random) -> bytes:
    """Most of what was changed is signed by its writer, so that it gets past the signature."""
    if len(data) < MIN_ENTRY or dice.random() < 0.2:
        return data
    body = data[:-_SIGNATURE]
    if dice.random() < 0.8:
        body = len(data).to_bytes(4, "big")[2:] + body[2:]
    return body + ANN.sign(_covered(body)).signature


def _covered(body: bytes) -> bytes:
    return b"pigeon/log-entry/v1\0" + _SEGMENT.writer + _SEGMENT.id + body


def _files() -> list[bytes]:
    entries = _entries()
    return [b"".join(entries[:-1]), b"".join(entries[:5]), b"".join(entries)]


def _file_feed() -> Feed:
    """A file of any content with a log's name, read by somebody who saw nothing before."""
    folder = scratch() / "logs"
    folder.mkdir(exist_ok=True)

    def feed(data: bytes) -> object:
        (folder / _SEGMENT.file_name).write_bytes(data)
        scan = LogScan(Complaints(folder, kind="log", faults=Counter(), quiet=True))
        with opened(folder, make=False) as descriptor:
            found, whole = scan(descriptor)
            again, _ = scan(descriptor)
        if not whole or again:
            raise AssertionError("a file that did not change is not news")
        if not found:
            raise Refused
        return found

    return feed


def _chained(data: bytes, dice: random.Random) -> bytes:
    """Most of them cut where the lengths say, and signed and linked anew."""
    if dice.random() < 0.2:
        return data
    parts, prev, at = [], NO_ENTRY, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        if size < MIN_ENTRY or at + size > len(data):
            parts.append(data[at:])
            break
        body = data[at : at + size - _SIGNATURE]
        body = body[:16] + prev + body[48:]
        entry = body + ANN.sign(_covered(body)).signature
        with suppress(SignalError):  # what is wrong with it is the decoder's to say
            found = next_entry(entry, 0, _SEGMENT)
            prev = found[0].hash if found is not None else prev
        parts.append(entry)
        at += size
    return b"".join(parts)


def _names() -> list[bytes]:
    stem = f"{'ab' * 32}.{'0123456789abcdef'}"
    endings = (
        "",
        ".sync-conflict-20261120-103000-ABCDEFG",
        " (conflicted copy 2026-11-20)",
        "-DESKTOP",
        "~1",
    )
    return [f"{stem}{ending}.log".encode() for ending in endings]


def _name_feed() -> Feed:
    def feed(data: bytes) -> object:
        name = os.fsdecode(data)
        segment = segment_of(name)
        if segment is None:
            raise Refused
        same(segment.file_name[:-4].encode(), data[:81])
        if Path(name).name != name:
            raise AssertionError("a name that leads elsewhere")
        return segment

    return feed


DECODERS = [
    signal_decoder("log/file", BINARY, _files, _file_feed, _chained),
    signal_decoder("log/entry", BINARY, _entries, _entry_feed, _signed),
    signal_decoder("log/name", TEXT, _names, _name_feed),
]
