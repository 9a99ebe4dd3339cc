"""Finds the tokens among the lines that somebody types or pastes, also one that was wrapped into several.

What begins like a token is never handed on as a message, whole or not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from console.lines import BadLine, Line, LineReader, Pause
from node.tokens import NoToken, Token, find, goes_on

MAX_LINES: Final = 256  # of one token; wrapped as narrowly as anybody would
_HINT_AFTER: Final = 1.0  # seconds of silence in the middle of a token, until we say what we wait for
_PATIENCE: Final = 30.0  # seconds more, until we give it up

Read = Line | BadLine | Token | NoToken


@dataclass(slots=True)
class Collector:
    """The lines of one token so far, which take no time: `collecting` is true between two of them."""

    _lines: list[str]

    def __init__(self) -> None:
        self._lines = []

    @property
    def collecting(self) -> bool:
        return bool(self._lines)

    def feed(self, line: str) -> list[Read]:
        """What this line brings: at most the end of what was collected, and then itself."""
        if not self._lines:
            return self._begin(line)
        found = find("\n".join((*self._lines, line)))
        if isinstance(found, Token):
            self._lines.clear()
            return [found]
        if not line.strip():
            return self.give_up()
        if not goes_on(line):
            return [*self.give_up(), *self._begin(line)]
        self._lines.append(line)
        if found is None or not found.cut or len(self._lines) > MAX_LINES:
            return self.give_up()
        return []

    def give_up(self) -> list[Read]:
        """Nothing more comes: what is wrong with what did, if there was anything."""
        if not self._lines:
            return []
        found = find("\n".join(self._lines))
        self._lines.clear()
        assert isinstance(found, NoToken), "a whole one is not kept"
        return [found]

    def _begin(self, line: str) -> list[Read]:
        found = None if line.startswith("/") else find(line)
        match found:
            case None:
                return [Line(line)]
            case NoToken(cut=True):
                self._lines.append(line)
                return []
            case _:
                return [found]


class PasteReader:
    """Lines and tokens from one LineReader, while `watch()` says that tokens are wanted; else lines only."""

    def __init__(
        self,
        lines: LineReader,
        *,
        watch: Callable[[], bool],
        on_wait: Callable[[], Awaitable[None]],
    ) -> None:
        """`on_wait` is told when the end of a token is waited for."""
        self._source = lines
        self._watch = watch
        self._on_wait = on_wait
        self._collector = Collector()
        self._ready: list[Read] = []
        self._ended = False

    async def next(self) -> Read | None:
        """None at the end of input."""
        while not self._ready:
            if self._ended:
                return None
            line = await self._line()
            match line:
                case Line(text=text) if self._watch() or self._collector.collecting:
                    self._ready += self._collector.feed(text)
                case Line():
                    self._ready.append(line)
                case BadLine():
                    self._ready += [*self._collector.give_up(), line]
                case Pause():
                    self._ready += self._collector.give_up()
                case None:
                    self._ended = True
                    self._ready += self._collector.give_up()
        return self._ready.pop(0)

    async def _line(self) -> Line | BadLine | Pause | None:
        if not self._collector.collecting:
            return await self._source.next()
        line = await self._source.next_within(_HINT_AFTER)
        if isinstance(line, Pause):
            await self._on_wait()
            line = await self._source.next_within(_PATIENCE)
        return line
