"""Bytes to and from one pasteable line, `pigeon:...`, whose checksum tells a cut token from a mistyped one.

Base32 (RFC 4648) without padding: the whole line in upper case is alphanumeric to a QR code, and reading
ignores case, spaces and line breaks, which is what chat programs and terminals add.
"""

import base64
import binascii
import hashlib
import struct
from enum import Enum
from typing import Final

from signaling.errors import NotAToken, Oversize, TokenCut, TokenMistyped, WrongKind, WrongVersion

PREFIX: Final = "pigeon:"
VERSION: Final = 1
MAX_TOKEN: Final = 4096  # characters
_HEAD: Final = struct.Struct(">BBHB")  # version, kind, payload length, checksum of these
_CHECK: Final = 4


class Kind(Enum):
    """What a token carries."""

    OFFER = 1
    ANSWER = 2
    INVITATION = 3


def to_token(kind: Kind, payload: bytes) -> str:
    """One line, prefix in lower case; `.upper()` of it is as good."""
    head = struct.pack(">BBH", VERSION, kind.value, len(payload))
    body = head + _digest(head)[:1] + payload
    text = PREFIX + base64.b32encode(body + _digest(body)[:_CHECK]).decode().rstrip("=")
    if len(text) > MAX_TOKEN:
        raise ValueError(f"{len(payload)} bytes are too many for a token")
    return text


def from_token(text: str, *, expected: Kind | None = None) -> tuple[Kind, bytes]:
    """The kind and payload of a token, or a SignalError that says what is wrong with it."""
    if len(text) > 2 * MAX_TOKEN:
        raise Oversize
    text = "".join(text.split()).upper()
    if len(text) > MAX_TOKEN:
        raise Oversize
    if not text.startswith(PREFIX.upper()):
        raise NotAToken
    body = _decode(text[len(PREFIX) :])
    if len(body) < _HEAD.size:
        raise TokenCut
    version, code, length, check = _HEAD.unpack_from(body)
    if _digest(body[: _HEAD.size - 1])[0] != check:
        raise TokenMistyped
    if version != VERSION:
        raise WrongVersion
    whole = _HEAD.size + length + _CHECK
    if len(body) < whole:
        raise TokenCut
    if len(body) > whole or _digest(body[:-_CHECK])[:_CHECK] != body[-_CHECK:]:
        raise TokenMistyped
    try:
        kind = Kind(code)
    except ValueError:
        raise WrongVersion from None
    if expected is not None and kind is not expected:
        raise WrongKind(
            f"This is an {kind.name.lower()}, not an {expected.name.lower()}.",
            f"Paste the {expected.name.lower()} here.",
        )
    return kind, body[_HEAD.size : -_CHECK]


def _decode(text: str) -> bytes:
    # A cut may fall anywhere: drop the characters that do not make a whole byte, the length then says it
    # was cut.
    dangling = {1: 1, 3: 1, 6: 1}.get(len(text) % 8, 0)
    text = text[: len(text) - dangling]
    try:
        decoded = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise TokenMistyped from None
    # One token has one form: no character too many, and the last one's spare bits are zero.
    if _is_whole(decoded) and (dangling or base64.b32encode(decoded).decode().rstrip("=") != text):
        raise TokenMistyped
    return decoded


def _is_whole(body: bytes) -> bool:
    return len(body) >= _HEAD.size and len(body) == _HEAD.size + _HEAD.unpack_from(body)[2] + _CHECK


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(b"pigeon/token/v1\0" + data).digest()
