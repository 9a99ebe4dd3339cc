"""The two standard streams: data on one, everything said about it on the other."""

import os
import select
import sys
import threading
from typing import Final

import trio

from console.bottom import BottomRow
from console.sanitize import one_line
from console.settings import Settings
from node.events import ErrorEvent

_PATIENCE: Final = 2.0  # seconds for a write whose waiter was cancelled, and which stalls
_last: Final[dict[int, threading.Event]] = {}
"""By descriptor, whether the latest write is done."""


class Out:
    """Written in a thread: a reader that stalls must not stall the node."""

    def __init__(self, settings: Settings) -> None:
        self._quiet = settings.quiet
        self._turn = trio.Lock()
        self._unfinished = False  # a line of progress stands on the terminal
        self._bottom = BottomRow()
        self._plain = not settings.color

    async def data(self, text: bytes) -> None:
        async with self._turn:
            await self._wipe()
            await _write(sys.stdout.fileno(), text)

    async def note(self, text: str) -> None:
        """A line on standard error; dropped with --quiet."""
        if not self._quiet:
            await self.urgent(text)

    async def urgent(self, text: str) -> None:
        """A line on standard error, also with --quiet: errors and what must be answered."""
        encoded = f"{text}\n".encode(sys.stderr.encoding or "utf-8", "replace")
        async with self._turn:
            await self._wipe()
            await _write(sys.stderr.fileno(), encoded)

    async def progress(self, text: str) -> bool:
        """A line that whatever comes next takes the place of; False where there is no terminal for that."""
        if self._quiet or not stderr_is_terminal():
            return False
        encoded = f"\r\x1b[2K{text}".encode(sys.stderr.encoding or "utf-8", "replace")
        async with self._turn:
            self._unfinished = True
            await _write(sys.stderr.fileno(), encoded)
        return True

    @property
    def counts(self) -> bool:
        """Whether somebody looks at a terminal, and wants to read how time goes by."""
        return not self._quiet and sys.stderr.isatty()

    async def standing(self, text: str) -> bool:
        """The last row of the terminal; empty: none. False where it cannot be used so."""
        if not self.counts or self._plain or not stderr_is_terminal():
            return False
        try:
            columns, rows = os.get_terminal_size(sys.stderr.fileno())
        except OSError:
            return False
        async with self._turn:
            change = self._bottom.show(text, columns=columns, rows=rows)
            if change:
                encoded = change.encode(sys.stderr.encoding or "utf-8", "replace")
                await _write(sys.stderr.fileno(), encoded)
        return True

    async def _wipe(self) -> None:
        if self._unfinished:
            self._unfinished = False
            await _write(sys.stderr.fileno(), b"\r\x1b[2K")

    async def error(self, error: ErrorEvent) -> None:
        """What happened, and what to do."""
        await self.urgent(f"! {one_line(error.message)}\n  {one_line(error.hint)}".rstrip())


def stdin_is_terminal() -> bool:
    """Whether a person types; a closed standard input is none."""
    return sys.stdin is not None and sys.stdin.isatty()


def stderr_is_terminal() -> bool:
    """Whether a line there can be written over."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


async def _write(descriptor: int, data: bytes) -> None:
    """After whatever was to be written there before, also if nobody waits for that any more."""
    await trio.lowlevel.checkpoint_if_cancelled()
    before, done = _last.get(descriptor), threading.Event()
    _last[descriptor] = done

    def write() -> None:
        try:
            if before is not None:
                before.wait(_PATIENCE)
            _write_all(descriptor, data)
        finally:
            done.set()

    await trio.to_thread.run_sync(write, abandon_on_cancel=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # whoever gave us this pipe made it non-blocking
            select.select([], [descriptor], [])
