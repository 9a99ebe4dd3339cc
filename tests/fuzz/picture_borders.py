"""Tokens as people carry them: in what was pasted, and in pictures from anywhere.

Pictures are decoded in this process, not in one of their own as the product does it: what they cost there is
bounded from outside (tests/signaling/test_pictures.py); here it matters what they raise.
"""

import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache, partial
from typing import Final

from PIL import Image

from signaling.errors import BadPicture, SignalError
from signaling.picture_header import read_header
from signaling.picture_scan import codes_in
from signaling.pictures import matrix
from signaling.token import Kind, find_token, from_token, to_qr_text, to_token
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused, same
from tests.fuzz.forms import BINARY, TEXT, Form, Part
from tests.fuzz.signal_borders import signal_decoder
from tests.pictures.degrade import saved

PICTURES: Final = 1 / 10
"""The share of what other decoders get: an input takes many times as long."""
_SLOW: Final = 1.0


# Text


@cache
def _tokens() -> list[str]:
    dice = random.Random(1)
    return [to_token(kind, dice.randbytes(size)) for kind in Kind for size in (0, 1, 40, 198)]


def pasted() -> list[bytes]:
    prose = "hi, pigeon: here it is\n\n{}\n\n12:30 <ann> thanks"
    quoted = [
        "\r\n".join("> " + token[at : at + 60] for at in range(0, len(token), 60)) for token in _tokens()
    ]
    named = [
        "\n".join("[12:03] ann: " + token[at : at + 60] for at in range(0, len(token), 60))
        for token in _tokens()
    ]
    texts = [*_tokens(), *quoted, *named, *map(prose.format, _tokens()), *map(to_qr_text, _tokens())]
    return [text.encode() for text in (*texts, "\n".join(_tokens()))]


def _find_feed() -> Feed:
    def feed(data: bytes) -> object:
        found = find_token(data.decode("utf-8", "surrogateescape"))
        if to_token(*from_token(found)) != found:
            raise Differs(found)
        return found

    return feed


def _qr_feed() -> Feed:
    def feed(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        token = to_token(*from_token(text))
        same(
            to_qr_text(token).encode(), text.strip().upper().translate({9: None, 10: None, 13: None}).encode()
        )
        return token

    return feed


def _in_qr() -> list[bytes]:
    return [to_qr_text(token).encode() for token in _tokens()]


# Files


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Of a PNG: where each chunk begins and ends, as its lengths say."""
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield at, min(end, len(data))
        at = end


def _picture_parts(data: bytes) -> list[Part]:
    """Chunks of a PNG and what is in them; segments of a JPEG; chunks of a WebP; else words."""
    parts: list[Part] = []
    if data.startswith(b"\x89PNG"):
        for start, end in _chunks(data):
            parts += [(start, end), (start + 4, start + 8), (start + 8, end - 4)]
            parts += [(at, at + 1) for at in range(start + 8, min(end - 4, start + 30))]
    elif data.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            parts += [
                (at, end),
                (at + 2, at + 4),
                (at + 4, end),
                *((each, each + 1) for each in range(at + 4, end, 3)),
            ]
            at = end
        parts.append((at, len(data)))
    else:
        parts += [(0, 12), *((at, at + 4) for at in range(0, min(len(data) - 4, 80), 4)), (30, len(data))]
    return [part for part in parts if 0 <= part[0] < part[1] <= len(data)]


_PICTURE: Final = Form("picture", _picture_parts, BINARY.odd, BINARY.rewrite)


@cache
def _files() -> list[bytes]:
    rows = matrix(_tokens()[2])
    code = Image.new("L", (len(rows), len(rows)))
    code.putdata([0 if black else 255 for row in rows for black in row])
    code = code.resize((3 * code.width, 3 * code.height), Image.Resampling.NEAREST)
    clear = code.convert("RGBA")
    clear.putalpha(code.point(lambda level: 255 - level))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        saved(code.convert("1")),
        saved(code.convert("P"), transparency=b"\xff\0" * 128),
        saved(code.convert("I").point(lambda level: level * 257).convert("I;16")),
        saved(clear, icc_profile=bytes(300), exif=exif),
        saved(code, save_all=True, append_images=[code.rotate(90)]),
        saved(code, "JPEG", exif=exif),
        saved(code.convert("CMYK"), "JPEG", icc_profile=bytes(300)),
        saved(code.convert("RGB"), "JPEG", progressive=True, restart_marker_rows=2),
        saved(code.convert("RGB"), "WEBP"),
        saved(clear, "WEBP", lossless=True, exif=exif),
        saved(code.convert("RGB"), "WEBP", save_all=True, append_images=[code.rotate(90).convert("RGB")]),
    ]


def _summed(data: bytes, dice: random.Random) -> bytes:
    """A PNG whose checksums are right, mostly."""
    if not data.startswith(b"\x89PNG") or dice.random() < 0.1:
        return data
    parts = [data[:8]]
    for start, end in _chunks(data):
        body = data[start + 4 : end - 4]
        parts.append(data[start : start + 4] + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join(parts)


def _file_feed() -> Feed:
    def feed(data: bytes) -> object:
        codes = codes_in(data)
        if not codes:
            raise Refused
        return codes

    return feed


def _header_feed() -> Feed:
    return read_header


# Codes


def _modules() -> list[bytes]:
    """A code as bits, a byte each; a square whatever was done to it."""
    return [bytes(0 if black else 255 for row in matrix(token) for black in row) for token in _tokens()[:4]]


def _modules_feed() -> Feed:
    def feed(data: bytes) -> object:
        side = max(1, int(len(data) ** 0.5))
        code = Image.frombytes("L", (side, side), data[: side * side].ljust(side * side, b"\xff"))
        return _tokens_in(code.resize((min(2000, 3 * side),) * 2, Image.Resampling.NEAREST))

    return feed


def _content_feed() -> Feed:
    """A sound code of anything: other encodings, bytes, control characters."""
    import zxingcpp

    def feed(data: bytes) -> object:
        content: bytes | str = data[1:1200] if data[:1] < b"\x80" else data[1:1200].decode("utf-8", "replace")
        try:
            made = zxingcpp.create_barcode(content, zxingcpp.BarcodeFormat.QRCode, ec_level="L")
        except ValueError:  # empty, or too large
            raise Refused from None
        return _tokens_in(Image.fromarray(made.to_image(scale=3)))

    return feed


def _contents() -> list[bytes]:
    return [bytes((first,)) + to_qr_text(token).encode() for first in (0, 255) for token in _tokens()]


def _tokens_in(picture: Image.Image) -> object:
    texts = codes_in(saved(picture, compress_level=1))
    if not texts:
        raise Refused
    return [from_token(text) for text in texts]


_picture = partial(Decoder, refuses=(BadPicture,), share=PICTURES, slow=_SLOW, allowance=64 << 20)
_code = partial(Decoder, refuses=(SignalError,), share=PICTURES, slow=_SLOW, allowance=64 << 20, form=BINARY)

DECODERS = [
    _picture(name="picture", form=_PICTURE, samples=_files, make=_file_feed, finish=_summed),
    _code(name="picture/modules", samples=_modules, make=_modules_feed),
    _code(name="picture/content", samples=_contents, make=_content_feed),
    Decoder(name="picture/header", form=_PICTURE, samples=_files, make=_header_feed, refuses=(BadPicture,)),
    signal_decoder("token/find", TEXT, pasted, _find_feed),
    signal_decoder("token/qr", TEXT, _in_qr, _qr_feed),
]
