"""The bytes of `log:`: a segment of one writer is a chain of signed entries, each with the hash of the last.

Wire form of an entry, big-endian: length of all of it (u16), version, kind, seq (u32), time (u64, ms since
1970, only claimed), hash of the entry before (32), key (32), payload, signature (64). Writer and segment do
not travel: the file's name says them, and the signature covers them. Entry 0 begins a segment; what it names
as the one before is the last of the writer's former segment, or zero.
"""

import hashlib
import struct
from enum import IntEnum
from typing import Final, NamedTuple

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from signaling.carrier import MAX_PAYLOAD, ParcelKind
from signaling.errors import BadSignature, Malformed, Oversize, WrongVersion

VERSION: Final = 1
NO_ENTRY: Final = bytes(32)
SEGMENT_BYTES: Final = 8

_HEAD: Final = struct.Struct(">HBBIQ32s32s")
_SIGNATURE: Final = 64
MIN_ENTRY: Final = _HEAD.size + _SIGNATURE
MAX_ENTRY: Final = MIN_ENTRY + MAX_PAYLOAD
_NO_KEY: Final = bytes(32)


class EntryKind(IntEnum):
    """What an entry does. A later one of the same kind and key replaces the former."""

    BEGIN = 0
    """Opens a segment; only entry 0."""
    OVER = 1
    """The writer's segment whose 8 bytes begin `key`, wherever it is seen, has nothing to say any more."""
    OFFER = 2
    ANSWER = 3
    PRESENCE = 4
    SESSION = 5
    PROFILE = 6
    """`key`: the member's identity."""
    WITHDRAWN = 7
    """What lies at `key`, of the kind that the payload's one byte names, is taken back."""


PARCELS: Final = {
    ParcelKind.OFFER: EntryKind.OFFER,
    ParcelKind.ANSWER: EntryKind.ANSWER,
    ParcelKind.PRESENCE: EntryKind.PRESENCE,
}
KIND_OF: Final = {entry: parcel for parcel, entry in PARCELS.items()}

Slot = tuple[EntryKind, bytes]
"""What a later entry replaces: kind and key."""


class Segment(NamedTuple):
    """One file's worth of one writer's log: what the name of the file says."""

    writer: bytes  # Ed25519 public key, 32 bytes
    id: bytes  # 8 random bytes

    @property
    def file_name(self) -> str:
        return f"{self.writer.hex()}.{self.id.hex()}.log"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, checked against its segment but not yet against the entry before."""

    kind: EntryKind
    seq: int
    time: int
    prev: bytes
    key: bytes
    payload: bytes
    hash: bytes
    """32 bytes, covers everything, the signature too."""

    @property
    def slot(self) -> Slot:
        """What this entry fills."""
        return self.kind, self.key


def make_entry(
    *,
    key: SigningKey,
    segment: bytes,
    kind: EntryKind,
    seq: int,
    time: int,
    prev: bytes,
    slot_key: bytes = _NO_KEY,
    payload: bytes = b"",
) -> tuple[bytes, bytes]:
    """A signed entry's bytes, and its hash."""
    body = _HEAD.pack(MIN_ENTRY + len(payload), VERSION, kind, seq, time, prev, slot_key) + payload
    signed = _signed(Segment(bytes(key.verify_key), segment), body)
    signature = key.sign(signed).signature
    return body + signature, _hash(signed, signature)


def next_entry(data: bytes, at: int, segment: Segment) -> tuple[Entry, int] | None:
    """The entry that begins at `at` and where it ends; None while bytes of it are missing; SignalError."""
    if len(data) - at < 4:
        return None
    length = int.from_bytes(data[at : at + 2], "big")
    if length > MAX_ENTRY:
        raise Oversize
    if length < MIN_ENTRY:
        raise Malformed
    if data[at + 2] != VERSION:
        raise WrongVersion
    end = at + length
    if len(data) < end:
        return None
    _, _, kind, seq, time, prev, key = _HEAD.unpack_from(data, at)
    body, signature = data[at : end - _SIGNATURE], data[end - _SIGNATURE : end]
    payload = body[_HEAD.size :]
    _check(kind, seq=seq, key=key, payload=payload)
    signed = _signed(segment, body)
    try:
        VerifyKey(segment.writer).verify(signed, signature)
    except (BadSignatureError, ValueError, TypeError):
        raise BadSignature from None
    return (
        Entry(
            kind=EntryKind(kind),
            seq=seq,
            time=time,
            prev=prev,
            key=key,
            payload=payload,
            hash=_hash(signed, signature),
        ),
        end,
    )


def _check(kind: int, *, seq: int, key: bytes, payload: bytes) -> None:
    """One meaning has one form, or Malformed."""
    match kind:
        case EntryKind.BEGIN:
            sound = seq == 0 and key == _NO_KEY and not payload
        case EntryKind.OVER:
            sound = key[SEGMENT_BYTES:] == bytes(32 - SEGMENT_BYTES) and not payload
        case EntryKind.WITHDRAWN:
            sound = len(payload) == 1 and payload[0] in KIND_OF
        case EntryKind.SESSION | EntryKind.PRESENCE:
            sound = key == _NO_KEY and bool(payload)
        case EntryKind.OFFER | EntryKind.ANSWER | EntryKind.PROFILE:
            sound = bool(payload)
        case _:
            sound = False  # a later version says so in its version byte
    if not sound or (seq == 0) != (kind == EntryKind.BEGIN):
        raise Malformed


def _signed(segment: Segment, body: bytes) -> bytes:
    return b"pigeon/log-entry/v1\0" + segment.writer + segment.id + body


def _hash(signed: bytes, signature: bytes) -> bytes:
    return hashlib.sha256(b"pigeon/log-entry-hash/v1\0" + signed + signature).digest()
