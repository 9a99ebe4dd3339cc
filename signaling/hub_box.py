"""What a hub carries for a room: boxes of few sizes, in a channel that only those who know the room can name.

The room's id is the secret: invitations hold it, and the hub never sees it. Channel and key are keyed hashes
of it. Who knows the room may read and make boxes: what is in them is sealed and signed by itself. A box on
the wire is a JSON string, so that programs which expect JSON find some.

Plain form, big-endian: version, kind, key (32), length (u16), payload, zeros up to the size.
"""

import binascii
import hmac
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, Parcel, ParcelKind
from signaling.errors import Malformed, NotForUs, Oversize, WrongVersion

VERSION: Final = 1
SIZES: Final = (1024, 2048, 4096, 8192, 17 * 1024)
"""Of a box, nonce and tag included."""
MAX_BODY: Final = -(-SIZES[-1] // 3) * 4 + 2
CALLER: Final = 16
"""Bytes that tell one caller's call from another's."""

_HEAD: Final = struct.Struct(">BB32sH")
_OVERHEAD: Final = SecretBox.NONCE_SIZE + SecretBox.MACBYTES + _HEAD.size
_NO_KEY: Final = bytes(32)


class _Kind(IntEnum):
    CALL = 0
    OFFER = 1
    ANSWER = 2
    PRESENCE = 3


_KINDS: Final = {
    ParcelKind.OFFER: _Kind.OFFER,
    ParcelKind.ANSWER: _Kind.ANSWER,
    ParcelKind.PRESENCE: _Kind.PRESENCE,
}
_PARCELS: Final = {kind: parcel for parcel, kind in _KINDS.items()}


class Call(NamedTuple):
    """Somebody has begun to listen: what is out is to be said again. `caller`: CALLER random bytes."""

    caller: bytes


class HubBox:
    """A room's channel and its boxes. `room`: its id, 32 bytes."""

    def __init__(self, room: bytes) -> None:
        self.channel = hmac.digest(room, b"pigeon/hub-channel/v1", "sha256")[:16].hex()
        self._box = SecretBox(hmac.digest(room, b"pigeon/hub-box/v1", "sha256"))

    def call(self, caller: bytes) -> bytes:
        """A body that asks the others to say again what they have out."""
        return self._close(_Kind.CALL, _NO_KEY, caller)

    def parcel(self, parcel: Parcel) -> bytes:
        """A body with this parcel. Each time another one."""
        return self._close(_KINDS[parcel.kind], parcel.key, parcel.payload)

    def open(self, body: bytes) -> Call | Parcel:
        """What somebody of the room put into it, or SignalError: NotForUs when it was somebody else."""
        if len(body) > MAX_BODY:
            raise Oversize
        if len(body) < 2 or body[:1] != b'"' or body[-1:] != b'"':
            raise Malformed
        try:
            box = binascii.a2b_base64(body[1:-1], strict_mode=True)
        except (binascii.Error, ValueError):
            raise Malformed from None
        if len(box) not in SIZES or binascii.b2a_base64(box, newline=False) != body[1:-1]:
            raise Malformed
        try:
            plain = self._box.decrypt(box)
        except CryptoError:
            raise NotForUs from None
        return _read(plain)

    def _close(self, kind: _Kind, key: bytes, payload: bytes) -> bytes:
        size = next(size for size in SIZES if size >= _OVERHEAD + len(payload))
        plain = _HEAD.pack(VERSION, kind, key, len(payload)) + payload
        box = self._box.encrypt(plain.ljust(size - _OVERHEAD + _HEAD.size, b"\0"))
        return b'"' + binascii.b2a_base64(box, newline=False) + b'"'


def _read(plain: bytes) -> Call | Parcel:
    """One meaning has one form, or Malformed: who knows the room may be anybody who was invited once."""
    version, number, key, length = _HEAD.unpack_from(plain)
    if version != VERSION:
        raise WrongVersion
    payload, padding = plain[_HEAD.size : _HEAD.size + length], plain[_HEAD.size + length :]
    fits = next((size for size in SIZES if size >= _OVERHEAD + length), 0)
    if length > MAX_PAYLOAD or fits != len(plain) - _HEAD.size + _OVERHEAD or any(padding):
        raise Malformed
    if number == _Kind.CALL:
        if key != _NO_KEY or length != CALLER:
            raise Malformed
        return Call(payload)
    kind = _PARCELS.get(_Kind(number)) if number in _Kind.__members__.values() else None
    if kind is None or not payload or (kind is ParcelKind.PRESENCE) != (key == PRESENCE_KEY):
        raise Malformed
    return Parcel(kind=kind, key=key, payload=payload)
