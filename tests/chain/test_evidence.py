import pytest
from msgspec.structs import replace

from chain.codec import encode
from chain.control import MAX_EVIDENCE
from chain.court import culprits
from chain.crypto import ed25519_verify
from chain.errors import MalformedError
from chain.evidence import (
    BrokenPromise,
    Conviction,
    Evidence,
    TwoAcks,
    TwoBranches,
    TwoSlots,
    TwoVotes,
    Unjustified,
    breaks_promise,
    convict,
    decode_evidence,
    parting,
)
from chain.ids import RoomId, Signature
from chain.message import Committed, Grounds
from tests.chain.drawing import seed
from tests.chain.offences import ONE, OTHER, Offences

KINDS = tuple(Offences().every_kind())
GUILTY = 3


@pytest.fixture(scope="module")
def offences() -> Offences:
    return Offences()


def judged(offences: Offences, evidence: Evidence) -> Conviction | None:
    return convict(evidence, room=offences.room.id, committee=offences.committee, verify=ed25519_verify)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_convicts_who_signed_it_and_fits_into_a_slot(offences: Offences, kind: str) -> None:
    evidence = offences.every_kind()[kind](GUILTY)
    found = judged(offences, evidence)
    member = offences.committee.members[GUILTY]
    assert found is not None
    assert (found.place, found.member, found.vote_key) == (GUILTY, member.identity, member.vote_key)
    assert (found.kind, found.epoch) == (kind, offences.epoch)
    data = encode(evidence)
    assert decode_evidence(data) == evidence
    assert len(data) <= MAX_EVIDENCE


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_of_another_room_shows_nothing(offences: Offences, kind: str) -> None:
    evidence = offences.every_kind()[kind](GUILTY)
    elsewhere = RoomId(seed("another room"))
    assert convict(evidence, room=elsewhere, committee=offences.committee, verify=ed25519_verify) is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_evidence_can_be_changed(offences: Offences, kind: str) -> None:
    data = encode(offences.every_kind()[kind](GUILTY))
    for place in range(len(data)):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            found = judged(offences, decode_evidence(altered))
        except MalformedError:
            continue
        assert found is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_member_signed_convicts_no_other(offences: Offences, kind: str) -> None:
    """Half of the pair by another member, or its number put in place of the signer's."""
    guilty = offences.every_kind()[kind](GUILTY)
    other = offences.every_kind()[kind](0)
    mixed: list[Evidence] = []
    match guilty, other:
        case ((TwoSlots() | TwoAcks() | TwoVotes()), (TwoSlots() | TwoAcks() | TwoVotes())):
            mixed = [replace(guilty, second=other.second), replace(other, second=guilty.second)]
        case TwoBranches(), TwoBranches():
            mixed = [replace(guilty, higher=other.higher), replace(guilty, lower=other.lower)]
        case BrokenPromise(), BrokenPromise():
            mixed = [replace(guilty, round_change=other.round_change)]
        case Unjustified(), Unjustified():
            mixed = [replace(guilty, vote=replace(guilty.vote, signer=0))]
    assert mixed
    assert [judged(offences, evidence) for evidence in mixed] == [None] * len(mixed)


def test_one_thing_twice_is_no_offence(offences: Offences) -> None:
    pair = offences.two_slots(GUILTY)
    assert judged(offences, replace(pair, second=pair.first)) is None
    acks = offences.two_acks(GUILTY)
    assert judged(offences, replace(acks, second=acks.first)) is None
    votes = offences.two_prevotes(GUILTY)
    assert judged(offences, replace(votes, second=votes.first)) is None


def test_votes_of_different_rounds_or_kinds_do_not_contradict_each_other(offences: Offences) -> None:
    for one, other in (
        (offences.prevote(1, ONE), offences.prevote(1, OTHER, round_=1)),
        (offences.prevote(1, ONE), offences.precommit(1, OTHER)),
    ):
        assert judged(offences, TwoVotes(one, other)) is None


def test_acks_of_one_branch_or_without_the_chain_show_nothing(offences: Offences) -> None:
    slots = offences.chain(2, 5, says=1)
    stubs = tuple(slot.stub(offences.room.id) for slot in slots)
    low, high = offences.ack(1, slots[1], number=1), offences.ack(1, slots[4], number=2)
    assert judged(offences, TwoBranches(low, high, 2, stubs[2:])) is None
    assert judged(offences, TwoBranches(high, low, 2, ())) is None
    parted = offences.two_branches(1)
    assert judged(offences, parted) is not None
    assert judged(offences, replace(parted, chain=parted.chain[1:])) is None
    assert judged(offences, replace(parted, chain=parted.chain[:-1])) is None
    assert judged(offences, replace(parted, lane=0)) is None


def test_two_heads_of_one_height_part_without_any_slot_between(offences: Offences) -> None:
    evidence = offences.two_branches(1, low=3, high=3)
    assert evidence.chain == ()
    assert judged(offences, evidence) is not None


def test_a_chain_is_found_among_the_slots_that_are_held(offences: Offences) -> None:
    wanted = offences.two_branches(1, low=2, high=6)
    right = offences.chain(wanted.lane, 6, says=2)
    held = {slot.id(offences.room.id): slot.stub(offences.room.id) for slot in right}
    one = (wanted.lower.entries[0][1], wanted.lower)
    other = (wanted.higher.entries[0][1], wanted.higher)
    assert parting(wanted.lane, other, one, held.get) == wanted
    assert parting(wanted.lane, one, other, {}.get) is None
    early = offences.ack(1, right[1], number=3)
    assert parting(wanted.lane, (early.entries[0][1], early), other, held.get) is None


@pytest.mark.parametrize(
    ("lock", "broken"),
    [
        (None, True),
        ((0, ONE), True),
        ((1, OTHER), True),
        ((2, OTHER), True),
        ((2, ONE), False),
        ((3, OTHER), False),
        ((3, ONE), False),
    ],
)
def test_a_round_change_after_a_precommit_names_its_polka_or_a_later_one(
    offences: Offences, lock: tuple[int, bytes] | None, broken: bool
) -> None:
    precommit = offences.precommit(1, ONE, round_=2)
    asked = offences.asks(1, round_=5, lock=lock)  # type: ignore[arg-type]
    assert breaks_promise(precommit, asked) == broken
    assert (judged(offences, BrokenPromise(precommit, asked)) is not None) == broken


def test_what_was_asked_for_before_the_round_of_a_precommit_promises_nothing(offences: Offences) -> None:
    precommit = offences.precommit(1, ONE, round_=2)
    assert not breaks_promise(precommit, offences.asks(1, round_=2))
    assert not breaks_promise(precommit, offences.asks(2, round_=3))


def test_a_justified_vote_is_no_offence(offences: Offences) -> None:
    free = tuple(offences.asks(voter) for voter in offences.quorum())
    bound = tuple(offences.asks(voter, lock=(0, ONE) if voter == 2 else None) for voter in offences.quorum())
    for justification, block in ((free, OTHER), (bound, ONE)):
        vote = offences.prevote(0, block, round_=1, digest=offences.digest(justification))
        assert judged(offences, Unjustified(vote, justification)) is None
    assert judged(offences, Unjustified(offences.prevote(0, ONE), ())) is None


def test_a_justification_that_the_vote_does_not_name_shows_nothing(offences: Offences) -> None:
    evidence = offences.unjustified_prevote(GUILTY)
    other = tuple(offences.asks(voter) for voter in (0, 1))
    assert judged(offences, replace(evidence, justification=other)) is None


def test_a_forged_or_foreign_round_change_justifies_nothing(offences: Offences) -> None:
    good = tuple(offences.asks(voter) for voter in offences.quorum())
    forged = (replace(good[0], signature=Signature(bytes(64))), *good[1:])
    late = (offences.sign(good[0].signer, replace(good[0], height=good[0].height + 1)), *good[1:])
    for justification in (forged, late, good[1:], (*good, good[-1])):
        vote = offences.prevote(GUILTY, ONE, round_=1, digest=offences.digest(justification))
        assert judged(offences, Unjustified(vote, justification)) is not None


# Two certificates


def named(offences: Offences, one: Committed, other: Committed) -> set[int]:
    """The places of all that two certified blocks convict."""
    found = set()
    for evidence in culprits(
        one, other, room=offences.room.id, committee=offences.committee, verify=ed25519_verify
    ):
        conviction = judged(offences, evidence)
        assert conviction is not None
        found.add(conviction.place)
    return found


def test_two_certificates_of_one_round_name_everybody_who_signed_both(offences: Offences) -> None:
    one = offences.certified(offences.block(1), signers=range(3))
    other = offences.certified(offences.block(2), signers=range(1, 4))
    assert named(offences, one, other) == {1, 2}


def test_two_certificates_of_two_rounds_name_who_hid_the_polka_of_the_first(offences: Offences) -> None:
    one = offences.certified(offences.block(1), signers=range(3))
    hiding = tuple(offences.asks(voter) for voter in (1, 2, 3))
    late = offences.block(2)
    votes = tuple(
        offences.prevote(voter, late.id(offences.room.id), round_=1, digest=offences.digest(hiding))
        for voter in (1, 2, 3)
    )
    grounds = Grounds(1, late.id(offences.room.id), hiding, votes)
    other = offences.certified(late, round_=1, grounds=(grounds,))
    assert named(offences, one, other) == named(offences, other, one) == {1, 2}


def test_two_certificates_of_two_rounds_name_who_prevoted_against_the_polka_they_were_shown(
    offences: Offences,
) -> None:
    one = offences.certified(offences.block(1), signers=range(3))
    first = one.block.id(offences.room.id)
    showing = tuple(offences.asks(voter, lock=(0, first)) for voter in (0, 1, 2))
    late = offences.block(2)
    votes = tuple(
        offences.prevote(voter, late.id(offences.room.id), round_=1, digest=offences.digest(showing))
        for voter in (1, 2, 3)
    )
    grounds = Grounds(1, late.id(offences.room.id), showing, votes)
    other = offences.certified(late, round_=1, grounds=(grounds,))
    assert named(offences, one, other) == {1, 2, 3}


def test_one_block_certified_in_two_rounds_is_no_offence(offences: Offences) -> None:
    block = offences.block(1)
    keeping = tuple(offences.asks(voter, lock=(0, block.id(offences.room.id))) for voter in (0, 1, 2))
    votes = tuple(
        offences.prevote(voter, block.id(offences.room.id), round_=1, digest=offences.digest(keeping))
        for voter in (1, 2, 3)
    )
    grounds = Grounds(1, block.id(offences.room.id), keeping, votes)
    one, other = offences.certified(block), offences.certified(block, round_=1, grounds=(grounds,))
    assert named(offences, one, other) == set()
