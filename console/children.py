"""A pigeon in a process of its own, driven as a script would: lines in, NDJSON events out, with deadlines."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import trio

Event = Mapping[str, Any]

_STOP_PATIENCE: Final = 8.0
_MAX_STDERR: Final = 64 * 1024


class ChildFailed(Exception):
    """It ended, or did not say in time what it should have; with the end of what it complained about."""


def command(*arguments: str, program: str = "cli") -> list[str]:
    """How to run pigeon with this very Python; -P: a cli.py in the working directory is not ours."""
    return [sys.executable, "-P", "-m", program, *arguments]


def environment() -> dict[str, str]:
    """Ours, without what would change how a child behaves."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PIGEON_")}


class Child:
    """One running process and everything it said so far."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.events: list[Event] = []
        self.times: list[float] = []
        """When each event was read (trio.current_time)."""
        self.complaints = b""
        self._ended = False
        self._news = trio.lowlevel.ParkingLot()

    async def say(self, line: str) -> None:
        """One line into its standard input."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(line.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self.failed("it takes no input any more") from None

    async def end_input(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def wait_for(
        self, kind: str, *, within: float, since: int = 0, where: Callable[[Event], bool] = lambda _: True
    ) -> Event:
        """The first event of this kind from `events[since]` on; ChildFailed when it does not come in time."""
        return (await self.wait_for_all(kind, 1, within=within, since=since, where=where))[0]

    async def wait_for_all(
        self,
        kind: str,
        count: int,
        *,
        within: float,
        since: int = 0,
        where: Callable[[Event], bool] = lambda _: True,
    ) -> list[Event]:
        """The first `count` events of this kind."""
        found: list[Event] = []
        with trio.move_on_after(within):
            while True:
                for event in self.events[since:]:
                    if event["event"] == kind and where(event):
                        found.append(event)
                        if len(found) == count:
                            return found
                since = len(self.events)
                if self._ended:
                    raise self.failed(f"it ended while `{kind}` was waited for")
                await self._news.park()
        raise self.failed(f"within {within:g} s only {len(found)} of {count} `{kind}` events came")

    async def wait_for_events(self, count: int, *, within: float) -> None:
        """Until it has said so many things in all, or has nothing to say for `within` seconds."""
        with trio.move_on_after(within):
            while len(self.events) < count and not self._ended:
                await self._news.park()

    async def wait(self, *, within: float) -> int:
        """Its exit code, once everything it said was read."""
        with trio.move_on_after(within):
            code = await self.process.wait()
            while not self._ended:
                await self._news.park()
            return code
        raise self.failed(f"it did not end within {within:g} s")

    def failed(self, what: str) -> ChildFailed:
        said = self.complaints.decode(errors="replace").strip()
        return ChildFailed(f"{self.name}: {what}." + (f"\n{said[-2000:]}" if said else ""))

    async def _read_events(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        try:
            async for chunk in self.process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.events.append(msgspec.json.decode(line))
                    self.times.append(trio.current_time())
                self._news.unpark_all()
        finally:
            self._ended = True
            self._news.unpark_all()

    async def _read_complaints(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.complaints = (self.complaints + chunk)[-_MAX_STDERR:]

    async def stop(self) -> None:
        """End it for certain: asked politely, then not."""
        with trio.CancelScope(shield=True):
            if self.process.returncode is None:
                self.process.terminate()
                with trio.move_on_after(_STOP_PATIENCE):
                    await self.process.wait()
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()


class Family:
    """All children of one story; none outlives it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        # The readers live as long as the family, which `family()` bounds.
        self._nursery = nursery
        self._children: list[Child] = []

    async def start(self, name: str, *arguments: str, program: str = "cli") -> Child:
        """A new process."""
        return await self.run(name, command(*arguments, program=program))

    async def run(self, name: str, line: Sequence[str]) -> Child:
        """The same by a whole command line, in its own session: Ctrl-C is for its parent, who ends it."""
        process = await trio.lowlevel.open_process(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        child = Child(name, process)
        self._children.append(child)
        self._nursery.start_soon(child._read_events)
        self._nursery.start_soon(child._read_complaints)
        return child

    async def stop(self) -> None:
        async with trio.open_nursery() as nursery:
            for child in self._children:
                nursery.start_soon(child.stop)


@asynccontextmanager
async def family() -> AsyncIterator[Family]:
    """Start children within; when the block ends, however it ends, all are gone."""
    async with trio.open_nursery() as nursery:
        children = Family(nursery)
        try:
            yield children
        finally:
            with trio.CancelScope(shield=True):
                await children.stop()
            nursery.cancel_scope.cancel()


async def output_of(*arguments: str, within: float = 30.0) -> tuple[int, bytes, bytes]:
    """Run one short command to its end: exit code, standard output, standard error."""
    with trio.move_on_after(within):
        done = await trio.run_process(
            command(*arguments),
            stdin=b"",
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(),
        )
        return done.returncode, done.stdout, done.stderr
    raise ChildFailed(f"`pigeon {' '.join(arguments)}` did not end within {within:g} s.")
