"""A block follows from the one before and its slots, in every field; an epoch from its final block."""

import dataclasses

import msgspec
import pytest

from chain.block import Head
from chain.codec import encode
from chain.committee import Committee
from chain.control import Admit, Approve, Control, Remove, make_request
from chain.crypto import ed25519_verify
from chain.errors import InvalidBlockError
from chain.ids import BlockId, Hash, MemberId, SlotId
from chain.ledger import Tip, extend, first_cut, genesis_tip, tip_after_final
from chain.merkle import Frontier, leaf_hash, root_of
from chain.records import KeepBlock, KeepEpoch
from chain.walk import Walk
from tests.chain.drawing import Person, Room, grown_room, seed, talk


def blocks(room: Room) -> list[KeepBlock]:
    return [record for record in room.history if isinstance(record, KeepBlock)]


def epochs(room: Room) -> list[KeepEpoch]:
    return [record for record in room.history if isinstance(record, KeepEpoch)]


def test_before_height_one_there_is_the_founder_alone() -> None:
    room = Room()
    tip = genesis_tip(room.genesis)
    assert (tip.epoch, tip.height, tip.block, tip.room) == (0, 0, room.id, room.id)
    assert [member.nick for member in tip.committee.members] == ["ann"]
    assert tip.cut == (Head(0, SlotId(room.id)),)
    assert tip.frontier == Frontier()


def test_every_block_follows_from_the_one_before() -> None:
    room = grown_room(blocks=2)
    prev, size, leaves = BlockId(room.id), 0, []
    committees = {0: genesis_tip(room.genesis).committee}
    committees |= {start.epoch: start.final.next_committee for start in epochs(room)}
    for height, kept in enumerate(blocks(room), start=1):
        block = kept.block
        assert (block.height, block.prev, block.id(room.id)) == (height, prev, kept.id)
        assert [index for index, _ in kept.items] == list(range(size, block.log_size))
        leaves += [leaf_hash(encode(leaf)) for _, leaf in kept.items]
        assert block.log_root == root_of(leaves)
        assert block.committee == committees[block.epoch].digest
        prev, size = kept.id, block.log_size
    assert room.tip.block == prev
    assert room.tip.frontier.size == size


def test_who_leads_and_which_cut_it_is_are_all_the_leader_chooses() -> None:
    room = grown_room(nicks=["bob"], blocks=1)
    slots = {lane: [(kept.id, kept.slot)] for lane in (0, 1) if (kept := room.slot(lane, []))}
    cut = tuple(room.head(lane) for lane in (0, 1))
    made = [
        extend(room.tip, cut=cut, leader=member.identity, slots=slots, verify=ed25519_verify)
        for member in room.tip.committee.members
    ]
    assert made[0].block.leader != made[1].block.leader
    assert msgspec.structs.replace(made[1].block, leader=made[0].block.leader) == made[0].block
    assert made[0].items == made[1].items


def voted(room: Room, *controls: tuple[int, Control]) -> list[SlotId]:
    return [room.slot(lane, control=[control]).id for lane, control in controls]


def test_a_ballot_lasts_over_blocks_until_a_motion_passes() -> None:
    room = grown_room(nicks=["bob", "cal", "dee"], blocks=1)
    eve = Person("eve")
    motion = Admit(make_request(room=room.id, nick="eve", identity=eve.identity, vote=eve.vote))
    (moved,) = voted(room, (0, motion))
    room.block()
    before = room.tip
    voted(room, (1, Approve(moved, 0)))
    room.block()
    assert (room.tip.epoch, len(room.tip.ballot.motions)) == (before.epoch, 1)
    assert blocks(room)[-1].block.next_committee is None
    voted(room, (2, Approve(moved, 0)))
    room.block()
    tip = room.tip
    assert (tip.epoch, tip.height) == (before.epoch + 1, before.height + 2)
    assert tip.committee.place(eve.id) is not None
    assert blocks(room)[-1].block.next_committee == tip.committee
    assert tip.cut == first_cut(5, tip.block)
    assert not tip.ballot.motions


def test_items_after_the_motion_that_ended_the_epoch_are_still_in_the_log() -> None:
    room = Room()
    eve = Person("eve")
    motion = Admit(make_request(room=room.id, nick="eve", identity=eve.identity, vote=eve.vote))
    voted(room, (0, motion), (0, Remove(eve.id)))
    room.say("ann", "after it")
    room.block()
    assert (room.tip.epoch, room.tip.frontier.size) == (1, 3)
    assert room.tip.committee.n == 2


def test_the_leader_stays_while_it_is_a_member_and_others_follow_in_turn() -> None:
    room = grown_room(nicks=["bob", "cal", "dee"], blocks=1)
    members = room.tip.committee.members
    for place, member in enumerate(members):
        tip = dataclasses.replace(room.tip, leader=member.identity)
        assert [tip.leader_of(round_) for round_ in range(6)] == [(place + round_) % 4 for round_ in range(6)]


def test_after_a_leader_that_left_comes_the_next_identity_cyclically() -> None:
    room = grown_room(nicks=["bob", "cal", "dee"], blocks=1)
    members = room.tip.committee.members
    for place, gone in enumerate(members):
        left = Committee(tuple(member for member in members if member != gone), Hash(seed("spent")))
        tip = dataclasses.replace(room.tip, committee=left, leader=gone.identity)
        assert left.members[tip.leader_of(0)] == members[(place + 1) % 4]
    beyond = dataclasses.replace(room.tip, leader=MemberId(b"\xff" * 32))
    assert beyond.leader_of(0) == 0


def test_a_newcomer_reaches_the_state_by_final_blocks_alone() -> None:
    room = grown_room(nicks=["bob", "cal"], blocks=2)
    tip, walk = genesis_tip(room.genesis), Walk.from_genesis(room.genesis, verify=ed25519_verify)
    for start in epochs(room):
        walk.follow(start.final, start.certificate)
        assert walk.committee == start.final.next_committee
        assert start.frontier is not None
        assert start.spent is not None
        tip = tip_after_final(
            room=room.id,
            block=start.final,
            frontier=Frontier(start.final.log_size, start.frontier),
            spent=start.spent,
        )
    assert tip == _tip_at(room, tip.height)


def _tip_at(room: Room, height: int) -> Tip:
    """The state a member that was there all along had after this height."""
    again = Room()
    talk(again, 2)
    for nick in ("bob", "cal"):
        again.admit(nick)
        if again.tip.height == height:
            return again.tip
        talk(again, 2)
    raise AssertionError(height)


def test_a_state_that_the_final_block_does_not_vouch_for_is_refused() -> None:
    room = grown_room(nicks=["bob"], blocks=3)
    (start,) = epochs(room)
    assert start.frontier is not None
    assert start.spent is not None
    good = Frontier(start.final.log_size, start.frontier)
    frontiers = [
        Frontier(),
        Frontier(good.size, good.peaks[::-1] + good.peaks),
        Frontier(good.size + 1, good.peaks),
    ]
    frontiers.append(dataclasses.replace(good, peaks=(leaf_hash(b"x"), *good.peaks[1:])))
    for frontier in frontiers:
        with pytest.raises(InvalidBlockError, match="does not lead to the root"):
            tip_after_final(room=room.id, block=start.final, frontier=frontier, spent=start.spent)
    for spent in ((), start.spent[::-1], (*start.spent, seed("more"))):
        with pytest.raises(InvalidBlockError, match="spent keys do not match"):
            tip_after_final(room=room.id, block=start.final, frontier=good, spent=spent)
    with pytest.raises(InvalidBlockError, match="ends no epoch"):
        tip_after_final(room=room.id, block=blocks(room)[0].block, frontier=good, spent=start.spent)
