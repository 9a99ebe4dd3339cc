"""Tokens as QR codes: drawn as a PNG or for a terminal, and read out of any picture somebody took.

Drawn at level L: what a picture loses is mostly sharpness, and a code of fewer, larger modules survives that
better than one with more redundancy.
"""

import io
import json
import subprocess
import sys
from typing import Final

import msgspec

from signaling.errors import BadPicture, SignalError
from signaling.picture_header import MAX_FILE, read_header
from signaling.token import from_token, to_qr_text, to_token

__all__ = ["MAX_FILE", "draw_png", "draw_text", "read_codes"]

QUIET: Final = 4  # modules of white around it, by the standard (ISO/IEC 18004)
_MODULE: Final = 8  # pixels
_PATIENCE: Final = 20.0  # seconds: a busy machine takes long over what needs one of processor time
_BLACK_ON_WHITE: Final = "\x1b[38;5;16;48;5;231m"  # these two are no theme's to choose
_PLAIN: Final = "\x1b[0m"
_READ: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from signaling.picture_scan import main; main()"
)


def matrix(token: str) -> list[list[bool]]:
    """The modules of its code by row, True for black, quiet zone included; 61 x 61 for version 9."""
    import qrcode
    from qrcode.util import MODE_ALPHA_NUM, QRData

    code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_L, border=QUIET)
    code.add_data(QRData(to_qr_text(token), mode=MODE_ALPHA_NUM))
    code.make()
    return [[bool(module) for module in row] for row in code.get_matrix()]


def draw_png(token: str, *, module: int = _MODULE) -> bytes:
    """A PNG, black on white, `module` pixels to the module."""
    from PIL import Image

    rows = matrix(token)
    size = len(rows)
    picture = Image.new("1", (size, size), 1)
    picture.putdata([0 if black else 1 for row in rows for black in row])
    out = io.BytesIO()
    picture.resize((size * module, size * module), Image.Resampling.NEAREST).save(out, "PNG", optimize=True)
    return out.getvalue()


def draw_text(token: str, *, color: bool = True) -> str:
    """Lines of half blocks, two modules to a cell: 61 columns by 31 lines for version 9.

    Without color nothing tells a terminal what is black: the code is drawn as light on dark, which is right
    where the terminal writes light on dark. Elsewhere it comes out inverted; our reader takes that, not every
    other one does.
    """
    rows = matrix(token)
    if len(rows) % 2:
        rows.append([False] * len(rows))
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        cells = "".join(
            _CELLS[above != color, below != color] for above, below in zip(upper, lower, strict=True)
        )
        lines.append(f"{_BLACK_ON_WHITE}{cells}{_PLAIN}" if color else cells)
    return "\n".join(lines)


_CELLS: Final = {
    (False, False): "\u2588",
    (False, True): "\u2580",
    (True, False): "\u2584",
    (True, True): " ",
}


class _Answer(msgspec.Struct):
    """What the process that read the picture says."""

    codes: list[str] = []
    message: str = ""
    hint: str = ""


def read_codes(data: bytes) -> list[str]:
    """Every token in the QR codes of a picture file, from top to bottom, each once; none is no error.

    Blocks for a second at most on an idle machine. BadPicture: not PNG, JPEG or WebP; too large; damaged;
    or reading it takes more than a second of processor time or 80 MB.
    """
    read_header(data)
    command = [sys.executable, "-I", "-S", "-c", _READ, json.dumps([place for place in sys.path if place])]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise _too_long() from None
    if done.returncode != 0:
        raise _too_long()
    try:
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except msgspec.DecodeError:
        raise _too_long() from None
    if answer.message:
        raise BadPicture(answer.message, answer.hint)
    tokens: dict[str, None] = {}
    for text in answer.codes:
        try:
            tokens[to_token(*from_token(text))] = None
        except SignalError:
            continue  # somebody else's code, on a poster behind ours
    return list(tokens)


def _too_long() -> BadPicture:
    return BadPicture(
        "This picture takes too long or too much memory to read.", "Cut out the part with the code."
    )
