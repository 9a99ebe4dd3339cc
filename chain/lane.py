"""One member's lane above the cut: the branch we hold and ack, what is delivered, and who acked what."""

from dataclasses import dataclass, field

from chain.block import Head, Slot
from chain.ids import SlotId
from chain.message import Ack, SlotCertificate
from chain.records import KeepSlot

WINDOW = 64
"""An author keeps at most so many slots above the cut; others hold twice as many of its."""
HEADS_PER_ACKER = 8


@dataclass(slots=True)
class Lane:
    """`path` are the ids of the branch we hold, one for each seq above `base`."""

    place: int
    base: Head
    delivered: Head
    path: list[SlotId] = field(default_factory=list)
    acked_seq: int = 0
    """How far our own acks go on `path`."""
    frozen: bytes | None = None
    """Evidence that the owner's key broke the protocol: nothing more of this lane is acked in this epoch."""
    first_seen: dict[int, tuple[SlotId, Slot]] = field(default_factory=dict)
    held_at: dict[int, list[SlotId]] = field(default_factory=dict)
    acks: dict[int, list[tuple[Head, Ack]]] = field(default_factory=dict)
    """For each acker the highest heads of the branches it acked, with the acks that say so."""
    in_cuts: dict[SlotId, int] = field(default_factory=dict)
    """Heads (with their seq) that proposed or certified cuts name and we do not hold."""
    certificate: SlotCertificate | None = None
    """Of the highest slot that we were shown one for, or had to show one for; it stands by itself."""
    flooded: int = 0
    """On a frozen lane: up to which seq its certified slots were sent to all."""

    @property
    def head(self) -> Head:
        return Head(self.base.seq + len(self.path), self.path[-1]) if self.path else self.base

    def on_path(self, head: Head) -> bool:
        if head == self.base:
            return True
        place = head.seq - self.base.seq - 1
        return 0 <= place < len(self.path) and self.path[place] == head.id

    def in_window(self, seq: int) -> bool:
        return self.base.seq < seq <= self.base.seq + 2 * WINDOW

    def extends(self, slot: Slot) -> bool:
        """Whether it is the next slot of the branch we ack."""
        head = self.head
        return self.frozen is None and slot.seq == head.seq + 1 and slot.prev == head.id

    def is_named(self, slot_id: SlotId) -> bool:
        """Whether an ack or a cut names this slot: then it is wanted even if it is a second for its place."""
        return (
            slot_id in self.in_cuts
            or (self.certificate is not None and self.certificate.head.id == slot_id)
            or any(head.id == slot_id for heads in self.acks.values() for head, _ in heads)
        )

    def descends(self, head: Head, ancestor: Head, slots: dict[SlotId, KeepSlot]) -> bool:
        """Whether `head` is `ancestor` or follows it, as far as the slots we hold can tell."""
        if head.seq < ancestor.seq:
            return False
        if self.on_path(head):
            return self.on_path(ancestor)
        seq, slot_id = head.seq, head.id
        while seq > ancestor.seq:
            held = slots.get(slot_id)
            if held is None:
                return False
            seq, slot_id = seq - 1, SlotId(held.slot.prev)
        return slot_id == ancestor.id

    def shown_by(self, head: Head, slots: dict[SlotId, KeepSlot]) -> dict[int, tuple[Head, Ack]]:
        """The ackers of this slot or a descendant, each with what shows it; the owner not counted."""
        found: dict[int, tuple[Head, Ack]] = {}
        for acker, heads in self.acks.items():
            for acked, ack in heads:
                if acker != self.place and self.descends(acked, head, slots):
                    found[acker] = acked, ack
                    break
        return found

    def supporters(self, head: Head, slots: dict[SlotId, KeepSlot]) -> set[int]:
        """Who vouches for this slot or a descendant, the owner not counted."""
        found = set(self.shown_by(head, slots))
        if self.certificate is not None and self.descends(self.certificate.head, head, slots):
            found.update(ack.signer for ack in self.certificate.acks)
        return found

    def record_ack(
        self, acker: int, head: Head, ack: Ack, slots: dict[SlotId, KeepSlot]
    ) -> tuple[bool, Head | None]:
        """Note that `acker` acked `head`; whether that is news, and which head found no room, if any."""
        heads = self.acks.setdefault(acker, [])
        if any(self.descends(known, head, slots) or known == head for known, _ in heads):
            return False, None
        heads[:] = [(known, by) for known, by in heads if not self.descends(head, known, slots)]
        gone = None
        if len(heads) >= HEADS_PER_ACKER:
            lowest = min(self._dispensable(heads, slots), key=lambda entry: entry[0].seq)
            if head.seq <= lowest[0].seq:
                return False, head  # or two of them would push each other out, and be passed on, for ever
            heads.remove(lowest)
            gone = lowest[0]
        heads.append((head, ack))
        return True, gone

    def _dispensable(
        self, heads: list[tuple[Head, Ack]], slots: dict[SlotId, KeepSlot]
    ) -> list[tuple[Head, Ack]]:
        """All but one that vouches for what is delivered: we may have to show by what it was certified."""
        if self.delivered == self.base:
            return heads
        needed = next((entry for entry in heads if self.descends(entry[0], self.delivered, slots)), None)
        return [entry for entry in heads if entry is not needed]

    def advance(self, cut: Head) -> None:
        """The cut moved: forget what lies at or below it, and any branch that does not pass through it."""
        kept = self.path[cut.seq - self.base.seq :] if self.on_path(cut) else []
        self.base, self.path = cut, kept
        if self.delivered.seq < cut.seq:
            self.delivered = cut
        if self.certificate is not None and self.certificate.head.seq <= cut.seq:
            self.certificate = None
        self.in_cuts = {slot_id: seq for slot_id, seq in self.in_cuts.items() if seq > cut.seq}
        self.first_seen = {seq: seen for seq, seen in self.first_seen.items() if seq > cut.seq}
        self.held_at = {seq: ids for seq, ids in self.held_at.items() if seq > cut.seq}
        for acker, heads in list(self.acks.items()):
            left = [(head, ack) for head, ack in heads if head.seq > cut.seq]
            if left:
                self.acks[acker] = left
            else:
                del self.acks[acker]
