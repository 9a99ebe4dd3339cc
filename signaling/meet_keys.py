"""The signed form of a meeting: a party's key signs what goes out, and what comes in is checked by theirs.

    SIGNED_NAMESPACE  base64 of signature (64), issued (u32, Unix seconds), namespace
    SIGNED_SIGNAL     base64 of signature (64), signal
    PUBLIC_KEY        64 lower-case hex digits, Ed25519

A signature covers more than what stands beside it: a tag for what it is (namespace, offer, answer), and for a
signal the namespace, and for an answer the key and the signal of the offer that it answers. So a signal is of
no use in another namespace, in the other role, or in another exchange.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from signaling.errors import BadSignature, Expired, FromTheFuture, Malformed

PUBLIC_KEY_DIGITS: Final = 64
CLOCK_SKEW: Final = 300
_SIGNATURE: Final = 64
_TIME: Final = struct.Struct(">I")
_NAMESPACE_TAG: Final = b"pigeon/meet-namespace/v1\0"
_OFFER_TAG: Final = b"pigeon/meet-offer/v1\0"
_ANSWER_TAG: Final = b"pigeon/meet-answer/v1\0"


@dataclass(frozen=True)
class OfferTo:
    """An offer answers nothing."""


@dataclass(frozen=True)
class AnswerTo:
    """The signal that an answer is to, and whose it is (b"": of nobody that signs)."""

    signal: bytes
    key: bytes = b""


Role = OfferTo | AnswerTo


def role_text(role: Role, *, namespace: bytes) -> bytes:
    """What makes a signal of this role in this exchange differ from all others: what is signed, or sealed."""
    place = hashlib.sha256(namespace).digest()
    if isinstance(role, OfferTo):
        return _OFFER_TAG + place
    return _ANSWER_TAG + place + hashlib.sha256(role.signal).digest() + role.key.ljust(32, b"\0")


def sign_namespace(namespace: bytes, *, key: SigningKey, now: int) -> str:
    text = _TIME.pack(now) + namespace
    return to_text(key.sign(_NAMESPACE_TAG + text).signature + text)


def open_namespace(signed: str, *, public: bytes, now: int) -> bytes:
    """What the hub keys on; SignalError. A signature does not last: whoever saw it could use it for ever."""
    signature, text = _split(signed)
    if len(text) <= _TIME.size:
        raise Malformed
    _check(_NAMESPACE_TAG + text, signature, public)
    (issued,) = _TIME.unpack_from(text)
    if issued > now + CLOCK_SKEW:
        raise FromTheFuture
    if issued < now - CLOCK_SKEW:
        raise Expired.since("signature", seconds=now - CLOCK_SKEW - issued)
    return text[_TIME.size :]


def sign_signal(signal: bytes, role: Role, *, namespace: bytes, key: SigningKey) -> str:
    text = role_text(role, namespace=namespace) + bytes(key.verify_key) + signal
    return to_text(key.sign(text).signature + signal)


def open_signal(signed: str, role: Role, *, namespace: bytes, public: bytes) -> bytes:
    """The signal, or SignalError."""
    signature, signal = _split(signed)
    _check(role_text(role, namespace=namespace) + public + signal, signature, public)
    return signal


def public_key(text: str) -> bytes:
    """Malformed for what is none."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise Malformed from None
    if len(text) != PUBLIC_KEY_DIGITS or key.hex() != text:
        raise Malformed
    return key


def to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def from_text(text: str) -> bytes:
    """Malformed for what to_text never writes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed from None
    if to_text(data) != text:
        raise Malformed
    return data


def _split(signed: str) -> tuple[bytes, bytes]:
    data = from_text(signed)
    if len(data) <= _SIGNATURE:
        raise Malformed
    return data[:_SIGNATURE], data[_SIGNATURE:]


def _check(text: bytes, signature: bytes, public: bytes) -> None:
    try:
        VerifyKey(public).verify(text, signature)
    except (BadSignatureError, ValueError, TypeError):
        raise BadSignature from None
