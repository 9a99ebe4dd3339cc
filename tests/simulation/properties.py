"""The properties every run must keep, checked the moment an honest node makes something durable.

What a node keeps it can never take back, so that is what is watched; liars are not.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from chain.block import Block, Body, Certificate, Head, Leaf, Slot, certificate_holds, leaves_of
from chain.committee import Committee
from chain.crypto import Verifier
from chain.ids import BlockId, MemberId, SlotId
from chain.ledger import first_cut, genesis_tip
from chain.records import KeepBlock, KeepEpoch, KeepSlot, Record
from tests.simulation.room import Room
from tests.simulation.signatures import SignatureLog, Violation


@dataclass
class Said:
    """One thing somebody said, and how far it is known to have got."""

    author: MemberId
    uuid: bytes
    honest: bool
    pending: bool = False
    """Its author's node promised that it is safe."""
    ordered: int = 0
    """How many times it stands in the log."""


@dataclass
class Seen:
    """What one honest node made durable, and when it told its user."""

    height: int = 0
    history: set[int] = field(default_factory=set)
    """Heights of the blocks it holds."""
    starts: set[int] = field(default_factory=set)
    """Heights of final blocks it began from, without what came before."""
    shown: dict[int, float] = field(default_factory=dict)
    """When each height was shown as ordered, in seconds."""
    delivered_when: dict[SlotId, float] = field(default_factory=dict)
    slots: set[SlotId] = field(default_factory=set)
    """What it ever kept, with all bodies."""


class Properties:
    """The observer of a whole room. Every method raises Violation when a property is broken."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.signatures = SignatureLog()
        self.spoken: dict[bytes, Said] = {}
        """By uuid."""
        self.blocks: dict[int, KeepBlock] = {}
        self.log: list[Leaf] = []
        self.nodes: dict[str, Seen] = {}
        self._ids: dict[int, BlockId] = {}
        self._by_commitment: dict[bytes, Said] = {}
        self._slots: dict[SlotId, KeepSlot] = {}
        self._epochs_of: dict[bytes, set[int]] = {}
        """In which epochs' slots a message was seen: one that was not ordered in the first comes again."""
        self._delivered: dict[tuple[int, int, int], SlotId] = {}
        start = genesis_tip(room.genesis)
        self._committees: dict[int, Committee] = {0: start.committee}
        self._cut = start.cut
        self._verify: Verifier = room.scheme.verify

    # While it runs

    def said(self, body: Body, *, author: MemberId, honest: bool) -> None:
        said = Said(author, body.data[:16], honest)
        if honest:
            self.spoken[said.uuid] = said
        else:
            self.spoken.setdefault(said.uuid, said)  # a liar may take another's uuid
        self._by_commitment[body.commitment(room=self.room.id, author=author)] = said

    def pending(self, uuid: bytes) -> None:
        """A node promised its user that this is safe."""
        self.spoken[uuid].pending = True

    def kept(self, name: str, records: Iterable[Record]) -> None:
        """An honest node made these records durable."""
        seen = self.nodes.setdefault(name, Seen())
        for record in records:
            match record:
                case KeepSlot():
                    self._slot(record)
                    seen.slots.add(record.id)
                case KeepEpoch(final=final, certificate=certificate):
                    self._agree(final.height, final.id(self.room.id))
                    self._begin(final, certificate)
                    if final.height not in seen.history:
                        seen.starts.add(final.height)
                        seen.height = max(seen.height, final.height)
                case KeepBlock():
                    self._block(name, seen, record)
                case _:
                    pass

    def forget(self, name: str) -> None:
        """This node's disk went back in time; what it signed before still counts."""
        del self.nodes[name]

    def slot(self, slot_id: SlotId) -> Slot:
        """A slot that some honest node kept."""
        return self._slots[slot_id].slot

    def _agree(self, height: int, block: BlockId) -> None:
        if self._ids.setdefault(height, block) != block:
            raise Violation(f"two blocks at height {height}")

    def _begin(self, final: Block, certificate: Certificate) -> None:
        committee = self._committees.get(final.epoch)
        if committee is None or final.next_committee is None:
            raise Violation(f"epoch {final.epoch} ends with a block that ends nothing")
        held = certificate_holds(
            certificate, final, room=self.room.id, committee=committee, verify=self._verify
        )
        if not held:
            raise Violation(f"block {final.height} ends epoch {final.epoch} without a certificate")
        self._committees[final.epoch + 1] = final.next_committee

    def _slot(self, keep: KeepSlot) -> None:
        """Integrity: kept are only slots that their owner signed, with the bodies they commit to."""
        slot, room = keep.slot, self.room.id
        member = self._committees[slot.epoch].members[slot.lane]
        if slot.id(room) != keep.id or not self._verify(member.vote_key, slot.preimage(room), slot.signature):
            raise Violation(f"kept a slot that {member.nick} did not sign")
        made = tuple(body.commitment(room=room, author=member.identity) for body in keep.bodies)
        if made != slot.commitments and keep.bodies:
            raise Violation(f"kept a slot of {member.nick} with other bodies")
        self._slots.setdefault(keep.id, keep)
        for body in keep.bodies:
            self._epochs_of.setdefault(body.data[:16], set()).add(slot.epoch)

    def _block(self, name: str, seen: Seen, keep: KeepBlock) -> None:
        height = keep.block.height
        self._agree(height, keep.id)
        follows = height == 1 or height - 1 in seen.history or height - 1 in seen.starts
        if height in seen.history or not follows:
            raise Violation(f"{name} keeps block {height} out of turn")
        seen.history.add(height)
        seen.height = max(seen.height, height)
        if height in self.blocks:
            if self.blocks[height].items != keep.items:
                raise Violation(f"{name} orders other items at height {height}")
        else:
            self._first_at_height(keep)

    def _first_at_height(self, keep: KeepBlock) -> None:
        """The first honest node commits this height: hold its content to every rule."""
        block = keep.block
        committee = self._committees[block.epoch]
        if block.id(self.room.id) != keep.id or not certificate_holds(
            keep.certificate, block, room=self.room.id, committee=committee, verify=self._verify
        ):
            raise Violation(f"block {block.height} has no certificate")
        if [index for index, _ in keep.items] != list(range(len(self.log), len(self.log) + len(keep.items))):
            raise Violation(f"block {block.height} leaves a hole in the log")
        batch = self._batch(block, self._cut)
        expected = [
            leaf
            for slot_id, slot in batch.items()
            for leaf in leaves_of(slot, slot_id=slot_id, author=committee.members[slot.lane].identity)
        ]
        leaves = [leaf for _, leaf in keep.items]
        if len(leaves) != len(expected) or set(leaves) != set(expected):
            raise Violation(f"block {block.height} does not hold exactly the items of its cut")
        self._in_causal_order(leaves, batch)
        if block.height > self.room.tip.height:
            self._held_by_enough(block, batch, committee)
        for leaf in leaves:
            if isinstance(leaf.content, bytes):
                self._count(leaf.author, leaf.content)
        self.log += leaves
        self.blocks[block.height] = keep
        ends = block.next_committee
        self._cut = first_cut(ends.n, keep.id) if ends else block.cut

    def _batch(self, block: Block, old: tuple[Head, ...]) -> dict[SlotId, Slot]:
        """The slots of the cut, by walking each lane back to the cut before."""
        batch: dict[SlotId, Slot] = {}
        for lane, (base, head) in enumerate(zip(old, block.cut, strict=True)):
            slot_id, seq = head.id, head.seq
            while seq > base.seq:
                keep = self._slots.get(slot_id)
                if keep is None or keep.slot.position != (lane, seq):
                    raise Violation(f"block {block.height} orders a slot that nobody holds")
                certain = self._delivered.get((block.epoch, lane, seq), slot_id)
                if certain != slot_id:
                    raise Violation(f"block {block.height} orders another slot than was delivered")
                batch[slot_id] = keep.slot
                slot_id, seq = keep.slot.prev, seq - 1
            if slot_id != base.id:
                raise Violation(f"block {block.height} forks lane {lane} below the cut")
        return batch

    def _held_by_enough(self, block: Block, batch: Iterable[SlotId], committee: Committee) -> None:
        """Who prevotes holds every slot with its bodies: of a quorum all but the liars really do."""
        needed = committee.quorum - committee.f
        for slot_id in batch:
            if sum(slot_id in seen.slots for seen in self.nodes.values()) < needed:
                raise Violation(f"block {block.height} orders a slot that fewer than {needed} hold")

    def _in_causal_order(self, leaves: list[Leaf], batch: dict[SlotId, Slot]) -> None:
        """Slots whole, each after its predecessor and its deps, items in their order inside."""
        order = list(dict.fromkeys(leaf.slot for leaf in leaves))
        if [leaf.position for leaf in leaves] != [
            position
            for slot_id in order
            for position in range(len(batch[slot_id].control) + len(batch[slot_id].commitments))
        ]:
            raise Violation("the items of a slot are torn apart")
        place = {slot_id: index for index, slot_id in enumerate(order)}
        for slot_id, index in place.items():
            slot = batch[slot_id]
            for before in (slot.prev, *(dep.id for dep in slot.deps)):
                if place.get(before, -1) >= index:
                    raise Violation(f"slot {slot.position} stands before what it refers to")

    def _count(self, author: MemberId, commitment: bytes) -> None:
        said = self._by_commitment.get(commitment)
        if said is None:
            raise Violation("something is ordered that nobody said")
        if said.author != author:
            raise Violation("something is ordered under another name")
        said.ordered += 1
        if said.honest and said.ordered > 1:
            raise Violation("an honest member's message is ordered twice")

    def delivered(
        self, name: str, keep: KeepSlot, *, cut: tuple[Head, ...], earlier: Container[SlotId], at: float
    ) -> None:
        """An honest node's broadcast delivered a slot: consistency, no duplication, causal order.

        What it refers to it delivered `earlier`, or it lies at or below its `cut`.
        """
        slot, seen = keep.slot, self.nodes[name]
        if keep.id in seen.delivered_when:
            return
        before = [(slot.lane, slot.seq - 1, slot.prev), *((dep.lane, dep.seq, dep.id) for dep in slot.deps)]
        for lane, seq, slot_id in before:
            if seq > cut[lane].seq and slot_id not in earlier:
                raise Violation(f"{name} delivers {slot.position} before what it refers to")
        position = (slot.epoch, slot.lane, slot.seq)
        if self._delivered.setdefault(position, keep.id) != keep.id:
            raise Violation(f"{name} delivers another slot than others at {position}")
        if keep.id not in self._slots:
            raise Violation(f"{name} delivers a slot it did not keep")
        seen.delivered_when.setdefault(keep.id, at)

    def own_delivered(self, name: str, uuid: bytes, acks: int) -> None:
        """A node told its user that a message of its own is certified."""
        epochs = self._epochs_of.get(uuid, set())
        if not any(acks >= self._committees[epoch].quorum for epoch in epochs):
            raise Violation(f"{name} claims a delivery with {acks} members behind it")

    def ordered(self, name: str, height: int, items: tuple[tuple[int, Leaf], ...], *, at: float) -> None:
        """A node shows a block: only what it keeps, and once."""
        seen = self.nodes[name]
        if height not in seen.history or self.blocks[height].items != items:
            raise Violation(f"{name} shows block {height} before it is safe")
        seen.shown[height] = at
