"""`make sim`: many seeds, each a room with its own network, crashes, clocks, disks and liars.

The last line counts what happened; the exit code is 1 if a seed fails or if something never happened.
With NIGHTLY=1: 200,000 seeds, however long they take.
"""

import argparse
import gc
import hashlib
import itertools
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.simulation.counts import Counts
from tests.simulation.scenario import FAMILIES, family_of, run_seed

REPLAY = ".venv/bin/python -m tests.simulation.run --seed"
SEED_SECONDS = 90
"""Of the processor, however busy the machine: a seed takes a fifth of one, the largest room some."""
NIGHTLY_SEEDS = 200_000
AT_A_TIME = 8
"""Seeds that one process plays between two reports."""
MINUTES = 4.8


class Endless(BaseException):
    """No Exception, so that nothing on the way takes it for a liar's machine that broke."""


def attempt(seed: int, family: str | None = None) -> tuple[int, Counts | None, str]:
    """One seed: what it did, or None and why it failed."""
    signal.signal(signal.SIGPROF, _give_up)
    signal.setitimer(signal.ITIMER_PROF, SEED_SECONDS)
    try:
        return seed, run_seed(seed, family=family), ""
    except (Exception, Endless) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return seed, None, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _give_up(signum: int, frame: FrameType | None) -> None:
    raise Endless(f"no end after {SEED_SECONDS} s of the processor")


def attempt_all(seeds: range, family: str | None) -> list[tuple[int, Counts | None, str]]:
    """Several in a row, in one process, which collects its garbage between two: a story is full of cycles."""
    gc.disable()
    results = []
    for seed in seeds:
        results.append(attempt(seed, family))
        gc.collect()
    return results


def replay(seed: int, family: str | None) -> int:
    """Play one seed again and print every step of it."""
    print(f"family {family or family_of(seed)}")
    try:
        print(run_seed(seed, trace=print, family=family))
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


def digest(seeds: Iterable[int]) -> str:
    """A hash of every step of these seeds: the same in every process, or they could not be replayed."""
    told = hashlib.sha256()
    for seed in seeds:
        run_seed(seed, trace=lambda line: told.update(line.encode()))
    return told.hexdigest()


class Tournament:
    """Seeds in the order of their numbers, until there are enough of them or the time is up."""

    def __init__(self, *, start: int, count: int | None, minutes: float | None, family: str | None) -> None:
        self._seeds = itertools.count(start) if count is None else iter(range(start, start + count))
        self._began = time.monotonic()
        self._deadline = None if minutes is None else self._began + 60 * minutes
        self._family = family
        self._told = 0
        self.total = Counts()
        self.failed = 0

    def run(self, *, jobs: int) -> None:
        with ProcessPoolExecutor(jobs) as pool:
            running: set[Future[list[tuple[int, Counts | None, str]]]] = set()
            batches = self._batches()
            while True:
                while len(running) < 2 * jobs and (batch := next(batches, None)) is not None:
                    running.add(pool.submit(attempt_all, batch, self._family))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(future.result())

    def _batches(self) -> Iterator[range]:
        while self._deadline is None or time.monotonic() < self._deadline:
            batch = list(itertools.islice(self._seeds, AT_A_TIME))
            if not batch:
                return
            yield range(batch[0], batch[-1] + 1)

    def _take(self, results: list[tuple[int, Counts | None, str]]) -> None:
        for seed, counts, problem in results:
            if counts is None:
                self.failed += 1
                family = f" --family {self._family}" if self._family else ""
                print(f"seed {seed} FAILED: {problem}\n    replay: {REPLAY} {seed}{family}", flush=True)
            else:
                self.total.add(counts)
        done = self.total.seeds + self.failed
        if done - self._told >= 100:
            self._told = done
            seconds = time.monotonic() - self._began
            print(f"{done} seeds, {seconds:.0f} s, {self.failed} failed: {self.total.totals}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, help=f"begin nothing new after so long (default {MINUTES})")
    parser.add_argument("--seeds", type=int, help="how many (default: as many as fit the time)")
    parser.add_argument("--start", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="only this kind of story")
    parser.add_argument("--seed", type=int, help="replay this one alone, with a trace")
    parser.add_argument("--digest", type=int, nargs="+", metavar="SEED", help="hash the traces of these")
    given = parser.parse_args()
    if given.seed is not None:
        return replay(given.seed, given.family)
    if given.digest is not None:
        print(digest(given.digest))
        return 0
    seeds, minutes = given.seeds, given.minutes
    if os.environ.get("NIGHTLY") == "1":
        seeds = NIGHTLY_SEEDS if seeds is None else seeds
    elif seeds is None and minutes is None:
        minutes = MINUTES
    tournament = Tournament(start=given.start, count=seeds, minutes=minutes, family=given.family)
    tournament.run(jobs=given.jobs)
    total, absent = tournament.total, tournament.total.absent() if given.family is None else []
    if tournament.failed:
        print(f"{tournament.failed} of {total.seeds + tournament.failed} seeds failed")
    if absent:
        print(f"a run without {', '.join(absent)} shows less than it should: raise --seeds or --minutes")
    print(f"sim {total} failed={tournament.failed}")
    return 1 if tournament.failed or absent else 0


if __name__ == "__main__":
    sys.exit(main())
