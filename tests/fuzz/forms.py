"""Where the parts of a sample lie, form by form: what a mutation may cut out, repeat or lie about.

A part is (start, end) in bytes; parts may lie inside one another. Samples are our own and sound, so nothing
in here is careful.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Part = tuple[int, int]


@dataclass(frozen=True)
class Form:
    """How bytes of one form are taken apart, and what may stand in a part's place."""

    name: str
    parts: Callable[[bytes], Sequence[Part]]
    odd: Sequence[bytes]
    """Whole values that no encoder of ours makes, and those at the edge of what one makes."""
    rewrite: Callable[[bytes, random.Random], bytes]
    """The same part in another form, or one whose length lies."""


# MessagePack

_FIXED = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ROWS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def _walk_packed(data: bytes, at: int, parts: list[Part]) -> int:
    first, start, rows = data[at], at, 0
    if first in _FIXED:
        at += _FIXED[first]
    elif first in _SIZED:
        width = _SIZED[first]
        at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
    elif 0xA0 <= first <= 0xBF:
        at += 1 + (first & 0x1F)
    elif first in _ROWS:
        width = _ROWS[first]
        rows = int.from_bytes(data[at + 1 : at + 1 + width], "big") * (2 if first >= 0xDE else 1)
        at += 1 + width
    elif 0x80 <= first <= 0x9F:
        rows = (first & 0x0F) * (1 if first >= 0x90 else 2)
        at += 1
    else:
        at += 1
    for _ in range(rows):
        at = _walk_packed(data, at, parts)
    parts.append((start, at))
    return at


def packed_parts(data: bytes) -> list[Part]:
    """Every value of a MessagePack text, from the innermost out."""
    parts: list[Part] = []
    at = 0
    while at < len(data):
        at = _walk_packed(data, at, parts)
    return parts


def _longer_or_lying(part: bytes, dice: random.Random) -> bytes:
    first, rest = part[0], part[1:]
    lie = dice.choice((0, 0, 1, -1, 255, 2**16, 2**31, 2**32 - 1))
    if first < 0x80 or 0xCC <= first <= 0xD3:
        number = first if first < 0x80 else int.from_bytes(rest, "big")
        return dice.choice((b"\xcf", b"\xd3")) + max(0, number + lie).to_bytes(8, "big")
    if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        inner = rest if first <= 0x9F else rest[_ROWS[first] :]
        count = first & 0x0F if first <= 0x9F else int.from_bytes(rest[: _ROWS[first]], "big")
        return b"\xdd" + max(0, min(count + lie, 2**32 - 1)).to_bytes(4, "big") + inner
    if first in _SIZED or 0xA0 <= first <= 0xBF:
        inner = rest if first not in _SIZED else rest[_SIZED[first] :]
        head = dice.choice((b"\xc6", b"\xdb"))
        return head + max(0, min(len(inner) + lie, 2**32 - 1)).to_bytes(4, "big") + inner
    return part + part


MESSAGEPACK = Form(
    "MessagePack",
    packed_parts,
    (
        b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x00", b"\x1f", b"\x7f", b"\xff", b"\xe0", b"\x90", b"\x80",
        b"\xcc\x80", b"\xcd\xff\xff", b"\xce\x80\x00\x00\x00", b"\xcf" + b"\xff" * 8,
        b"\xcf\x00\x20" + bytes(6), b"\xcf\x00\x20" + bytes(5) + b"\x01", b"\xcf\x80" + bytes(7),
        b"\xd3" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xca\x7f\x80\x00\x00", b"\xcb\x7f\xf8" + bytes(6),
        b"\xa0", b"\xa2\xff\xfe", b"\xa3\xed\xa0\x80", b"\xa4\xe2\x80\xae\x41", b"\xc4\x00",
        b"\xc4\x20" + bytes(32), b"\xc4\x20" + b"\xff" * 32, b"\xc4\x40" + bytes(64), b"\xc4\x1f" + bytes(31),
        b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x00", b"\xd4\xff\x00", b"\xd6\xff\x00\x00\x00\x00", b"\xd7\xff" + bytes(8),
        b"\x91" * 5000 + b"\xc0", b"\x81\x00" * 2000 + b"\xc0", b"\xdc\x00\x01" * 1500 + b"\xc0",
        b"\xdc\x10\x01" + b"\xc0" * 4097, b"\xd9\x21" + b"x" * 33, b"\xc5\x40\x00" + b"z" * 16384,
    ),
    _longer_or_lying,
)  # fmt: skip


# JSON

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"(?:\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-\w.+]+))?|[-\w.+]+|[\[\]{},:]')


def json_parts(data: bytes) -> list[Part]:
    """Strings, numbers, members of objects, and each bracket and comma alone; the whole last."""
    return [found.span() for found in _TOKEN.finditer(data)] + [(0, len(data))]


def _json_otherwise(part: bytes, dice: random.Random) -> bytes:
    match dice.randrange(4):
        case 0:
            return b" \t\r" + part + b"\r "
        case 1:
            return re.sub(rb"[a-z]", lambda found: b"\\u%04x" % found[0][0], part)
        case 2:
            return part + b"," + part
        case _:
            return part.replace(b":", b":[", 1) if b":" in part else part + b"e0"


JSON = Form(
    "JSON",
    json_parts,
    (
        b"null", b"true", b"0", b"-1", b"-0", b"1.5", b"1e400", b"NaN", b"Infinity", b"9007199254740993",
        b"18446744073709551616", b"9" * 400, b"1" + b"0" * 30_000, b'""', b'"\\ud800"', b'"\\u0000"',
        b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"' + b"x" * 70_000 + b'"', b'"\\x"', b"[]", b"{}", b"[" * 20_000,
        b'{"a":' * 10_000, b"[" * 900 + b"]" * 900, b'{"v":' * 600 + b"1" + b"}" * 600, b"'v'", b"//",
        b'"v":2', b'"v":"1"', b'"v":1,"v":1', b'"unknown":[[[[]]]]', b'"unknown":' + b"[" * 5000, b"\x00",
        b"\xef\xbb\xbf", b",", b"}", b"{", b"\n",
    ),
    _json_otherwise,
)  # fmt: skip


# Text that people carry around

_RUN = re.compile(rb"[^\s:]+|:|\s+")


def text_parts(data: bytes) -> list[Part]:
    """Words, and pieces of eight characters of long ones."""
    parts = []
    for found in _RUN.finditer(data):
        start, end = found.span()
        parts += [(at, min(at + 8, end)) for at in range(start, end, 8)]
        parts.append((start, end))
    return parts


def _typed_otherwise(part: bytes, dice: random.Random) -> bytes:
    match dice.randrange(5):
        case 0:
            return part.upper()
        case 1:
            return part.lower()
        case 2:
            at = dice.randrange(len(part))
            return part[:at] + dice.choice((b" ", b"\r\n", b"\t", b"\n> ", "\u00a0".encode())) + part[at:]
        case 3:
            return part.replace(b"I", "\u0131".encode()).replace(b"S", "\u017f".encode())
        case _:
            at = dice.randrange(len(part))
            return part[:at] + bytes((dice.choice(b"=.!-_018AZaz~\x00\x7f"),)) + part[at + 1 :]


TEXT = Form(
    "text",
    text_parts,
    (
        b"", b" ", b"\x00", b"\xff", b"\xed\xa0\x80", b"\x1b[2J", b"\x1b]0;t\x07", b"\x9b31m", b"=" * 8,
        "\u202e".encode(), "\u2028".encode(), "\ufb01".encode(), "\u00df".encode() * 50, b"A" * 9000,
        b"\r", b"\n", b"\r\n" * 100, b" " * 5000, b"pigeon:", b"PIGEON:", "\U000e0041".encode() * 9,
        b"\x1b]" * 4000, b"\x1bP" * 2000 + b"\x1b\\", b"\x9d" * 3000, "e\u0301".encode() * 2000,
    ),
    _typed_otherwise,
)  # fmt: skip


# Structures of fixed width


def words(data: bytes) -> list[Part]:
    """Fields of one, two and four bytes wherever they may begin, and the larger ones after them."""
    sizes = (1, 2, 4, 8, 16, 32, 64)
    return [(at, at + size) for size in sizes for at in range(0, len(data) - size + 1, min(size, 4))]


def counted(part: bytes, dice: random.Random) -> bytes:
    """Whatever number it is: one more, one less, or at an edge."""
    number, width = int.from_bytes(part, "big"), len(part)
    edge = dice.choice((number + 1, number - 1, number * 2, 0, 1, 3, 4, 127, 128, 2 ** (8 * width - 1), -1))
    return (edge % 2 ** (8 * width)).to_bytes(width, "big")


NUMBERS = (b"\x00", b"\x01", b"\xff", b"\x7f", b"\x80", b"\x00\x00", b"\xff\xff", b"\x00\x03", b"\x80\x00")
BINARY = Form(
    "binary", words, (*NUMBERS, bytes(32), b"\xff" * 32, bytes(4), b"\xff" * 4, bytes(200)), counted
)
