"""Codes are drawn so that they can be read, read from what people have; a hostile picture costs little."""

import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from signaling.errors import BadPicture, SignalError
from signaling.picture_header import MAX_FILE, MAX_PIXELS, read_header
from signaling.picture_scan import codes_in
from signaling.pictures import draw_png, draw_text, matrix, read_codes
from signaling.token import Kind, to_qr_text, to_token
from tests.pictures.degrade import saved
from tests.pictures.hostile import HOSTILE, png, truncated

TOKEN = to_token(Kind.OFFER, random.Random(9).randbytes(198))
BIGGER = to_token(Kind.OFFER, random.Random(9).randbytes(210))


def drawn(token: str = TOKEN) -> Image.Image:
    return Image.open(io.BytesIO(draw_png(token))).convert("L")


def from_cells(text: str, *, light: bool) -> Image.Image:
    """What a terminal makes of half blocks; `light`: whether it writes light on dark."""
    lines = text.splitlines()
    picture = Image.new("1", (len(lines[0]), 2 * len(lines)))
    for y, line in enumerate(lines):
        for x, cell in enumerate(line):
            for half, inked in enumerate({" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}[cell]):
                picture.putpixel((x, 2 * y + half), inked == light)
    return picture.resize((picture.width * 4, picture.height * 4))


def test_a_png_is_read_back_and_is_nothing_but_black_and_white() -> None:
    assert read_codes(draw_png(TOKEN)) == [TOKEN]
    assert Image.open(io.BytesIO(draw_png(TOKEN))).mode == "1"
    assert drawn().size == (61 * 8, 61 * 8)


def test_an_offer_with_two_candidates_is_drawn_in_a_terminal_of_80_by_40() -> None:
    for token in (TOKEN, BIGGER):
        lines = re.sub("\x1b\\[[0-9;]*m", "", draw_text(token)).splitlines()
        assert len(lines) == 31 and {len(line) for line in lines} == {61}


def test_on_a_terminal_black_and_white_are_said_and_every_line_ends_as_it_began() -> None:
    for line in draw_text(TOKEN).splitlines():
        assert re.fullmatch("\x1b\\[38;5;16;48;5;231m[ ▀▄█]{61}\x1b\\[0m", line)
    cells = re.sub("\x1b\\[[0-9;]*m", "", draw_text(TOKEN))
    assert codes_in(saved(from_cells(cells, light=False))) == [to_qr_text(TOKEN)]
    assert from_cells(cells, light=False).getpixel((0, 0)) == 1  # the quiet zone is white


def test_without_colour_it_is_right_on_a_dark_terminal_and_readable_for_us_on_a_light_one() -> None:
    cells = draw_text(TOKEN, color=False)
    assert "\x1b" not in cells
    assert from_cells(cells, light=True).getpixel((0, 0)) == 1
    for light in (True, False):
        assert codes_in(saved(from_cells(cells, light=light))) == [to_qr_text(TOKEN)]


def test_black_on_white_means_black_modules_whatever_the_mask() -> None:
    rows = matrix(TOKEN)
    assert rows[4][4] and not rows[0][0] and all(len(row) == 61 for row in rows)


@pytest.mark.parametrize("turn", Image.Transpose)
def test_a_picture_may_lie_on_any_side_or_be_seen_in_a_mirror(turn: Image.Transpose) -> None:
    assert codes_in(saved(drawn().transpose(turn))) == [to_qr_text(TOKEN)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_may_say_any_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert codes_in(saved(drawn(), "JPEG", exif=exif)) == [to_qr_text(TOKEN)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_pictures_of_every_mode_are_read(mode: str) -> None:
    picture = drawn()
    if mode.startswith("I"):
        picture = picture.convert("I").point(lambda level: level * 257)
    assert codes_in(saved(picture.convert(mode), "JPEG" if mode == "CMYK" else "PNG")) == [to_qr_text(TOKEN)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("inverted", [False, True])
def test_formats_and_dark_themes_are_read(kind: str, inverted: bool) -> None:
    picture = ImageOps.invert(drawn()) if inverted else drawn()
    assert read_codes(saved(picture.convert("RGB"), kind)) == [TOKEN]


def test_what_is_transparent_lies_on_white() -> None:
    picture = Image.new("RGBA", drawn().size, (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), mask=ImageOps.invert(drawn()))
    assert codes_in(saved(picture)) == codes_in(saved(picture, "WEBP", lossless=True)) == [to_qr_text(TOKEN)]


def test_all_tokens_of_a_picture_come_from_top_to_bottom_each_once_and_other_codes_do_not() -> None:
    import qrcode

    poster = io.BytesIO()
    qrcode.make("https://example.org/").save(poster)
    tokens = [to_token(Kind.ANSWER, bytes([number]) * 150) for number in range(3)]
    parts = [drawn(tokens[0]), Image.open(poster).convert("L"), *(drawn(tokens[n]) for n in (1, 2, 1))]
    sheet = Image.new("L", (600, sum(part.height for part in parts)), 255)
    at = 0
    for part in parts:
        sheet.paste(part, (20, at))
        at += part.height
    assert read_codes(saved(sheet)) == tokens


def test_a_picture_without_a_token_is_no_error() -> None:
    assert read_codes(saved(Image.new("L", (300, 300), 255))) == []


def test_a_photo_of_twelve_million_pixels_is_read_and_a_png_of_that_size_is_not() -> None:
    photo = Image.new("L", (4000, 3000), 200)
    photo.paste(drawn().resize((976, 976)), (1500, 900))
    assert read_codes(saved(photo, "JPEG")) == [TOKEN]
    with pytest.raises(BadPicture, match=r"12\.0 million pixels; at most 4\.2"):
        read_codes(png(4000, 3000, depth=1))


def test_the_size_is_judged_before_anything_is_decoded() -> None:
    for data in (png(MAX_PIXELS, 2, depth=1)[:40], bytes(MAX_FILE + 1)):
        with pytest.raises(BadPicture, match=r"at most"):
            read_header(data)
    for width, height in ((0, 5), (5, 0)):
        with pytest.raises(BadPicture, match="empty"):
            read_header(png(width, height))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF89a", "a GIF"), (b"BM6", "a BMP"), (b"II*\0", "a TIFF"), (b"%PDF-1.7", "a PDF"),
        (b"\0\0\0\x24ftypheic", "a HEIC photo"), (b"\0\0\0\x20ftypavif", "an AVIF"),
        (b"<svg ", "an SVG"), (b"hello", "no picture"), (b"", "an empty file"),
    ],
)  # fmt: skip
def test_other_formats_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(BadPicture, match=f"This is {name}; PNG, JPEG and WebP are read"):
        read_codes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_was_cut_is_refused_or_read_and_raises_nothing_else(kind: str) -> None:
    for data in truncated(saved(drawn().convert("RGB"), kind)):
        try:
            assert codes_in(data) in ([], [to_qr_text(TOKEN)])
        except BadPicture as error:
            assert error.message and error.hint


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_costs_less_than_a_second_and_a_hundred_megabytes(
    name: str, tmp_path: Path
) -> None:
    """Measured in processes of its own, with what the system counted."""
    (tmp_path / "picture").write_bytes(HOSTILE[name]())
    command = [sys.executable, "-m", "tests.pictures.cost", str(tmp_path / "picture")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    cost = json.loads(done.stdout)
    assert cost["cpu"] < 1.0, cost
    assert cost["child_mb"] < 100 and cost["own_mb"] < 100, cost


def test_the_reader_is_ended_also_when_whoever_started_it_ignores_the_signal_and_has_little_itself() -> None:
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGPROF, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_CPU, (9, 9)); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
        "from signaling.pictures import read_codes; data = sys.stdin.buffer.read(); print(read_codes(data))"
    )
    for data, outcome in (
        (draw_png(TOKEN), TOKEN),
        (HOSTILE["full of finder patterns"](), "too long or too much"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program], input=data, capture_output=True, timeout=60, check=False
        )
        assert outcome in (done.stdout + done.stderr).decode()


def test_a_reader_that_dies_or_hangs_is_an_error_about_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw_png(TOKEN)
    for program in (
        "import os; os.abort()",
        "import time; time.sleep(60)",
        "raise SystemExit(3)",
        "print(7)",
    ):
        monkeypatch.setattr("signaling.pictures._READ", program)
        monkeypatch.setattr("signaling.pictures._PATIENCE", 0.5)
        with pytest.raises(SignalError, match="too long or too much memory"):
            read_codes(data)
