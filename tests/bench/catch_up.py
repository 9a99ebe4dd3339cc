"""How long a member that was away takes to catch up on 10,000 messages, 40 ms from peers of whom one lies.

Real processes, real WebRTC, datagrams held back in each of them; the liar is linked first and asked first.
Each run ends with a check of every hash and signature on the disk of who came back.

    python -m tests.bench.catch_up [--messages 10000] [--rtt-ms 40] [--lie KIND ...]
"""

import argparse
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from console.children import Child, Family, family, output_of
from tests.bench.catch_up_homes import Missed, Shape, make_homes
from tests.bench.catch_up_lies import LIE_NAMES, MIXED

ALLOWED: Final = 60.0  # seconds, for 10,000 messages at 40 ms
BUDGET: Final = 210.0  # seconds after which no further run begins, so that all end within five minutes
PATIENCE: Final = 60.0
NOBODY: Final = "none"
USUAL: Final = (MIXED, "stall", "slow", NOBODY)
_PROGRAM: Final = "tests.bench.catch_up_node"


@dataclass(frozen=True)
class Outcome:
    """One return, or one arrival."""

    who: str
    messages: int
    blocks: int
    liar: str
    seconds: float
    rss_mb: float

    def __str__(self) -> str:
        return (
            f"messages={self.messages} blocks={self.blocks} seconds={self.seconds:.1f} "
            f"liar={self.liar} rss_mb={self.rss_mb:.0f}"
        )


@dataclass
class Story:
    """The homes of one run, and what runs in them."""

    missed: Missed
    shape: Shape
    place: Path
    children: Family
    one_way_ms: float
    lie: str

    async def start(self, nick: str, *arguments: str, lie: str = NOBODY) -> Child:
        """A node on a slow line; its lobby is this run's own."""
        options = ["--delay-ms", str(self.one_way_ms)]
        if lie != NOBODY:
            options += ["--lie", lie]
        via = ("--via", f"dir:{self.place / 'lobby'}")
        home = ("--home", str(self.place / nick))
        return await self.children.start(
            nick, *options, "--", *arguments, *via, *home, "--json", program=_PROGRAM
        )

    async def peers(self) -> dict[str, Child]:
        """Those that stayed, linked with one another; the first is the liar, if any."""
        missed = self.missed
        nodes = {
            nick: await self.start(nick, "up", lie=self.lie if nick == missed.first else NOBODY)
            for nick in missed.peers
        }
        for node in nodes.values():
            await node.wait_for_all("peer", len(nodes) - 1, within=PATIENCE)
        return nodes

    async def come_back(self, nodes: dict[str, Child]) -> Outcome:
        """From the start of the process to its last message. It meets the liar while nobody else answers."""
        missed = self.missed
        honest = [node for nick, node in nodes.items() if nick != missed.first]
        for node in honest:
            node.process.send_signal(signal.SIGSTOP)
        try:
            began = trio.current_time()
            back = nodes[missed.away] = await self.start(missed.away, "up")
            await back.wait_for("peer", within=PATIENCE)
        finally:
            for node in honest:
                node.process.send_signal(signal.SIGCONT)
        return await self._all_of_it(back, began, since=0)

    async def arrive(self, nodes: dict[str, Child]) -> Outcome:
        """The same for a newcomer: from its invitation to the last message of the room's past."""
        nick = "new"
        inviter = self.missed.peers[-1]
        code, token, said = await output_of("invite", "--home", str(self.place / inviter))
        assert code == 0, said.decode()
        began = trio.current_time()
        node = nodes[nick] = await self.start(
            nick, "join", token.decode().split()[0], "--as", nick, "--headless"
        )
        await node.wait_for("room", within=PATIENCE)
        return await self._all_of_it(node, began, since=0)

    async def _all_of_it(self, node: Child, began: float, *, since: int) -> Outcome:
        messages = self.shape.messages
        await node.wait_for_all("final", messages, within=5 * ALLOWED, since=since)
        finals = [at for event, at in zip(node.events, node.times, strict=True) if event["event"] == "final"]
        return Outcome(
            who=node.name,
            messages=messages,
            blocks=self.shape.blocks,
            liar=self.lie,
            seconds=finals[messages - 1] - began,
            rss_mb=peak_memory(node),
        )

    async def check(self, nick: str) -> None:
        """Nothing wrong was written, and it is what an honest peer has; RuntimeError otherwise."""
        home = str(self.place / nick)
        code, _, said = await output_of("verify", "--store", "--home", home, within=PATIENCE)
        if code not in (0, 7):  # 7: sound, and it holds what the liar signed twice
            raise RuntimeError(f"the store of {nick} does not hold: {said.decode()}")
        logs = [
            (await output_of("log", "--home", str(self.place / each), within=PATIENCE))[1]
            for each in (nick, self.missed.peers[-1])
        ]
        if logs[0] != logs[1] or logs[0].count(b"\n") != self.shape.messages:
            raise RuntimeError(f"the log of {nick} is not its peers'")


def peak_memory(node: Child) -> float:
    """The most memory this process had, in MB."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


@asynccontextmanager
async def copied(missed: Missed, place: Path) -> AsyncIterator[Path]:
    """Homes like these in another place, gone afterwards."""
    for nick, home in missed.homes.items():
        shutil.copytree(home, place / nick)
    try:
        yield place
    finally:
        shutil.rmtree(place)


async def one_run(
    missed: Missed, shape: Shape, place: Path, *, lie: str, rtt_ms: float, newcomer: bool
) -> list[Outcome]:
    """One liar, one return, and perhaps an arrival after it; checked."""
    async with copied(missed, place), family() as children:
        story = Story(missed, shape, place, children, rtt_ms / 2, lie)
        nodes = await story.peers()
        outcomes = [await story.come_back(nodes)]
        await story.check(missed.away)
        if newcomer:
            outcomes.append(await story.arrive(nodes))
            await story.check("new")
        return outcomes


async def run(shapes: Sequence[Shape], lies: Sequence[str], *, rtt_ms: float, budget: float) -> list[Outcome]:
    outcomes: list[Outcome] = []
    until = trio.current_time() + budget
    with tempfile.TemporaryDirectory(prefix="pigeon-catch-up-") as where:
        for number, shape in enumerate(shapes):
            place = Path(where) / f"room{number}"
            missed = make_homes(place, shape, lobby=place / "lobby")
            # Many small blocks are the hard case: every lie is told there, and the newcomer comes.
            hard = shape.bodies == 1
            for lie in lies if hard else lies[:1]:
                if trio.current_time() > until:
                    print(f"no time is left for liar={lie} blocks={shape.blocks}", flush=True)
                    continue
                newcomer = hard and lie == lies[0]
                run_at = Path(where) / "run"
                for outcome in await one_run(
                    missed, shape, run_at, lie=lie, rtt_ms=rtt_ms, newcomer=newcomer
                ):
                    print(f"{'joined' if outcome.who == 'new' else 'back'} {outcome}", flush=True)
                    outcomes.append(outcome)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=10_000, choices=range(1, 100_001), metavar="N")
    parser.add_argument("--rtt-ms", type=float, default=40.0, help="round trip between any two nodes")
    parser.add_argument(
        "--lie",
        action="append",
        choices=(NOBODY, *LIE_NAMES),
        help=f"what the liar does, repeatable (usually {', '.join(USUAL)}; all with NIGHTLY=1)",
    )
    given = parser.parse_args()
    nightly = os.environ.get("NIGHTLY") == "1"
    lies = given.lie or (sorted({NOBODY, *LIE_NAMES}, key=lambda lie: lie != MIXED) if nightly else USUAL)
    shapes = [Shape(given.messages), Shape(given.messages, lanes=2, bodies=16)]
    budget = math.inf if nightly else BUDGET
    outcomes = trio.run(partial(run, shapes, lies, rtt_ms=given.rtt_ms, budget=budget))
    worst = max(outcomes, key=lambda outcome: outcome.seconds)
    print(
        f"catchup messages={worst.messages} blocks={worst.blocks} seconds={worst.seconds:.1f} "
        f"rtt_ms={given.rtt_ms:g} liar={worst.liar} rss_mb={math.ceil(max(o.rss_mb for o in outcomes))} "
        f"runs={len(outcomes)}"
    )
    return int(worst.seconds > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
