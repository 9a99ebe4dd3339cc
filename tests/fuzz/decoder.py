"""What is fuzzed: one decoder, the samples its inputs are made from, and what it may answer."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.fuzz.forms import Form
from tests.fuzz.mutate import Finish, Mutator

MINIMUM = 20_000
"""Inputs that each decoder gets in a full run, or the run fails."""

Feed = Callable[[bytes], object]
"""Takes one input: returns (accepted), raises one of the decoder's `refuses`, or Refused."""


class Refused(Exception):
    """Raised by a feed whose decoder says no in another way than by an exception."""


class Differs(Exception):
    """What was accepted is not what was sent: a fault of the decoder."""


def same(again: bytes, data: bytes) -> None:
    """What was accepted encodes to the very bytes it came from, or Differs."""
    if again != data:
        raise Differs(f"accepted, but encodes to {again[:200].hex()} ({len(again)} bytes)")


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A border that bytes from outside reach.

    A sample that nothing was done to must be accepted (`sound`). Whatever else a feed raises than `refuses`
    is a fault.
    """

    name: str
    form: Form
    samples: Callable[[], Sequence[bytes]]
    make: Callable[[], Feed]
    """Something new to be fed."""
    refuses: tuple[type[Exception], ...]
    finish: Finish | None = None
    life: int = 0
    """Inputs given to one thing before a new one is made; 0: it keeps nothing between them."""
    sound: bool = True
    """Whether a sample is accepted whatever came before it."""
    waits: bool = False
    """Whether the feed is a coroutine."""
    allowance: int = 16 << 20
    """Bytes of memory that one input may take, beyond a hundred for each of its own."""
    slow: float = 0.05
    """Seconds of processor time that one input may take."""
    share: float = 1.0
    """The part of the inputs that other decoders get which this one gets."""

    @property
    def mutator(self) -> Mutator:
        return _mutator(self)


@cache
def scratch() -> Path:
    """A directory of this process's own; the run removes it."""
    return Path(tempfile.mkdtemp(prefix="pigeon-fuzz-"))


@cache
def _mutator(decoder: Decoder) -> Mutator:
    return Mutator(decoder.samples(), decoder.form)
