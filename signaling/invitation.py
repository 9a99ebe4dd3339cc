"""An invitation: what a newcomer must know of a room, and a secret that is proved, once, and never sent.

The secret is the seed of a key pair; the inviter's `grant` names its public half, and the newcomer signs
its offer with the private half. `grant` is opaque here: the node makes it and checks it.
"""

import hashlib
from typing import Annotated, Final

import msgspec
from nacl.signing import SigningKey

from signaling.errors import Expired, Malformed, Oversize, WrongVersion
from signaling.token import Kind, from_token, to_token

VERSION: Final = 1
DEFAULT_LIFE: Final = 24 * 3600  # seconds
MAX_INVITATION: Final = 1536

_Id = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Secret = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
_Grant = Annotated[bytes, msgspec.Meta(max_length=512)]
_Hint = Annotated[str, msgspec.Meta(max_length=200)]
_Hints = Annotated[tuple[_Hint, ...], msgspec.Meta(max_length=4)]
_Time = Annotated[int, msgspec.Meta(ge=0, lt=1 << 40)]


class Anchor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block the inviter vouches for, so that a newcomer need not replay the room from its beginning."""

    height: _Time
    id: _Id


class Invitation(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """Everything a newcomer needs; `carriers` are specs such as "dir:/path", in the inviter's order."""

    version: int = VERSION
    room: _Id
    inviter: _Id
    secret: _Secret
    expires: _Time  # Unix seconds
    anchor: Anchor | None = None
    carriers: _Hints = ()
    grant: _Grant = b""

    def to_token(self) -> str:
        """One pasteable line; whoever reads it can join once, so it is as secret as a password until used."""
        return to_token(Kind.INVITATION, encode_invitation(self))

    @staticmethod
    def from_token(text: str, *, now: int) -> "Invitation":
        """Read a token, or raise SignalError; checks the expiry, not the grant (the room's members do)."""
        _, payload = from_token(text, expected=Kind.INVITATION)
        return decode_invitation(payload, now=now)


def invitation_key(secret: bytes) -> SigningKey:
    """The key pair whose seed is the secret; its public half is what a grant names."""
    return SigningKey(hashlib.sha256(b"pigeon/invitation-key/v1\0" + secret).digest())


def encode_invitation(invitation: Invitation) -> bytes:
    """One canonical form (a MessagePack array)."""
    return msgspec.msgpack.encode(invitation)


def decode_invitation(data: bytes, *, now: int) -> Invitation:
    """Size, version, shape, form, then time; raises SignalError."""
    if len(data) > MAX_INVITATION:
        raise Oversize
    if len(data) > 1 and data[0] & 0xF0 == 0x90 and data[1] != VERSION:
        raise WrongVersion
    try:
        invitation = msgspec.msgpack.decode(data, type=Invitation)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Malformed from None
    if invitation.version != VERSION:
        raise WrongVersion
    if encode_invitation(invitation) != data:
        raise Malformed
    if invitation.expires <= now:
        raise Expired.since("invitation", seconds=now - invitation.expires)
    return invitation
