"""Pipes as shells make them: `pigeon pipe` in processes, with its standard streams, under deadlines."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from console.children import command, environment

PATIENCE = 40.0


class Pipe:
    """One running `pigeon pipe`; `done` when it ended and all it said was read."""

    def __init__(self, process: trio.Process, *, stalled: bool) -> None:
        """`stalled`: nobody reads what comes out of it until go_on()."""
        self.process = process
        self._reads = trio.Event()
        if not stalled:
            self.go_on()
        self.received = bytearray()
        self.said = ""
        self.at_end = trio.Event()  # of what it writes: its standard output is closed
        self._done = trio.Event()

    def go_on(self) -> None:
        self._reads.set()

    async def read(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_said, self.process.stderr)
            await self._reads.wait()
            with suppress(trio.ClosedResourceError):  # see leave()
                async for piece in self.process.stdout:
                    self.received += piece
            self.at_end.set()
        self._done.set()

    async def _read_said(self, stream: trio.abc.ReceiveStream) -> None:
        async for piece in stream:
            self.said += piece.decode()

    async def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(data)

    async def end(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def leave(self) -> None:
        """Nobody reads what comes out of it any more."""
        assert self.process.stdout is not None
        await self.process.stdout.aclose()

    async def has(self, size: int) -> None:
        """Until so many bytes came out of it."""
        with trio.fail_after(PATIENCE):
            while len(self.received) < size:
                await trio.sleep(0.01)

    async def code(self, *, within: float = PATIENCE) -> int:
        with trio.fail_after(within):
            code = await self.process.wait()
            await self._done.wait()
        return code


class Pair:
    """Starts pipes that exchange descriptions through two files."""

    def __init__(self, nursery: trio.Nursery, place: Path) -> None:
        self._nursery = nursery  # the readers end with the block of `pair`
        self._pipes: list[Pipe] = []
        self.offer, self.answer = place / "offer.json", place / "answer.json"

    async def offerer(self) -> Pipe:
        return await self.start("--offer", "--out", str(self.offer), "--in", str(self.answer))

    async def answerer(self, *, stalled: bool = False) -> Pipe:
        files = "--in", str(self.offer), "--out", str(self.answer)
        return await self.start("--answer", *files, stalled=stalled)

    async def start(self, *arguments: str, stalled: bool = False) -> Pipe:
        process = await trio.lowlevel.open_process(
            command("pipe", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        pipe = Pipe(process, stalled=stalled)
        self._pipes.append(pipe)
        self._nursery.start_soon(pipe.read)
        return pipe

    async def stop(self) -> None:
        for pipe in self._pipes:
            if pipe.process.returncode is None:
                pipe.process.kill()
            await pipe.process.wait()


@asynccontextmanager
async def pair(place: Path) -> AsyncIterator[Pair]:
    """Pipes within the block; none outlives it."""
    async with trio.open_nursery() as nursery:
        pipes = Pair(nursery, place)
        try:
            yield pipes
        finally:
            with trio.CancelScope(shield=True):
                await pipes.stop()
            nursery.cancel_scope.cancel()
