"""Kill real node processes at every persisted write, and hold them to what they showed.

    python -m tests.crash.run [--seconds 270] [--seed 1] [--keep DIR] [--at-least 500]

Three workers: one kills a node that is alone in its room, one members of rooms of up to five over WebRTC, one
fills disks, tears write-ahead logs, flips bits and kills repairs (tests/crash/full.py and damage.py beside).
A node is the real command line in a process of its own. It ends itself with SIGKILL before or after its k-th
commit, mark or step with a file (tests/crash/deadly.py), or is killed from outside at any moment. After each
kill it is started again, and checked through the public commands: whatever was shown as final stands where
it stood, whatever was shown as pending becomes final, once and with its id; all logs are prefixes of one
another; no vote key signed two things for one position, and nothing left a process before it was on disk.

`NIGHTLY=1` runs for half an hour.
"""

import argparse
import itertools
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.crash import alone, damage, full, together
from tests.crash.hatch import Hatch
from tests.crash.promises import Tally

_FIRST_TURNS: Final = {"alone": 54, "together": 8, "disks": 25}
"""So much is done however slow the machine is: something of everything that the last line counts."""
_NIGHT: Final = 1800.0
_PROGRESS: Final = 20.0
CHECKED: Final = (
    "pending",
    "final",
    "positions",
    "full",
    "torn_noticed",
    "torn_intact",
    "flips_found",
    "repaired",
)
_FLIP_BATCHES: Final = 60


def disk_stories(hatch: Hatch, directory: Path, seed: int) -> Iterator[Tally]:
    """Full disks, torn logs and flipped bits take turns until each has had enough."""
    kinds = [
        (full.stories(hatch, directory), 4),
        (damage.torn(hatch, directory), 16),
        (damage.repairing(hatch, directory), 4),
        (itertools.islice(damage.flipped(hatch, directory, random.Random(seed)), _FLIP_BATCHES), 1),
    ]
    while kinds:
        for turn in list(kinds):
            told = 0
            for tally in itertools.islice(*turn):
                told += 1
                yield tally
            if not told:
                kinds.remove(turn)


STORIES: Final[dict[str, Callable[[Hatch, Path, int], Iterator[Tally]]]] = {
    "alone": alone.stories,
    "together": together.stories,
    "disks": disk_stories,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    night = os.environ.get("NIGHTLY") == "1"
    parser.add_argument("--seconds", type=float, default=_NIGHT if night else 270.0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in DIR and leave it there")
    parser.add_argument("--at-least", type=int, default=500, help="fail with fewer kills")
    given = parser.parse_args()
    began = time.monotonic()
    place = given.keep or Path(tempfile.mkdtemp(prefix="pigeon-crash-"))
    try:
        tally, started, failures = _work(list(STORIES), place, seed=given.seed, until=began + given.seconds)
    finally:
        if given.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    kills = tally.kills.total()
    counts = {"kills": kills, **tally.kills, **tally.steps, **tally.checked, "processes": started}
    seconds = time.monotonic() - began
    print("crash", *(f"{name}={count}" for name, count in counts.items()), f"seconds={seconds:.0f}")
    lacking = [name for name in ("commit", "mark", "file") if not tally.steps[name]]
    lacking += [name for name in CHECKED if not tally.checked[name]]
    if kills < given.at_least:
        failures.append(f"only {kills} of {given.at_least} kills: is the machine busy?")
    failures += [f"nothing was counted as {name}" for name in lacking]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _work(names: list[str], place: Path, *, seed: int, until: float) -> tuple[Tally, int, list[str]]:
    """One process a kind of story; the sum of their tallies, the processes they started, their failures."""
    workers = []
    for name in names:
        read_end, write_end = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(read_end)
            with os.fdopen(write_end, "wb") as report:
                pickle.dump(_tell(name, place, seed=seed, until=until), report)
            os._exit(0)
        os.close(write_end)
        workers.append((name, pid, read_end))
    tally, started, failures = Tally(), 0, []
    for name, pid, read_end in workers:
        with os.fdopen(read_end, "rb") as report:
            data = report.read()
        os.waitpid(pid, 0)
        if not data:
            failures.append(f"{name}: the worker died")
            continue
        its_tally, its_started, failure = pickle.loads(data)
        tally.add(its_tally)
        started += its_started
        if failure:
            failures.append(failure)
    return tally, started, failures


def _tell(name: str, place: Path, *, seed: int, until: float) -> tuple[Tally, int, str]:
    """Go on with one kind of story until the time is over or a promise is broken."""
    directory = place / name
    directory.mkdir(parents=True, exist_ok=True)
    hatch, tally, failure = Hatch(directory), Tally(), ""
    said = time.monotonic()
    try:
        for turn, more in enumerate(STORIES[name](hatch, directory, seed), start=1):
            tally.add(more)
            now = time.monotonic()
            if now - said > _PROGRESS:
                said = now
                print(f"{name}: {tally.kills.total()} kills, {until - now:.0f} s to go", flush=True)
            if now > until and turn >= _FIRST_TURNS[name]:
                break
    except Exception:
        failure = f"{name}: seed {seed}: {traceback.format_exc()}"
    finally:
        hatch.stop()
    return tally, hatch.started, failure


if __name__ == "__main__":
    sys.exit(main())
