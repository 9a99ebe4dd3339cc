"""What convicts a key and what does not: for each kind the true evidence, and all that only looks like it."""

import pytest
from msgspec.structs import replace

from chain.block import Head, Slot, SlotStub
from chain.evidence import (
    BrokenPromise,
    Evidence,
    SignedStub,
    TwoAcks,
    TwoBranches,
    TwoSlots,
    TwoVotes,
    Unjustified,
    convict,
)
from chain.ids import Hash, SlotId
from chain.message import UNSIGNED, Ack, Prevote, RoundChange, justification_digest, signed
from tests.chain.test_ballotbox import SEATS, TIP, A, B, precommit, prevote, round_change
from tests.simulation.keys import HASHED

ROOM, EPOCH = TIP.room, TIP.epoch
GUILTY, OTHER, LANE = 1, 2, 3


def slot(
    seq: int, *, after: SlotId | None = None, words: int = 0, lane: int = GUILTY, epoch: int = EPOCH
) -> Slot:
    """A signed slot; other `words` make it another one."""
    prev = TIP.cut[lane].id if after is None else after
    bare = Slot(EPOCH, lane, seq, prev, (), (), (Hash(bytes([words]) * 32),), 0, UNSIGNED)
    return signed(bare, room=ROOM, key=SEATS[lane].vote)


def pair(first: Slot, second: Slot) -> TwoSlots:
    return TwoSlots(*(SignedStub(one.stub(ROOM), one.signature) for one in (first, second)))


def ack(number: int, head: Head, *, signer: int = GUILTY) -> Ack:
    bare = Ack(EPOCH, signer, number, ((LANE, head),), UNSIGNED)
    return signed(bare, room=ROOM, key=SEATS[signer].vote)


def head(one: Slot) -> Head:
    return Head(one.seq, one.id(ROOM))


def stub(one: Slot) -> SlotStub:
    return one.stub(ROOM)


def vote_for(votes: tuple[RoundChange, ...], *, round_: int, block: bytes = A) -> Prevote:
    """A prevote in this round that says it rests on these round-changes."""
    digest = justification_digest(votes, room=ROOM, epoch=EPOCH)
    bare = replace(prevote(GUILTY, A, round_), block=block, justification=digest)
    return signed(bare, room=ROOM, key=SEATS[GUILTY].vote)


def unsigned(vote: Prevote) -> Prevote:
    return replace(vote, signature=UNSIGNED)


FIRST = slot(1, lane=LANE)
FORK = slot(1, lane=LANE, words=1)
SECOND = slot(2, lane=LANE, after=FIRST.id(ROOM))
THIRD = slot(3, lane=LANE, after=SECOND.id(ROOM))
ASKED = tuple(round_change(place, 1) for place in range(3))
BOUND = (round_change(0, 1, lock=(0, B)), *ASKED[1:])
EARLIER = replace(slot(1), epoch=EPOCH - 1)

GUILT: dict[str, Evidence] = {
    "two slots at one place": pair(slot(1), slot(1, words=1)),
    "two acks of one number": TwoAcks(ack(1, head(FIRST)), ack(1, head(FORK))),
    "acks of both branches at their fork": TwoBranches(ack(1, head(FIRST)), ack(2, head(FORK)), LANE, ()),
    "acks of both branches further up": TwoBranches(
        ack(1, head(FORK)), ack(2, head(THIRD)), LANE, (stub(SECOND), stub(THIRD))
    ),
    "two prevotes": TwoVotes(prevote(GUILTY, A), prevote(GUILTY, B)),
    "two precommits": TwoVotes(precommit(GUILTY, A), precommit(GUILTY, B)),
    "two round-changes": TwoVotes(round_change(GUILTY, 2), round_change(GUILTY, 2, lock=(1, A))),
    "a precommit hidden": BrokenPromise(precommit(GUILTY, A), round_change(GUILTY, 1)),
    "another block named for it": BrokenPromise(precommit(GUILTY, A), round_change(GUILTY, 1, lock=(0, B))),
    "a lower polka named": BrokenPromise(precommit(GUILTY, A, 2), round_change(GUILTY, 3, lock=(1, B))),
    "a later round that nobody asked for": Unjustified(vote_for((), round_=1), ()),
    "one asked too few": Unjustified(vote_for(ASKED[:2], round_=1), ASKED[:2]),
    "bound to another block": Unjustified(vote_for(BOUND, round_=1), BOUND),
}

INNOCENCE: dict[str, Evidence] = {
    "one slot twice": pair(slot(1), slot(1)),
    "slots at two places": pair(slot(1), slot(2)),
    "slots of two epochs": pair(slot(1), signed(EARLIER, room=ROOM, key=SEATS[GUILTY].vote)),
    "slots of two lanes": pair(slot(1), slot(1, lane=OTHER, words=1)),
    "a slot that somebody else signed": pair(slot(1), replace(slot(1, words=1), signature=UNSIGNED)),
    "one ack twice": TwoAcks(ack(1, head(FIRST)), ack(1, head(FIRST))),
    "acks of two numbers": TwoAcks(ack(1, head(FIRST)), ack(2, head(SECOND))),
    "acks of two members": TwoAcks(ack(1, head(FIRST)), ack(1, head(FORK), signer=OTHER)),
    "an ack that somebody else signed": TwoAcks(
        ack(1, head(FIRST)), replace(ack(1, head(FORK)), signature=UNSIGNED)
    ),
    "acks of one branch": TwoBranches(
        ack(1, head(FIRST)), ack(2, head(THIRD)), LANE, (stub(SECOND), stub(THIRD))
    ),
    "acks of one head": TwoBranches(ack(1, head(FIRST)), ack(2, head(FIRST)), LANE, ()),
    "a chain with a slot made up": TwoBranches(
        ack(1, head(FIRST)),
        ack(2, head(THIRD)),
        LANE,
        (stub(slot(2, lane=LANE, after=FORK.id(ROOM))), stub(THIRD)),
    ),
    "a chain that leaves out a slot": TwoBranches(
        ack(1, head(FIRST)), ack(2, head(THIRD)), LANE, (stub(THIRD),)
    ),
    "prevotes in two rounds": TwoVotes(prevote(GUILTY, A), prevote(GUILTY, B, 1)),
    "prevotes at two heights": TwoVotes(
        prevote(GUILTY, A),
        signed(replace(prevote(GUILTY, B), height=TIP.height + 2), room=ROOM, key=SEATS[GUILTY].vote),
    ),
    "one prevote twice": TwoVotes(prevote(GUILTY, A), prevote(GUILTY, A)),
    "prevotes of two members": TwoVotes(prevote(GUILTY, A), prevote(OTHER, B)),
    "a prevote that somebody else signed": TwoVotes(prevote(GUILTY, A), unsigned(prevote(GUILTY, B))),
    "a prevote and a precommit": TwoVotes(prevote(GUILTY, A), precommit(GUILTY, B)),
    "a precommit shown": BrokenPromise(precommit(GUILTY, A), round_change(GUILTY, 1, lock=(0, A))),
    "a higher polka named": BrokenPromise(precommit(GUILTY, A), round_change(GUILTY, 3, lock=(1, B))),
    "a precommit after it": BrokenPromise(precommit(GUILTY, A, 1), round_change(GUILTY, 1)),
    "another's round-change": BrokenPromise(precommit(GUILTY, A), round_change(OTHER, 1)),
    "a round-change that somebody else signed": BrokenPromise(
        precommit(GUILTY, A), replace(round_change(GUILTY, 1), signature=UNSIGNED)
    ),
    "a round that a quorum asked for": Unjustified(vote_for(ASKED, round_=1), ASKED),
    "bound to this block": Unjustified(vote_for(BOUND, round_=1, block=B), BOUND),
    "round nought": Unjustified(vote_for((), round_=0), ()),
    "another justification than it rests on": Unjustified(vote_for(ASKED, round_=1), ASKED[:2]),
    "an unjustified vote that somebody else signed": Unjustified(unsigned(vote_for((), round_=1)), ()),
}


@pytest.mark.parametrize("what", list(GUILT))
def test_whoever_signed_what_contradicts_itself_is_convicted(what: str) -> None:
    found = convict(GUILT[what], room=ROOM, committee=TIP.committee, verify=HASHED.verify)
    assert found is not None
    assert (found.member, found.epoch) == (SEATS[GUILTY].id, EPOCH)


@pytest.mark.parametrize("what", list(INNOCENCE))
def test_nobody_is_convicted_of_what_only_looks_like_it(what: str) -> None:
    assert convict(INNOCENCE[what], room=ROOM, committee=TIP.committee, verify=HASHED.verify) is None
