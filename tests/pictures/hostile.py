"""Picture files that are made to cost whoever reads them; small, most of them, for what they ask."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from PIL import Image

from tests.pictures.degrade import saved

SIDE: Final = 2048  # squared, it is the most that is decoded


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, *, depth: int = 8, color: int = 0, rows: bytes | None = None,
    before: bytes = b"", interlaced: bool = False, pieces: int = 1,
) -> bytes:  # fmt: skip
    """A PNG of zeros, or of these filtered rows; other chunks before its data, which is cut in pieces."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    data = zlib.compress(
        bytes((width * channels * depth + 7) // 8 * height + height) if rows is None else rows, 9
    )
    size = -(-len(data) // pieces)
    parts = [png_chunk(b"IDAT", data[at : at + size]) for at in range(0, len(data), size)]
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + before + b"".join(parts) + png_chunk(b"IEND", b"")
    )


def finder(scale: int) -> Image.Image:
    """The pattern in a QR code's corner that readers look for."""
    picture = Image.new("L", (7, 7), 0)
    picture.paste(255, (1, 1, 6, 6))
    picture.paste(0, (2, 2, 5, 5))
    return picture.resize((7 * scale, 7 * scale), Image.Resampling.NEAREST)


def finders(step: int, scale: int = 1) -> Image.Image:
    picture, pattern = Image.new("L", (SIDE, SIDE), 255), finder(scale)
    for y in range(0, SIDE - 7 * scale, step):
        for x in range(0, SIDE - 7 * scale, step):
            picture.paste(pattern, (x, y))
    return picture


def jpeg_with_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan is there that many times more."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(saved(Image.new("L", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bomb(size: int) -> bytes:
    """What unpacks to so many zeros, in megabytes, without having been packed: one block again and again."""
    packer = zlib.compressobj(9)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block + block[2:] * ((size >> 20) - 1) + packer.flush()


def _texts(kind: bytes, count: int, size: int) -> bytes:
    """Compressed texts, each a thousandth of what it unpacks to."""
    packed = bomb(size)
    between = {b"zTXt": b"\0\0", b"iTXt": b"\0\1\0\0\0", b"iCCP": b"\0\0"}[kind]
    return png_chunk(kind, b"x" + between + packed) * count


@cache
def _big_jpeg() -> bytes:
    return saved(Image.new("L", (8192, 8192), 200), "JPEG")


@cache
def _progressive() -> bytes:
    return saved(Image.new("RGB", (2896, 2896), (10, 200, 90)), "JPEG", progressive=True, subsampling=0)


def _many_codes() -> bytes:
    from signaling.pictures import matrix
    from signaling.token import Kind, to_token

    rows = matrix(to_token(Kind.ANSWER, b""))
    code = Image.new("L", (len(rows), len(rows)), 255)
    code.putdata([0 if black else 255 for row in rows for black in row])
    code = code.resize((2 * code.width, 2 * code.height), Image.Resampling.NEAREST)
    picture = Image.new("L", (SIDE, SIDE), 255)
    for y in range(0, SIDE - code.height, code.height):
        for x in range(0, SIDE - code.width, code.width):
            picture.paste(code, (x, y))
    return saved(picture, "PNG")


HOSTILE: Final[dict[str, Callable[[], bytes]]] = {
    "empty": lambda: b"",
    "a png of 13000 x 13000": lambda: png(13_000, 13_000, depth=1),
    "a png of 2^31 x 2^31": lambda: png(8, 8).replace(struct.pack(">II", 8, 8), b"\x7f\xff\xff\xff" * 2, 1),
    "a png without end": lambda: png(SIDE, SIDE, rows=bytes(100 << 20)),
    "a png of 16 bits and four channels": lambda: png(SIDE, SIDE, depth=16, color=6),
    "an interlaced png": lambda: png(
        SIDE, SIDE, depth=16, color=6, interlaced=True, rows=bytes(SIDE * (8 * SIDE + 4))
    ),
    "a png in a hundred thousand pieces": lambda: png(
        SIDE, SIDE, rows=random.Random(1).randbytes(1 << 20), pieces=100_000
    ),
    "a png with a thousand texts of a megabyte": lambda: png(8, 8, before=_texts(b"zTXt", 1000, 1 << 20)),
    "a png with a text of a gigabyte": lambda: png(8, 8, before=_texts(b"iTXt", 1, 1 << 30)),
    "a png with a profile of a gigabyte": lambda: png(8, 8, before=_texts(b"iCCP", 1, 1 << 30)),
    "a png with a plain text of 15 MB": lambda: png(
        8, 8, before=png_chunk(b"tEXt", b"a\0" + bytes(15 << 20))
    ),
    "an animated png": lambda: saved(
        Image.new("L", (SIDE, SIDE)), "PNG", save_all=True,
        append_images=[Image.new("L", (SIDE, SIDE), level) for level in range(1, 4)],
    ),
    "noise": lambda: saved(Image.frombytes("L", (SIDE, SIDE), random.Random(2).randbytes(SIDE * SIDE)), "PNG",
                           compress_level=1),
    "coarse noise": lambda: saved(
        Image.frombytes("L", (SIDE // 4, SIDE // 4), random.Random(3).randbytes(SIDE * SIDE // 16))
        .point(lambda level: 255 * (level & 1)).resize((SIDE, SIDE), Image.Resampling.NEAREST), "PNG"),
    "full of finder patterns": lambda: saved(finders(8), "PNG"),
    "full of larger finder patterns": lambda: saved(finders(16, 2), "PNG"),
    "full of codes": _many_codes,
    "a jpeg of 65500 x 65500": lambda: jpeg_claiming(65_500, 65_500),
    "a jpeg that claims 8000 x 8000": lambda: jpeg_claiming(8000, 8000),
    "a jpeg of 67 million pixels": _big_jpeg,
    "a progressive jpeg of 8 million pixels": _progressive,
    "a progressive jpeg of 90 scans": lambda: jpeg_with_scans(_progressive(), 80),
    "a progressive jpeg of 5000 scans": lambda: jpeg_with_scans(_progressive(), 5000),
    "a jpeg of nothing but segments": lambda: b"\xff\xd8" + b"\xff\xe1\x00\x02" * (1 << 21),
    "a jpeg with 15 MB of exif": lambda: (
        (small := saved(Image.new("L", (64, 64)), "JPEG"))[:2]
        + (b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + bytes(65_527)) * 230 + small[2:]
    ),
    "a jpeg with a profile in 200 parts": lambda: saved(
        Image.new("L", (64, 64)), "JPEG", icc_profile=bytes(12 << 20)
    ),
    "a webp of 16383 x 16383": lambda: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xfe\x3f\0\xfe\x3f\0",
    "a plain webp": lambda: saved(
        Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 4)), "WEBP", lossless=True, method=0
    ),
    "an animated webp": lambda: saved(
        Image.new("RGB", (SIDE, SIDE)), "WEBP", save_all=True, method=0,
        append_images=[Image.new("RGB", (SIDE, SIDE), (level, 0, 0)) for level in range(1, 4)],
    ),
    "a png with a jpeg behind it": lambda: b"\x89PNG\r\n\x1a\n" + saved(Image.new("L", (64, 64)), "JPEG"),
    "an archive with a png's head": lambda: png(8, 8)[:33] + b"PK\3\4" + bytes(5000),
    "a gif": lambda: saved(Image.new("L", (64, 64)), "GIF"),
}  # fmt: skip


def truncated(data: bytes) -> Iterator[bytes]:
    """Cut at places all over it."""
    for at in {*range(min(len(data), 60)), *range(0, len(data), max(1, len(data) // 20))}:
        yield data[:at]
