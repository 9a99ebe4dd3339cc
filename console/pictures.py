"""Tokens as QR codes: drawn on the terminal, written to a file, read from one."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from console.sanitize import one_line
from node.config import write_whole
from node.errors import Exit, NodeError, UsageError
from node.tokens import Token, draw_png, draw_text, read_picture

_BESIDE: Final = 2  # lines that are to be seen with a code

_A: Final = {"offer": "an offer", "answer": "an answer", "invitation": "an invitation"}


class QrFile:
    """The file of --qr-out: a PNG of the token that is to be carried now, whole at any time."""

    def __init__(self, path: Path) -> None:
        """UsageError where it could never be written, before anything is begun."""
        self.path = path
        if not path.parent.is_dir():
            raise UsageError(f"There is no directory {path.parent}.", "Make it, or name another --qr-out.")
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise UsageError(f"{path} cannot be written.", "Name another file with --qr-out.")

    async def write(self, token: str) -> None:
        """Replace it; NodeError when the disk refuses."""
        await trio.to_thread.run_sync(lambda: write_whole(self.path, draw_png(token)))


def room_on_terminal() -> tuple[int, int] | None:
    """Columns and rows of the terminal that notices go to; None where there is none."""
    if not sys.stderr.isatty():
        return None
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return None
    return columns, rows


@dataclass(frozen=True)
class Code:
    """A QR code in half blocks, and the terminal it needs: 61x33 for the offers and answers that we make."""

    text: str
    columns: int
    rows: int

    def fits(self, columns: int, rows: int) -> bool:
        return self.columns <= columns and self.rows <= rows


async def code_for_terminal(token: str, *, color: bool) -> Code:
    """Black on white, or without colours."""
    text = await trio.to_thread.run_sync(lambda: draw_text(token, color=color))
    lines = text.splitlines()
    return Code(text, max(len(one_line(line)) for line in lines), len(lines) + _BESIDE)


async def token_in_picture(file: str | Path, *, wanted: tuple[str, ...]) -> Token:
    """The token of a wanted kind in a picture, kinds in order of preference; NodeError says what is there."""
    tokens = await trio.to_thread.run_sync(read_picture, Path(file))
    name = one_line(Path(file).name)
    if not tokens:
        raise NodeError(
            f"No token of pigeon was found in {name}.",
            "Take the picture again: the whole code, sharp, with some white around it.",
            exit_code=Exit.NO,
        )
    for kind in wanted:
        found = [token for token in tokens if token.kind == kind]
        if len(found) > 1:
            raise UsageError(
                f"There are {len(found)} {kind}s in {name}.", "Cut the picture so that only yours is left."
            )
        if found:
            return found[0]
    there = " and ".join(dict.fromkeys(_A[token.kind] for token in tokens))
    raise UsageError(
        f"There is {there} in {name}, and {' or '.join(_A[kind] for kind in wanted)} is wanted.",
        "An offer or invitation is for `pigeon join`; an answer goes back to whoever made the offer.",
    )
