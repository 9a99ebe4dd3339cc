"""Real processes, killed and started again: what was shown is never lost, and the others go on."""

import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from node.config import Home
from node.offline import check_store, read_log

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0

Told = dict[str, Any]


class Process:
    """A member's process; `told` is everything it ever printed."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.told: list[Told] = []
        self._looked = 0
        self._more = trio.lowlevel.ParkingLot()
        self._buffer = b""

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for chunk in self._process.stdout:
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            self.told += [msgspec.json.decode(line) for line in lines]
            self._more.unpark_all()
        self.told.append({"event": "end"})
        self._more.unpark_all()

    async def next(self, **fields: Any) -> Told:
        """The first line with these fields after the one that was asked for last."""
        with trio.fail_after(DEADLINE):
            while True:
                for at, told in enumerate(self.told[self._looked :], self._looked):
                    if all(told.get(key) == value for key, value in fields.items()):
                        self._looked = at + 1
                        return told
                await self._more.park()

    async def until(self, so: Callable[[list[Told]], bool]) -> None:
        """Until what was told is so."""
        with trio.fail_after(DEADLINE):
            while not so(self.told):
                await self._more.park()

    async def tell(self, *command: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(msgspec.json.encode(command) + b"\n")

    async def invitation(self) -> str:
        await self.tell("invite")
        return str((await self.next(event="invite"))["token"])

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Its exit code, when everything it said has been read."""
        self.send(number)
        await self.next(event="end")
        return await self._process.wait()


class Rig:
    """Processes by nick under one directory."""

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.directory = directory
        self.by_nick: dict[str, Process] = {}
        self._nursery = nursery

    async def start(self, nick: str, verb: str, what: str = "") -> Process:
        command = [sys.executable, "-m", "tests.node.member", str(self.directory / nick), verb, nick, what]
        process = await trio.lowlevel.open_process(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started = self.by_nick[nick] = Process(process)
        self._nursery.start_soon(started.read)
        return started

    async def found(self, nick: str, verb: str = "new") -> Process:
        process = await self.start(nick, verb, f"dir:{self.directory / 'lobby'}")
        await process.next(event="room")
        return process

    def log(self, nick: str) -> list[tuple[int, str, str, str]]:
        home = Home.at(self.directory / nick)
        return [(e.index, e.id, e.nick, e.text) for e in read_log(home, home.room(None))]


@asynccontextmanager
async def processes(directory: Path) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        rig = Rig(directory, nursery)
        try:
            yield rig
        finally:
            for process in rig.by_nick.values():
                process.send(signal.SIGKILL)
        for process in rig.by_nick.values():
            await process._process.wait()


@pytest.mark.parametrize("seed", [1, 2])
async def test_killing_members_at_random_moments_loses_nothing_that_was_shown(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    nicks = ["ann", "bob", "cal", "dee"]
    shown: dict[str, str] = {}
    async with processes(tmp_path) as rig:
        ann = await rig.found("ann")
        for nick in nicks[1:]:
            await (await rig.start(nick, "join", await ann.invitation())).next(event="admitted", nick=nick)
        for turn in range(2):
            victim = dice.choice(nicks)
            watched = rig.by_nick[victim]
            # Twelve messages make at least so many lines there.
            moment = len(watched.told) + dice.randrange(12)
            for nick in nicks:
                for number in range(3):
                    await rig.by_nick[nick].tell("say", f"{turn} {nick} {number}")
            await watched.until(lambda told, moment=moment: len(told) >= moment)
            assert await watched.end(signal.SIGKILL) == -signal.SIGKILL
            shown |= {e["id"]: e["text"] for e in watched.told if e["event"] in ("pending", "final")}
            other = rig.by_nick[next(nick for nick in nicks if nick != victim)]
            await other.tell("say", f"{turn} without {victim}")
            await other.next(event="final", text=f"{turn} without {victim}")
            back = await rig.start(victim, "up")
            await back.next(event="room")
            await back.tell("say", f"{turn} {victim} is back")
            await back.next(event="final", text=f"{turn} {victim} is back")
        # Everybody's messages are ordered as they were said, so after these nothing is missing.
        ends = {f"the end, says {nick}" for nick in nicks}
        for nick, process in rig.by_nick.items():
            await process.tell("say", f"the end, says {nick}")
        for process in rig.by_nick.values():
            await process.until(lambda told: ends <= {e["text"] for e in told if e["event"] == "final"})
            shown |= {e["id"]: e["text"] for e in process.told if e["event"] in ("pending", "final")}
        for process in rig.by_nick.values():
            assert await process.end(signal.SIGTERM) == 0
        logs = [rig.log(nick) for nick in nicks]
        assert logs[0] == logs[1] == logs[2] == logs[3]
        ids = [entry[1] for entry in logs[0]]
        assert len(set(ids)) == len(ids)
        assert shown.items() <= {entry[1]: entry[3] for entry in logs[0]}.items()
        assert not list((tmp_path / "lobby").glob("*.bin"))
        home = Home.at(tmp_path / "ann")
        assert check_store(home, home.room(None)) == []


async def test_a_newcomer_killed_before_it_knew_of_its_admission_comes_in_with_the_same_invitation(
    tmp_path: Path,
) -> None:
    async with processes(tmp_path) as rig:
        ann = await rig.found("ann", "new-ask")
        token = await ann.invitation()
        bob = await rig.start("bob", "join", token)
        await ann.next(event="asks", nick="bob")
        bob.send(signal.SIGSTOP)
        await ann.tell("admit", "bob")
        await ann.next(event="admitted", nick="bob")
        await bob.end(signal.SIGKILL)
        assert Home.at(tmp_path / "bob").rooms() == []
        bob = await rig.start("bob", "join", token)
        await bob.next(event="admitted", nick="bob")
        await bob.tell("say", "here after all")
        await bob.next(event="final", text="here after all")
        await ann.next(event="final", text="here after all")


async def test_a_process_that_finds_the_room_open_ends_with_an_error_and_the_other_goes_on(
    tmp_path: Path,
) -> None:
    async with processes(tmp_path) as rig:
        ann = await rig.found("ann")
        command = [sys.executable, "-m", "tests.node.member", str(tmp_path / "ann"), "up", "ann", ""]
        second = await trio.run_process(command, cwd=ROOT, capture_stderr=True, check=False)
        assert second.returncode == 1
        assert f"already open in process {ann._process.pid}".encode() in second.stderr
        await ann.tell("say", "still here")
        await ann.next(event="final", text="still here")


async def test_a_killed_node_leaves_nothing_that_hinders_the_next(tmp_path: Path) -> None:
    async with processes(tmp_path) as rig:
        ann = await rig.found("ann")
        home = Home.at(tmp_path / "ann")
        socket = home.socket_file(home.room(None).fingerprint)
        assert socket.exists()
        await ann.end(signal.SIGKILL)
        assert socket.exists()
        ann = await rig.start("ann", "up")
        await ann.next(event="room")
        await ann.tell("say", "again")
        await ann.next(event="final", text="again")
        assert await ann.end(signal.SIGTERM) == 0
        assert not socket.exists()
        left = {each.name for each in (tmp_path / "lobby").iterdir()}
        # Killed while it wrote, it leaves a temporary file, which the folder's readers remove in an hour; and
        # neither life may have been long enough to show a session.
        assert {name for name in left if not name.endswith(".tmp")} <= {"session.json", "profile"}
