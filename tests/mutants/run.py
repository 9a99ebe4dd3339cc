"""`make mutants`: breaks the rules of the chain one at a time, and each must be noticed by a test or a seed.

First the same tests and seeds run on the product as it is, and must pass: a mutant that a broken test
notices is not noticed. Then each mutant runs in a process of its own against its tests, fastest first, and
stops at the first that fails. NIGHTLY=1 also plays 200 seeds of the simulator against each of them, and says
how many notice it. The exit code is 1 if a mutant survives, does not apply, or breaks by its own fault.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.mutation import DoesNotApplyError, Mutant, sources_of
from tests.mutants.trial import Task, Verdict, trial

WORKERS = 2
NIGHTLY_SEEDS = 200
BROAD = ("chain", "simulation")
"""Folders of `tests/` in which `--find` looks for tests that notice a mutant."""


def paths_of(tests: Iterable[str]) -> list[str]:
    """Test ids as pytest takes them."""
    return [f"tests/{test}" for test in tests]


# Unmutated


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tests and seeds on the product as it is."""

    seconds: dict[str, float]
    """How long each took that passed."""
    failed: list[str]
    trouble: list[str]
    """Why a trial came to no verdict."""
    cpu: float = 0.0

    @property
    def sound(self) -> bool:
        return not self.failed and not self.trouble

    def passed(self, test: str) -> bool:
        """Whether a test, with all that it is parametrised by, can tell a mutant from the product."""
        own = [name for name in self.failed if name == test or name.split("[")[0] == test]
        return not own

    def cost(self, test: str) -> float:
        """Seconds, over all that it is parametrised by."""
        return sum(took for name, took in self.seconds.items() if test in (name, name.split("[")[0]))


def baseline(mutants: Sequence[Mutant]) -> Baseline:
    """Run all that is to notice something, on the product as it is; a seed counts as a test here."""
    tests = sorted({test for mutant in mutants for test in paths_of(mutant.killers)})
    seeds = sorted({str(seed) for mutant in mutants for seed in mutant.seeds}, key=int)
    tasks = [
        Task(None, kind, tuple(every[part::WORKERS]), exhaustive=True)
        for kind, every in (("tests", tests), ("seeds", seeds))
        for part in range(WORKERS)
        if every[part::WORKERS]
    ]
    with ThreadPoolExecutor(WORKERS) as pool:
        verdicts = list(pool.map(lambda task: trial(task, patience=600), tasks))
    seconds = {name: took for verdict in verdicts for name, took in verdict.seconds.items()}
    failed = [name for verdict in verdicts for name in verdict.failed]
    for verdict in verdicts:
        if verdict.failed:
            print(f"FAILS without any mutant: {', '.join(verdict.failed)}\n    {verdict.why}")
    trouble = [verdict.trouble for verdict in verdicts if verdict.trouble]
    for why in trouble:
        print(f"FAILS without any mutant: {why}")
    print(f"unmutated: {len(tests)} tests and {len(seeds)} seeds, {len(failed)} of them fail", flush=True)
    return Baseline(seconds, failed, trouble, sum(verdict.cpu for verdict in verdicts))


# Mutated


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mutant."""

    mutant: Mutant
    by: str
    """The test or seed that noticed it; empty: none did."""
    why: str
    seconds: float
    cpu: float = 0.0
    """Seconds that went by, and seconds of the processor."""

    @property
    def by_seed(self) -> bool:
        return self.by.startswith("seed ")


def judge(mutant: Mutant, before: Baseline) -> Outcome:
    """Run a mutant against its tests, fastest first, then its seeds, until one notices."""
    began, cpu = time.monotonic(), 0.0
    if stale := stale_text(mutant):
        return Outcome(mutant, "", stale, 0.0)
    tests = sorted((test for test in paths_of(mutant.killers) if before.passed(test)), key=before.cost)
    seeds = [str(seed) for seed in mutant.seeds if before.passed(f"seed {seed}")]
    why = "nothing that passes without it is named that could notice it"
    for kind, what in (("tests", tests), ("seeds", seeds)):
        if not what:
            continue
        verdict = trial(Task(mutant, kind, tuple(what)))
        cpu += verdict.cpu
        if verdict.killed:
            return Outcome(mutant, verdict.failed[0], verdict.why, time.monotonic() - began, cpu)
        why = verdict.trouble or f"{verdict.ran} {kind} ran and all passed"
    return Outcome(mutant, "", why, time.monotonic() - began, cpu)


def run_all(mutants: Sequence[Mutant], *, seeds: int) -> int:
    """Every mutant against what is named to notice it, and then against so many seeds."""
    began = time.monotonic()
    before = baseline(mutants)
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in as_completed([pool.submit(judge, mutant, before) for mutant in mutants]):
            outcome = done.result()
            outcomes.append(outcome)
            state = "killed  " if outcome.by else "SURVIVED"
            by = outcome.by.removeprefix("tests/") or outcome.why
            print(f"{state} {outcome.mutant.name:<44} {outcome.seconds:5.1f} s  {by}", flush=True)
        if seeds:
            verdicts = pool.map(lambda mutant: play(mutant, seeds), mutants)
            for mutant, verdict in zip(mutants, verdicts, strict=True):
                noticed = f"{len(verdict.failed)} of {verdict.ran} seeds notice"
                print(f"{noticed:<28} {mutant.name}  {verdict.trouble or verdict.why}", flush=True)
    survived = [outcome for outcome in outcomes if not outcome.by]
    by_seeds = sum(outcome.by_seed for outcome in outcomes)
    killed = len(outcomes) - len(survived)
    cpu = before.cpu + sum(outcome.cpu for outcome in outcomes)
    print(f"{time.monotonic() - began:.0f} s, {cpu:.0f} s of the processor")
    print(
        f"mutants total={len(outcomes)} killed={killed} survived={len(survived)} "
        f"by_directed={killed - by_seeds} by_seeds={by_seeds}"
    )
    return 1 if survived or not outcomes or not before.sound else 0


def stale_text(mutant: Mutant) -> str:
    """Which of its texts no longer stands in the source; empty if all do."""
    try:
        sources_of(mutant)
    except DoesNotApplyError as error:
        return str(error)
    return ""


def play(mutant: Mutant, seeds: int) -> Verdict:
    """How many of the simulator's stories notice it; in a night there is time for all of them."""
    task = Task(mutant, "seeds", tuple(map(str, range(seeds))), exhaustive=True)
    return trial(task, patience=4 * 3600)


def find(mutant: Mutant) -> int:
    """Everything that notices one mutant, among all tests of the chain and the first seeds."""
    began = time.monotonic()
    for kind, what in (("tests", paths_of(BROAD)), ("seeds", map(str, range(100)))):
        verdict = trial(Task(mutant, kind, tuple(what), exhaustive=True), patience=900)
        for name in verdict.failed:
            print(f"{verdict.seconds[name]:6.2f} s  {name}")
        print(f"{len(verdict.failed)} of {verdict.ran} {kind} notice {mutant.name}: {verdict.why}")
        if verdict.trouble:
            print(verdict.trouble)
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=list(CATALOGUE), help="these mutants alone"
    )
    parser.add_argument(
        "--find", metavar="NAME", choices=list(CATALOGUE), help="look for whatever notices it"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="play so many seeds against each as well")
    parser.add_argument(
        "--list", action="store_true", help="the names, and the rule that each of them breaks"
    )
    given = parser.parse_args()
    if given.list:
        for mutant in CATALOGUE.values():
            print(f"{mutant.name:<44} {mutant.rule}")
        return 0
    if given.find:
        return find(CATALOGUE[given.find])
    chosen = [CATALOGUE[name] for name in given.only or CATALOGUE]
    nightly = NIGHTLY_SEEDS if os.environ.get("NIGHTLY") == "1" else 0
    return run_all(chosen, seeds=given.seeds or nightly)


if __name__ == "__main__":
    sys.exit(main())
