"""Evidence: things signed with one vote key that no honest member signs together; anybody can check it.

Each kind is small whatever it is about (hashes stand for what they name), and needs nothing beside it but
the committee of its epoch. It shows what a key signed, never who did it: a restored backup looks the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, assert_never, cast

import msgspec

from chain.block import Head, Place, SlotStub, slot_preimage
from chain.codec import Record, decode
from chain.committee import MAX_MEMBERS, Committee
from chain.control import MAX_EVIDENCE
from chain.crypto import Verifier
from chain.ids import BlockId, MemberId, RoomId, Signature, SlotId, VoteKey
from chain.lane import WINDOW
from chain.message import (
    Ack,
    Precommit,
    Prevote,
    Propose,
    ProposeStub,
    RoundChange,
    Signed,
    Vote,
    justification_digest,
)

Justification = tuple[RoundChange, ...]


class SignedStub(Record, frozen=True):
    """A slot's stub, and its owner's signature."""

    stub: SlotStub
    signature: Signature


class TwoSlots(Record, frozen=True, tag=1):
    """Two slots for one place of a lane."""

    first: SignedStub
    second: SignedStub


class TwoAcks(Record, frozen=True, tag=2):
    """Two acks of one number."""

    first: Ack
    second: Ack


class TwoBranches(Record, frozen=True, tag=3):
    """Acks of two heads of one lane, neither of which follows the other.

    `chain` leads from right after the lower head's place up to the higher head; empty at equal height.
    """

    lower: Ack
    higher: Ack
    lane: Place
    chain: Annotated[tuple[SlotStub, ...], msgspec.Meta(max_length=2 * WINDOW)]


class TwoVotes(Record, frozen=True, tag=4):
    """Two votes of one kind in one round."""

    first: "Statement"
    second: "Statement"


class BrokenPromise(Record, frozen=True, tag=5):
    """A precommit, and a later round asked for without the polka that the precommit rests on."""

    precommit: Precommit
    round_change: RoundChange


class Unjustified(Record, frozen=True, tag=6):
    """A proposal, or a prevote for one, that its own justification does not allow."""

    vote: Prevote | ProposeStub
    justification: Annotated[Justification, msgspec.Meta(max_length=MAX_MEMBERS)]


Statement = Prevote | Precommit | RoundChange | ProposeStub
Evidence = TwoSlots | TwoAcks | TwoBranches | TwoVotes | BrokenPromise | Unjustified
_ANY = cast(type[Evidence], Evidence)


@dataclass(frozen=True, slots=True)
class Conviction:
    """What a piece of evidence shows, once it has been checked."""

    place: int
    member: MemberId
    vote_key: VoteKey
    epoch: int
    kind: str
    """A few words for what was signed: the same for every piece of evidence of one kind."""
    where: str
    """The position it was signed for, in words."""


def decode_evidence(data: bytes) -> Evidence:
    """Evidence from its encoding; MalformedError for anything else."""
    return decode(data, _ANY, limit=MAX_EVIDENCE)


def epoch_of(evidence: Evidence) -> int:
    """The epoch whose committee it has to be judged by."""
    match evidence:
        case TwoSlots(first=first):
            return first.stub.epoch
        case TwoAcks(first=ack) | TwoBranches(lower=ack):
            return ack.epoch
        case TwoVotes(first=vote) | BrokenPromise(precommit=vote) | Unjustified(vote=vote):
            return vote.epoch
        case _:
            assert_never(evidence)


def convict(evidence: Evidence, *, room: RoomId, committee: Committee, verify: Verifier) -> Conviction | None:
    """Judge evidence by the committee of its epoch; None if it does not show what it claims."""
    place, kind, where = charge(evidence)
    if place >= committee.n:
        return None
    member = committee.members[place]

    def signed(vote: Signed | ProposeStub) -> bool:
        return vote.signer == place and verify(member.vote_key, vote.preimage(room), vote.signature)

    match evidence:
        case TwoSlots(first=first, second=second):
            shown = _same_place(first.stub, second.stub) and all(
                verify(
                    member.vote_key,
                    slot_preimage(one.stub.id(room), room=room, epoch=one.stub.epoch),
                    one.signature,
                )
                for one in (first, second)
            )
        case TwoAcks(first=one, second=other):
            shown = (
                (one.epoch, one.ackseq) == (other.epoch, other.ackseq)
                and one.preimage(room) != other.preimage(room)
                and signed(one)
                and signed(other)
            )
        case TwoBranches(lower=lower, higher=higher):
            shown = (
                lower.epoch == higher.epoch
                and signed(lower)
                and signed(higher)
                and _branches_part(evidence, room=room)
            )
        case TwoVotes(first=vote, second=another):
            shown = (
                type(vote) is type(another)
                and (vote.epoch, vote.height, vote.round) == (another.epoch, another.height, another.round)
                and vote.preimage(room) != another.preimage(room)
                and signed(vote)
                and signed(another)
            )
        case BrokenPromise(precommit=precommit, round_change=asked):
            shown = breaks_promise(precommit, asked) and signed(precommit) and signed(asked)
        case Unjustified(vote=vote, justification=justification):
            digest = justification_digest(justification, room=room, epoch=vote.epoch)
            shown = (
                vote.justification == digest
                and signed(vote)
                and not allows(
                    justification, vote=vote, block=vote.block, room=room, committee=committee, verify=verify
                )
            )
        case _:
            assert_never(evidence)
    if not shown:
        return None
    return Conviction(place, member.identity, member.vote_key, epoch_of(evidence), kind, where)


def charge(evidence: Evidence) -> tuple[int, str, str]:
    """Whose signatures these claim to be (a place), what kind of offence, and at which position."""
    match evidence:
        case TwoSlots(first=SignedStub(stub=stub)):
            return stub.lane, "two slots for one place", f"slot {stub.seq} of epoch {stub.epoch}"
        case TwoAcks(first=ack):
            return ack.signer, "two acks of one number", f"ack {ack.ackseq} of epoch {ack.epoch}"
        case TwoBranches(lower=ack, lane=lane):
            return ack.signer, "acks on two branches", f"lane {lane} of epoch {ack.epoch}"
        case TwoVotes(first=vote):
            return vote.signer, f"two {_PLURAL[type(vote)]} in one round", _position(vote)
        case BrokenPromise(precommit=vote):
            return vote.signer, "a precommit taken back", _position(vote)
        case Unjustified(vote=vote):
            name = "proposal" if isinstance(vote, ProposeStub) else "prevote"
            return vote.signer, f"an unjustified {name}", _position(vote)
        case _:
            assert_never(evidence)


_PLURAL: dict[type[Statement], str] = {
    Prevote: "prevotes",
    Precommit: "precommits",
    RoundChange: "round-changes",
    ProposeStub: "proposals",
}


def _position(vote: Statement) -> str:
    return f"round {vote.round} of height {vote.height}"


# What each kind rests on


def _same_place(one: SlotStub, other: SlotStub) -> bool:
    return (one.epoch, one.lane, one.seq) == (other.epoch, other.lane, other.seq) and one != other


def _branches_part(evidence: TwoBranches, *, room: RoomId) -> bool:
    """Whether the chain shows that the higher head does not follow the lower one."""
    low, high = head_in(evidence.lower, evidence.lane), head_in(evidence.higher, evidence.lane)
    if low is None or high is None or low.seq + len(evidence.chain) != high.seq:
        return False
    below = high.id  # what stands at the lower head's place on the higher head's branch
    for seq, stub in zip(range(high.seq, low.seq, -1), reversed(evidence.chain), strict=True):
        named = (stub.epoch, stub.lane, stub.seq) == (evidence.higher.epoch, evidence.lane, seq)
        if not named or stub.id(room) != below:
            return False
        below = stub.prev
    return below != low.id


def head_in(ack: Ack, lane: int) -> Head | None:
    """What an ack says of one lane; None if it says nothing, or more than one thing."""
    heads = [head for place, head in ack.entries if place == lane]
    return heads[0] if len(heads) == 1 else None


def breaks_promise(precommit: Precommit, asked: RoundChange) -> bool:
    """Whether this round-change hides what this precommit rests on, signatures apart.

    Who precommits holds that polka, and names it or a higher one in every round-change from then on; and
    after a round-change it precommits nothing below.
    """
    if (precommit.epoch, precommit.height, precommit.signer) != (asked.epoch, asked.height, asked.signer):
        return False
    if asked.round <= precommit.round:
        return False
    rested_on = precommit.round, precommit.block
    return asked.lock is None or (asked.lock[0] <= precommit.round and asked.lock != rested_on)


def highest_lock(votes: Iterable[RoundChange]) -> tuple[int, BlockId] | None:
    """The highest polka that some of these round-changes name."""
    return max((vote.lock for vote in votes if vote.lock is not None), default=None)


def allows(
    justification: Justification,
    *,
    vote: Prevote | ProposeStub,
    block: BlockId,
    room: RoomId,
    committee: Committee,
    verify: Verifier,
) -> bool:
    """Whether a proposal of `block` in this vote's round rests on a quorum of round-changes, and obeys them.

    Says nothing of attached polkas: they are under no signature, so whether one was shown is past proving.
    """
    if vote.round == 0:
        return not justification

    def holds(asked: RoundChange) -> bool:
        return verify(committee.members[asked.signer].vote_key, asked.preimage(room), asked.signature)

    if not rests_on_quorum(justification, vote=vote, committee=committee, holds=holds):
        return False
    highest = highest_lock(justification)
    return highest is None or highest[1] == block


def rests_on_quorum(
    justification: Justification,
    *,
    vote: Prevote | Propose | ProposeStub,
    committee: Committee,
    holds: Callable[[RoundChange], bool],
) -> bool:
    """Whether a quorum asked for this vote's round or a later one; `holds` says if a member signed that."""
    signers = [asked.signer for asked in justification]
    if signers != sorted(set(signers)) or len(signers) < committee.quorum or signers[-1] >= committee.n:
        return False
    return all(
        (asked.epoch, asked.height) == (vote.epoch, vote.height)
        and asked.round >= vote.round
        and holds(asked)
        for asked in justification
    )


# Making it


def statement(vote: Vote, *, room: RoomId) -> Statement:
    """A vote as evidence carries it."""
    match vote:
        case Propose():
            return vote.stub(room)
        case RoundChange():
            return vote.without_polka()
        case _:
            return vote


def bare(justification: Justification) -> Justification:
    """A justification as evidence carries it: only what its digest names."""
    return tuple(asked.without_polka() for asked in justification)


def parting(
    lane: int, one: tuple[Head, Ack], other: tuple[Head, Ack], stub_of: Callable[[SlotId], SlotStub | None]
) -> TwoBranches | None:
    """Evidence that two heads one member acked lie on two branches; None if that is not so, or not known.

    `stub_of` knows the slots between the two places, as far as we hold them.
    """
    (lower, lower_ack), (higher, higher_ack) = sorted((one, other), key=lambda entry: entry[0].seq)
    chain: list[SlotStub] = []
    below = higher.id
    for _ in range(higher.seq - lower.seq):
        stub = stub_of(below)
        if stub is None or len(chain) == 2 * WINDOW:
            return None
        chain.append(stub)
        below = stub.prev
    if below == lower.id:
        return None
    return TwoBranches(lower_ack, higher_ack, lane, tuple(reversed(chain)))
