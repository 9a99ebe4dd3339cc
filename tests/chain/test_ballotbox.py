"""Which votes count, and what a quorum of them shows: a room of four, of which any may lie."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from chain.ballotbox import BallotBox
from chain.epoch import Epoch
from chain.ids import BlockId, Hash
from chain.message import UNSIGNED, Precommit, Prevote, RoundChange, Vote, signed
from chain.outbox import Outbox
from tests.simulation.keys import HASHED
from tests.simulation.room import make_room

ROOM = make_room(4, HASHED)
TIP, SEATS = ROOM.tip, ROOM.seats
A, B = BlockId(b"a" * 32), BlockId(b"b" * 32)


def empty_box() -> BallotBox:
    """What the member at place 0 has before anybody voted at this height."""
    epoch = Epoch(
        room=TIP.room,
        number=TIP.epoch,
        committee=TIP.committee,
        me=0,
        key=SEATS[0].vote,
        verify=HASHED.verify,
        out=Outbox(),
        signing=True,
    )
    return BallotBox(epoch, height=TIP.height + 1)


def prevote(place: int, block: BlockId = A, round_: int = 0) -> Prevote:
    bare = Prevote(TIP.epoch, TIP.height + 1, round_, place, block, Hash(bytes(32)), UNSIGNED)
    return signed(bare, room=TIP.room, key=SEATS[place].vote)


def precommit(place: int, block: BlockId = A, round_: int = 0, size: int = 7) -> Precommit:
    bare = Precommit(TIP.epoch, TIP.height + 1, round_, place, block, size, Hash(bytes(32)), UNSIGNED)
    return signed(bare, room=TIP.room, key=SEATS[place].vote)


def round_change(
    place: int, round_: int, *, lock: tuple[int, BlockId] | None = None, polka: Iterable[Prevote] = ()
) -> RoundChange:
    bare = RoundChange(TIP.epoch, TIP.height + 1, round_, place, lock, UNSIGNED, tuple(polka))
    return signed(bare, room=TIP.room, key=SEATS[place].vote)


def put(box: BallotBox, *votes: Vote) -> list[bool]:
    """Whether each of them was taken in."""
    return [box.add(vote, peer=SEATS[vote.signer].id) for vote in votes]


def test_a_polka_is_a_quorum_of_prevotes_for_one_block_in_one_round() -> None:
    box = empty_box()
    put(box, prevote(0), prevote(1), prevote(2, B), prevote(3, round_=1))
    assert box.polka_at(0) is None
    put(box, prevote(3))
    assert box.polka_at(0) == (A, (prevote(0), prevote(1), prevote(3)))


def test_a_certificate_is_a_quorum_of_precommits_of_one_text_in_one_round() -> None:
    box = empty_box()
    put(box, precommit(0), precommit(1))
    assert box.certified() == []
    put(box, precommit(2, size=8), precommit(3, round_=1))
    assert box.certified() == []
    put(box, precommit(3))
    ((block, certificate),) = box.certified()
    assert (block, certificate.round) == (A, 0)
    assert [place for place, _ in certificate.signatures] == [0, 1, 3]


def test_a_vote_that_its_signer_did_not_sign_is_not_counted() -> None:
    box = empty_box()
    votes = [prevote(1), precommit(1), round_change(1, 1)]
    assert put(box, *(replace(vote, signature=UNSIGNED) for vote in votes)) == [False] * 3
    assert list(box.every()) == []
    assert put(box, *votes) == [True] * 3


def test_of_two_votes_at_one_position_the_first_stays() -> None:
    box = empty_box()
    assert put(box, prevote(1, A), prevote(1, B)) == [True, False]
    assert put(box, precommit(1, A), precommit(1, B)) == [True, False]
    assert {vote.block for vote in box.every() if not isinstance(vote, RoundChange)} == {A}


GOOD = (prevote(0), prevote(1), prevote(2))


def test_a_round_change_shows_the_polka_that_it_names_or_counts_for_nothing() -> None:
    box = empty_box()
    unsigned = replace(prevote(2), signature=UNSIGNED)
    bad = {
        "one too few": ((0, A), GOOD[:2]),
        "one of them three times": ((0, A), GOOD[:1] * 3),
        "one of them not signed": ((0, A), (*GOOD[:2], unsigned)),
        "one of them for another block": ((0, A), (*GOOD[:2], prevote(2, B))),
        "one of them of another round": ((0, A), (*GOOD[:2], prevote(2, round_=1))),
        "all of them for another block": ((0, B), GOOD),
        "none": ((0, A), ()),
        "of the very round it asks for": ((2, A), tuple(prevote(place, round_=2) for place in range(3))),
    }
    taken = {
        why for why, (lock, polka) in bad.items() if any(put(box, round_change(1, 2, lock=lock, polka=polka)))
    }
    assert taken == set()
    assert put(box, round_change(1, 2, polka=GOOD)) == [False]
    assert put(box, round_change(1, 2, lock=(0, A), polka=GOOD)) == [True]


@pytest.mark.parametrize(("asked", "joined"), [([7], None), ([7, 3], 3), ([7, 7], 7), ([7, 3, 2], 3)])
def test_a_round_is_joined_once_more_members_than_may_lie_ask_for_it(
    asked: list[int], joined: int | None
) -> None:
    box = empty_box()
    put(box, *(round_change(place, round_) for place, round_ in enumerate(asked, start=1)))
    assert box.round_to_join(sent=0) == joined


def test_a_round_is_entered_once_a_quorum_is_there() -> None:
    box = empty_box()
    put(box, round_change(1, 5), prevote(2, round_=4))
    assert box.round_to_enter() is None
    put(box, precommit(3, round_=3))
    assert box.round_to_enter() == 3
