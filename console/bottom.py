"""The last row of a terminal, kept free below the conversation: what to write so that one line stands there.

The rows above become the terminal's scrolling region, so that neither what is said nor what somebody is
typing is ever written over. The cursor is put back where it was by the terminal itself.
"""

from typing import Final

from console.sanitize import one_line

_LEAST: Final = (24, 6)  # columns and rows: in less than this a row is worth more for reading
_SAVE, _RESTORE = "\x1b7", "\x1b8"
_ONE_DOWN = "\x1bD\x1b[A"  # makes room below the cursor where there was none; it stays in its column


class BottomRow:
    """What is on one terminal now; each call returns what has to be written next, perhaps nothing."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None  # of the terminal that it was set up for
        self._text = ""

    def show(self, text: str, *, columns: int, rows: int) -> str:
        """Let `text` stand there; an empty one gives the row back."""
        if not text or columns < _LEAST[0] or rows < _LEAST[1]:
            return self.clear()
        if self._size == (columns, rows) and self._text == text:
            return ""
        begin = "" if self._size == (columns, rows) else self._set_up(rows)
        self._size, self._text = (columns, rows), text
        return f"{begin}{_SAVE}\x1b[{rows};1H\x1b[7m{_cut(text, columns)}\x1b[27m\x1b[K{_RESTORE}"

    def clear(self) -> str:
        """Give the row back."""
        if self._size is None:
            return ""
        rows = self._size[1]
        self._size, self._text = None, ""
        return f"{_SAVE}\x1b[r\x1b[{rows};1H\x1b[K{_RESTORE}"

    def _set_up(self, rows: int) -> str:
        return f"{self.clear()}{_ONE_DOWN}{_SAVE}\x1b[1;{rows - 1}r{_RESTORE}"


def _cut(text: str, columns: int) -> str:
    """On one row; the last column stays free, or some terminals would go on to the next."""
    text = f" {one_line(text)} "
    return text if len(text) < columns else f"{text[: columns - 2]}…"
