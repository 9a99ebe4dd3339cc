"""One seed, one story: which family of stories it belongs to, and how it is played.

A family is a kind of trouble; everything in a story is drawn from its seed, in one order.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tests.simulation.counts import Counts
from tests.simulation.disks import Archive
from tests.simulation.gathering import Gathering
from tests.simulation.overwhelmed import Overwhelmed
from tests.simulation.siege import Siege
from tests.simulation.twin_story import TwinStory

Trace = Callable[[str], None] | None


class Story(Protocol):
    """A run that has not been played yet."""

    def play(self) -> Counts:
        """To its end; raises Violation, or whatever the chain itself trips over."""
        ...


FAMILIES: Mapping[str, Callable[[int, Trace], Story]] = {
    "twin": TwinStory,
    "siege": Siege,
    "disks": Archive,
    "overwhelmed": Overwhelmed,
    "gathering": Gathering,
}
_TURNS: Sequence[str] = (*["siege"] * 18, *["gathering"] * 5, *["twin"] * 4, *["disks"] * 2, "overwhelmed")
"""Which family the seeds belong to, in turn."""


def family_of(seed: int) -> str:
    return _TURNS[seed % len(_TURNS)]


def run_seed(seed: int, trace: Trace = None, *, family: str | None = None) -> Counts:
    """Play one story of this family, or of the seed's own."""
    return FAMILIES[family or family_of(seed)](seed, trace).play()
