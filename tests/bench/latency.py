"""How long a message takes from `pending` to `final`: real nodes, real WebRTC, one message at a time."""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import trio

from console.children import Child, family
from tests.e2e.homes import NAMES, PATIENCE, Homes


async def one(node: Child, text: str) -> float:
    """Seconds from this message's `pending` to its `final`, by the same node's own output."""
    since = len(node.events)
    await node.say(text)
    seen = {}
    for kind in ("pending", "final"):
        event = await node.wait_for(
            kind, within=PATIENCE, since=since, where=lambda event: event["text"] == text
        )
        seen[kind] = node.times[next(i for i, e in enumerate(node.events) if e is event)]
    return seen["final"] - seen["pending"]


async def run(members: int, messages: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="pigeon-bench-") as place:
        async with family() as children:
            homes = Homes(children, Path(place))
            await homes.grow(members)
            if members > 1:
                await homes.nodes["ann"].wait_for_all("peer", members - 1, within=PATIENCE)
            speakers = [homes.nodes[name] for name in NAMES[:members]]
            return [await one(speakers[i % members], f"message {i}") for i in range(messages)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--messages", type=int, default=200)
    given = parser.parse_args()
    times = sorted(trio.run(run, given.members, given.messages))
    if not times:
        return 1
    p50, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
    print(
        f"latency members={given.members} messages={len(times)} "
        f"p50_ms={p50 * 1000:.1f} p99_ms={p99 * 1000:.1f} max_ms={times[-1] * 1000:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
