"""`make sim`: many seeds, each a room with its own network, crashes, cuts and one lying member.

The last line counts what happened; the exit code is 1 if a seed fails or if something never happened.
"""

import argparse
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.simulation.scenario import Counts, run_seed

REPLAY = ".venv/bin/python tests/simulation/run.py --seed"


SEED_SECONDS = 60
"""A seed takes a tenth of a second; one that takes this long will never end."""


class Endless(BaseException):
    """No Exception, so that nothing on the way takes it for a liar's machine that broke."""


def attempt(seed: int) -> tuple[int, Counts | None, str]:
    """One seed: what it did, or None and why it failed."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SEED_SECONDS)
    try:
        return seed, run_seed(seed), ""
    except (Exception, Endless) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return seed, None, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.alarm(0)


def _give_up(signum: int, frame: FrameType | None) -> None:
    raise Endless(f"no end after {SEED_SECONDS} s")


def replay(seed: int) -> int:
    """Play one seed again and print every step of it."""
    try:
        print(run_seed(seed, trace=print))
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


def run_all(seeds: range, *, jobs: int) -> int:
    total, failed, began = Counts(), 0, time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for done, (seed, counts, problem) in enumerate(pool.map(attempt, seeds, chunksize=4), start=1):
            if counts is None:
                failed += 1
                print(f"seed {seed} FAILED: {problem}\n    replay: {REPLAY} {seed}", flush=True)
            else:
                total.add(counts)
            if done % 50 == 0 or done == len(seeds):
                print(f"{done}/{len(seeds)} seeds, {time.monotonic() - began:.0f} s: {total}", flush=True)
    absent = [field.name for field in fields(total) if not getattr(total, field.name)]
    if failed:
        print(f"{failed} of {len(seeds)} seeds failed")
    if absent:
        print(f"a run without {', '.join(absent)} shows nothing: raise --seeds")
    print(f"sim {total}")
    return 1 if failed or absent else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--seed", type=int, help="replay this one alone, with a trace")
    given = parser.parse_args()
    if given.seed is not None:
        return replay(given.seed)
    return run_all(range(given.start, given.start + given.seeds), jobs=given.jobs)


if __name__ == "__main__":
    sys.exit(main())
