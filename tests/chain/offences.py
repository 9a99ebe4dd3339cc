"""Every offence that can be proven, committed by a member of a room drawn by hand."""

from collections.abc import Callable
from typing import TypeVar

from chain.block import Block, Certificate, Head, Slot, block_checkpoint
from chain.case import Exhibit, make_case
from chain.codec import encode
from chain.control import Remove
from chain.crypto import ed25519_verify
from chain.evidence import (
    BrokenPromise,
    Evidence,
    SignedStub,
    TwoAcks,
    TwoBranches,
    TwoSlots,
    TwoVotes,
    Unjustified,
)
from chain.ids import BlockId, Hash, MemberId, SlotId
from chain.message import (
    UNSIGNED,
    Ack,
    Committed,
    Final,
    Grounds,
    Precommit,
    Prevote,
    Propose,
    ProposeStub,
    RoundChange,
    justification_digest,
    signed,
)
from chain.records import KeepEpoch
from tests.chain.drawing import Room, grown_room, seed

M = TypeVar("M", Slot, Ack, Prevote, Precommit, RoundChange, Propose)
ONE, OTHER = BlockId(seed("one block")), BlockId(seed("another block"))


class Offences:
    """The room at the start of its last epoch, and things its members sign."""

    def __init__(self, *nicks: str) -> None:
        self.room: Room = grown_room(nicks=nicks or ("bob", "cal", "dee"), blocks=1)
        self.committee = self.room.tip.committee
        self.epoch = self.room.tip.epoch
        self.height = self.room.tip.height + 1

    def sign(self, place: int, message: M) -> M:
        return signed(message, room=self.room.id, key=self.room.person_at(place).vote)

    def slot(self, place: int, *, seq: int = 1, prev: SlotId | None = None, says: int = 0) -> Slot:
        before = prev or SlotId(self.room.tip.block)
        control = (Remove(MemberId(seed("whom"))),)
        return self.sign(place, Slot(self.epoch, place, seq, before, (), control, (), says, UNSIGNED))

    def chain(self, place: int, length: int, *, says: int) -> list[Slot]:
        """Slots of one branch; branches that say different things have nothing in common."""
        slots: list[Slot] = []
        for seq in range(1, length + 1):
            prev = slots[-1].id(self.room.id) if slots else None
            slots.append(self.slot(place, seq=seq, prev=prev, says=says))
        return slots

    def ack(self, place: int, *slots: Slot, number: int = 1) -> Ack:
        entries = tuple(sorted((slot.lane, Head(slot.seq, slot.id(self.room.id))) for slot in slots))
        return self.sign(place, Ack(self.epoch, place, number, entries, UNSIGNED))

    def prevote(self, place: int, block: BlockId, *, round_: int = 0, digest: Hash | None = None) -> Prevote:
        digest = digest or self.digest(())
        return self.sign(place, Prevote(self.epoch, self.height, round_, place, block, digest, UNSIGNED))

    def precommit(self, place: int, block: BlockId, *, round_: int = 0) -> Precommit:
        root = Hash(seed("root", block))
        return self.sign(place, Precommit(self.epoch, self.height, round_, place, block, 9, root, UNSIGNED))

    def asks(self, place: int, *, round_: int = 1, lock: tuple[int, BlockId] | None = None) -> RoundChange:
        return self.sign(place, RoundChange(self.epoch, self.height, round_, place, lock, UNSIGNED))

    def propose(
        self, place: int, *, round_: int = 0, justification: tuple[RoundChange, ...] = (), size: int = 1
    ) -> Propose:
        block = self.block(size)
        return self.sign(
            place, Propose(self.epoch, self.height, round_, place, block, justification, UNSIGNED)
        )

    def block(self, size: int, *, ends: bool = False) -> Block:
        """A block of the height at hand; which one, `size` says."""
        tip = self.room.tip
        return Block(
            epoch=self.epoch,
            height=self.height,
            prev=tip.block,
            leader=tip.leader,
            cut=tip.cut,
            log_size=size,
            log_root=Hash(seed("root of", size)),
            committee=self.committee.digest,
            next_committee=None,
        )

    def digest(self, justification: tuple[RoundChange, ...]) -> Hash:
        return justification_digest(justification, room=self.room.id, epoch=self.epoch)

    def quorum(self) -> range:
        return range(self.committee.n - self.committee.quorum, self.committee.n)

    def certified(
        self,
        block: Block,
        *,
        round_: int = 0,
        signers: range | None = None,
        grounds: tuple[Grounds, ...] = (),
    ) -> Committed:
        text = block_checkpoint(block, room=self.room.id, round_=round_)
        signatures = tuple(
            (place, self.room.person_at(place).vote.sign(text)) for place in signers or self.quorum()
        )
        return Committed(block, Certificate(round_, signatures), grounds)

    def finals(self) -> tuple[Final, ...]:
        return tuple(
            Final(kept.final, kept.certificate) for kept in self.room.history if isinstance(kept, KeepEpoch)
        )

    @property
    def genesis(self) -> bytes:
        return encode(self.room.genesis)

    def case(self, exhibit: Exhibit, *, finals: tuple[Final, ...] | None = None) -> bytes:
        """A file about it, with the walk to this epoch or another one."""
        return make_case(
            genesis=self.genesis,
            finals=self.finals() if finals is None else finals,
            exhibit=exhibit,
            verify=ed25519_verify,
        )

    # The offences, each by the member at `place`

    def two_slots(self, place: int) -> TwoSlots:
        pair = (self.slot(place, says=1), self.slot(place, says=2))
        return TwoSlots(*(SignedStub(slot.stub(self.room.id), slot.signature) for slot in pair))

    def two_acks(self, place: int) -> TwoAcks:
        owner = (place + 1) % self.committee.n
        one, other = self.slot(owner, says=1), self.slot((place + 2) % self.committee.n, says=1)
        return TwoAcks(self.ack(place, one), self.ack(place, other))

    def two_branches(self, place: int, *, low: int = 2, high: int = 5) -> TwoBranches:
        owner = (place + 1) % self.committee.n
        left = self.chain(owner, low, says=1)
        right = self.chain(owner, high, says=2)
        stubs = tuple(slot.stub(self.room.id) for slot in right[low:])
        return TwoBranches(
            self.ack(place, left[-1], number=1), self.ack(place, right[-1], number=2), owner, stubs
        )

    def two_prevotes(self, place: int) -> TwoVotes:
        return TwoVotes(self.prevote(place, ONE), self.prevote(place, OTHER))

    def two_precommits(self, place: int) -> TwoVotes:
        return TwoVotes(self.precommit(place, ONE), self.precommit(place, OTHER))

    def two_round_changes(self, place: int) -> TwoVotes:
        return TwoVotes(self.asks(place, round_=2), self.asks(place, round_=2, lock=(0, ONE)))

    def two_proposals(self, place: int) -> TwoVotes:
        pair = (self.propose(place, size=1), self.propose(place, size=2))
        return TwoVotes(*(vote.stub(self.room.id) for vote in pair))

    def broken_promise(self, place: int) -> BrokenPromise:
        return BrokenPromise(
            self.precommit(place, ONE, round_=2), self.asks(place, round_=3, lock=(1, OTHER))
        )

    def unjustified_prevote(self, place: int) -> Unjustified:
        justification = tuple(
            self.asks(voter, round_=1, lock=(0, ONE) if voter == 1 else None) for voter in self.quorum()
        )
        vote = self.prevote(place, OTHER, round_=1, digest=self.digest(justification))
        return Unjustified(vote, justification)

    def unjustified_proposal(self, place: int) -> Unjustified:
        justification = (self.asks(0), self.asks(1))
        stub: ProposeStub = self.propose(place, round_=1, justification=justification).stub(self.room.id)
        return Unjustified(stub, justification)

    def every_kind(self) -> dict[str, Callable[[int], Evidence]]:
        """Each kind as it is called, and who commits it."""
        return {
            "two slots for one place": self.two_slots,
            "two acks of one number": self.two_acks,
            "acks on two branches": self.two_branches,
            "two prevotes in one round": self.two_prevotes,
            "two precommits in one round": self.two_precommits,
            "two round-changes in one round": self.two_round_changes,
            "two proposals in one round": self.two_proposals,
            "a precommit taken back": self.broken_promise,
            "an unjustified prevote": self.unjustified_prevote,
            "an unjustified proposal": self.unjustified_proposal,
        }
