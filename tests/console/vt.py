"""A terminal's screen: what the escape sequences that we write make of it; any other one is a failure."""

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"\x1b\[([0-9;]*)([A-Za-z])|\x1b([78D])|([\r\n\x07\x08])|([^\x1b\r\n\x07\x08])|(.)", re.DOTALL
)
_BEGUN: Final = re.compile(r"(?:\x1b(?:\[[0-9;]*)?)?\Z")


class Screen:
    """Rows of text, a cursor (from 0), and the rows that scroll."""

    def __init__(self, *, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._grid = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self._saved = (0, 0)
        self._top, self._bottom = 0, rows - 1
        self._rest = ""
        self.gone: list[str] = []  # what was scrolled away

    @property
    def scrolls(self) -> tuple[int, int]:
        """The first and the last row that do."""
        return self._top, self._bottom

    def line(self, row: int) -> str:
        return "".join(self._grid[row]).rstrip()

    def lines(self) -> list[str]:
        return [self.line(row) for row in range(self.rows)]

    def feed(self, text: str) -> None:
        """What the terminal got next; a sequence that is not whole yet waits for its end."""
        text = self._rest + text
        self._rest = _BEGUN.search(text)[0]
        text = text.removesuffix(self._rest)
        for found in _TOKEN.finditer(text):
            arguments, final, single, control, plain, unknown = found.groups()
            assert unknown is None, f"an escape sequence that is none of ours: {text[found.start() :][:12]!r}"
            if final is not None:
                self._sequence([int(each or 0) for each in arguments.split(";")], final)
            elif single is not None:
                self._single(single)
            elif control is not None:
                self._control(control)
            else:
                self._put(plain)

    def _put(self, character: str) -> None:
        if self.column >= self.columns:
            self.column = 0
            self._down()
        self._grid[self.row][self.column] = character
        self.column += 1

    def _control(self, control: str) -> None:
        match control:
            case "\r":
                self.column = 0
            case "\n":  # a terminal driver makes it both
                self.column = 0
                self._down()
            case "\x08":
                self.column = max(0, self.column - 1)

    def _single(self, single: str) -> None:
        match single:
            case "7":
                self._saved = self.row, self.column
            case "8":
                self.row, self.column = self._saved
            case "D":
                self._down()

    def _down(self) -> None:
        if self.row != self._bottom:
            self.row = min(self.row + 1, self.rows - 1)
            return
        self.gone.append(self.line(self._top))
        del self._grid[self._top]
        self._grid.insert(self._bottom, [" "] * self.columns)

    def _sequence(self, arguments: list[int], final: str) -> None:
        first = arguments[0]
        match final:
            case "A":
                self.row = max(0, self.row - max(1, first))
            case "H":
                self.row, self.column = (
                    max(1, first) - 1,
                    max(1, arguments[-1] if len(arguments) > 1 else 1) - 1,
                )
            case "K":
                begin = 0 if first == 2 else self.column
                self._grid[self.row][begin:] = [" "] * (self.columns - begin)
            case "r":
                self._top, self._bottom = (0, self.rows - 1) if first == 0 else (first - 1, arguments[1] - 1)
                self.row = self.column = 0
            case "m":
                pass
            case _:
                raise AssertionError(f"an escape sequence that is none of ours: {final!r}")
