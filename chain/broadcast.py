"""Byzantine reliable broadcast: each member owns a lane of signed slots, transferable acks certify prefixes.

Validity, no duplication, integrity, consistency and totality hold with f liars; nothing here waits for
time or for a leader. Cost: two network delays.
"""

from collections.abc import Iterator

from chain.block import SLOT_BODY_BYTES, SLOT_HEADER_BYTES, Body, Dep, Head, Slot, SlotStub
from chain.certified import certificate_of, is_certificate
from chain.codec import encode
from chain.control import Control
from chain.effects import Delivered, FaultKind
from chain.epoch import Epoch
from chain.evidence import SignedStub, TwoAcks, TwoSlots, parting
from chain.ids import MemberId, SlotId
from chain.lane import WINDOW, Lane
from chain.message import (
    UNSIGNED,
    Ack,
    Message,
    PullSlot,
    SlotCertificate,
    SlotMessage,
    signed,
)
from chain.parking import Parking
from chain.records import Journal, KeepSlot

CUTS_REMEMBERED = 64


class Broadcast:
    """All lanes of one epoch."""

    def __init__(self, epoch: Epoch, *, cut: tuple[Head, ...]) -> None:
        self.epoch = epoch
        self.lanes = [Lane(place, base, delivered=base) for place, base in enumerate(cut)]
        self.slots: dict[SlotId, KeepSlot] = {}
        self.delivered_at: dict[SlotId, float] = {}
        self.ackseq = 0
        self.last_ack: dict[int, Ack] = {}
        self._parking = Parking()
        self._doubtful = Parking()
        """Second slots for their places, each under its own id: one that follows may show that it counts."""
        self._asked: dict[SlotId, set[MemberId]] = {}
        """Whom we asked for which head."""

    # What we author

    @property
    def own(self) -> Lane:
        assert self.epoch.me is not None
        return self.lanes[self.epoch.me]

    def may_append(self) -> bool:
        """Whether a slot of ours fits into the window above the cut."""
        return self.epoch.signing and self.own.frozen is None and len(self.own.path) < WINDOW

    def append(
        self, bodies: tuple[Body, ...], control: tuple[Control, ...], *, claimed_time: int
    ) -> KeepSlot:
        """Broadcast a new slot of ours after our last one and all that we delivered."""
        me, key = self.epoch.signer
        head = self.own.head
        deps = tuple(
            Dep(lane.place, lane.delivered.seq, lane.delivered.id)
            for lane in self.lanes
            if lane.place != me and lane.delivered.seq > lane.base.seq
        )
        author = self.epoch.identity(me)
        slot = signed(
            Slot(
                epoch=self.epoch.number,
                lane=me,
                seq=head.seq + 1,
                prev=head.id,
                deps=deps,
                control=control,
                commitments=tuple(b.commitment(room=self.epoch.room, author=author) for b in bodies),
                claimed_time=claimed_time,
                signature=UNSIGNED,
            ),
            room=self.epoch.room,
            key=key,
        )
        kept = KeepSlot(slot.id(self.epoch.room), slot, bodies)
        self.own.first_seen[slot.seq] = kept.id, slot
        self._hold(kept)
        self.epoch.out.to_all(SlotMessage(slot, bodies))
        return kept

    def sign_acks(self) -> bool:
        """At the end of a tick: one ack for all lanes whose branch grew. The author acks by signing."""
        if not self.epoch.signing:
            return False
        me, key = self.epoch.signer
        dirty = [
            lane
            for lane in self.lanes
            if lane.place != me and lane.frozen is None and lane.head.seq > max(lane.acked_seq, lane.base.seq)
        ]
        if not dirty:
            return False
        self.ackseq += 1
        entries = tuple((lane.place, lane.head) for lane in dirty)
        unsigned = Ack(self.epoch.number, me, self.ackseq, entries, UNSIGNED)
        ack = signed(unsigned, room=self.epoch.room, key=key)
        self.last_ack[me] = ack
        for lane in dirty:
            lane.acked_seq = lane.head.seq
            lane.record_ack(me, lane.head, ack, self.slots)
            self.epoch.out.keep(Journal(f"ack:{lane.place}", encode(ack)))
        self.epoch.out.to_all(ack)
        return True

    # What arrives

    def on_slot(self, message: SlotMessage, *, peer: MemberId, awaited: bool = False) -> bool:
        """Take in a slot of this epoch with its bodies; true if it is new and worth relaying.

        `awaited`: a certified block orders a slot at its place, though perhaps another one.
        """
        slot, out = message.slot, self.epoch.out
        if slot.lane >= len(self.lanes):
            out.fault(peer, FaultKind.INVALID, "a slot of a lane that does not exist")
            return False
        lane = self.lanes[slot.lane]
        if not lane.in_window(slot.seq):
            return False  # settled, or its author is ahead of us or floods: catching up brings what matters
        slot_id = slot.id(self.epoch.room)
        if slot_id in self.slots or slot_id in self._parking:
            return False
        problem = self._problem_of(message)
        if problem:
            out.fault(peer, FaultKind.INVALID, problem)
            return False
        if not self.epoch.owner_signed(slot):
            out.fault(peer, FaultKind.WRONG_SIGNATURE, "a slot")
            return False
        kept = KeepSlot(slot_id, slot, message.bodies)
        first_id, first = lane.first_seen.setdefault(slot.seq, (slot_id, slot))
        if first_id != slot_id:
            self._caught(lane, first, slot)
            if not (lane.is_named(slot_id) or self._parking.waits_for(slot_id)):
                if awaited and slot_id not in self._doubtful:
                    self._doubtful.park(kept, waits_for=[slot_id], peer=peer)
                return False
        return self._take_in(kept, peer)

    def forget_doubtful(self) -> None:
        """Another answer begins: what an earlier one brought must not stand in its way."""
        self._doubtful = Parking()

    def _problem_of(self, message: SlotMessage) -> str | None:
        """What is wrong with a slot taken by itself, in a few words."""
        slot, bodies = message.slot, message.bodies
        lanes = [dep.lane for dep in slot.deps]
        if lanes != sorted(set(lanes)) or slot.lane in lanes or any(d >= len(self.lanes) for d in lanes):
            return "a slot with malformed dependencies"
        if any(dep.seq == 0 for dep in slot.deps) or not (slot.control or slot.commitments):
            return "an empty slot or dependency"
        if len(encode(slot)) > SLOT_HEADER_BYTES:
            return "a slot with too large a header"
        if len(bodies) != len(slot.commitments) or sum(len(b.data) for b in bodies) > SLOT_BODY_BYTES:
            return "a slot without its bodies, or with too much of them"
        author = self.epoch.identity(slot.lane)
        made = [body.commitment(room=self.epoch.room, author=author) for body in bodies]
        return None if made == list(slot.commitments) else "a body that its slot does not commit to"

    def _take_in(self, kept: KeepSlot, peer: MemberId) -> bool:
        """Hold a slot, and whatever waited for it; or park it. False if it can never be ordered."""
        waiting = [(kept, peer)]
        first = True
        while waiting:
            slot, sender = waiting.pop()
            missing = self._missing(slot.slot)
            if missing is None:
                if first:
                    return False  # whoever handed it on is not to blame for its branch
            elif missing:
                if self._parking.park(slot, waits_for=[head.id for _, head in missing], peer=sender):
                    for place, head in missing:
                        if named := self._doubtful.release(head.id):
                            waiting.extend(named)
                        else:
                            self.pull(place, head, peer=sender)
                elif first:
                    return False  # its owner has more waiting than anybody can need
            else:
                self._hold(slot)
                waiting.extend(self._parking.release(slot.id))
            first = False
        return True

    def _missing(self, slot: Slot) -> list[tuple[int, Head]] | None:
        """What the slot refers to that we do not hold; None if it refers to something it cannot follow."""
        missing: list[tuple[int, Head]] = []
        refers = [(slot.lane, Head(slot.seq - 1, slot.prev))]
        refers += [(dep.lane, Head(dep.seq, dep.id)) for dep in slot.deps]
        for place, head in refers:
            base = self.lanes[place].base
            if place == slot.lane and head.seq == base.seq:
                if head.id != base.id:
                    return None
                continue
            if head.seq <= base.seq:
                continue
            held = self.slots.get(head.id)
            if held is None:
                missing.append((place, head))
            elif held.slot.position != (place, head.seq):
                return None
        return missing

    def _hold(self, kept: KeepSlot) -> None:
        lane, slot = self.lanes[kept.slot.lane], kept.slot
        self.slots[kept.id] = kept
        lane.held_at.setdefault(slot.seq, []).append(kept.id)
        lane.in_cuts.pop(kept.id, None)
        self._asked.pop(kept.id, None)
        self.epoch.out.keep(kept)
        if lane.extends(slot):
            lane.path.append(kept.id)
        for acker in lane.acks:
            self._compare_heads(lane, acker)

    def on_ack(self, ack: Ack, *, peer: MemberId) -> bool:
        """Record an ack of this epoch; true if it says something new."""
        places = [place for place, _ in ack.entries]
        if (
            not places
            or places != sorted(set(places))
            or places[-1] >= len(self.lanes)
            or ack.signer in places
        ):
            self.epoch.out.fault(peer, FaultKind.INVALID, "a malformed ack")
            return False
        last = self.last_ack.get(ack.signer)
        if ack != last and not self.epoch.signature_holds(ack):
            self.epoch.out.fault(peer, FaultKind.WRONG_SIGNATURE, "an ack")
            return False
        if last is not None and last.ackseq == ack.ackseq and last != ack:
            self.epoch.out.accuse(TwoAcks(last, ack))
        if last is None or ack.ackseq > last.ackseq:
            self.last_ack[ack.signer] = ack
        news = False
        for place, head in ack.entries:
            lane = self.lanes[place]
            if not lane.in_window(head.seq):
                continue
            new, gone = lane.record_ack(ack.signer, head, ack, self.slots)
            news |= new
            if gone is not None:
                self._asked.pop(gone.id, None)
            if gone == head:
                continue
            if new:
                self._compare_heads(lane, ack.signer)
            self.pull(place, head, peer=peer)
        return news

    def on_certificate(self, message: SlotCertificate, *, peer: MemberId) -> None:
        """Be convinced that a slot of this epoch is certified, whosever acks we remember."""
        out, head = self.epoch.out, message.head
        if message.lane >= len(self.lanes):
            out.fault(peer, FaultKind.INVALID, "a certificate for a lane that does not exist")
            return
        lane = self.lanes[message.lane]
        known = lane.certificate.head.seq if lane.certificate is not None else 0
        if not lane.in_window(head.seq) or head.seq <= max(known, lane.delivered.seq):
            return
        if not is_certificate(message, epoch=self.epoch):
            out.fault(peer, FaultKind.LYING, "a slot's certificate that does not hold")
            return
        lane.certificate = message
        self.pull(lane.place, head, peer=peer)

    # Whoever is caught

    def _caught(self, lane: Lane, first: Slot, second: Slot) -> None:
        """Two slots for one place."""
        if lane.frozen is None:
            room = self.epoch.room
            pair = [SignedStub(slot.stub(room), slot.signature) for slot in (first, second)]
            self.freeze(lane, self.epoch.out.accuse(TwoSlots(*pair)))

    def _compare_heads(self, lane: Lane, acker: int) -> None:
        """Whether somebody acked two branches of one lane, as far as the slots we hold can tell."""
        heads = lane.acks[acker]
        for index, one in enumerate(heads):
            for other in heads[index + 1 :]:
                evidence = parting(lane.place, one, other, self._stub)
                if evidence is not None:
                    self.epoch.out.accuse(evidence)
                    return

    def _stub(self, slot_id: SlotId) -> SlotStub | None:
        held = self.slots.get(slot_id)
        return held.slot.stub(self.epoch.room) if held is not None else None

    def freeze(self, lane: Lane, evidence: bytes) -> None:
        """The owner's key broke the protocol: never ack its lane again in this epoch."""
        if lane.frozen is None:
            lane.frozen = evidence
            self._flood_certified(lane)

    # Fetching

    def pull(self, place: int, head: Head, *, peer: MemberId) -> None:
        """Ask a peer, once while it is linked, for a branch up to `head` unless we hold it."""
        lane = self.lanes[place]
        if head.id in self.slots or not lane.in_window(head.seq):
            return
        asked = self._asked.setdefault(head.id, set())
        if peer in self.epoch.out.linked and peer not in asked:
            asked.add(peer)
            have = lane.base.seq if lane.frozen else min(lane.head.seq, head.seq - 1)
            self.epoch.out.to(peer, PullSlot(self.epoch.number, place, have, head))

    def forget_asked(self, peer: MemberId) -> None:
        """The link is new or gone: what was asked over it may be asked again."""
        for asked in self._asked.values():
            asked.discard(peer)

    def branch(self, place: int, *, have: int, head: Head) -> list[KeepSlot]:
        """The held slots of one branch after `have` up to `head`, in order; empty if `head` is not held."""
        chain: list[KeepSlot] = []
        slot_id, floor = head.id, max(have, self.lanes[place].base.seq)
        while (held := self.slots.get(slot_id)) is not None and held.slot.lane == place:
            if held.slot.seq <= floor:
                break
            chain.append(held)
            slot_id = SlotId(held.slot.prev)
        return chain[::-1]

    # Delivery

    def support(self, head: Head, place: int) -> int:
        """How many distinct members vouch for a slot: its owner and those who acked it or a descendant."""
        return 1 + len(self.lanes[place].supporters(head, self.slots))

    def is_certified(self, place: int, head: Head) -> bool:
        if head.id in self.delivered_at:
            return True
        return self.support(head, place) >= self.epoch.committee.quorum

    def deliver(self, now: float) -> list[KeepSlot]:
        """Deliver what has become certified and whose predecessors are delivered; in causal order."""
        fresh: list[KeepSlot] = []
        moved = True
        while moved:
            moved = False
            for lane in self.lanes:
                while (kept := self._next_deliverable(lane)) is not None:
                    lane.delivered = Head(kept.slot.seq, kept.id)
                    self.delivered_at[kept.id] = now
                    fresh.append(kept)
                    moved = True
        for kept in fresh:
            if kept.slot.lane == self.epoch.me:
                acks = self.support(Head(kept.slot.seq, kept.id), kept.slot.lane)
                for body in kept.bodies:
                    self.epoch.out.tell(Delivered(body.uuid, acks))
        for lane in self.lanes:
            self._flood_certified(lane)
        return fresh

    def _next_deliverable(self, lane: Lane) -> KeepSlot | None:
        for slot_id in lane.held_at.get(lane.delivered.seq + 1, ()):
            kept = self.slots[slot_id]
            if (
                kept.slot.prev == lane.delivered.id
                and all(self._is_past(dep) for dep in kept.slot.deps)
                and self.is_certified(lane.place, Head(kept.slot.seq, slot_id))
            ):
                return kept
        return None

    def _is_past(self, dep: Dep) -> bool:
        return dep.seq <= self.lanes[dep.lane].base.seq or dep.id in self.delivered_at

    def _flood_certified(self, lane: Lane) -> None:
        """On a frozen lane nobody acks any more: show everybody what was certified, or totality fails."""
        if lane.frozen is None or lane.delivered.seq <= max(lane.flooded, lane.base.seq):
            return
        lane.flooded = lane.delivered.seq
        shown = self._certificate(lane)
        self.epoch.out.keep(Journal(f"cert:{lane.place}", encode(shown)))
        for message in self.certified_slots(lane):
            self.epoch.out.to_all(message)

    def certified_slots(self, lane: Lane) -> Iterator[Message]:
        """What we delivered of a frozen lane, and what certifies it."""
        if lane.delivered.seq > lane.base.seq:
            for kept in self.branch(lane.place, have=lane.base.seq, head=lane.delivered):
                yield SlotMessage(kept.slot, kept.bodies)
            yield self._certificate(lane)

    def _certificate(self, lane: Lane) -> SlotCertificate:
        """Of the last slot that we delivered in this lane, or of a later one."""
        if lane.certificate is None or lane.certificate.head.seq < lane.delivered.seq:
            lane.certificate = certificate_of(lane, lane.delivered, epoch=self.epoch, slots=self.slots)
        return lane.certificate

    # For ordering

    def anything_unordered(self) -> bool:
        """Whether a slot above the cut may still be ordered; a frozen lane's only once it is certified."""
        return any(
            lane.delivered.seq > lane.base.seq if lane.frozen else bool(lane.held_at) for lane in self.lanes
        )

    def anything_delivered(self) -> bool:
        return any(lane.delivered.seq > lane.base.seq for lane in self.lanes)

    def name_cut(self, missing: list[tuple[int, Head]]) -> None:
        """Take what a proposed or certified cut needs, be it on a branch we would not take otherwise."""
        for place, head in missing:
            in_cuts = self.lanes[place].in_cuts
            if head.id not in in_cuts and len(in_cuts) >= CUTS_REMEMBERED:
                in_cuts.pop(next(iter(in_cuts)))  # a cut that is still at issue is wanted again
            in_cuts[head.id] = head.seq

    def want_cut(self, missing: list[tuple[int, Head]], *, peer: MemberId) -> None:
        """Ask for what a proposed or certified cut needs, and take it when it comes."""
        self.name_cut(missing)
        for place, head in missing:
            self.pull(place, head, peer=peer)

    def _is_above_cut(self, slot_id: SlotId) -> bool:
        slot = self.slots[slot_id].slot
        return slot_id in self.lanes[slot.lane].held_at.get(slot.seq, ())

    def _drop_other_branches(self, lane: Lane) -> None:
        """After the cut moved: only what descends from it can still be ordered."""
        alive = {lane.base.id}
        for seq in sorted(lane.held_at):
            descending = [i for i in lane.held_at[seq] if self.slots[i].slot.prev in alive]
            alive = set(descending)
            if descending:
                lane.held_at[seq] = descending
            else:
                del lane.held_at[seq]

    def advance(self, cut: tuple[Head, ...]) -> None:
        """A block was committed: everything at or below its cut is settled."""
        for lane, head in zip(self.lanes, cut, strict=True):
            if head != lane.base:
                lane.advance(head)
                self._drop_other_branches(lane)
        for slot_id in [slot_id for slot_id in self.slots if not self._is_above_cut(slot_id)]:
            del self.slots[slot_id]
            self.delivered_at.pop(slot_id, None)
        self._asked.clear()
        self.forget_doubtful()
        for kept, sender in self._parking.release_all():
            if kept.slot.seq > self.lanes[kept.slot.lane].base.seq:
                self._take_in(kept, sender)
