"""The one order of a block's slots: lanes in member order, each as far as its dependencies are out."""

from collections.abc import Iterator

from chain.block import Head, Slot
from chain.errors import InvalidBlockError
from chain.ids import SlotId

LaneSlots = dict[int, list[tuple[SlotId, Slot]]]
"""For each lane that moved, its slots after the last cut up to the new one, in order."""


def linearize(slots: LaneSlots, *, after: tuple[Head, ...]) -> Iterator[tuple[SlotId, Slot]]:
    """Walk the lanes again and again, emitting each while its next slot's deps are emitted or old.

    Depends on the set of slots only, so the leader who chose the set has no say in the order.
    Raises InvalidBlockError if the set is not closed under deps.
    """
    emitted = [head.seq for head in after]
    left = {lane: list(reversed(chain)) for lane, chain in sorted(slots.items()) if chain}
    while left:
        moved = False
        for lane in list(left):
            chain = left[lane]
            while chain and all(dep.seq <= emitted[dep.lane] for dep in chain[-1][1].deps):
                slot_id, slot = chain.pop()
                emitted[lane] = slot.seq
                moved = True
                yield slot_id, slot
            if not chain:
                del left[lane]
        if not moved:
            raise InvalidBlockError("the cut is not closed under dependencies")
