"""One liar against whoever is behind: what is hidden, claimed in vain or trickled holds nobody up."""

import pytest

from chain.control import AdmissionRule, Remove
from chain.effects import Want
from tests.simulation.keys import HASHED
from tests.simulation.liars import (
    claim_of,
    heights_above,
    id_of,
    room_with_liar,
    silent,
    silent_to,
    slot_of,
    stranger_at,
    tell,
    wait,
)
from tests.simulation.network import fixed
from tests.simulation.newcomer import Door
from tests.simulation.room import make_room, make_seat
from tests.simulation.test_directed import finish_without
from tests.simulation.test_exact import DELAY, leader_of
from tests.simulation.test_growth import founded, invited, let_in
from tests.simulation.world import World

# What the liar sends to the others only


def test_slots_that_a_liar_hides_from_one_member_are_fetched_however_many_bytes_they_are() -> None:
    """They are more than one answer to a PULL may hold, and nobody acks the first of them alone."""
    world, liar, (blind, *others) = room_with_liar(leads=True)
    liar.withhold = silent_to(blind)
    for _ in range(10):
        world.say(liar, 60_000)
    wait(world, 120)
    assert len(set(heights_above(world, (blind, *others)))) == 1
    assert world.idle
    finish_without(world, liar)


def test_slots_that_a_liar_hides_are_fetched_also_when_they_end_an_epoch() -> None:
    """Its approval decides and stands behind slots that are more than one answer may hold."""
    world, liar, (blind, *others) = room_with_liar(leads=True)
    motion = Want(Remove(liar.id))
    for node in others:
        world.give(node, motion)
    world.run()
    liar.withhold = silent_to(blind)
    for _ in range(10):
        world.say(liar, 60_000)
    wait(world, 0)
    world.give(liar, motion)
    wait(world, 60)
    assert {node.running.tip.epoch for node in (blind, *others)} == {world.room.tip.epoch + 1}
    finish_without(world, liar)


# Claims


def test_a_height_claimed_again_and_again_does_not_keep_a_restarted_member_from_signing() -> None:
    world, liar, (back, other, _) = room_with_liar(leads=False)
    world.crash(back)
    wait(world, 1)
    liar.withhold = silent
    world.restart(back)

    def claim() -> None:
        tell(world, back, liar, claim_of(world, 10**6))

    for time in range(0, 120, 4):
        world.at(time, claim)
    wait(world, 3)
    uuid = world.say(other)
    wait(world, 117)
    assert back.running.signing
    assert uuid is not None
    assert world.properties.spoken[uuid].ordered == 1
    finish_without(world, liar)


@pytest.mark.parametrize("who", ["member", "stranger"])
def test_a_height_claimed_once_does_not_keep_a_restarted_member_from_signing_in_a_quiet_room(
    who: str,
) -> None:
    world, liar, (back, *_) = room_with_liar(leads=False)
    world.crash(back)
    wait(world, 1)
    world.restart(back)
    source = liar if who == "member" else stranger_at(world, back)
    tell(world, back, source, claim_of(world, 10**6))
    wait(world, 60)
    assert back.running.signing
    assert world.idle


def test_a_liar_that_trickles_slots_of_its_own_holds_up_nobody_who_catches_up() -> None:
    """It is asked first, never answers, and shows every few seconds that it is at work on something else."""
    world, liar, (behind, *others) = room_with_liar(leads=False)
    world.crash(behind)
    world.run()
    for _ in range(3):
        world.say(others[0])
        world.run()
    liar.withhold = silent
    world.blocked |= {frozenset((behind, node)) for node in others}
    world.start(behind)
    world.relink()
    tell(world, behind, liar, claim_of(world, 10**6))
    wait(world, 0.1)
    world.blocked.clear()
    world.relink()
    prev = None
    for seq in range(1, 10):
        trickle = slot_of(world, liar, seq, prev=prev)
        prev = id_of(world, trickle)
        tell(world, behind, liar, trickle)
        wait(world, 4)
    assert len(set(heights_above(world, (behind, *others)))) == 1
    assert behind.running.signing
    finish_without(world, liar)


def test_a_liar_that_trickles_what_is_wanted_holds_up_nobody_who_catches_up() -> None:
    """It shows the block that orders sixty slots of its own, and then one of them every few seconds."""
    world, liar, (behind, *others) = room_with_liar(leads=False)
    world.crash(behind)
    world.blocked |= {frozenset((liar, node)) for node in others}
    world.relink()
    world.run()
    for _ in range(60):
        world.say(liar)
        wait(world, 0)
    world.blocked.clear()
    world.relink()
    world.run()
    committed, *slots = others[0].store.blocks_from(world.room.tip.height + 1, limit=2**20)
    liar.withhold = silent
    world.blocked |= {frozenset((behind, node)) for node in others}
    world.start(behind)
    world.relink()
    tell(world, behind, liar, claim_of(world, 10**6))
    wait(world, 0.1)
    world.blocked.clear()
    world.relink()
    tell(world, behind, liar, committed)
    for slot in slots[:10]:
        tell(world, behind, liar, slot)
        wait(world, 4)
    assert heights_above(world, [behind]) == heights_above(world, others[:1])
    finish_without(world, liar)


# Nobody lies


def test_history_is_fetched_over_links_that_take_seconds() -> None:
    world, door = founded(AdmissionRule.ASK, latency=fixed(DELAY))
    (founder,) = world.nodes
    for _ in range(40):
        world.say(founder, 30_000)
        world.run()
    seat = make_seat(HASHED, "m1")
    newcomer = door.knock(seat, seat.request(world.room.id), sponsor=founder)
    for one, other in ((founder, newcomer), (newcomer, founder)):
        world.slow(one, other, fixed(3))
    door.run()
    history = newcomer.running.history
    assert history is not None
    assert history.complete
    assert newcomer.running.tip == founder.running.tip


def test_a_motion_that_was_ordered_while_a_member_was_away_is_approved_once_it_is_back() -> None:
    """Rule `auto`, and one of four votes but never approves: only who was away can bring the quorum."""
    world = World(4, latency=fixed(DELAY), room=make_room(4, HASHED, AdmissionRule.AUTO))
    world.populate()
    sponsor = leader_of(world)
    world.on_asks = lambda node, asks: let_in(world, node, asks) if node is sponsor else None
    door = Door(world)
    absent, _, liar = (node for node in world.nodes if node is not sponsor)
    liar.honest = False
    liar.running.desk._rule = AdmissionRule.ASK
    world.crash(absent)
    world.run()
    seat = make_seat(HASHED, "new")
    door.knock(seat, invited(world, seat, sponsor), sponsor=sponsor)
    door.run()
    assert sponsor.running.tip.committee.n == 4
    world.restart(absent)
    door.run()
    assert sponsor.running.tip.committee.n == 5
