"""Which motions count: valid ones, by distinct members, the first to reach the quorum, one an epoch."""

import pytest

from chain.committee import MAX_MEMBERS, Committee, Member, spent_digest
from chain.control import (
    Accuse,
    Admit,
    Approve,
    Control,
    Motion,
    Rekey,
    Remove,
    Request,
    make_request,
    make_voucher,
)
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.ids import Hash, MemberId, RoomId, SlotId, VoteKey
from chain.membership import MAX_SPENT, Ballot, alike, enact, motion_is_valid
from tests.chain.drawing import Person, seed

ROOM = RoomId(seed("room"))
SECRET = Ed25519Signer(seed("invitation"))


def committee_of(*people: Person) -> Committee:
    members = [Member(person.id, VoteKey(person.vote.public), person.nick) for person in people]
    return Committee(
        tuple(sorted(members, key=lambda member: member.identity)), spent_digest(spent_by(*people))
    )


def spent_by(*people: Person) -> tuple[bytes, ...]:
    return tuple(person.vote.public for person in people)


FOUR = [Person(nick) for nick in ("ann", "bob", "cal", "dee")]
EVE, FAY = Person("eve"), Person("fay")
COMMITTEE, SPENT = committee_of(*FOUR), spent_by(*FOUR)


def asks(
    person: Person,
    *,
    nick: str | None = None,
    vote: Ed25519Signer | None = None,
    by: Person | None = None,
    room: RoomId = ROOM,
) -> Request:
    voucher = None
    if by is not None:
        voucher = make_voucher(room=room, key=Hash(SECRET.public), expires=0, inviter=by.identity)
    return make_request(
        room=room,
        nick=nick or person.nick,
        identity=person.identity,
        vote=vote or person.vote,
        voucher=voucher,
        invitation=SECRET if by else None,
    )


def is_valid(motion: Motion, committee: Committee = COMMITTEE, spent: tuple[bytes, ...] = SPENT) -> bool:
    return motion_is_valid(motion, committee=committee, spent=spent, room=ROOM, verify=ed25519_verify)


NEW_KEY = Ed25519Signer(seed("new key"))


@pytest.mark.parametrize(
    "motion",
    [
        Admit(asks(EVE)),
        Admit(asks(EVE, by=FOUR[0])),
        Remove(FOUR[2].id),
        Rekey(asks(FOUR[1], vote=NEW_KEY)),
    ],
)
def test_what_can_take_effect_is_valid(motion: Motion) -> None:
    assert is_valid(motion)


@pytest.mark.parametrize(
    ("why", "motion"),
    [
        ("is a member", Admit(asks(FOUR[0], vote=NEW_KEY, nick="new"))),
        ("takes a nick", Admit(asks(EVE, nick="bob"))),
        ("hides something in its nick", Admit(asks(EVE, nick="b\u200bob"))),
        ("has a vote key that was one", Admit(asks(EVE, vote=FOUR[0].vote))),
        ("has a voucher of a stranger", Admit(asks(EVE, by=FAY))),
        ("asks another room", Admit(asks(EVE, room=RoomId(seed("elsewhere"))))),
        ("removes a stranger", Remove(EVE.id)),
        ("rekeys a stranger", Rekey(asks(EVE))),
        ("rekeys to the same key", Rekey(asks(FOUR[1]))),
        ("rekeys to another's key", Rekey(asks(FOUR[1], vote=FOUR[2].vote))),
        ("rekeys under another nick", Rekey(asks(FOUR[1], vote=NEW_KEY, nick="robert"))),
        ("rekeys with a voucher", Rekey(asks(FOUR[1], vote=NEW_KEY, by=FOUR[0]))),
    ],
)
def test_what_could_not_take_effect_is_no_motion(why: str, motion: Motion) -> None:
    assert not is_valid(motion), why


def test_an_invitation_serves_once() -> None:
    motion = Admit(asks(EVE, by=FOUR[0]))
    assert is_valid(motion)
    assert not is_valid(motion, spent=(*SPENT, SECRET.public))


def test_a_full_room_admits_nobody_and_the_last_member_stays() -> None:
    full = committee_of(*(Person(f"m{number}") for number in range(MAX_MEMBERS)))
    assert not is_valid(Admit(asks(EVE)), committee=full)
    assert not is_valid(Remove(FOUR[0].id), committee=committee_of(FOUR[0]))
    assert is_valid(Remove(FOUR[0].id), committee=committee_of(*FOUR[:2]))


def test_a_member_sees_that_nicks_are_alike_though_the_agreed_rule_compares_exactly() -> None:
    assert alike("Zoë", "zoË")
    assert alike("STRASSE", "straße")
    assert alike("Zoë", "Zoe\u0308")
    assert not alike("zoe", "zoë")
    assert is_valid(Admit(asks(EVE, nick="BOB")))


def test_a_room_that_has_spent_all_its_keys_admits_nobody() -> None:
    spent = tuple(number.to_bytes(32, "big") for number in range(MAX_SPENT - 1))
    assert not is_valid(Admit(asks(EVE)), spent=spent)
    assert is_valid(Admit(asks(EVE)), spent=spent[:-1])


def fold(*controls: tuple[int, Control], committee: Committee = COMMITTEE) -> Ballot:
    """Control items by members' places, each alone in slot number 0, 1, 2, ..."""
    ballot = Ballot()
    for number, (place, control) in enumerate(controls):
        ballot = ballot.with_control(
            control,
            at=(at(number), 0),
            author=committee.members[place].identity,
            committee=committee,
            spent=SPENT,
            room=ROOM,
            verify=ed25519_verify,
        )
    return ballot


def at(number: int) -> SlotId:
    return SlotId(seed("slot", number))


def approve(number: int, position: int = 0) -> Approve:
    return Approve(at(number), position)


ADMIT_EVE, ADMIT_FAY = Admit(asks(EVE)), Admit(asks(FAY))


def test_a_motion_passes_with_its_author_and_two_more_of_four() -> None:
    assert COMMITTEE.quorum == 3
    assert fold((0, ADMIT_EVE), (1, approve(0))).passed is None
    assert fold((0, ADMIT_EVE), (1, approve(0)), (2, approve(0))).passed == ADMIT_EVE


def test_nobody_counts_twice() -> None:
    ballot = fold((0, ADMIT_EVE), (0, approve(0)), (1, approve(0)), (1, approve(0)), (0, ADMIT_EVE))
    assert ballot.passed is None
    assert ballot.motions[at(0), 0][1] == {COMMITTEE.members[0].identity, COMMITTEE.members[1].identity}


def test_the_same_motion_moved_twice_is_two_motions() -> None:
    ballot = fold((0, ADMIT_EVE), (1, ADMIT_EVE), (2, approve(0)), (3, approve(1)))
    assert ballot.passed is None
    assert len(ballot.motions) == 2


def test_an_approval_of_what_is_no_motion_or_not_yet_one_lapses() -> None:
    early = fold((1, approve(2)), (2, approve(2)), (0, ADMIT_EVE), (3, approve(2)))
    assert early.passed is None
    assert len(early.motions[at(2), 0][1]) == 2
    assert (
        fold(
            (0, ADMIT_EVE), (1, approve(0, position=1)), (2, approve(7)), (3, approve(0, position=-1))
        ).passed
        is None
    )


def test_an_invalid_motion_cannot_be_approved() -> None:
    ballot = fold((0, Remove(EVE.id)), (1, approve(0)), (2, approve(0)), (3, approve(0)))
    assert ballot == Ballot()


def test_the_first_to_reach_the_quorum_takes_effect_and_nothing_after_it_counts() -> None:
    controls = [
        (0, ADMIT_EVE),
        (0, ADMIT_FAY),
        (1, approve(1)),
        (1, approve(0)),
        (2, approve(1)),
        (2, approve(0)),
        (3, approve(0)),
    ]
    assert fold(*controls[:4]).passed is None
    assert fold(*controls[:5]).passed == ADMIT_FAY
    assert fold(*controls) == fold(*controls[:5])


def test_evidence_is_no_motion() -> None:
    assert fold((0, Accuse(b"evidence"))) == Ballot()


def test_alone_the_founder_decides() -> None:
    alone = committee_of(FOUR[0])
    assert fold((0, ADMIT_EVE), committee=alone).passed == ADMIT_EVE


@pytest.mark.parametrize("n", [2, 3])
def test_below_four_everyone_must_agree(n: int) -> None:
    few = committee_of(*FOUR[:n])
    votes = [(0, ADMIT_EVE), *((place, approve(0)) for place in range(1, n))]
    assert fold(*votes[:-1], committee=few).passed is None
    assert fold(*votes, committee=few).passed == ADMIT_EVE


def test_an_admission_adds_the_member_at_its_place_and_spends_key_and_invitation() -> None:
    committee, spent = enact(Admit(asks(EVE, by=FOUR[0])), committee=COMMITTEE, spent=SPENT)
    assert committee == Committee(committee_of(*FOUR, EVE).members, spent_digest(spent))
    assert committee.is_well_formed()
    assert spent == (*SPENT, EVE.vote.public, SECRET.public)


def test_a_removal_spends_nothing_and_forgets_no_key() -> None:
    committee, spent = enact(Remove(FOUR[1].id), committee=COMMITTEE, spent=SPENT)
    assert [member.nick for member in committee.members] == [
        member.nick for member in COMMITTEE.members if member.nick != "bob"
    ]
    assert spent == SPENT
    assert not is_valid(Admit(asks(FOUR[1])), committee=committee, spent=spent), "its old vote key is spent"
    assert is_valid(Admit(asks(FOUR[1], vote=NEW_KEY)), committee=committee, spent=spent)


def test_a_rekey_changes_the_vote_key_and_nothing_else() -> None:
    committee, spent = enact(Rekey(asks(FOUR[1], vote=NEW_KEY)), committee=COMMITTEE, spent=SPENT)
    place = COMMITTEE.place(FOUR[1].id)
    assert place is not None
    assert committee.members[place] == Member(MemberId(FOUR[1].id), VoteKey(NEW_KEY.public), "bob")
    assert [member for member in committee.members if member.nick != "bob"] == [
        member for member in COMMITTEE.members if member.nick != "bob"
    ]
    assert spent == (*SPENT, NEW_KEY.public)
