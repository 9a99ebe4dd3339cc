"""A newcomer who paired by hand with one member is linked to all: how long after it was let in.

Real processes on this machine, a new room each time, no carrier but `paste`: the first member's tokens are
brought to one newcomer after the other, and nothing else is carried. For each newcomer, the time from its
`admitted` until it has said of every other member that it is up; the last one is the eighth, who finds seven.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

import trio

from console.children import Child, Family, family

_PATIENCE: Final = 60.0
_LIMIT: Final = 3.0
_FOUND_BY_LAST: Final = 7


class Room:
    """Its nodes, of which the first lets the others in."""

    def __init__(self, children: Family, place: Path) -> None:
        self._children = children
        self._place = place
        self.nodes: list[Child] = []

    async def grow(self) -> float | None:
        """One more member; seconds from its admission until it was linked to all, None for the first."""
        if not self.nodes:
            await self._start("new", "tea", "--admit", "auto")
            return None
        first, seen = self.nodes[0], 0
        if len(self.nodes) > 1:  # the room was shown with a token
            seen = len(first.events)
            await first.say("/invite")
        token = str((await first.wait_for("invite", within=_PATIENCE, since=seen))["token"])
        node = await self._start("join", token)
        ups: dict[str, float] = {}
        admitted = 0.0
        with trio.fail_after(_PATIENCE):
            while not admitted or len(ups) < len(self.nodes) - 1:
                for event, at in zip(node.events, node.times, strict=False):
                    if event["event"] == "admitted" and event["nick"] == node.name:
                        admitted = at
                    elif event["event"] == "peer" and event["state"] == "up":
                        ups.setdefault(event["member"], at)
                await node.wait_for_events(len(node.events) + 1, within=1)
        return max(0.0, max(ups.values()) - admitted)

    async def wait_settled(self) -> None:
        """Until all know of all, so that one join is measured and not two."""
        n = len(self.nodes)
        for node in self.nodes:
            await node.wait_for("room", within=_PATIENCE, where=lambda event: event["n"] == n)

    async def _start(self, verb: str, *arguments: str) -> Child:
        who = f"m{len(self.nodes)}"
        home = str(self._place / who)
        options = ("--as", who, "--via", "paste", "--json", "--home", home)
        node = await self._children.start(who, verb, *arguments, *options)
        self.nodes.append(node)
        return node


async def measure() -> list[float]:
    """One room; seconds by how many were there before, from two on (with one, its link is all there is)."""
    found = []
    with tempfile.TemporaryDirectory(prefix="pigeon-bench-") as scratch:
        async with family() as children:
            room = Room(children, Path(scratch))
            for before in range(_FOUND_BY_LAST + 1):
                seconds = await room.grow()
                await room.wait_settled()
                if seconds is not None and before > 1:
                    found.append(seconds)
    return found


async def run(rooms: int) -> int:
    last = []
    for number in range(rooms):
        times = await measure()
        last.append(times[-1])
        each = " ".join(f"{before}:{seconds:.2f}" for before, seconds in enumerate(times, start=2))
        print(f"room {number + 1}: seconds by members found  {each}", flush=True)
    print(
        f"introduce rooms={len(last)} found={_FOUND_BY_LAST} p50_s={statistics.median(last):.2f} "
        f"max_s={max(last):.2f} limit_s={_LIMIT:g}"
    )
    return 0 if last and max(last) <= _LIMIT else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=3)
    return trio.run(run, parser.parse_args().rooms)


if __name__ == "__main__":
    sys.exit(main())
