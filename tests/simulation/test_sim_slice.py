"""A slice of `make sim` that fits into the test suite."""

import time

import pytest

from tests.simulation.run import REPLAY, attempt
from tests.simulation.scenario import Counts

SLICE_SECONDS = 15
"""The slice ends early on a slow machine rather than hold up the suite."""


def test_a_slice_of_seeds_keeps_every_property() -> None:
    began, total = time.monotonic(), Counts()
    for seed in range(100_000, 100_040):
        _, counts, problem = attempt(seed)
        assert counts is not None, f"{problem}\n    replay: {REPLAY} {seed}"
        total.add(counts)
        if time.monotonic() - began > SLICE_SECONDS:
            break
    assert min(total.crashes, total.links_cut, total.twins, total.blocks) > 0


@pytest.mark.parametrize("seed", [3, 17])
def test_a_seed_replays_to_the_letter(seed: int) -> None:
    first, second = attempt(seed), attempt(seed)
    assert first == second
    assert first[1] is not None
