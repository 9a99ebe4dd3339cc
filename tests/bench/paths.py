"""Path x carrier: are two linked, in how many seconds, or what are they told: real processes, real NATs.

Hosts are network namespaces, routers forget a port that nobody used for ten seconds, TURN is coturn; so it
needs root. Seconds are from when the joiner looks for a member (`meet`: asks; `introduced`: is let in) until
it shows the safety words (says that the other is up). Each cell has processes of its own; a few run at once,
and the last line says how busy the machine was.
"""

import argparse
import os
import shutil
import signal
import sys
from itertools import product
from typing import Final

import msgspec
import trio

from console.children import command, environment
from tests.bench.path_places import PLACES
from tests.bench.path_ways import WAYS, Linked, Outcome, Verdict, expected, outcome
from tests.e2e.networks import has_hosts

_AT_ONCE: Final = 4
_LIMIT: Final = 100.0  # seconds a cell
_LIMIT_OF_ALL: Final = 285.0  # what is not measured by then failed
_CLEANUP: Final = 12.0

Cell = tuple[str, str]


async def measured(cell: Cell) -> Outcome | None:
    """By a process of its own, for making hosts would hold up the clocks of others; None: it failed."""
    line = command("--cell", *cell, program="tests.bench.paths")
    with trio.move_on_after(_LIMIT):
        done = await trio.run_process(
            line, capture_stdout=True, check=False, env=environment(), stdin=b"", deliver_cancel=_stop
        )
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout, type=Linked | Verdict)
    return None


async def _stop(process: trio.Process) -> None:
    """So that it takes its hosts and its pigeons away."""
    process.send_signal(signal.SIGINT)
    with trio.move_on_after(_CLEANUP):
        await process.wait()
    process.kill()


async def fill(cells: list[Cell], *, at_once: int) -> dict[Cell, Outcome | None]:
    """All of them, so many at once."""
    found: dict[Cell, Outcome | None] = dict.fromkeys(cells)
    limiter = trio.CapacityLimiter(at_once)

    async def one(cell: Cell) -> None:
        async with limiter:
            found[cell] = await measured(cell)
            print(f"{' x '.join(cell)}: {found[cell]}", file=sys.stderr, flush=True)

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + _LIMIT_OF_ALL
        for cell in cells:
            nursery.start_soon(one, cell)
    return found


def failures(found: dict[Cell, Outcome | None]) -> list[Cell]:
    """The cells that do not say what they shall: not linked where one can be, or no word of it where not."""
    return [cell for cell, each in found.items() if type(each) is not expected(*cell) or each == Verdict("")]


async def run(places: list[str], ways: list[str], at_once: int) -> int:
    began = trio.current_time()
    found = await fill(list(product(places, ways)), at_once=at_once)
    rows = [["path", *ways], ["---"] * (len(ways) + 1)]
    rows += [[place, *(str(found[place, way] or "failed") for way in ways)] for place in places]
    for row in rows:
        print(f"| {' | '.join(row)} |")
    seconds = [each.seconds for each in found.values() if isinstance(each, Linked)]
    verdicts = sum(isinstance(each, Verdict) for each in found.values())
    failed = failures(found)
    for cell in failed:
        print(f"not as it should be: {' x '.join(cell)}", file=sys.stderr)
    print(
        f"paths cells={len(found)} linked={len(seconds)} verdicts={verdicts} failed={len(failed)} "
        f"max_s={max(seconds, default=0.0):.2f} at_once={at_once} load={os.getloadavg()[1]:.1f} "
        f"took_s={trio.current_time() - began:.0f}"
    )
    return 0 if seconds and not failed else 1


def main() -> int:
    if not has_hosts() or shutil.which("turnserver") is None:
        print("paths: this needs root, iproute2, nftables and coturn.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=_AT_ONCE, help="cells")
    parser.add_argument("--path", choices=PLACES, action="append", help="only this one; repeatable")
    parser.add_argument("--carrier", choices=WAYS, action="append", help="only this one; repeatable")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell is not None:
        print(msgspec.json.encode(trio.run(outcome, *given.cell)).decode())
        return 0
    return trio.run(run, given.path or list(PLACES), given.carrier or list(WAYS), given.at_once)


if __name__ == "__main__":
    sys.exit(main())
