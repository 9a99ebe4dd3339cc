"""A password from whoever sits at the terminal: not shown while it is typed, and no line that is said."""

import sys
import termios
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from console.lines import BadLine, Line, LineReader
from node.password import read_password

PROMPT: Final = "This room asks for a password. Type it, then Enter (it is not shown):"
_LOCAL_FLAGS: Final = 3  # where they are in what tcgetattr returns


async def password_in(file: Path | None) -> str | None:
    """The first line of `file`; None without one. UsageError when that is no password."""
    return None if file is None else await trio.to_thread.run_sync(read_password, file)


async def typed_line(lines: LineReader) -> str | None:
    """The next line, for who reads no others; None at the end of input."""
    while (line := await lines.next()) is not None:
        match line:
            case Line(text=text) if text:
                return text
            case Line() | BadLine():
                pass
    return None


async def ask_unseen(
    prompt: Callable[[str], Awaitable[None]], read: Callable[[], Awaitable[str | None]]
) -> str | None:
    """Ask at the terminal with a line that is not shown; echo is back however this ends."""
    with unseen(sys.stdin.fileno()):
        await prompt(PROMPT)
        return await read()


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
