"""Bytes that are nearly right: sound samples with something in them changed, by a seed and an index.

What comes out depends on the decoder's name, the seed and the index alone, so that any input can be made
again.
"""

import random
from collections.abc import Callable, Sequence

from tests.fuzz.forms import NUMBERS, Form, Part

UNCHANGED, NOISE = 0.03, 0.02
"""How many inputs are samples as they are, and how many are no samples at all."""
_EDGES = (0, 1, 0x7F, 0x80, 0xFF)
_MAX_PARTS = 4096
MAX_GROWTH = 1 << 17
"""Bytes that one mutation may add; longer inputs come from the samples."""


class Mutator:
    """Makes the inputs of one decoder out of its samples."""

    def __init__(self, samples: Sequence[bytes], form: Form) -> None:
        assert samples, "a decoder without a sample would be fed noise"
        self._samples = list(samples)
        self._form = form
        self._parts = [self._parts_of(sample) for sample in samples]

    def _parts_of(self, sample: bytes) -> Sequence[Part]:
        parts = [part for part in self._form.parts(sample) if part[0] < part[1]] or [(0, len(sample))]
        return parts[-_MAX_PARTS:]

    def input(self, dice: random.Random) -> tuple[bytes, bool]:
        """One input, and whether it is a sample as it is."""
        which = dice.randrange(len(self._samples))
        sample, chance = self._samples[which], dice.random()
        if chance < UNCHANGED:
            return sample, True
        if chance < UNCHANGED + NOISE:
            return dice.randbytes(dice.choice((0, 1, 2, 3, 20, 64, 500))), False
        if not sample:
            return dice.choice(self._form.odd), False
        data = self._structural(which, dice) if dice.random() < 0.7 else sample
        for _ in range(dice.choice((0, 1, 1, 2, 6)) if data is not sample else dice.choice((1, 1, 2, 6))):
            data = self.blind(data, dice)
        return data, False

    def _structural(self, which: int, dice: random.Random) -> bytes:
        """One part of the sample deleted, repeated, exchanged, replaced or written otherwise."""
        sample, parts = self._samples[which], self._parts[which]
        start, end = dice.choice(parts)
        part = sample[start:end]
        match dice.randrange(8):
            case 0:
                new = b""
            case 1:
                new = part * dice.choice((2, 2, 3, min(40, MAX_GROWTH // len(part) + 1)))
            case 2:
                new = self._foreign_part(dice)
            case 3 | 4:
                new = dice.choice(self._form.odd)
            case 5:
                new = self._form.rewrite(part, dice)
            case 6:
                low, high = sorted((parts[dice.randrange(len(parts))], (start, end)))
                if low[1] <= high[0]:  # two that do not lie in one another change places
                    between = sample[low[1] : high[0]]
                    return (
                        sample[: low[0]]
                        + sample[high[0] : high[1]]
                        + between
                        + sample[low[0] : low[1]]
                        + sample[high[1] :]
                    )
                new = part[::-1]
            case _:
                new = dice.randbytes(len(part)) if len(part) < MAX_GROWTH else b""
        return sample[:start] + new + sample[end:]

    def _foreign_part(self, dice: random.Random) -> bytes:
        other = dice.randrange(len(self._samples))
        start, end = dice.choice(self._parts[other])
        return self._samples[other][start:end]

    def blind(self, data: bytes, dice: random.Random) -> bytes:
        """A change that knows nothing of the form."""
        if not data:
            return dice.randbytes(1)
        at = dice.randrange(len(data))
        match dice.randrange(8):
            case 0 | 1:
                return data[:at] + bytes((data[at] ^ 1 << dice.randrange(8),)) + data[at + 1 :]
            case 2:
                return data[:at] + bytes((dice.choice(_EDGES),)) + data[at + 1 :]
            case 3:
                return data[:at]
            case 4:
                return data + dice.choice((b"\x00", b"\xff", data[:at], dice.randbytes(9)))[:MAX_GROWTH]
            case 5:
                number = dice.choice(NUMBERS)
                return data[:at] + number + data[at + len(number) :]
            case 6:
                return data[:at] + dice.randbytes(dice.randrange(1, 5)) + data[at:]
            case _:
                return data[:at] + data[at + dice.randrange(1, 9) :]


def dice_for(decoder: str, *, seed: int, index: int) -> random.Random:
    """What decides everything about one input."""
    return random.Random(f"{decoder}/{seed}/{index}")


Finish = Callable[[bytes, random.Random], bytes]
"""The last touch of an input: sealed, signed or summed anew, so that it gets past the outermost check."""
