"""Schedules that show what binds the rounds of one height together: promises, polkas, justifications.

Chance alone hardly finds them; `tests/mutants` breaks the rules one by one to see that these notice.
"""

import pytest

from chain.message import (
    Ack,
    Committed,
    Hello,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    SlotMessage,
)
from tests.simulation.by_hand import (
    block_of,
    prevote_of,
    prevotes_in,
    proposal_of,
    round_change_of,
)
from tests.simulation.liars import (
    blamed,
    heights_above,
    losing,
    room_with_liar,
    slot_of,
    tell,
    wait,
)
from tests.simulation.machine import Node
from tests.simulation.test_exact import DELAY, follower_of, leader_of, quiet_room
from tests.simulation.test_mutant_schedules_votes import in_turn, lying
from tests.simulation.world import World

# A round that was given up


def test_who_gave_up_on_a_round_does_not_vote_in_it_when_the_proposal_comes_late() -> None:
    world = quiet_room(4)
    leader, victim, *_ = in_turn(world)
    kept: list[Message] = []

    def lost(message: Message) -> bool:
        if isinstance(message, Propose) and not kept:
            kept.append(message)
        return not isinstance(message, SlotMessage | Ack)

    victim.filter = losing(lost)
    world.say(leader)
    wait(world, 1.5)
    ordering = victim.running.state.ordering
    assert (ordering.round, ordering.own.asked, len(kept)) == (0, 1, 1)
    tell(world, victim, leader, *kept)
    assert ordering.box.proposals == {0: kept[0]}
    assert [type(vote) for vote in ordering.own.all] == [RoundChange]


def test_who_gave_up_on_a_round_does_not_precommit_when_its_polka_comes_late() -> None:
    world = quiet_room(4)
    leader, victim, *_ = in_turn(world)
    kept: list[Message] = []

    def lost(message: Message) -> bool:
        if isinstance(message, Prevote):
            kept.append(message)
        return not isinstance(message, SlotMessage | Ack | Propose)

    victim.filter = losing(lost)
    world.say(leader)
    wait(world, 1.5)
    ordering = victim.running.state.ordering
    assert (ordering.round, ordering.own.prevoted, ordering.own.asked, len(kept)) == (0, 0, 1, 3)
    tell(world, victim, leader, *kept)
    assert ordering.box.polka_at(0) is not None
    assert ordering.own.precommitted == -1


def test_a_leader_that_gave_up_on_its_round_proposes_nothing_in_it() -> None:
    """More members than may lie ask for round 1, fewer than it takes to enter it."""
    world = quiet_room(7)
    leader, *others = in_turn(world)
    liars = others[:3]
    lying(*liars)
    tell(world, leader, liars[0], *(round_change_of(world, liar, 1) for liar in liars))
    ordering = leader.running.state.ordering
    assert (ordering.round, ordering.own.asked) == (0, 1)
    world.say(leader)
    wait(world, 3 * DELAY)
    assert leader.running.unordered
    assert ordering.own.proposed == -1


# A polka is not forgotten


def room_where_round_0_was_almost_decided() -> tuple[World, Node]:
    """Everybody saw the polka of round 0, nobody anybody else's precommit."""
    world = quiet_room(4)
    for node in world.nodes:
        node.filter = losing(lambda message: isinstance(message, Precommit) and message.round == 0)
    leader = leader_of(world)
    world.say(leader)
    wait(world, 2.5 * DELAY)
    assert all(node.running.state.ordering.own.precommitted == 0 for node in world.nodes)
    return world, leader


def test_a_block_that_may_have_been_decided_is_proposed_again() -> None:
    world, leader = room_where_round_0_was_almost_decided()
    world.say(follower_of(world))
    wait(world, 30)
    assert min(heights_above(world, world.nodes)) >= 1
    first = min(height for height in world.properties.blocks if height > world.room.tip.height)
    kept = world.properties.blocks[first]
    assert kept.certificate.round > 0
    assert kept.block.leader == leader.id
    assert not blamed(world.nodes)


def test_a_member_that_restarts_after_its_precommit_still_shows_its_polka() -> None:
    """Nobody's prevotes reach it again: it knows of the polka from its own journal only."""
    world, _ = room_where_round_0_was_almost_decided()
    victim = follower_of(world)
    victim.filter = losing(lambda message: isinstance(message, Prevote | Precommit))
    world.crash(victim)
    world.restart(victim)
    wait(world, 30)
    signed = {kind for by, kind, _, _ in world.properties.signatures.positions if by == victim.id}
    assert {"precommit", "round-change"} <= signed
    assert heights_above(world, world.nodes) == [1] * 4


def test_a_proposal_that_ignores_the_block_it_is_bound_to_gets_no_vote() -> None:
    """The liar leads round 1, and proposes what follows from the same cut in its own name."""
    world = quiet_room(4)
    leader, liar, *others = in_turn(world)
    (heard,) = lying(liar)
    honest = [leader, *others]
    for node in honest:
        node.filter = losing(lambda message: isinstance(message, Precommit) and message.round == 0)
    slot = slot_of(world, liar, 1)
    for node in honest:
        tell(world, node, liar, slot)
    wait(world, 1 + 4 * DELAY)
    votes = [vote for vote in heard if isinstance(vote, RoundChange)]
    assert [vote.lock is not None for vote in votes] == [True] * 3
    own = proposal_of(world, liar, block_of(world, liar, slot), round_=1, votes=votes)
    for node in honest:
        tell(world, node, liar, own)
    wait(world, 2 * DELAY)
    assert prevotes_in(heard, round_=1) == []
    assert {"bound" in blame for blame in blamed(honest)} == {True}
    world.run()
    first = world.properties.blocks[world.room.tip.height + 1]
    assert first.block.leader == leader.id
    assert {found.member for node in honest for found in node.evidence} == {liar.id}


# A later round is justified


@pytest.mark.parametrize("asking", [0, 1, 2])
def test_a_proposal_of_a_later_round_without_a_quorum_that_asked_for_it_gets_no_vote(asking: int) -> None:
    """Two of four lie, and two that ask for a round are one too few."""
    world = quiet_room(4)
    _, liar, other, *honest = in_turn(world)
    heard, _ = lying(liar, other)
    slot = slot_of(world, liar, 1)
    votes = [round_change_of(world, node, 1) for node in (liar, other)][:asking]
    proposal = proposal_of(world, liar, block_of(world, liar, slot), round_=1, votes=votes)
    for node in (*honest, leader_of(world)):
        tell(world, node, liar, slot, proposal)
    wait(world, 2 * DELAY)
    assert prevotes_in(heard, round_=1) == []
    assert {"justification" in blame for blame in blamed([*honest, leader_of(world)])} == {True}


@pytest.mark.parametrize(("after", "voted"), [(1.5, True), (2.5, False)])
def test_a_leader_that_leaves_out_a_lane_for_long_loses_its_round(after: float, voted: bool) -> None:
    """Patience is two seconds; the liar leads round 1, of which the timer has not run out then."""
    world = quiet_room(4)
    leader, liar, speaker, other = in_turn(world)
    (heard,) = lying(liar)
    honest = [leader, speaker, other]
    for node in honest:
        node.filter = losing(lambda message: isinstance(message, Prevote) and message.round == 0)
    world.say(speaker)
    mine = slot_of(world, liar, 1)
    for node in honest:
        tell(world, node, liar, mine)
    wait(world, after)
    votes = [vote for vote in heard if isinstance(vote, RoundChange)]
    assert len(votes) == 3
    proposal = proposal_of(world, liar, block_of(world, liar, mine), round_=1, votes=votes)
    for node in honest:
        tell(world, node, liar, proposal)
    wait(world, 2 * DELAY)
    assert bool(prevotes_in(heard, round_=1)) is voted
    assert voted or {node.running.state.ordering.own.asked for node in honest} == {2}
    world.run()
    assert not any(node.running.unordered for node in honest)


# Silence


def test_a_round_that_cannot_go_on_is_asked_for_once() -> None:
    """Two of four went away after all had delivered: nobody is left to make a quorum, so all is quiet."""
    world = quiet_room(4)
    leader, gone, speaker, other = in_turn(world)
    for node in (speaker, other):
        node.filter = losing(lambda message: isinstance(message, Propose | Prevote | Committed | Hello))
    world.say(speaker)
    wait(world, 2.5 * DELAY)
    world.crash(leader)
    world.crash(gone)
    wait(world, 300)
    assert [node.running.state.ordering.own.asked for node in (speaker, other)] == [1, 1]
    assert world.idle


def test_nobody_loses_patience_with_a_leader_that_has_nothing_to_propose() -> None:
    world = World(4)
    world.max_steps = 500
    world.populate()
    assert world.idle
    assert all(node.timer is None for node in world.nodes)
    world.say(world.nodes[0])
    world.run()
    assert all(node.timer is None for node in world.nodes)


def test_votes_of_a_proposal_are_of_who_signed_them() -> None:
    """The helpers of these schedules sign what they say: a polka of theirs is one to honest code."""
    world, liar, (one, *others) = room_with_liar(leads=True)
    slot = slot_of(world, liar, 1)
    proposal = proposal_of(world, liar, block_of(world, liar, slot))
    tell(world, one, liar, slot, proposal, *(prevote_of(world, node, proposal) for node in (liar, others[0])))
    assert one.running.state.ordering.box.polka_at(0) is not None
