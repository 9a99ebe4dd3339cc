"""Bytes to and from one pasteable line, `pigeon:...`, whose checksum tells a cut token from a mistyped one.

A token is seven bytes more than what it carries: version and kind (4 bits each), length (11) with a CRC of
five bits over all of these, then, behind the payload, four bytes of SHA-256. One wrong character changes five
bits in a row at most, which the CRC always notices: a wrong length is never taken for a missing end.

To be pasted it is base32 (RFC 4648) without padding; reading ignores case, spaces and line breaks, which is
what chat programs and terminals add. In a QR code it is `PIGEON:$` and base45 (RFC 9285): the same bytes in
fewer of the characters that are cheap there.
"""

import base64
import binascii
import hashlib
import re
import string
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from itertools import zip_longest
from typing import Final

from signaling.errors import (
    NotAToken,
    Oversize,
    SignalError,
    TokenCut,
    TokenMistyped,
    WrongKind,
    WrongVersion,
)

PREFIX: Final = "pigeon:"
QR_PREFIX: Final = "PIGEON:$"
VERSION: Final = 2
FRAMING: Final = 7
MAX_PAYLOAD: Final = (1 << 11) - 1
_HEAD: Final = 3
_CHECK: Final = 4
_HEAD_CHARACTERS: Final = {PREFIX: 5, QR_PREFIX: 6}
_TABS: Final = {0x09: None}
MAX_TOKEN: Final = len(QR_PREFIX) + -(-8 * (MAX_PAYLOAD + FRAMING) // 5)  # characters

MAX_PASTE: Final = 64 * 1024  # characters of a text that a token is looked for in
_MAX_PLACES: Final = 64  # in it where one may begin
_LONG_WORD: Final = 16  # characters: hardly ever a word of a chat that has only those of base32
_MAX_WORDS: Final = 512  # among which one token is spread
_MENTION: Final = 24  # characters behind the prefix: fewer of them may be prose

_UPPER: Final = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_BREAKS: Final = str.maketrans("", "", "\r\n\t")

_INVISIBLE: Final = dict.fromkeys(
    [0xAD, 0x34F, 0x61C, 0x180E, 0xFEFF, 0xFFFC, *range(0x200B, 0x2010), *range(0x202A, 0x202F),
     *range(0x2060, 0x2070), *range(0xFE00, 0xFE10)]
) | {0xA0: " ", 0x202F: " "}  # fmt: skip
_ESCAPES: Final = re.compile("\x1b\\[[0-9;?]*[A-Za-z~]")
_FRAME: Final = string.whitespace + ">|*_~`\"'\\=()[]<\u2502\u2503"
"""What quoting and marking up leave at the ends of a line."""
_WORD: Final = re.compile("[0-9A-Z:$]+")


class Kind(Enum):
    """What a token carries."""

    OFFER = 1
    ANSWER = 2
    INVITATION = 3


def to_token(kind: Kind, payload: bytes) -> str:
    """One line, prefix in lower case; `.upper()` of it is as good."""
    return PREFIX + base64.b32encode(_framed(kind, payload)).decode().rstrip("=")


def to_qr_text(token: str) -> str:
    """The same token in the form that makes the smallest QR code; alphanumeric to it throughout."""
    import base45

    return QR_PREFIX + str(base45.b45encode(_framed(*from_token(token))), "ascii")


def from_token(text: str, *, expected: Kind | None = None) -> tuple[Kind, bytes]:
    """The kind and payload of a token in either form, or a SignalError that says what is wrong with it."""
    if len(text) > 4 * MAX_TOKEN:
        raise Oversize
    prefix, characters = _characters(text)
    if len(characters) > MAX_TOKEN:
        raise Oversize
    if len(characters) < _HEAD_CHARACTERS[prefix]:
        raise TokenCut
    length = _length(_decode(prefix, characters[: _HEAD_CHARACTERS[prefix]]))
    whole = _characters_for(prefix, length + FRAMING)
    if len(characters) < whole:
        raise TokenCut
    if len(characters) > whole:
        raise TokenMistyped
    body = _decode(prefix, characters)
    if _digest(body[:-_CHECK]) != body[-_CHECK:]:
        raise TokenMistyped
    try:
        kind = Kind(body[0] & 0x0F)
    except ValueError:
        raise WrongVersion from None
    if expected is not None and kind is not expected:
        raise WrongKind(
            f"This is an {kind.name.lower()}, not an {expected.name.lower()}.",
            f"Paste the {expected.name.lower()} here.",
        )
    return kind, body[_HEAD:-_CHECK]


def find_token(text: str) -> str:
    """The token in a pasted text as one line; of several the first one that is whole.

    The text may be wrapped anywhere, quoted, marked up, with names and times around or before every line.
    Else SignalError: about the first place that looks like a token, or NotAToken.
    """
    return find_tokens(text)[0]


def find_tokens(text: str) -> list[str]:
    """As find_token, all of them, each once; at least one. A conversation may hold ours and theirs."""
    if len(text) > MAX_PASTE:
        raise Oversize
    text = _ESCAPES.sub("", text.translate(_INVISIBLE)).translate(_UPPER)
    lines = [line.strip(_FRAME) for line in text.splitlines()]
    readings = (_joined(lines), _in_long_words(lines), _in_last_words(lines), _of_qr(text))
    found: dict[str, None] = {}
    for candidates in zip_longest(*readings, fillvalue=""):  # place by place
        for candidate in candidates:
            with suppress(SignalError):
                found[to_token(*from_token(candidate))] = None
    if not found:
        raise _what_is_wrong(lines)
    return list(found)


def _joined(lines: list[str]) -> Iterator[str]:
    """Every character counts, spaces aside."""
    return _cut_out("".join("".join(lines).split()), PREFIX)


def _in_last_words(lines: list[str]) -> Iterator[str]:
    """A name or a time before every line."""
    words = (_WORD.findall(line) for line in lines)
    return _cut_out("".join(last[-1] for last in words if last), PREFIX)


def _in_long_words(lines: list[str]) -> Iterator[str]:
    """A few long words among short ones, and a rest of just the length that is missing."""
    words = [word for line in lines for word in _WORD.findall(line)]
    places = [at for at, word in enumerate(words) if PREFIX.upper() in word]
    for at in places[:_MAX_PLACES]:
        piece = words[at][words[at].index(PREFIX.upper()) :]
        size = _size(piece) or 0
        for word in words[at + 1 : at + _MAX_WORDS]:
            if len(word) in range(_LONG_WORD, size - len(piece)) or len(word) == size - len(piece):
                piece += word
        yield piece


def _of_qr(text: str) -> Iterator[str]:
    """As an app that scans gives it; broken and quoted perhaps, but with its spaces."""
    return _cut_out("".join(line.lstrip(">|") for line in text.translate(_TABS).splitlines()), QR_PREFIX)


def _cut_out(text: str, prefix: str) -> Iterator[str]:
    """At each place where one begins, as much as its head says."""
    at = -1
    for _ in range(_MAX_PLACES):
        at = text.find(prefix.upper(), at + 1)
        if at < 0:
            return
        piece = text[at : at + MAX_TOKEN]
        yield piece[: _size(piece)]


def _what_is_wrong(lines: list[str]) -> SignalError:
    """About the first place whose head is sound; a damaged one is told from prose by how long it is."""
    found: SignalError = NotAToken()
    places = [(at, line.find(PREFIX.upper())) for at, line in enumerate(lines) if PREFIX.upper() in line]
    for at, column in places[:_MAX_PLACES]:
        line = lines[at]
        piece = _natural(lines[at : at + _MAX_WORDS], column)
        try:
            from_token(piece)
        except SignalError as error:
            if _size(piece) is not None or isinstance(error, WrongVersion):
                return error
            alone = column == 0 and at == len(lines) - 1 and _WORD.fullmatch(line) is not None
            if isinstance(found, NotAToken) and (len(piece) > _MENTION or alone):
                found = error
    return found


def _natural(lines: list[str], column: int) -> str:
    """What a person would take for the token: the word, and lines of one word each below it."""
    size = _size(lines[0][column:]) or MAX_TOKEN
    if lines[0].startswith(QR_PREFIX, column):
        return "".join([lines[0][column:], *lines[1:]])[:size]
    piece, *beside = lines[0][column : column + 2 * MAX_TOKEN].split()
    if len(beside) > 2 and len({len(word) for word in beside[:-1]}) == 1:  # in groups
        return piece + "".join(beside)
    if len(piece) > size:
        piece = piece.rstrip(string.punctuation + "\u2026")
    for line in lines[1:] if not beside else []:
        if len(line.split()) > 1 or len(piece) + len(line) > size:
            break
        piece += line
    return piece


def _size(text: str) -> int | None:
    """How many characters the token has that begins here; None when its head is damaged."""
    prefix = QR_PREFIX if text.startswith(QR_PREFIX) else PREFIX
    characters = text[len(prefix) : len(prefix) + _HEAD_CHARACTERS[prefix]]
    if len(characters) < _HEAD_CHARACTERS[prefix]:
        return None
    try:
        return len(prefix) + _characters_for(prefix, _length(_decode(prefix, characters)) + FRAMING)
    except SignalError:
        return None


def _framed(kind: Kind, payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes are too many for a token")
    head = (VERSION << 4 | kind.value) << 11 | len(payload)
    body = (head << 5 | _crc5(head)).to_bytes(_HEAD, "big") + payload
    return body + _digest(body)


def _characters(text: str) -> tuple[str, str]:
    """Which of the two prefixes it has, and what stands behind it, in upper case."""
    text = text.lstrip().translate(_UPPER)
    if text.startswith(QR_PREFIX):  # a space is a character of base45, though never the last one
        return QR_PREFIX, text[len(QR_PREFIX) :].translate(_BREAKS).rstrip()
    text = "".join(text.split())
    if not text.startswith(PREFIX.upper()):
        raise NotAToken
    return PREFIX, text[len(PREFIX) :]


def _length(head: bytes) -> int:
    """The payload's length, once the CRC and the version were found right."""
    number = int.from_bytes(head[:_HEAD], "big")
    if _crc5(number >> 5) != number & 0x1F:
        raise TokenMistyped
    if number >> 20 != VERSION:
        raise WrongVersion
    return number >> 5 & MAX_PAYLOAD


def _characters_for(prefix: str, size: int) -> int:
    return -(-8 * size // 5) if prefix == PREFIX else size // 2 * 3 + size % 2 * 2


def _decode(prefix: str, text: str) -> bytes:
    try:
        return _from_base32(text) if prefix == PREFIX else _from_base45(text)
    except (binascii.Error, ValueError):
        raise TokenMistyped from None


def _from_base32(text: str) -> bytes:
    whole = text[: len(text) - {1: 1, 3: 1, 6: 1}.get(len(text) % 8, 0)]  # these make no byte more
    decoded = base64.b32decode(whole + "=" * (-len(whole) % 8))
    # One token has one form: the spare bits of its last character are zero. Of a head they are the payload's.
    if len(text) > _HEAD_CHARACTERS[PREFIX] and base64.b32encode(decoded).decode().rstrip("=") != text:
        raise TokenMistyped
    return decoded


def _from_base45(text: str) -> bytes:
    import base45

    if len(text) % 3 == 1:
        text = text[:-1]
    return bytes(base45.b45decode(text.encode("ascii")))


def _crc5(number: int) -> int:
    """CRC-5 (x^5 + x^2 + 1, preset to ones) of 19 bits."""
    crc = 0x1F
    for at in range(18, -1, -1):
        crc = crc << 1 & 0x1F ^ (0x05 if (crc >> 4 ^ number >> at) & 1 else 0)
    return crc


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(b"pigeon/token/v2\0" + data).digest()[:_CHECK]
