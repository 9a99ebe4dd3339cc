"""One trial: a process of its own switches a mutant on (or none), runs tests or seeds, and gives one verdict.

The process is forked from one that has imported what is not ours: fresh as far as the chain is concerned,
and there in no time.
"""

import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.mutants.mutation import ROOT, Mutant, install

OUR_OWN_FAULT = (
    "NameError",
    "AttributeError",
    "TypeError",
    "ImportError",
    "SyntaxError",
    "UnboundLocalError",
)
"""A mutant that trips over its own words has broken no rule."""
NOT_OURS = ["pytest", "hypothesis.internal.conjecture.engine", "trio", "nacl.signing", "msgspec", "sqlite3"]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(NOT_OURS)


@dataclass
class Verdict:
    """What a trial showed."""

    ran: int = 0
    """Tests, or seeds."""
    failed: list[str] = field(default_factory=list)
    """Which of them failed; seeds as `seed 17`."""
    why: str = ""
    """Of the first that failed: the error's name and its first line."""
    trouble: str = ""
    """Why this is no verdict at all."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each took."""
    cpu: float = 0.0
    """Seconds of the processor, for all of it."""

    @property
    def killed(self) -> bool:
        return bool(self.failed) and not self.trouble


@dataclass(frozen=True, slots=True)
class Task:
    """What one trial is to run."""

    mutant: Mutant | None
    kind: str
    """`tests`, by their ids, or `seeds`."""
    what: tuple[str, ...]
    exhaustive: bool = False
    """To the end, and not only until the first fails."""


def trial(task: Task, *, patience: float = 60.0) -> Verdict:
    """Carry it out; it is given up after `patience` seconds, which is no verdict."""
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = _processes.Pipe(duplex=False)
        process = _processes.Process(target=_attempt, args=(theirs, task, scratch), daemon=True)
        process.start()
        theirs.close()
        try:
            if not ours.poll(patience):
                return Verdict(trouble=f"no end after {patience:.0f} s")
            verdict = ours.recv()
        except EOFError:
            return Verdict(trouble=f"no verdict; it said: {_said(scratch)[-300:]}")
        finally:
            process.kill()
            process.join()
            ours.close()
        assert isinstance(verdict, Verdict)
        if verdict.trouble:
            errors = [line for line in _said(scratch).splitlines() if line.startswith("ERROR")]
            verdict.trouble = "\n    ".join((verdict.trouble, *errors[:5]))
        return verdict


def _said(scratch: str) -> str:
    output = Path(scratch, "output")
    return output.read_text(errors="replace") if output.exists() else ""


def _attempt(answer: Connection, task: Task, scratch: str) -> None:
    """In the new process: all that is printed goes to a file, and what Hypothesis keeps beside it."""
    output = os.open(Path(scratch, "output"), os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
    if task.mutant is not None:
        install(task.mutant)
    verdict = _run_tests(task) if task.kind == "tests" else _run_seeds(task)
    if verdict.why.startswith(OUR_OWN_FAULT):
        verdict.trouble = f"the mutant itself is broken: {verdict.why}"
    verdict.cpu = time.process_time()
    answer.send(verdict)
    answer.close()


class _Listener:
    """A pytest plugin that notes what failed, where, and by which error."""

    def __init__(self) -> None:
        self.verdict = Verdict()

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.when == "call":
            self.verdict.ran += 1
            self.verdict.seconds[item.nodeid] = call.duration
        if call.excinfo is None:
            return
        name = call.excinfo.type.__name__
        if call.when != "call":
            self.verdict.trouble = f"{call.when} of {item.nodeid}: {name}"
            return
        self.verdict.failed.append(item.nodeid)
        lines = str(call.excinfo.value).splitlines()
        self.verdict.why = self.verdict.why or f"{name}: {lines[0] if lines else ''}"[:160]


def _run_tests(task: Task) -> Verdict:
    import pytest

    listener = _Listener()
    options = ["-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--tb=short"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins that were imported before
    code = pytest.main([*options, *([] if task.exhaustive else ["-x"]), *task.what], plugins=[listener])
    verdict = listener.verdict
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        verdict.trouble = f"pytest ended with {code!s}"
    elif not verdict.ran and not verdict.trouble:
        verdict.trouble = "no test ran"
    return verdict


def _run_seeds(task: Task) -> Verdict:
    from tests.simulation.run import attempt

    verdict = Verdict()
    for seed in task.what:
        began = time.monotonic()
        _, counts, problem = attempt(int(seed))
        verdict.ran += 1
        verdict.seconds[f"seed {seed}"] = time.monotonic() - began
        if counts is None:
            verdict.failed.append(f"seed {seed}")
            verdict.why = verdict.why or problem[:160]
            if not task.exhaustive:
                break
    return verdict
