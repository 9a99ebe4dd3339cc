"""Reading every writer's log in a `log:` folder, whatever state a sync tool left the files in.

Order is by hash link, never by a clock. A file may be torn, grow in steps, be a conflict copy, come late, or
be anybody's invention: entries count as far as they follow one from another, and what follows no more waits
until the file is another one.
"""

import errno
import os
import random
import stat
import time
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Final, Generic, TypeVar, assert_never

from signaling.carrier import Parcel
from signaling.errors import SignalError
from signaling.folder import TEMPORARY, Complaints, Seen, open_plain, read_at, remove_abandoned, version_of
from signaling.lobby import MAX_PROFILES
from signaling.log_entry import KIND_OF, NO_ENTRY, SEGMENT_BYTES, Entry, EntryKind, Segment, Slot, next_entry
from signaling.log_names import MAX_SEGMENT, segment_of

_MAX_READ: Final = 8 * 1024 * 1024  # bytes in one scan, but for the last file
_MAX_SECONDS: Final = 0.5  # likewise; the rest after a rest
_MAX_NAMES: Final = 20_000  # changed files dealt with in one scan
_MAX_FILES: Final = 50_000  # whose state is remembered, about 300 bytes each
_MAX_FOREIGN: Final = 100_000
_MAX_HASHES: Final = 32_768  # entries remembered to notice a fork
_MAX_OVER: Final = 65_536
_MAX_SESSIONS: Final = 256
_TEMPORARY_LOOK: Final = 600  # seconds between looks at one
_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.ELOOP)

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class _Bounded(Generic[_K, _V]):
    """A table of at most `limit` things; the one put longest ago goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._table: OrderedDict[_K, _V] = OrderedDict()

    def put(self, key: _K, value: _V) -> None:
        self._table[key] = value
        self._table.move_to_end(key)
        if len(self._table) > self._limit:
            self._table.popitem(last=False)

    def get(self, key: _K) -> _V | None:
        return self._table.get(key)

    def values(self) -> list[_V]:
        return list(self._table.values())

    def items(self) -> list[tuple[_K, _V]]:
        return list(self._table.items())


class _File:
    """How far one file was read: after entry `seq`, which ended at `offset`.

    Never back: what was read there was signed, and an honest writer signs one thing for one place.
    """

    __slots__ = ("head", "offset", "seq", "version")

    def __init__(self) -> None:
        self.version = 0
        self.offset, self.seq, self.head = 0, -1, NO_ENTRY


class LogScan:
    """One look after another at a folder of logs. What is open comes at least once, what is taken back not.

    `sessions` by writer and `profiles` by member are what the logs show, undecoded and bounded.
    """

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._foreign = Seen(_MAX_FOREIGN)
        self._files = _Bounded[int, _File](_MAX_FILES)
        self._reached = _Bounded[int, int](_MAX_FILES)
        self._hashes = _Bounded[int, int](_MAX_HASHES)
        self._over = _Bounded[int, bool](_MAX_OVER)
        self.sessions = _Bounded[bytes, bytes](_MAX_SESSIONS)
        self.profiles = _Bounded[bytes, bytes](MAX_PROFILES)

    def __call__(self, folder: int) -> tuple[list[Parcel], bool]:
        writers, whole = self._changed(folder)
        order = list(writers)
        random.shuffle(order)  # nobody's flood is always read first
        found: list[Parcel] = []
        read, until = 0, time.monotonic() + _MAX_SECONDS
        for writer in order:
            # All of a writer's files before anything comes out: a later segment may end an earlier one.
            fresh: dict[Segment, dict[Slot, Entry]] = {}
            for name, segment, status in writers[writer]:
                if read >= _MAX_READ or time.monotonic() >= until:
                    whole = False
                    break
                read += self._read(folder, name, segment, status, fresh.setdefault(segment, {}))
            for segment, entries in fresh.items():
                if not self._over.get(hash(segment)):
                    found += [
                        Parcel(kind=KIND_OF[entry.kind], key=entry.key, payload=entry.payload)
                        for entry in entries.values()
                    ]
        return found, whole

    def _changed(self, folder: int) -> tuple[dict[bytes, list[tuple[str, Segment, os.stat_result]]], bool]:
        """By writer the files that are not as they were when we looked last."""
        writers: dict[bytes, list[tuple[str, Segment, os.stat_result]]] = {}
        count = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                segment = segment_of(entry.name)
                if segment is None:
                    self._other(folder, entry)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone
                known = self._files.get(hash(entry.name))
                if known is not None and known.version == version_of(status):
                    continue
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SEGMENT:
                    self._skip(entry.name, status)
                    continue
                if count >= _MAX_NAMES:
                    return writers, False
                count += 1
                writers.setdefault(segment.writer, []).append((entry.name, segment, status))
        return writers, True

    def _skip(self, name: str, status: os.stat_result) -> None:
        what = "size of no log" if stat.S_ISREG(status.st_mode) else "not a plain file"
        self._complaints.add(what, name)
        file = _File()
        file.version = version_of(status)
        self._files.put(hash(name), file)

    def _read(
        self, folder: int, name: str, segment: Segment, status: os.stat_result, fresh: dict[Slot, Entry]
    ) -> int:
        """Take in what is new in one file; the bytes read."""
        file = self._files.get(hash(name)) or _File()
        self._files.put(hash(name), file)
        try:
            data = _content(folder, name, file.offset)
        except OSError as error:
            self._complaints.add("unreadable file", name, error.strerror or "")
            # What may not be read is looked at again when it is another file; a disk may just have hiccuped.
            file.version = version_of(status) if error.errno in _REFUSED else 0
            return 0
        file.version = version_of(status)
        start, at = file.offset, 0
        try:
            while (found := next_entry(data, at, segment)) is not None:
                entry, end = found
                why = self._follow(file, segment, entry, fresh)
                if why is not None:
                    self._complaints.add(why, name)
                    break
                at = end
                file.offset, file.seq, file.head = start + at, entry.seq, entry.hash
        except SignalError as error:
            self._complaints.add("broken entry", name, error.message)
        return len(data)

    def _follow(self, file: _File, segment: Segment, entry: Entry, fresh: dict[Slot, Entry]) -> str | None:
        """Take in an entry that follows from the last one of its file; else what is wrong."""
        if entry.seq != file.seq + 1 or (entry.seq > 0 and entry.prev != file.head):
            return "broken chain"
        place, short = hash((segment, entry.seq)), hash(entry.hash)
        reached = self._reached.get(hash(segment))
        if reached is not None and entry.seq <= reached:
            # Read before, in this file or in a copy; unless this key signed two things for one place.
            return None if self._hashes.get(place) in (None, short) else "forked log"
        self._hashes.put(place, short)
        self._reached.put(hash(segment), entry.seq)
        self._apply(segment, entry, fresh)
        return None

    def _apply(self, segment: Segment, entry: Entry, fresh: dict[Slot, Entry]) -> None:
        match entry.kind:
            case EntryKind.BEGIN:
                pass
            case EntryKind.OVER:
                self._over.put(hash(Segment(segment.writer, entry.key[:SEGMENT_BYTES])), True)
            case EntryKind.OFFER | EntryKind.ANSWER | EntryKind.PRESENCE:
                fresh[entry.slot] = entry
            case EntryKind.SESSION:
                self.sessions.put(segment.writer, entry.payload)
            case EntryKind.PROFILE:
                self.profiles.put(entry.key, entry.payload)
            case EntryKind.WITHDRAWN:
                fresh.pop((EntryKind(entry.payload[0]), entry.key), None)
            case _:
                assert_never(entry.kind)

    def _other(self, folder: int, entry: os.DirEntry[str]) -> None:
        if TEMPORARY.fullmatch(entry.name):
            if self._foreign.is_new(entry.name, int(time.time() // _TEMPORARY_LOOK)):
                with suppress(OSError):
                    remove_abandoned(folder, entry)
        elif self._foreign.is_new(entry.name, 0):
            self._complaints.add("foreign file", entry.name)


def _content(folder: int, name: str, offset: int) -> bytes:
    """What a file holds from `offset` on, empty when it is no plain file any more, or gone."""
    try:
        plain = open_plain(folder, name)
    except FileNotFoundError:
        return b""
    if plain is None:
        return b""
    file, _ = plain
    try:
        return read_at(file, offset, MAX_SEGMENT - offset)
    finally:
        os.close(file)
