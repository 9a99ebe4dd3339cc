"""A password from whoever sits at the terminal: not shown while it is typed, and no line that is said."""

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, assert_never

import trio

from console.lines import BadLine, Line, LineReader
from console.out import Out, stdin_is_terminal
from console.settings import Settings
from console.talk import Talk
from node.password import read_password

_PROMPT: Final = "This room asks for a password. Type it, then Enter (it is not shown):"
_LOCAL_FLAGS: Final = 3  # where they are in what tcgetattr returns


async def password_in(file: Path | None) -> str | None:
    """The first line of `file`; None without one. UsageError when that is no password."""
    return None if file is None else await trio.to_thread.run_sync(read_password, file)


class Door:
    """Where a newcomer is asked for the room's password: once, when a member asks it."""

    def __init__(self, settings: Settings, lines: LineReader, *, given: str | None) -> None:
        """`given`: what was in a file; without it a person at the terminal is asked."""
        self._out = Out(settings)
        self._lines = lines
        self._given = given
        self._talk: Talk | None = None
        self._open = trio.Event()

    def open(self, talk: Talk | None) -> None:
        """From now on it may be asked. `talk`: who reads the lines that are typed, if somebody does."""
        self._talk = talk
        self._open.set()

    async def password(self) -> str | None:
        """What open_node wants: None when nobody can be asked."""
        if self._given is not None or not stdin_is_terminal():
            return self._given
        await self._open.wait()
        with unseen(sys.stdin.fileno()):
            await self._out.urgent(_PROMPT)
            return await (typed_line(self._lines) if self._talk is None else self._talk.secret())


async def typed_line(lines: LineReader) -> str | None:
    """The next line that is not empty, for who reads no others; None at the end of input."""
    while (line := await lines.next()) is not None:
        match line:
            case Line(text=text) if text:
                return text
            case Line() | BadLine():
                pass
            case _:
                assert_never(line)
    return None


@contextmanager
def unseen(terminal: int) -> Iterator[None]:
    """The terminal shows nothing of what is typed but the end of the line."""
    before = termios.tcgetattr(terminal)
    hidden = [*before]
    hidden[_LOCAL_FLAGS] = before[_LOCAL_FLAGS] & ~termios.ECHO | termios.ECHONL
    # TCSADRAIN keeps what was typed ahead: a password may have been pasted before the prompt stood there.
    termios.tcsetattr(terminal, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
