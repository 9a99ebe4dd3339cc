"""Reads lines of text from standard input without ever holding more than one message of them."""

import os
import select
from collections.abc import Callable
from dataclasses import dataclass

import trio

MAX_LINE = 16 * 1024  # the largest message, in bytes of UTF-8
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    text: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no message; it was skipped whole."""

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Pause:
    """No line came for as long as one was waited for."""


TOO_LONG = BadLine(
    "This line is longer than a message may be (16 KiB); it was not sent.", "Send it in several messages."
)
NOT_TEXT = BadLine("This line is not valid UTF-8; it was not sent.", "Send text only.")


class LineReader:
    """Lines from a file descriptor; one reader per descriptor, because it reads ahead."""

    def __init__(
        self, read: Callable[[], bytes] | None = None, ready: Callable[[float], bool] | None = None
    ) -> None:
        """Standard input by default.

        `read` blocks until there are bytes and returns b"" at the end; `ready` blocks for so many seconds at
        most and tells whether `read` would return at once.
        """
        self._read = read if read is not None else lambda: os.read(0, _CHUNK)
        self._ready = ready if ready is not None else _stdin_ready
        self._buffer = bytearray()
        self._skipping = False  # in the middle of a line that is too long
        self._ended = False

    async def next(self) -> Line | BadLine | None:
        """The next line; None at the end of input."""
        while isinstance(line := self._take(), Pause):
            await self._fill()
        await trio.lowlevel.checkpoint()
        return line

    async def next_within(self, seconds: float) -> Line | BadLine | Pause | None:
        """As `next`, or a Pause when no byte came for so long. Nothing of what comes later is lost."""
        while isinstance(line := self._take(), Pause):
            # Only waited for: the bytes that an abandoned read takes later would be gone.
            if not await trio.to_thread.run_sync(self._ready, seconds, abandon_on_cancel=True):
                return Pause()
            await self._fill()
        await trio.lowlevel.checkpoint()
        return line

    async def _fill(self) -> None:
        # In a thread: a terminal made non-blocking would be so for every program that shares it.
        data = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        self._ended = not data
        self._buffer += data

    def _take(self) -> Line | BadLine | Pause | None:
        """A line of what was read, None after the last, a Pause when more has to be read for one."""
        while (end := self._buffer.find(b"\n")) >= 0:
            raw = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if not self._skipping:
                return _line(raw)
            self._skipping = False
        if self._ended:
            raw = bytes(self._buffer)
            self._buffer.clear()
            return _line(raw) if raw and not self._skipping else None
        if self._skipping:
            self._buffer.clear()
        elif len(self._buffer) > MAX_LINE + 1:
            self._skipping = True
            return TOO_LONG
        return Pause()


async def typed_yes() -> bool:
    """Whether the next line of standard input says yes."""
    line = await LineReader().next()
    return isinstance(line, Line) and line.text.strip().casefold() in ("y", "yes")


def read_stdin(limit: int) -> bytes:
    """All of standard input, or a little more than `limit` bytes of it, blocking.

    Not by sys.stdin: a thread that is given up within it keeps its lock, and Python cannot end.
    """
    data = bytearray()
    while len(data) <= limit and (piece := os.read(0, _CHUNK)):
        data += piece
    return bytes(data)


def _stdin_ready(seconds: float) -> bool:
    return bool(select.select([0], [], [], seconds)[0])


def _line(raw: bytes) -> Line | BadLine:
    raw = raw.removesuffix(b"\r")
    if len(raw) > MAX_LINE:
        return TOO_LONG
    try:
        return Line(raw.decode())
    except UnicodeDecodeError:
        return NOT_TEXT
