"""Inside a parcel: a sealed offer or answer, under a key both ends can compute, or the public presence."""

import hashlib
import struct
from typing import Annotated, Final

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from signaling.carrier import PRESENCE_KEY, Parcel, ParcelKind
from signaling.description import CLOCK_SKEW, MAX_DESCRIPTION, MAX_LIFE, Identity, RoomId
from signaling.errors import BadSignature, Expired, ForeignRoom, FromTheFuture, Malformed, WrongVersion
from signaling.seal import seal, sealing_key, unseal

_Description = Annotated[bytes, msgspec.Meta(max_length=MAX_DESCRIPTION)]
_Grant = Annotated[bytes, msgspec.Meta(max_length=512)]
_Proof = Annotated[bytes, msgspec.Meta(max_length=64)]


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An encoded Offer or Answer; a newcomer's offer has its introduction with it, opaque here."""

    description: _Description
    grant: _Grant = b""
    proof: _Proof = b""


def parcel_key(kind: ParcelKind, *, room: bytes, sender: bytes, recipient: bytes) -> bytes:
    """One place for each direction of each pair: a newer parcel takes the place of the older."""
    tag = f"pigeon/parcel-{kind.value}/v1".encode() + b"\0"
    return hashlib.sha256(tag + room + sender + recipient).digest()


def seal_envelope(envelope: Envelope, *, kind: ParcelKind, room: bytes, sender: bytes, to: bytes) -> Parcel:
    """A parcel only `to` can open."""
    key = parcel_key(kind, room=room, sender=sender, recipient=to)
    return Parcel(kind=kind, key=key, payload=seal(msgspec.msgpack.encode(envelope), to=to))


def open_envelope(payload: bytes, *, key: SigningKey) -> Envelope:
    """NotForUs when it is somebody else's, Malformed when it is not one of ours (SignalError both)."""
    raw = unseal(payload, key=key)
    try:
        envelope = msgspec.msgpack.decode(raw, type=Envelope)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Malformed from None
    if msgspec.msgpack.encode(envelope) != raw:
        raise Malformed
    return envelope


_PRESENCE: Final = struct.Struct(">B8s32sII64s")
_PRESENCE_VERSION: Final = 1


class Presence(msgspec.Struct, frozen=True):
    """Somebody is here to be asked; says no address."""

    sender: Identity
    issued: int  # Unix seconds
    expires: int


def presence_parcel(*, key: SigningKey, room: RoomId, issued: int, life: int) -> Parcel:
    """The lobby's one public parcel."""
    presence = Presence(Identity(bytes(key.verify_key)), issued, issued + life)
    signature = key.sign(_presence_signed(presence, room)).signature
    payload = _PRESENCE.pack(
        _PRESENCE_VERSION, room[:8], presence.sender, presence.issued, presence.expires, signature
    )
    return Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=payload)


def open_presence(payload: bytes, *, room: RoomId, now: int) -> Presence:
    """Check size, version, room, signature, time; SignalError."""
    if payload[:1] and payload[0] != _PRESENCE_VERSION:
        raise WrongVersion
    if len(payload) != _PRESENCE.size:
        raise Malformed
    _version, hint, sender, issued, expires, signature = _PRESENCE.unpack(payload)
    if hint != room[:8]:
        raise ForeignRoom
    presence = Presence(Identity(sender), issued, expires)
    try:
        VerifyKey(sender).verify(_presence_signed(presence, room), signature)
    except (BadSignatureError, ValueError, TypeError):
        raise BadSignature from None
    sealing_key(presence.sender)
    if not 0 < expires - issued <= MAX_LIFE:
        raise Malformed
    if issued > now + CLOCK_SKEW:
        raise FromTheFuture
    if expires <= now:
        raise Expired.since("lobby entry", seconds=now - expires)
    return presence


def _presence_signed(presence: Presence, room: RoomId) -> bytes:
    times = struct.pack(">II", presence.issued, presence.expires)
    return b"pigeon/presence/v1\0" + room + presence.sender + times
