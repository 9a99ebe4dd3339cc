"""Two homes pair through `log:`: in one folder, and in two that a tool copies to and fro, badly."""

import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from console.children import family
from tests.e2e.homes import PATIENCE, Homes, one_log

_WORST = 60.0  # seconds: what is late by seconds takes several attempts


async def pair(homes: Homes, via: dict[str, str]) -> None:
    """Ann founds, Bob joins, each with a carrier of its own."""
    ann = await homes.start("ann", "new", "tea", "--as", "ann", "--via", via["ann"], "--admit", "auto")
    await ann.wait_for("room", within=PATIENCE)
    token = str((await ann.wait_for("invite", within=PATIENCE))["token"])
    await homes.start("bob", "join", token, "--as", "bob", "--via", via["bob"])
    await homes.all_have(2, within=_WORST)
    for name in ("ann", "bob"):
        await homes.nodes[name].say(f"{name} is here")
    await homes.everyone_sees({"ann is here", "bob is here"})


async def test_two_homes_pair_through_a_folder_of_logs_and_come_back_to_it(tmp_path: Path) -> None:
    lobby = tmp_path / "lobby"
    async with family() as children:
        homes = Homes(children, tmp_path)
        await pair(homes, {"ann": f"log:{lobby}", "bob": f"log:{lobby}"})
        await homes.kill("bob")
        bob = await homes.start("bob", "chat")
        await bob.wait_for("peer", within=_WORST, where=lambda event: event["state"] == "up")
        await bob.say("back again")
        await homes.everyone_sees({"back again"})
        log = await one_log(homes, ("ann", "bob"))
        assert [event["text"] for event in log[-1:]] == ["back again"]
        logs = sorted(path.name for path in lobby.iterdir())
        assert all(name.endswith(".log") for name in logs)
        assert len(logs) == 2, "one each, whatever became of their writers"


class SyncTool:
    """Copies what is new in each of two folders to the other: late, in parts, some of it as a conflict."""

    def __init__(self, one: Path, two: Path, dice: random.Random) -> None:
        self._ways = ((one, two), (two, one))
        self._dice = dice
        self._owner: dict[str, Path] = {}
        self._times: Counter[Path] = Counter()
        self.copies = self.parts = self.conflicts = 0

    async def run(self) -> None:
        while True:
            await trio.sleep(self._dice.uniform(0.05, 0.6))
            for source, target in self._ways:
                self._copy_all(source, target)

    def _copy_all(self, source: Path, target: Path) -> None:
        for path in sorted(source.glob("*.log")):
            if "conflict" in path.name or self._owner.setdefault(path.name, source) != source:
                continue  # it came from there
            with suppress(FileNotFoundError):
                self._copy(path.read_bytes(), target / path.name)
        for path in sorted(target.glob("*.log")):
            gone = self._owner.get(path.name) == source and not (source / path.name).exists()
            if gone and self._dice.random() < 0.5:
                path.unlink()

    def _copy(self, content: bytes, target: Path) -> None:
        if target.exists() and target.read_bytes() == content:
            return
        self.copies += 1
        self._times[target] += 1
        # Each file comes torn first and as a conflict next, so that no run goes without.
        match self._times[target] if self._times[target] <= 2 else self._dice.randrange(4):
            case 1:  # a part of it, straight into place
                self.parts += 1
                target.write_bytes(content[: self._dice.randrange(len(content) + 1)])
            case 2:  # the old one stays beside the new one
                if target.exists():
                    self.conflicts += 1
                    copy = f"{target.stem}.sync-conflict-20261120-1030{self.conflicts:02}-ABCDEFG.log"
                    shutil.move(target, target.with_name(copy))
                target.write_bytes(content)
            case 3:
                pass  # later
            case _:
                target.write_bytes(content)


@asynccontextmanager
async def synced(one: Path, two: Path, *, seed: int) -> AsyncIterator[SyncTool]:
    one.mkdir()
    two.mkdir()
    tool = SyncTool(one, two, random.Random(seed))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tool.run)
        yield tool
        nursery.cancel_scope.cancel()


async def test_two_homes_pair_through_two_folders_that_are_copied_late_torn_and_with_conflicts(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    async with family() as children, synced(one, two, seed=4) as tool:
        homes = Homes(children, tmp_path)
        await pair(homes, {"ann": f"log:{one}", "bob": f"log:{two}"})
        log = await one_log(homes, ("ann", "bob"))
        assert {event["text"] for event in log} == {"ann is here", "bob is here"}
        assert tool.copies > tool.parts > 0
        assert tool.conflicts > 0
