"""Schedules that show the rules of one round: who may propose, what is voted for, and that it is once.

Chance alone hardly finds them; `tests/mutants` breaks the rules one by one to see that these notice.
"""

import pytest
from msgspec.structs import replace

from chain.block import Block, Head
from chain.ids import BlockId, Hash, SlotId
from chain.message import Ack, BlockMessage, Committed, Message, Precommit, Prevote
from tests.simulation.by_hand import (
    block_of,
    certificate_by,
    hello_to,
    prevote_of,
    prevotes_in,
    proposal_of,
)
from tests.simulation.liars import (
    at_once,
    blamed,
    heights_above,
    id_of,
    losing,
    member_at,
    overhear,
    place_of,
    room_with_liar,
    silent,
    slot_of,
    tell,
    wait,
)
from tests.simulation.machine import Node
from tests.simulation.test_exact import DELAY, quiet_room
from tests.simulation.world import World


def in_turn(world: World) -> list[Node]:
    """Everybody, in the order in which they would lead the rounds of the first height."""
    tip = world.room.tip
    return [member_at(world, tip.leader_of(round_)) for round_ in range(len(world.nodes))]


def lying(*liars: Node) -> list[list[Message]]:
    """These say nothing from now on but what the test says for them; what each of them hears."""
    for liar in liars:
        liar.honest = False
        liar.withhold = silent
    return [overhear(liar) for liar in liars]


# Once a round


def test_a_member_that_precommitted_and_forgot_the_others_votes_precommits_nothing_else() -> None:
    """Two of four lie, so two blocks get a polka in one round; a restart lies between the two."""
    world = quiet_room(4)
    leader, other, victim, honest = in_turn(world)
    lying(leader, other)
    slots = slot_of(world, leader, 1), slot_of(world, other, 1)
    for node in (victim, honest):
        tell(world, node, leader, *slots)
    first = proposal_of(world, leader, block_of(world, leader, slots[0]))
    second = proposal_of(world, leader, block_of(world, leader, *slots))
    tell(world, honest, leader, second)
    tell(world, victim, leader, first, prevote_of(world, leader, first), prevote_of(world, other, first))
    assert victim.running.state.ordering.own.precommitted == 0
    world.crash(victim)
    world.restart(victim)
    at_once(world)
    tell(world, victim, leader, hello_to(world, victim))
    wait(world, 3 * DELAY)
    assert victim.running.signing
    tell(world, victim, leader, prevote_of(world, leader, second), prevote_of(world, other, second))
    tell(world, victim, leader, BlockMessage(second.block))
    ordering = victim.running.state.ordering
    polka = ordering.box.polka_at(0)
    assert polka is not None
    assert polka[0] == second.block.id(world.room.id)
    cast = [vote.block for vote in ordering.own.all if isinstance(vote, Precommit)]
    assert cast == [first.block.id(world.room.id)]


def test_a_member_that_prevoted_and_forgot_the_proposal_prevotes_nothing_else() -> None:
    """The leader proposes one block to it, and a longer one after its restart."""
    world, leader, (victim, *_) = room_with_liar(leads=True)
    leader.withhold = silent
    slot = slot_of(world, leader, 1)
    following = slot_of(world, leader, 2, prev=id_of(world, slot))
    first = proposal_of(world, leader, block_of(world, leader, slot))
    second = proposal_of(world, leader, block_of(world, leader, slot, following))
    tell(world, victim, leader, slot, first)
    assert victim.running.state.ordering.own.prevoted == 0
    world.crash(victim)
    world.restart(victim)
    wait(world, 3 * DELAY)
    assert victim.running.signing
    tell(world, victim, leader, following, second)
    ordering = victim.running.state.ordering
    assert ordering.box.proposals == {0: second}
    cast = [vote.block for vote in ordering.own.all if isinstance(vote, Prevote)]
    assert cast == [first.block.id(world.room.id)]


# Who proposes


def test_a_proposal_by_a_member_that_does_not_lead_the_round_gets_no_vote() -> None:
    world, liar, others = room_with_liar(leads=False)
    liar.withhold = silent
    heard = overhear(liar)
    slot = slot_of(world, liar, 1)
    mine = proposal_of(world, liar, block_of(world, liar, slot))
    for node in others:
        tell(world, node, liar, slot, mine)
    world.run()
    assert mine.block.id(world.room.id) not in {vote.block for vote in prevotes_in(heard)}
    assert len(blamed(others)) == 3
    assert heights_above(world, others) == [1, 1, 1]


def test_a_fresh_block_in_the_name_of_another_leader_gets_no_vote() -> None:
    world, liar, others = room_with_liar(leads=True)
    liar.withhold = silent
    heard = overhear(liar)
    slot = slot_of(world, liar, 1)
    for node in others:
        tell(world, node, liar, slot, proposal_of(world, liar, block_of(world, others[0], slot)))
    wait(world, 0.5)
    assert prevotes_in(heard, round_=0) == []
    world.run()
    assert heights_above(world, others) == [1, 1, 1]


# What is proposed


JUNK = bytes(32)


@pytest.mark.parametrize("field", ["prev", "log_size", "log_root", "committee", "next_committee"])
def test_a_block_with_a_wrong_derived_field_gets_no_vote(field: str) -> None:
    world, liar, others = room_with_liar(leads=True)
    liar.withhold = silent
    heard = overhear(liar)
    slot = slot_of(world, liar, 1)
    good = block_of(world, liar, slot)
    bad: dict[str, Block] = {
        "prev": replace(good, prev=BlockId(JUNK)),
        "log_size": replace(good, log_size=good.log_size + 1),
        "log_root": replace(good, log_root=Hash(JUNK)),
        "committee": replace(good, committee=Hash(JUNK)),
        "next_committee": replace(good, next_committee=world.room.tip.committee),
    }
    for node in others:
        tell(world, node, liar, slot, proposal_of(world, liar, bad[field]))
    wait(world, 0.5)
    assert prevotes_in(heard, round_=0) == []
    assert {"derived" in blame for blame in blamed(others)} == {True}
    world.run()
    assert heights_above(world, others) == [1, 1, 1]


@pytest.mark.parametrize("how", ["still", "back", "aside"])
def test_a_cut_that_stands_still_or_goes_back_gets_no_vote(how: str) -> None:
    """Blamed and given up on at once: nothing that might still come could make it good."""
    world, liar, others = room_with_liar(leads=True)
    world.say(liar)
    world.run()
    assert heights_above(world, others) == [1, 1, 1]
    liar.withhold = silent
    heard = overhear(liar)
    tip, place = others[0].running.tip, place_of(world, liar)
    before = tip.cut[place]
    elsewhere = {"still": before, "back": world.room.tip.cut[place], "aside": Head(before.seq, SlotId(JUNK))}
    cut = (*tip.cut[:place], elsewhere[how], *tip.cut[place + 1 :])
    block = replace(block_of(world, liar, tip=tip), cut=cut)
    for node in others:
        tell(world, node, liar, proposal_of(world, liar, block))
    wait(world, 0.5)
    assert prevotes_in(heard) == []
    assert {"forward" in blame for blame in blamed(others)} == {True}
    assert all(node.running.state.ordering.own.asked == 1 for node in others)


def test_a_cut_with_the_branch_of_a_fork_that_a_member_did_not_ack_gets_no_vote_of_it() -> None:
    """It acked the other branch, and the acks for this one have not reached it."""
    world, liar, (victim, *others) = room_with_liar(leads=True)
    liar.withhold = silent
    heard = overhear(liar)
    victim.filter = losing(lambda message: isinstance(message, Ack))
    winning = slot_of(world, liar, 1)
    tell(world, victim, liar, slot_of(world, liar, 1))
    for node in others:
        tell(world, node, liar, winning)
    proposal = proposal_of(world, liar, block_of(world, liar, winning))
    for node in (victim, *others):
        tell(world, node, liar, proposal)
    wait(world, 6 * DELAY)
    voters = {vote.signer for vote in prevotes_in(heard, round_=0)}
    assert voters == {place_of(world, node) for node in others}
    assert id_of(world, winning) in victim.running.state.broadcast.slots


# What a peer calls committed


def test_a_block_that_a_peer_calls_committed_needs_a_quorums_signatures() -> None:
    """Two of four sign at first, one of them given by somebody who was asked for a vote and told a lie."""
    world, liar, (victim, *others) = room_with_liar(leads=True)
    liar.withhold = silent
    slot = slot_of(world, liar, 1)
    proposal = proposal_of(world, liar, block_of(world, liar, slot))
    for node in others:
        tell(world, node, liar, slot)
    by_two = certificate_by(world, proposal, liar, others[0])
    tell(world, victim, liar, slot, Committed(proposal.block, by_two))
    assert heights_above(world, [victim]) == [0]
    assert len(blamed([victim])) == 1
    tell(world, victim, liar, Committed(proposal.block, certificate_by(world, proposal, liar, *others)))
    assert heights_above(world, [victim]) == [1]
