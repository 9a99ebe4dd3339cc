"""A pigeon on a real terminal: what somebody would see and type there."""

import codecs
import fcntl
import os
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from console.children import ChildFailed, command, environment

# The new process makes the terminal its own, so that Ctrl-C reaches it.
_TAKE: Final = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
# A shell with one job: when that is stopped it takes the terminal back, and a line brings it on again.
_SHELL: Final = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while os.WIFSTOPPED(status := os.waitpid(job, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpid())
    os.write(1, b"[stopped]")
    os.read(0, 100)
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status))
"""
_STOP_PATIENCE: Final = 8.0


class Terminal:
    """One process; `seen` is everything it wrote, as the terminal got it."""

    def __init__(self, process: trio.Process, master: int) -> None:
        self.process = process
        self.seen = ""
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._news = trio.lowlevel.ParkingLot()

    async def type(self, text: str) -> None:
        """Keys; a line needs its Enter."""
        data = text.encode()
        while data:
            await trio.lowlevel.wait_writable(self._master)
            data = data[os.write(self._master, data) :]

    async def wait_for(self, pattern: str, *, within: float, since: int = 0) -> re.Match[str]:
        """The first place in what it wrote that matches; ChildFailed when it does not come."""
        with trio.move_on_after(within):
            while True:
                if found := re.compile(pattern, re.MULTILINE).search(self.seen, since):
                    return found
                await self._news.park()
        raise ChildFailed(f"within {within:g} s {pattern!r} was not shown, but:\n{self.seen[-3000:]}")

    async def news(self) -> None:
        """Wait until it has written more."""
        await self._news.park()

    async def read(self) -> None:
        """Until its end."""
        while True:
            await trio.lowlevel.wait_readable(self._master)
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has the other end open any more
                return
            self.seen += self._decoder.decode(data).replace("\r\n", "\n")
            self._news.unpark_all()


@asynccontextmanager
async def terminal(
    *arguments: str, columns: int = 80, rows: int = 40, before: Sequence[str] = (), shell: bool = False
) -> AsyncIterator[Terminal]:
    """Run pigeon on a terminal of this size while the block lasts; `before`: a program to run it with.

    `shell`: as the job of a shell, so that Ctrl-Z stops it; a line then goes on with it.
    """
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    under = [sys.executable, "-c", _SHELL] if shell else []
    try:
        process = await trio.lowlevel.open_process(
            [*before, sys.executable, "-c", _TAKE, *under, *command(*arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment(), "TERM": "xterm-256color"},
        )
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    try:
        async with trio.open_nursery() as nursery:
            screen = Terminal(process, master)
            nursery.start_soon(screen.read)
            try:
                yield screen
            finally:
                with trio.CancelScope(shield=True):
                    if process.returncode is None:
                        process.terminate()
                        with trio.move_on_after(_STOP_PATIENCE):
                            await process.wait()
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
                nursery.cancel_scope.cancel()
    finally:
        os.close(master)
