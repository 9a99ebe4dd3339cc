"""Cuts through the lanes: what a leader may propose, what a voter can vouch for, which slots a cut orders."""

from collections.abc import Sequence

from chain.block import Head
from chain.broadcast import Broadcast
from chain.linearize import LaneSlots
from chain.records import KeepSlot


def heads_to_propose(broadcast: Broadcast) -> tuple[Head, ...]:
    """The furthest cut we could vote for ourselves, closed under dependencies."""
    chains: list[Sequence[KeepSlot]] = []
    for lane in broadcast.lanes:
        head = lane.delivered if lane.frozen else lane.head
        chains.append(broadcast.branch(lane.place, have=lane.base.seq, head=head))
    shrunk = True
    while shrunk:
        shrunk = False
        chosen = {kept.id for chain in chains for kept in chain}
        for place, chain in enumerate(chains):
            for index, kept in enumerate(chain):
                if not all(
                    dep.seq <= broadcast.lanes[dep.lane].base.seq or dep.id in chosen
                    for dep in kept.slot.deps
                ):
                    chains[place] = chain[:index]
                    shrunk = True
                    break
    return tuple(
        Head(chain[-1].slot.seq, chain[-1].id) if chain else lane.base
        for lane, chain in zip(broadcast.lanes, chains, strict=True)
    )


def slots_of(broadcast: Broadcast, cut: tuple[Head, ...]) -> tuple[LaneSlots, list[tuple[int, Head]]]:
    """The slots between the last cut and this one, and for each lane that is not whole what to pull."""
    slots: LaneSlots = {}
    missing: list[tuple[int, Head]] = []
    for lane, head in zip(broadcast.lanes, cut, strict=True):
        if head == lane.base:
            continue
        chain = broadcast.branch(lane.place, have=lane.base.seq, head=head)
        if chain and len(chain) == head.seq - lane.base.seq and chain[0].slot.prev == lane.base.id:
            slots[lane.place] = [(kept.id, kept.slot) for kept in chain]
        else:
            missing.append((lane.place, head))
    return slots, missing


def vouches_for(broadcast: Broadcast, place: int, head: Head) -> bool:
    """Whether we acked this head (or will at the end of this tick), or hold its certificate."""
    lane = broadcast.lanes[place]
    if head.seq <= lane.base.seq or (lane.on_path(head) and not lane.frozen):
        return True
    return (lane.on_path(head) and head.seq <= lane.acked_seq) or broadcast.is_certified(place, head)
