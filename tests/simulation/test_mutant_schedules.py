"""Schedules that show what a restart, a lost link and the end of an epoch must not change.

Chance alone hardly finds them; `tests/mutants` breaks the rules one by one to see that these notice.
"""

import pytest
from msgspec.structs import replace

from chain.control import Remove
from chain.effects import Want
from chain.lane import WINDOW
from chain.message import Ack, Hello, Precommit, Prevote, Propose, RoundChange, Rounds, signed
from tests.simulation.by_hand import ack_of, block_of, hello_to, prevote_of, proposal_of
from tests.simulation.keys import HASHED
from tests.simulation.liars import (
    blamed,
    heights_above,
    id_of,
    losing,
    overhear,
    place_of,
    room_with_liar,
    silent,
    slot_of,
    tell,
    wait,
)
from tests.simulation.machine import Node
from tests.simulation.rest import check_liveness, check_rest
from tests.simulation.room import Seat, make_seat
from tests.simulation.signatures import LoggedSigner
from tests.simulation.test_exact import DELAY, follower_of, leader_of, quiet_room
from tests.simulation.test_liars import room_shown_a_fork
from tests.simulation.world import World

VOTES = (Propose, Prevote, Precommit, RoundChange)


def apart(world: World, one: Node, *others: Node) -> None:
    """No link between `one` and these, until told otherwise."""
    world.blocked |= {frozenset((one, other)) for other in others}
    world.relink()


def together(world: World) -> None:
    world.blocked.clear()
    world.relink()


# Broadcast


def test_what_is_delivered_can_be_shown_by_a_quorum_of_acks() -> None:
    """The acks for the leader's slot are lost, prevotes for a cut that holds it arrive: nobody could show
    those to a member that lacks the slot, so nothing is delivered by them, it is only ordered."""
    world = quiet_room(4)
    leader = leader_of(world)
    leader.filter = losing(lambda message: isinstance(message, Ack | Precommit))
    uuid = world.say(leader)
    wait(world, 2 * DELAY)
    ordering = leader.running.state.ordering
    assert len(ordering.box.prevotes[0]) == 4
    assert not leader.running.state.broadcast.delivered_at
    leader.filter = None
    world.run()
    assert uuid is not None
    assert world.properties.spoken[uuid].ordered == 1


# Links


def test_a_hello_that_asks_for_a_reply_gets_one() -> None:
    world, liar, (one, *_) = room_with_liar(leads=False)
    heard = overhear(liar)
    tell(world, one, liar, hello_to(world, one))
    world.run()
    assert not [message for message in heard if isinstance(message, Hello)]
    tell(world, one, liar, hello_to(world, one, reply=True))
    world.run()
    assert len([message for message in heard if isinstance(message, Hello)]) == 1


@pytest.mark.parametrize("what", ["acks", "votes"])
def test_acks_and_votes_that_were_lost_with_a_link_come_again_with_the_next(what: str) -> None:
    """Two members, one of whom heard nothing back; within its patience, so that no timer mends it."""
    world = quiet_room(2)
    leader = leader_of(world)
    (other,) = (node for node in world.nodes if node is not leader)
    uuid = world.say(leader)
    wait(world, 1.5 * DELAY)
    assert other.running.state.ordering.own.prevoted == 0
    apart(world, leader, other)
    lost = VOTES if what == "acks" else (Ack,)
    leader.filter = losing(lambda message: isinstance(message, lost))
    together(world)
    wait(world, 0.8 - 1.5 * DELAY)
    if what == "acks":
        assert uuid in leader.acks_of
    else:
        assert heights_above(world, world.nodes) == [1, 1]


# Restarts


def test_a_restarted_member_signs_once_so_many_confirm_that_a_quorum_would_share_one() -> None:
    """Of four, two others have to; a journal that one of them cannot deny may still lack something."""
    world = quiet_room(4)
    victim, one, *others = world.nodes
    world.crash(victim)
    world.run()
    apart(world, victim, *others)
    world.restart(victim)
    world.run()
    assert victim.running.recovering
    assert not victim.running.signing
    world.blocked.discard(frozenset((victim, others[0])))
    world.relink()
    world.run()
    assert victim.running.signing
    del one


def test_who_claims_to_hold_more_than_the_journal_does_not_confirm_it() -> None:
    """One of two that are needed does; the other shows nothing for what it says, so it does no harm."""
    world, liar, (victim, one, other) = room_with_liar(leads=False)
    liar.withhold = silent
    world.crash(victim)
    world.run()
    apart(world, victim, other)
    world.restart(victim)
    world.run()
    good = hello_to(world, victim)
    assert good.yours is not None
    for claim in (replace(good.yours, ackseq=1), replace(good.yours, rounds=Rounds(prevoted=0))):
        tell(world, victim, liar, replace(good, yours=claim))
        wait(world, 1)
        assert victim.running.recovering
    tell(world, victim, liar, good)
    assert victim.running.signing
    assert not victim.journal_lost
    del one


def test_what_waits_for_a_slot_survives_a_crash() -> None:
    """More lines than one window of slots holds, said while nobody else is there."""
    world = quiet_room(2)
    alone, other = world.nodes
    world.crash(other)
    world.run()
    for _ in range(WINDOW + 3):
        world.say(alone)
        world.run()
    assert len(alone.running.queue) == 3
    world.crash(alone)
    world.restart(alone)
    world.restart(other)
    world.run()
    check_liveness(world)
    check_rest(world)


def test_a_slot_of_its_own_that_a_member_does_not_know_stops_its_key() -> None:
    world, victim, others = room_with_liar(leads=False)
    tell(world, victim, others[0], slot_of(world, victim, 1))
    assert victim.journal_lost
    assert not victim.running.signing


def test_a_key_that_stopped_does_not_start_again_with_the_node() -> None:
    world, victim, others = room_with_liar(leads=False)
    tell(world, victim, others[0], slot_of(world, victim, 1))
    world.crash(victim)
    world.restart(victim)
    world.run()
    assert victim.running.journal_lost
    assert not victim.running.signing


def test_a_fork_that_was_seen_is_known_after_a_restart_alone() -> None:
    world, one = room_shown_a_fork(ends_an_epoch=False)
    for node in world.nodes:
        world.crash(node)
    world.restart(one)
    world.run()
    assert one.running.forked


# The end of a height, and of an epoch


def test_a_vote_for_the_next_height_counts_once_that_height_is_reached() -> None:
    world, liar, (one, *_) = room_with_liar(leads=True)
    slot = slot_of(world, liar, 1)
    vote = prevote_of(world, liar, proposal_of(world, liar, block_of(world, liar, slot)))
    later = signed(replace(vote, height=vote.height + 1), room=world.room.id, key=liar.seat.vote)
    tell(world, one, liar, later)
    assert list(one.running.state.ordering.box.every()) == []
    world.say(liar)
    world.run()
    assert list(one.running.state.ordering.box.every()) == [later]


def test_what_an_epochs_end_left_unordered_survives_a_crash_right_after_it() -> None:
    """One member said something while it was cut off, restarts, hears that the epoch is over, and crashes
    before anybody has confirmed its journal: until then what is void stands in the queue only."""
    world = quiet_room(4)
    leaving, victim, *others = world.nodes
    apart(world, victim, leaving, *others)
    uuid = world.say(victim)
    world.run()
    world.crash(victim)
    for node in (leaving, *others):
        world.give(node, Want(Remove(leaving.id)))
    world.run()
    epoch = world.room.tip.epoch + 1
    assert {node.running.tip.epoch for node in others} == {epoch}
    world.start(victim)
    together(world)
    while victim.running.tip.epoch < epoch:
        wait(world, DELAY / 2)
    assert not victim.running.signing
    world.crash(victim)
    world.restart(victim)
    world.run()
    assert uuid is not None
    assert world.properties.spoken[uuid].ordered == 1


def test_votes_and_acks_of_an_earlier_epoch_count_for_nothing() -> None:
    """Signed with the very key that is its owner's still."""
    world, liar, (one, *others) = room_with_liar(leads=True)
    liar.withhold = silent
    room, key, earlier = world.room.id, liar.seat.vote, world.room.tip.epoch - 1
    slot = slot_of(world, others[0], 1)
    proposal = proposal_of(world, liar, block_of(world, liar, slot))
    prevote = prevote_of(world, liar, proposal)
    old_vote = signed(replace(prevote, epoch=earlier), room=room, key=key)
    tell(world, one, liar, ack_of(world, liar, slot, epoch=earlier), old_vote)
    state, lane = one.running.state, place_of(world, others[0])
    assert list(state.ordering.box.every()) == []
    assert not state.broadcast.lanes[lane].acks
    tell(world, one, liar, ack_of(world, liar, slot), prevote)
    assert list(state.ordering.box.every()) == [prevote]
    assert state.broadcast.lanes[lane].acks


def test_a_slot_of_an_earlier_epoch_is_dropped() -> None:
    """It even follows where the lanes of this epoch begin."""
    world = quiet_room(4)
    liar, one, *_ = world.nodes
    liar.honest = False
    liar.withhold = silent
    good = slot_of(world, liar, 1)
    old = signed(replace(good.slot, epoch=world.room.tip.epoch - 1), room=world.room.id, key=liar.seat.vote)
    tell(world, one, liar, replace(good, slot=old))
    assert not one.running.state.broadcast.slots
    tell(world, one, liar, good)
    assert set(one.running.state.broadcast.slots) == {id_of(world, good)}


# Who may sign


def test_a_member_without_the_epochs_vote_key_signs_nothing_and_counts_for_nothing() -> None:
    """Its committee knows another key of it, as after a rekey that its home does not know of."""
    world = quiet_room(4)
    victim = follower_of(world)
    world.crash(victim)
    world.run()
    seat = victim.seat
    victim.seat = Seat(seat.identity, make_seat(HASHED, "another key").vote, seat.nick)
    victim.key = LoggedSigner(victim.seat.vote)
    world.restart(victim)
    world.run()
    world.say(victim)
    world.run()
    assert not victim.running.signing
    assert victim.running.unordered
    others = [node for node in world.nodes if node is not victim]
    world.say(others[0])
    world.run()
    assert not blamed(world.nodes)
    assert heights_above(world, world.nodes) == [1] * 4
