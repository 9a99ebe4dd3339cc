"""What a picture file says of itself in its first bytes; it is believed only so far as to refuse it.

Nothing is decoded here, so that no library sees a picture before its size was judged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from signaling.errors import BadPicture

MAX_FILE: Final = 16 << 20  # bytes: a photo of 50 million pixels has about 12 MB
MAX_PIXELS: Final = 1 << 22  # that are ever decoded
MAX_JPEG: Final = 1 << 26  # pixels in the file: a JPEG is decoded at a half, a quarter or an eighth
MAX_PROGRESSIVE: Final = 1 << 23  # the same when all of it is kept in memory while it is decoded
_MAX_SCANS: Final = 100
_MAX_SEGMENTS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Header:
    """`format` is Pillow's name; `shrink` the divisor to decode with."""

    format: str
    width: int
    height: int
    shrink: int = 1


def read_header(data: bytes) -> Header:
    """Format and size, or BadPicture for what is not decoded: too large, of another format, damaged."""
    if len(data) > MAX_FILE:
        raise BadPicture(
            f"This picture has {len(data) >> 20} MB; at most {MAX_FILE >> 20} are read.", _SMALLER
        )
    for magic, offset, read in _READERS:
        if data.startswith(magic, offset):
            try:
                header = read(data)
            except IndexError:
                raise BadPicture("This picture is damaged or not whole.") from None
            if header.width < 1 or header.height < 1:
                raise BadPicture("This picture is empty.")
            return header
    raise BadPicture(f"This is {_name_of(data)}; PNG, JPEG and WebP are read.", "Save it as PNG or JPEG.")


_SMALLER: Final = "Cut out the part with the code, or make it smaller."


def _sized(header: Header) -> Header:
    pixels = header.width * header.height
    if pixels > MAX_PIXELS:
        raise _too_large(pixels, MAX_PIXELS)
    return header


def _too_large(pixels: int, most: int) -> BadPicture:
    return BadPicture(
        f"This picture has {pixels / 1e6:.1f} million pixels; at most {most / 1e6:.1f} are read.", _SMALLER
    )


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise IndexError
    return _sized(Header(format="PNG", width=_big(data, 16, 4), height=_big(data, 20, 4)))


def _webp(data: bytes) -> Header:
    match data[12:16]:
        case b"VP8 ":
            width, height = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        case b"VP8L":
            bits = _little(data, 21, 4)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
        case _:
            raise IndexError
    return _sized(Header(format="WEBP", width=width, height=height))


def _jpeg(data: bytes) -> Header:
    at = 2
    for _ in range(_MAX_SEGMENTS):
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker in _FRAMES:
            height, width = _big(data, at + 4, 2), _big(data, at + 6, 2)
            return _shrunk(data, width, height, progressive=marker == _PROGRESSIVE)
        at += 1 + _big(data, at + 1, 2)
    raise IndexError


_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})  # neither lossless nor arithmetic coding
_PROGRESSIVE: Final = 0xC2


def _shrunk(data: bytes, width: int, height: int, *, progressive: bool) -> Header:
    pixels, most = width * height, MAX_PROGRESSIVE if progressive else MAX_JPEG
    if pixels > most:
        raise _too_large(pixels, most)
    if data.count(b"\xff\xda") > _MAX_SCANS:  # each goes over the whole picture, however few its bytes are
        raise BadPicture("This picture is built to take long.", "Save it anew as PNG or JPEG.")
    shrink = next(by for by in (1, 2, 4, 8) if -(-width // by) * -(-height // by) <= MAX_PIXELS)
    return Header(format="JPEG", width=width, height=height, shrink=shrink)


def _big(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "little")


_READERS: Final[tuple[tuple[bytes, int, Callable[[bytes], Header]], ...]] = (
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"\xff\xd8\xff", 0, _jpeg),
    (b"WEBP", 8, _webp),
)
_OTHERS: Final = (
    (b"GIF8", 0, "a GIF"),
    (b"BM", 0, "a BMP"),
    (b"II*\0", 0, "a TIFF"),
    (b"MM\0*", 0, "a TIFF"),
    (b"ftypheic", 4, "a HEIC photo"),
    (b"ftypheix", 4, "a HEIC photo"),
    (b"ftypmif1", 4, "a HEIF photo"),
    (b"ftypavif", 4, "an AVIF"),
    (b"%PDF", 0, "a PDF"),
    (b"<svg", 0, "an SVG"),
    (b"<?xml", 0, "an XML file"),
)


def _name_of(data: bytes) -> str:
    if not data:
        return "an empty file"
    return next((name for magic, at, name in _OTHERS if data.startswith(magic, at)), "no picture")
