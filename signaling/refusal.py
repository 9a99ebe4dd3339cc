"""A "no" in an answer's place: why an offer will never be answered, signed, and no address in it.

Wire form: version << 4 | kind, reason, session (16), signature (64). The signature covers the hash of the
offer, and with it the room and both ends.
"""

import struct
from enum import Enum
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from signaling.description import Offer, Session
from signaling.errors import BadSignature, Malformed, NotForUs, WrongVersion

VERSION: Final = 2
_KIND: Final = 3  # beside an offer's 1 and an answer's 2
_WIRE: Final = struct.Struct(">BB16s64s")


class Reason(Enum):
    """Why not, for good."""

    USED = 1
    EXPIRED = 2


def make_refusal(*, key: SigningKey, offer: Offer, reason: Reason) -> bytes:
    """Sign a refusal of `offer` with the identity it was made for."""
    signature = key.sign(_signed(offer, reason)).signature
    return _WIRE.pack(VERSION << 4 | _KIND, reason.value, offer.session, signature)


def refused_session(description: bytes) -> Session | None:
    """The session of the offer that is refused, unverified; None if this is no refusal."""
    if not description or description[0] & 0x0F != _KIND:
        return None
    if description[0] >> 4 != VERSION:
        raise WrongVersion
    if len(description) != _WIRE.size:
        raise Malformed
    return Session(description[2:18])


def decode_refusal(data: bytes, *, offer: Offer) -> Reason:
    """Why `offer` is refused by the one it was made for, or SignalError."""
    if refused_session(data) is None or offer.recipient is None:
        raise Malformed
    _head, code, session, signature = _WIRE.unpack(data)
    if session != offer.session:
        raise NotForUs
    try:
        reason = Reason(code)
    except ValueError:
        raise Malformed from None
    try:
        VerifyKey(offer.recipient).verify(_signed(offer, reason), signature)
    except (BadSignatureError, ValueError, TypeError):
        raise BadSignature from None
    return reason


def _signed(offer: Offer, reason: Reason) -> bytes:
    return b"pigeon/refusal/v2\0" + offer.hash + bytes((reason.value,))
