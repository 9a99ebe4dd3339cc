"""Who walks by final blocks trusts where it began: all that is forged, missing or out of turn stops it."""

from collections.abc import Callable

import msgspec
import pytest

from chain.block import Block, Certificate, Head, block_checkpoint
from chain.committee import Committee, Member
from chain.control import Anchor
from chain.crypto import ed25519_verify
from chain.errors import InvalidBlockError
from chain.ids import BlockId, Hash, SlotId, VoteKey
from chain.message import Final
from chain.records import KeepBlock, KeepEpoch
from chain.walk import Walk
from tests.chain.drawing import Person, Room, grown_room, seed, talk

NICKS = ["bob", "cal", "dee", "eve"]
ROOM = grown_room(nicks=NICKS, blocks=1)


def finals(room: Room) -> list[Final]:
    return [Final(kept.final, kept.certificate) for kept in room.history if isinstance(kept, KeepEpoch)]


FINALS = finals(ROOM)


def anchor_at(final: Final) -> Anchor:
    return Anchor(final.block.height, final.block.id(ROOM.id))


def from_genesis(*, anchor: Anchor | None = None) -> Walk:
    return Walk.from_genesis(ROOM.genesis, verify=ed25519_verify, anchor=anchor)


def from_anchor(final: Final) -> Walk:
    return Walk.from_anchor(anchor_at(final), final.block, room=ROOM.id, verify=ed25519_verify)


def follow_all(walk: Walk, rest: list[Final]) -> None:
    for final in rest:
        walk.follow(final.block, final.certificate)


def where(walk: Walk) -> tuple[int, int, BlockId, Committee, int]:
    return walk.epoch, walk.height, walk.block, walk.committee, walk.smallest_quorum


def test_from_the_genesis_one_walks_to_the_committee_of_today_and_all_rests_on_the_founders_key() -> None:
    walk = from_genesis()
    assert where(walk) == (0, 0, ROOM.id, walk.committee, 1)
    assert [member.nick for member in walk.committee.members] == ["ann"]
    follow_all(walk, FINALS)
    last = FINALS[-1].block
    assert where(walk) == (4, last.height, last.id(ROOM.id), ROOM.tip.committee, 1)
    assert walk.anchored


@pytest.mark.parametrize(("began", "quorum"), [(0, 2), (1, 3), (2, 3), (3, 4)])
def test_from_an_anchor_one_walks_on_and_needs_no_certificate_of_what_lies_before(
    began: int, quorum: int
) -> None:
    walk = from_anchor(FINALS[began])
    assert (walk.epoch, walk.height) == (began + 1, FINALS[began].block.height)
    follow_all(walk, FINALS[began + 1 :])
    assert walk.committee == ROOM.tip.committee
    assert walk.smallest_quorum == quorum


def test_an_anchor_is_a_block_by_its_hash_and_height_that_ends_an_epoch() -> None:
    first, second = FINALS[:2]
    ordinary = next(kept.block for kept in ROOM.history if isinstance(kept, KeepBlock))
    for anchor, block in [
        (anchor_at(first), second.block),
        (Anchor(second.block.height, first.block.id(ROOM.id)), first.block),
        (anchor_at(first), msgspec.structs.replace(first.block, log_size=7)),
    ]:
        with pytest.raises(InvalidBlockError, match="is not the one that the anchor names"):
            Walk.from_anchor(anchor, block, room=ROOM.id, verify=ed25519_verify)
    with pytest.raises(InvalidBlockError, match="ends no epoch"):
        named = Anchor(ordinary.height, ordinary.id(ROOM.id))
        Walk.from_anchor(named, ordinary, room=ROOM.id, verify=ed25519_verify)


def signed_by(
    block: Block, committee: Committee, *, round_: int = 0, epoch: int | None = None
) -> Certificate:
    """What these members' keys say when all of them sign."""
    named = block if epoch is None else msgspec.structs.replace(block, epoch=epoch)
    text = block_checkpoint(named, room=ROOM.id, round_=0)
    keys = {person.vote.public: person.vote for person in ROOM.people.values()}
    return Certificate(
        0,
        tuple(
            (place, keys[member.vote_key].sign(text))
            for place, member in enumerate(committee.members)
            if member.vote_key in keys
        ),
    )


def with_next(final: Final, committee: Committee | None) -> Block:
    return msgspec.structs.replace(final.block, next_committee=committee)


def shuffled(committee: Committee) -> Committee:
    return Committee(committee.members[::-1], committee.spent)


def with_eve_twice(committee: Committee) -> Committee:
    eve = Person("eve")
    one = Member(eve.id, VoteKey(committee.members[0].vote_key), "eve")
    members = sorted((*committee.members, one), key=lambda member: member.identity)
    return Committee(tuple(members), committee.spent)


EVE_ALONE = Committee(
    (Member(Person("eve").id, VoteKey(Person("eve").vote.public), "eve"),), Hash(seed("spent"))
)

Forgery = Callable[[Final, Final, Committee], tuple[Block, Certificate]]
"""From the right next final, the one after it and the committee that is to sign: something else."""

FORGERIES: dict[str, Forgery] = {
    "unsigned": lambda right, after, committee: (right.block, Certificate(0, ())),
    "one signature short": lambda right, after, committee: (
        right.block,
        Certificate(0, signed_by(right.block, committee).signatures[: committee.quorum - 1]),
    ),
    "one member counted twice": lambda right, after, committee: (
        right.block,
        Certificate(0, signed_by(right.block, committee).signatures[:1] * (committee.quorum + 1)),
    ),
    "signed in another round than it says": lambda right, after, committee: (
        right.block,
        Certificate(1, signed_by(right.block, committee).signatures),
    ),
    "signed in another epoch": lambda right, after, committee: (
        right.block,
        signed_by(right.block, committee, epoch=right.block.epoch + 1),
    ),
    "signed by the committee it appoints": lambda right, after, committee: (
        with_next(right, EVE_ALONE),
        signed_by(with_next(right, EVE_ALONE), EVE_ALONE),
    ),
    "one left out": lambda right, after, committee: (after.block, after.certificate),
    "another committee after it": lambda right, after, committee: (
        with_next(right, committee),
        right.certificate,
    ),
    "ends nothing": lambda right, after, committee: (
        with_next(right, None),
        signed_by(with_next(right, None), committee),
    ),
    "members in disorder": lambda right, after, committee: (
        with_next(right, shuffled(ROOM.tip.committee)),
        signed_by(with_next(right, shuffled(ROOM.tip.committee)), committee),
    ),
    "two members with one key": lambda right, after, committee: (
        with_next(right, with_eve_twice(committee)),
        signed_by(with_next(right, with_eve_twice(committee)), committee),
    ),
    "of a height that is past": lambda right, after, committee: (
        msgspec.structs.replace(right.block, height=0),
        signed_by(msgspec.structs.replace(right.block, height=0), committee),
    ),
    "names another committee as its own": lambda right, after, committee: (
        msgspec.structs.replace(right.block, committee=Hash(seed("another"))),
        signed_by(msgspec.structs.replace(right.block, committee=Hash(seed("another"))), committee),
    ),
    "cuts more lanes than there are members": lambda right, after, committee: (
        msgspec.structs.replace(right.block, cut=(*right.block.cut, Head(1, SlotId(seed("slot"))))),
        signed_by(
            msgspec.structs.replace(right.block, cut=(*right.block.cut, Head(1, SlotId(seed("slot"))))),
            committee,
        ),
    ),
}


@pytest.mark.parametrize("began", [None, 0, 1])
@pytest.mark.parametrize("what", list(FORGERIES))
def test_whatever_is_forged_or_left_out_is_refused_and_the_walk_goes_on_from_where_it_was(
    what: str, began: int | None
) -> None:
    walk = from_genesis() if began is None else from_anchor(FINALS[began])
    at = walk.epoch
    before = where(walk)
    block, certificate = FORGERIES[what](FINALS[at], FINALS[at + 1], walk.committee)
    with pytest.raises(InvalidBlockError):
        walk.follow(block, certificate)
    assert where(walk) == before
    follow_all(walk, FINALS[at:])
    assert walk.committee == ROOM.tip.committee


def test_finals_count_in_their_order_and_once() -> None:
    walk = from_genesis()
    for epoch, right in enumerate(FINALS):
        for other, wrong in enumerate(FINALS):
            if other != epoch:
                with pytest.raises(InvalidBlockError):
                    walk.follow(wrong.block, wrong.certificate)
        walk.follow(right.block, right.certificate)


def block_height(final: Final) -> int:
    return final.block.height


def rewritten() -> Room:
    """The founder, whose key alone counts in epoch 0, signs another past for the same room."""
    room = Room()
    talk(room, 2)
    for nick in ("mal", "max", "mia"):
        room.admit(nick)
        talk(room, 1)
    assert room.id == ROOM.id
    return room


def test_a_founder_can_rewrite_all_that_followed_and_only_an_anchor_shows_it() -> None:
    forged = finals(rewritten())
    walk = from_genesis()
    follow_all(walk, forged)
    assert walk.smallest_quorum == 1, "which is what a verifier has to say"
    assert [block_height(final) for final in forged] == [3, 5, 7]
    for true in FINALS[:3]:
        walk = from_genesis(anchor=anchor_at(true))
        with pytest.raises(InvalidBlockError, match="somebody rewrote it"):
            follow_all(walk, forged)
    for true in FINALS:
        with pytest.raises(InvalidBlockError):
            follow_all(from_anchor(true), forged)


def test_a_walk_that_never_came_to_its_anchor_says_so() -> None:
    for far, true in enumerate(FINALS):
        walk = from_genesis(anchor=anchor_at(true))
        follow_all(walk, FINALS[:far])
        assert not walk.anchored
        follow_all(walk, FINALS[far:])
        assert walk.anchored


def test_an_anchor_between_two_final_blocks_is_passed_by_no_walk() -> None:
    between = Anchor(FINALS[1].block.height - 1, FINALS[1].block.prev)
    walk = from_genesis(anchor=between)
    follow_all(walk, FINALS[:1])
    with pytest.raises(InvalidBlockError, match="somebody rewrote it"):
        follow_all(walk, FINALS[1:])


def test_an_anchor_at_height_nought_is_the_room_itself() -> None:
    assert from_genesis(anchor=Anchor(0, BlockId(ROOM.id))).anchored
    with pytest.raises(InvalidBlockError, match="somebody rewrote it"):
        from_genesis(anchor=Anchor(0, BlockId(seed("another"))))
