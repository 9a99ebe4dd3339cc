"""What the ends of a new link tell one another, and how lanes are rebuilt after a restart.

Idempotent: it mends a lost link, a crash and a missing link between two others alike.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from chain.block import Head
from chain.broadcast import Broadcast
from chain.codec import decode
from chain.errors import MalformedError
from chain.ids import MemberId
from chain.lane import Lane
from chain.message import (
    MAX_ENVELOPE,
    Accusation,
    Ack,
    Message,
    Rounds,
    SlotCertificate,
    SlotMessage,
    Standing,
)
from chain.records import KeepSlot

T = TypeVar("T")

ACKS, CERTIFICATES = LANE_JOURNAL = ("ack:", "cert:")
"""What the journal keeps of an epoch's lanes; void with the epoch."""


def standing_of(broadcast: Broadcast, place: int, *, rounds: Rounds) -> Standing:
    """How far we know one member's own signatures to go."""
    head, last = broadcast.lanes[place].head, broadcast.last_ack.get(place)
    return Standing(head.seq, head.id, last.ackseq if last else 0, rounds)


def what_peer_lacks(
    broadcast: Broadcast, peer: int, *, linked: frozenset[MemberId], has_of_mine: int
) -> Iterator[Message]:
    """Our slots and acks, those of members the peer is not linked to, and whatever lies on frozen lanes.

    Who lost its own lane learns of it by the acks, and asks for it.
    """
    me = broadcast.epoch.me
    for lane in broadcast.lanes:
        owner = broadcast.epoch.identity(lane.place)
        if lane.frozen is not None:
            yield Accusation(lane.frozen)
            yield from broadcast.certified_slots(lane)
        elif lane.place == me or (lane.place != peer and owner not in linked):
            have = has_of_mine if lane.place == me else lane.base.seq
            for kept in broadcast.branch(lane.place, have=have, head=lane.head):
                yield SlotMessage(kept.slot, kept.bodies)
    sent: list[Ack] = []
    for lane in broadcast.lanes:
        for acker, heads in lane.acks.items():
            if acker == me or (acker != peer and broadcast.epoch.identity(acker) not in linked):
                sent.extend(ack for _, ack in heads if ack not in sent)
    yield from sent


def signed_beyond(broadcast: Broadcast, peer: int, claimed: Standing) -> Iterator[Message]:
    """What a peer signed itself and, by its own account, does not have: it lost its journal."""
    lane, last = broadcast.lanes[peer], broadcast.last_ack.get(peer)
    if lane.path and lane.head.seq > claimed.seq:
        kept = broadcast.slots[lane.path[-1]]
        yield SlotMessage(kept.slot, kept.bodies)
    if last is not None and last.ackseq > claimed.ackseq:
        yield last


def restore_lanes(
    broadcast: Broadcast, slots: Sequence[KeepSlot], journal: Sequence[tuple[str, bytes]]
) -> None:
    """Rebuild from what was kept: held slots, our acks, and the certificates of frozen lanes."""
    for kept in slots:
        lane = broadcast.lanes[kept.slot.lane]
        if lane.in_window(kept.slot.seq):
            broadcast.slots[kept.id] = kept
            lane.held_at.setdefault(kept.slot.seq, []).append(kept.id)
            lane.first_seen.setdefault(kept.slot.seq, (kept.id, kept.slot))
    acks: list[Ack] = []
    for key, message in journal:
        if key.startswith(ACKS):
            acks.append(restored(message, Ack))
        elif key.startswith(CERTIFICATES):
            shown = restored(message, SlotCertificate)
            if broadcast.lanes[shown.lane].in_window(shown.head.seq):
                broadcast.lanes[shown.lane].certificate = shown
            acks.extend(shown.acks)
    mine = [ack for ack in acks if ack.signer == broadcast.epoch.me]
    broadcast.ackseq = max((ack.ackseq for ack in mine), default=0)
    for lane in broadcast.lanes:
        acked = [head for ack in mine for place, head in ack.entries if place == lane.place]
        _restore_path(broadcast, lane, max(acked, key=lambda head: head.seq, default=lane.base))
    for ack in acks:
        last = broadcast.last_ack.get(ack.signer)
        if last is None or last.ackseq < ack.ackseq:
            broadcast.last_ack[ack.signer] = ack
        for place, head in ack.entries:
            if broadcast.lanes[place].in_window(head.seq):
                broadcast.lanes[place].record_ack(ack.signer, head, ack, broadcast.slots)


def _restore_path(broadcast: Broadcast, lane: Lane, acked: Head) -> None:
    """The branch we acked first, then what follows it while the lane is not frozen."""
    lane.path = [kept.id for kept in broadcast.branch(lane.place, have=lane.base.seq, head=acked)]
    lane.acked_seq = acked.seq
    while True:
        following = [
            slot_id
            for slot_id in lane.held_at.get(lane.head.seq + 1, ())
            if lane.extends(broadcast.slots[slot_id].slot)
        ]
        if not following:
            return
        lane.path.append(following[0])


def restored(message: bytes, kind: type[T]) -> T:
    """Decode a journal entry; the store verified it when it was opened."""
    try:
        return decode(message, kind, limit=MAX_ENVELOPE)
    except MalformedError as error:
        raise AssertionError(f"a verified journal entry is no {kind.__name__}") from error
