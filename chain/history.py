"""The past of a room somebody joined late: fetched from genesis forward, each block derived again.

A newcomer votes from the final block that admitted it; this fills in what lies before.
"""

from collections import Counter

from chain.block import Head, Slot, certificate_holds
from chain.crypto import Verifier
from chain.effects import FaultKind, HistoryGrew
from chain.errors import InvalidBlockError
from chain.fetch import Fetch
from chain.ids import MemberId, SlotId
from chain.ledger import Tip, extend
from chain.message import Committed, Message, SlotMessage, weight
from chain.outbox import Outbox
from chain.records import KeepBlock, KeepSlot


class History:
    """Walks from `tip` up to the state we began with, `base`."""

    def __init__(self, tip: Tip, *, base: Tip, verify: Verifier, out: Outbox) -> None:
        self.tip = tip
        self._base = base
        self._verify = verify
        self._out = out
        self.fetch = Fetch(out)
        """Who has the past, and whom we asked for it."""
        self._current: Committed | None = None
        self._slots: dict[SlotId, KeepSlot] = {}
        self._brought: dict[tuple[MemberId, int, int], SlotId] = {}
        """The last slot that each peer brought for each place: its owner may sign any number of them."""
        self._bringers: Counter[SlotId] = Counter()

    @property
    def complete(self) -> bool:
        return self.tip.height >= self._base.height

    def pursue(self, *, now: float) -> float | None:
        """See to it that somebody is asked for the next block; when to look again."""
        return None if self.complete else self.fetch.pursue(self.tip.height + 1, now=now)

    def due(self) -> tuple[MemberId, tuple[Message, ...]] | None:
        """An answer that was held back until now."""
        return self.fetch.due(self.tip.height + 1)

    def on_committed(self, message: Committed, *, peer: MemberId, now: float) -> None:
        """Take the next block in, if it holds; its slots are to follow."""
        block = message.block
        if self.complete or block.height != self.tip.height + 1:
            return
        fits = (
            block.epoch == self.tip.epoch
            and len(block.cut) == self.tip.committee.n
            and all(new == old or new.seq > old.seq for old, new in zip(self.tip.cut, block.cut, strict=True))
            and certificate_holds(
                message.certificate,
                block,
                room=self.tip.room,
                committee=self.tip.committee,
                verify=self._verify,
            )
        )
        if not fits:
            self._out.fault(peer, FaultKind.LYING, f"history: block {block.height} does not hold")
            self.fetch.failed(peer, now=now)
            return
        if self._current is None or self._current.block != block:
            self._slots, self._brought, self._bringers = {}, {}, Counter()
        self._current = message
        self._finish(peer, now)

    def on_slot(self, message: SlotMessage, *, peer: MemberId, now: float) -> None:
        """Take in a slot of the block at hand; others are ignored."""
        slot, current = message.slot, self._current
        if current is None or slot.epoch != self.tip.epoch or slot.lane >= self.tip.committee.n:
            return
        old, new = self.tip.cut[slot.lane], current.block.cut[slot.lane]
        author = self.tip.committee.members[slot.lane].identity
        made = tuple(body.commitment(room=self.tip.room, author=author) for body in message.bodies)
        if not old.seq < slot.seq <= new.seq or made != slot.commitments:
            return
        # The id, and so the block, does not cover the signature: a liar could send another one.
        vote_key = self.tip.committee.members[slot.lane].vote_key
        if not self._verify(vote_key, slot.preimage(self.tip.room), slot.signature):
            self._out.fault(peer, FaultKind.WRONG_SIGNATURE, "a slot of the past")
            return
        slot_id = slot.id(self.tip.room)
        former = self._brought.get((peer, slot.lane, slot.seq))
        if former == slot_id:
            return
        self._brought[peer, slot.lane, slot.seq] = slot_id
        self._bringers[slot_id] += 1
        if former is not None:
            self._let_go(former)
        if slot_id not in self._slots:
            if former is None:
                self.fetch.heard(peer, weight(message), now=now)
            self._slots[slot_id] = KeepSlot(slot_id, slot, message.bodies)
            self._finish(peer, now)

    def _let_go(self, slot_id: SlotId) -> None:
        """A peer brought another slot in this one's place."""
        self._bringers[slot_id] -= 1
        if not self._bringers[slot_id]:
            del self._bringers[slot_id], self._slots[slot_id]

    def _finish(self, peer: MemberId, now: float) -> None:
        current = self._current
        assert current is not None
        chains: dict[int, list[KeepSlot]] = {}
        for place, (old, new) in enumerate(zip(self.tip.cut, current.block.cut, strict=True)):
            chain = self._chain(old, new)
            if chain is None:
                return
            chains[place] = chain
        self._current = None
        slots: dict[int, list[tuple[SlotId, Slot]]] = {
            place: [(kept.id, kept.slot) for kept in chain] for place, chain in chains.items() if chain
        }
        block = current.block
        try:
            extension = extend(self.tip, cut=block.cut, leader=block.leader, slots=slots, verify=self._verify)
        except InvalidBlockError:
            extension = None
        reached_base = block.height == self._base.height
        if extension is None or extension.block != block or (reached_base and extension.tip != self._base):
            self._out.fault(peer, FaultKind.LYING, f"history: block {block.height} does not follow")
            self.fetch.failed(peer, now=now)
            return
        for chain in chains.values():
            for kept in chain:
                self._out.keep(kept)
        self._out.keep(KeepBlock(extension.tip.block, block, current.certificate, extension.items))
        self.tip = extension.tip
        self._out.tell(HistoryGrew(self.tip.height, self.complete))

    def _chain(self, old: Head, new: Head) -> list[KeepSlot] | None:
        """The slots of one lane after `old` up to `new`, linked by hash; None while some are missing."""
        chain: list[KeepSlot] = []
        slot_id, seq = new.id, new.seq
        while seq > old.seq:
            kept = self._slots.get(slot_id)
            if kept is None or kept.slot.seq != seq:
                return None
            chain.append(kept)
            slot_id, seq = SlotId(kept.slot.prev), seq - 1
        return chain[::-1] if slot_id == old.id else None
