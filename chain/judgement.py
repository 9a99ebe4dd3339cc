"""Whether a proposal deserves a prevote: the rules a leader must obey, each checked against our own state."""

from dataclasses import dataclass
from enum import Enum, auto

from chain.ballotbox import BallotBox
from chain.block import Block, Slot
from chain.broadcast import Broadcast
from chain.cuts import slots_of, vouches_for
from chain.effects import FaultKind
from chain.epoch import Epoch
from chain.errors import InvalidBlockError
from chain.evidence import highest_lock, rests_on_quorum
from chain.ids import BlockId, SlotId
from chain.ledger import Extension, Tip, extend
from chain.linearize import LaneSlots
from chain.message import Propose, RoundChange


class Verdict(Enum):
    GOOD = auto()
    """Vote for it."""
    BAD = auto()
    """It breaks a rule, or we cannot accept its cut: ask for the next round at once."""
    WAIT = auto()
    """Slots are missing; they were asked for."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a proposal's justification leaves its leader free to do."""

    valid: bool
    block: BlockId | None = None
    """The block it must propose again; None: a fresh one."""

    def allows(self, block: BlockId) -> bool:
        return self.valid and self.block in (None, block)


@dataclass(frozen=True, slots=True)
class Judge:
    """Sees the state of one height; decides, never votes."""

    epoch: Epoch
    tip: Tip
    broadcast: Broadcast
    box: BallotBox

    def verdict(self, proposal: Propose, *, arrived: float, patience: float) -> Verdict:
        """Judge a proposal that came at `arrived`: nothing delivered `patience` earlier may be left out."""
        block, leader = proposal.block, self.epoch.identity(proposal.signer)
        binding = self.binding(proposal)
        bound = binding.block is not None
        if bound and block.id(self.epoch.room) != binding.block:
            self._blame(proposal, "a proposal that ignores the block it is bound to")
            return Verdict.BAD
        if not self._cut_moves_forward(block):
            self._blame(proposal, "a proposal whose cut does not move forward")
            return Verdict.BAD
        slots, missing = slots_of(self.broadcast, block.cut)
        if missing:
            for source in self.box.sources(block.id(self.epoch.room)):
                self.broadcast.want_cut(missing, peer=source)
            return Verdict.WAIT
        if not bound and (
            block.leader != leader
            or not all(vouches_for(self.broadcast, place, head) for place, head in enumerate(block.cut))
            or self._omits_delivered(block, before=arrived - patience)
        ):
            return Verdict.BAD
        extension = derive(self.tip, block, slots, epoch=self.epoch) if _closed(slots, self.tip) else None
        if extension is None or extension.block != block:
            self._blame(proposal, "a proposal with wrong derived fields")
            return Verdict.BAD
        return Verdict.GOOD

    def _blame(self, proposal: Propose, what: str) -> None:
        self.epoch.out.fault(self.epoch.identity(proposal.signer), FaultKind.INVALID, what)

    def _cut_moves_forward(self, block: Block) -> bool:
        return (
            len(block.cut) == self.epoch.committee.n
            and block.cut != self.tip.cut
            and all(new == old or new.seq > old.seq for old, new in zip(self.tip.cut, block.cut, strict=True))
        )

    def _omits_delivered(self, block: Block, *, before: float) -> bool:
        """Whether a fresh cut leaves out a slot that we delivered long ago: censorship."""
        return any(
            self.broadcast.delivered_at.get(kept.id, before) < before
            for lane, head in zip(self.broadcast.lanes, block.cut, strict=True)
            for kept in self.broadcast.branch(lane.place, have=head.seq, head=lane.delivered)
        )

    def binding(self, proposal: Propose) -> Binding:
        """Round 0 needs no justification; a later one a quorum of round-changes, whose polka binds."""
        votes = proposal.justification
        if proposal.round == 0:
            return Binding(valid=not votes)
        if not rests_on_quorum(votes, vote=proposal, committee=self.epoch.committee, holds=self._holds):
            return Binding(valid=False)
        highest = highest_lock(votes)
        if highest is None:
            return Binding(valid=True)
        shown = any(vote.lock == highest and self.box.lock_is_shown(vote) for vote in votes)
        return Binding(valid=shown, block=highest[1])

    def _holds(self, vote: RoundChange) -> bool:
        """Whether a member signed it; of this height, so that what we hold ourselves need not be verified."""
        known = self.box.round_changes.get(vote.signer)
        same = known is not None and (known.round, known.lock, known.signature) == (
            vote.round,
            vote.lock,
            vote.signature,
        )
        return same or self.epoch.signature_holds(vote)


def derive(tip: Tip, block: Block, slots: LaneSlots, *, epoch: Epoch) -> Extension | None:
    """What truly follows from a block's cut and leader; None if its slots are not closed under deps."""
    try:
        return extend(tip, cut=block.cut, leader=block.leader, slots=slots, verify=epoch.verify)
    except InvalidBlockError:
        return None


def justification_of(votes: list[RoundChange]) -> tuple[RoundChange, ...]:
    """Round-changes as a proposal carries them: by signer, the highest polka attached once."""
    ordered = tuple(sorted(votes, key=lambda vote: vote.signer))
    highest = highest_lock(ordered)
    carrier = next((vote for vote in ordered if vote.lock == highest), None) if highest else None
    return tuple(vote if vote is carrier else vote.without_polka() for vote in ordered)


def _closed(slots: LaneSlots, tip: Tip) -> bool:
    """Whether every dep of these slots is old or among them, by id."""
    chosen: set[SlotId] = {slot_id for chain in slots.values() for slot_id, _ in chain}
    every: list[Slot] = [slot for chain in slots.values() for _, slot in chain]
    return all(dep.seq <= tip.cut[dep.lane].seq or dep.id in chosen for slot in every for dep in slot.deps)
