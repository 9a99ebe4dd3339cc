"""The two standard streams: data on one, everything said about it on the other."""

import os
import select
import sys

import trio

from console.sanitize import one_line
from console.settings import Settings
from node.events import ErrorEvent


class Out:
    """Written in a thread: a reader that stalls must not stall the node."""

    def __init__(self, settings: Settings) -> None:
        self._quiet = settings.quiet
        self._turn = trio.Lock()

    async def data(self, text: bytes) -> None:
        async with self._turn:
            await trio.to_thread.run_sync(_write_all, sys.stdout.fileno(), text, abandon_on_cancel=True)

    async def note(self, text: str) -> None:
        """A line on standard error; dropped with --quiet."""
        if not self._quiet:
            await self.urgent(text)

    async def urgent(self, text: str) -> None:
        """A line on standard error, also with --quiet: errors and what must be answered."""
        encoded = f"{text}\n".encode(sys.stderr.encoding or "utf-8", "replace")
        async with self._turn:
            await trio.to_thread.run_sync(_write_all, sys.stderr.fileno(), encoded, abandon_on_cancel=True)

    async def error(self, error: ErrorEvent) -> None:
        """What happened, and what to do."""
        await self.urgent(f"! {one_line(error.message)}\n  {one_line(error.hint)}".rstrip())


def stdin_is_terminal() -> bool:
    """Whether a person types; a closed standard input is none."""
    return sys.stdin is not None and sys.stdin.isatty()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # whoever gave us this pipe made it non-blocking
            select.select([], [descriptor], [])
