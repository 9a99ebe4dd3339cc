"""Reads lines of text from standard input without ever holding more than one message of them."""

import os
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


TOO_LONG = BadLine(
    "This line is longer than a message may be (16 KiB); it was not sent.", "Send it in several messages."
)
NOT_TEXT = BadLine("This line is not valid UTF-8; it was not sent.", "Send text only.")


class LineReader:
    """Lines from a file descriptor; one reader per descriptor, because it reads ahead."""

    def __init__(self, read: Callable[[], bytes] | None = None) -> None:
        """`read` blocks until there are bytes and returns b"" at the end; standard input by default."""
        self._read = read if read is not None else lambda: os.read(0, _CHUNK)
        self._buffer = bytearray()
        self._skipping = False  # in the middle of a line that is too long
        self._ended = False

    async def next(self) -> Line | BadLine | None:
        """The next line; None at the end of input."""
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                raw = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                if self._skipping:
                    self._skipping = False
                    continue
                await trio.lowlevel.checkpoint()
                return _line(raw)
            if self._ended:
                raw = bytes(self._buffer)
                self._buffer.clear()
                await trio.lowlevel.checkpoint()
                return _line(raw) if raw and not self._skipping else None
            if len(self._buffer) > MAX_LINE + 1 and not self._skipping:
                self._skipping = True
                return TOO_LONG
            if self._skipping:
                self._buffer.clear()
            # In a thread: a terminal made non-blocking would be so for every program that shares it.
            data = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            self._ended = not data
            self._buffer += data


def _line(raw: bytes) -> Line | BadLine:
    raw = raw.removesuffix(b"\r")
    if len(raw) > MAX_LINE:
        return TOO_LONG
    try:
        return Line(raw.decode())
    except UnicodeDecodeError:
        return NOT_TEXT
