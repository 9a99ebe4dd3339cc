"""A slice of `make sim` that fits into the test suite."""

import os
import subprocess
import sys
import time

from tests.simulation.counts import Counts
from tests.simulation.run import REPLAY, attempt

SLICE_SECONDS = 15
"""The slice ends early on a slow machine rather than hold up the suite."""
SEEDS = ["3", "17", "20", "41"]


def test_a_slice_of_seeds_keeps_every_property() -> None:
    began, total = time.monotonic(), Counts()
    for seed in range(100_000, 100_060):
        _, counts, problem = attempt(seed)
        assert counts is not None, f"{problem}\n    replay: {REPLAY} {seed}"
        total.add(counts)
        if time.monotonic() - began > SLICE_SECONDS:
            break
    assert min(total.faults, total.tally["links_cut"], total.tally["evidence_found"], total.blocks) > 0


def test_a_seed_replays_to_the_letter_in_another_process() -> None:
    """Whatever the hashes of strings and bytes are there, and in which order sets are walked."""
    digests = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.run", "--digest", *SEEDS],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(digests) == 1
