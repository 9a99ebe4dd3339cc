"""A slot's certificate in one piece: it convinces whoever gets it, whatever else its ackers signed.

Of each acker only so many heads are remembered, so a liar can push any one of its acks out of that, or have
no room left for it. What one honest member delivered must not depend on whose acks another one remembers.
"""

from collections.abc import Mapping

from chain.block import Head, SlotStub
from chain.epoch import Epoch
from chain.ids import SlotId
from chain.lane import Lane
from chain.message import Ack, SlotCertificate
from chain.records import KeepSlot


def certificate_of(lane: Lane, head: Head, *, epoch: Epoch, slots: dict[SlotId, KeepSlot]) -> SlotCertificate:
    """What certifies this slot, from the acks that we remember; it has enough of them."""
    acks: list[Ack] = []
    chain: dict[SlotId, SlotStub] = {}
    shown = lane.shown_by(head, slots)
    nearest = sorted(shown, key=lambda acker: (shown[acker][0].seq, acker))
    for acker in sorted(nearest[: epoch.committee.quorum - 1]):
        acked, ack = shown[acker]
        acks.append(ack)
        slot_id = acked.id
        while slot_id != head.id and slot_id not in chain:
            chain[slot_id] = slots[slot_id].slot.stub(epoch.room)
            slot_id = chain[slot_id].prev
    return SlotCertificate(epoch.number, lane.place, head, tuple(acks), tuple(chain.values()))


def is_certificate(message: SlotCertificate, *, epoch: Epoch) -> bool:
    """Whether a quorum of this epoch, the lane's owner among it, vouches for the slot that it names."""
    signers = {ack.signer for ack in message.acks} - {message.lane}
    if message.epoch != epoch.number or len(signers) != len(message.acks):
        return False
    if 1 + len(signers) < epoch.committee.quorum:
        return False
    chain = {stub.id(epoch.room): stub for stub in message.chain}
    return all(
        ack.epoch == epoch.number and _leads_to(message, ack, chain) and epoch.signature_holds(ack)
        for ack in message.acks
    )


def _leads_to(message: SlotCertificate, ack: Ack, chain: Mapping[SlotId, SlotStub]) -> bool:
    """Whether what was acked in that lane is the slot, or follows it by this chain."""
    heads = [head for lane, head in ack.entries if lane == message.lane]
    if len(heads) != 1:
        return False
    acked, slot_id = heads[0], heads[0].id
    for seq in range(acked.seq, message.head.seq, -1):
        stub = chain.get(slot_id)
        if stub is None or (stub.epoch, stub.lane, stub.seq) != (message.epoch, message.lane, seq):
            return False
        slot_id = stub.prev
    return acked.seq >= message.head.seq and slot_id == message.head.id
