"""How long two homes take to be linked by each carrier: real processes on this machine, a new room each time.

`start` is from the start of the joining process, `looking` from when it says that it looks for a member; both
until it shows the safety words. In `paste, carried` no check reaches the inviter before it has the answer: a
firewall in a network namespace, so it needs root. `hub:` is our own, `hub: npm` is signalhub; both stand on
this machine, empty.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

import trio

from console.children import Child, Family, family
from tests.e2e.networks import has_hosts, two_hosts
from tests.signaling.hub_servers import has_signalhub, hub_process

_PATIENCE: Final = 60.0

Begin = Callable[..., Awaitable[Child]]


async def pair(place: Path, via: str, *, begin: Begin, other: Begin, carried: bool) -> tuple[float, float]:
    """Seconds from the start, and from looking, until linked."""
    ann = await begin(
        "ann",
        "new",
        "r",
        "--as",
        "ann",
        "--via",
        via,
        "--admit",
        "auto",
        "--json",
        "--home",
        str(place / "ann"),
    )
    token = (await ann.wait_for("invite", within=_PATIENCE))["token"]
    started = trio.current_time()
    bob = await other(
        "bob", "join", token, "--as", "bob", "--via", via, "--json", "--home", str(place / "bob")
    )
    if carried:
        await ann.say((await bob.wait_for("token", within=_PATIENCE))["token"])
    await bob.wait_for("words", within=_PATIENCE)
    times = {event["event"]: at for event, at in zip(reversed(bob.events), reversed(bob.times), strict=True)}
    return times["words"] - started, times["words"] - times["notice"]


async def measure(name: str, via: str, *, runs: int) -> list[tuple[float, float]]:
    """One carrier, again and again."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="pigeon-bench-") as scratch:
            place = Path(scratch)
            async with AsyncExitStack() as stack:
                children: Family = await stack.enter_async_context(family())
                begin: Begin = children.start
                other: Begin = children.start
                carried = name == "paste, carried"
                if carried:
                    here, there = await stack.enter_async_context(two_hosts())
                    here.guard()
                    begin, other = here.starter(children), there.starter(children)
                where = via.format(place=place)
                found.append(await pair(place, where, begin=begin, other=other, carried=carried))
    return found


async def run(runs: int) -> int:
    with ExitStack() as stack:
        hubs = {"hub:": "ours", "hub: npm": "signalhub"}
        if not has_signalhub():
            del hubs["hub: npm"]
        ports = {name: stack.enter_context(hub_process(kind))[1] for name, kind in hubs.items()}
        return await run_all(runs, {name: f"hub:http://127.0.0.1:{port}" for name, port in ports.items()})


async def run_all(runs: int, hubs: dict[str, str]) -> int:
    """Every carrier in its turn; `hubs`: specs by name."""
    ways = {
        "paste": "paste",
        "paste, carried": "paste",
        "qr:DIR": "qr:{place}/pictures",
        "dir:": "dir:{place}/lobby",
        "log:": "log:{place}/lobby",
        **hubs,
    }
    if not has_hosts():
        del ways["paste, carried"]
    total = 0
    for name, via in ways.items():
        times = await measure(name, via, runs=runs)
        total += len(times)
        start, looking = ([each[i] * 1000 for each in times] for i in range(2))
        print(
            f"{name:16} start_ms p50={statistics.median(start):.0f} max={max(start):.0f}   "
            f"looking_ms p50={statistics.median(looking):.0f} max={max(looking):.0f}",
            flush=True,
        )
    print(f"pairing carriers={len(ways)} linked={total}")
    return 0 if total else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each carrier")
    return trio.run(run, parser.parse_args().runs)


if __name__ == "__main__":
    sys.exit(main())
