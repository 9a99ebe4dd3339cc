"""Under a fixed delay everything is countable: delays until delivery and order, envelopes, and silence."""

import pytest

from tests.simulation.machine import Node
from tests.simulation.network import fixed
from tests.simulation.rest import check_liveness, check_rest
from tests.simulation.world import World

DELAY = 1 / 16
"""Seconds; a binary fraction, so that sums are exact and things meant to coincide do."""


def quiet_room(n: int) -> World:
    """All members linked to all, greetings over, nothing under way."""
    world = World(n, latency=fixed(DELAY))
    world.populate()
    assert world.idle
    return world


def leader_of(world: World) -> Node:
    tip = next(node for node in world.nodes if node.replica).running.tip
    leader = tip.committee.members[tip.leader_of(0)].identity
    return next(node for node in world.nodes if node.id == leader)


def follower_of(world: World) -> Node:
    """Somebody who does not lead, and does not lead the next round either."""
    tip = world.nodes[0].running.tip
    member = tip.committee.members[tip.leader_of(2)].identity
    return next(node for node in world.nodes if node.id == member)


class Isolated:
    """One message said in a quiet room, and everything that followed."""

    def __init__(self, world: World, speaker: Node) -> None:
        began, envelopes = world.calendar.now, world.envelopes
        world.say(speaker)
        world.run()
        self.envelopes = world.envelopes - envelopes
        height = max(world.properties.blocks)
        slot = world.properties.blocks[height].items[0][1].slot
        up = [world.properties.nodes[node.name] for node in world.nodes if node.replica is not None]
        self.ordered = {(seen.shown[height] - began) / DELAY for seen in up}
        self.delivered = [
            (seen.delivered_when[slot] - began) / DELAY for seen in up if slot in seen.delivered_when
        ]
        self.lasted = (world.calendar.now - began) / DELAY


@pytest.mark.parametrize("n", [4, 5, 7, 10])
def test_every_member_delivers_after_two_delays(n: int) -> None:
    world = quiet_room(n)
    delivered = Isolated(world, follower_of(world)).delivered
    assert len(delivered) == n
    assert max(delivered) == 2


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10])
def test_what_the_leader_says_is_ordered_everywhere_after_three_delays(n: int) -> None:
    world = quiet_room(n)
    assert Isolated(world, leader_of(world)).ordered == {3}


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10])
def test_what_another_says_is_ordered_everywhere_after_four_delays(n: int) -> None:
    world = quiet_room(n)
    assert Isolated(world, follower_of(world)).ordered == {4}


@pytest.mark.parametrize(("n", "envelopes"), [(4, 24), (10, 180)])
def test_a_message_of_the_leader_costs_so_many_envelopes(n: int, envelopes: int) -> None:
    world = quiet_room(n)
    assert Isolated(world, leader_of(world)).envelopes == envelopes


@pytest.mark.parametrize(("n", "envelopes"), [(4, 33), (10, 261)])
def test_a_message_of_another_costs_so_many_envelopes(n: int, envelopes: int) -> None:
    world = quiet_room(n)
    assert Isolated(world, follower_of(world)).envelopes == envelopes


@pytest.mark.parametrize("n", [1, 2, 4, 10])
def test_an_idle_room_has_no_message_and_no_timer(n: int) -> None:
    world = quiet_room(n)
    for speaker in world.nodes:
        world.say(speaker)
        world.run()
        assert world.idle
        assert all(node.timer is None for node in world.nodes)
    check_liveness(world)
    check_rest(world)


def test_a_member_alone_needs_one_step_no_message_and_no_timer() -> None:
    world = quiet_room(1)
    steps = world.steps
    alone = Isolated(world, world.nodes[0])
    assert (alone.ordered, alone.envelopes, alone.lasted) == ({0}, 0, 0)
    assert world.steps == steps + 1
    assert world.nodes[0].timer is None


@pytest.mark.parametrize("n", [4, 7, 10])
def test_a_leader_known_to_be_gone_costs_five_delays(n: int) -> None:
    world = quiet_room(n)
    leader = leader_of(world)
    speakers = [node for node in world.nodes if node is not leader]
    for speaker in speakers:
        world = quiet_room(n)
        gone = next(node for node in world.nodes if node.id == leader.id)
        world.crash(gone)
        world.run()
        said = next(node for node in world.nodes if node.id == speaker.id)
        assert Isolated(world, said).ordered == {5}


@pytest.mark.parametrize("n", [4, 7])
def test_an_absent_member_who_does_not_lead_costs_nothing(n: int) -> None:
    world = quiet_room(n)
    speaker, leader = follower_of(world), leader_of(world)
    world.crash(next(node for node in world.nodes if node not in (speaker, leader)))
    world.run()
    assert Isolated(world, speaker).ordered == {4}


@pytest.mark.parametrize("n", [4, 7])
def test_the_next_leader_stays_and_the_room_is_as_fast_as_before(n: int) -> None:
    world = quiet_room(n)
    world.crash(leader_of(world))
    world.run()
    speaker = next(node for node in world.nodes if node.replica is not None)
    world.say(speaker)
    world.run()
    leader = leader_of(world)
    assert leader.replica is not None
    assert Isolated(world, leader).ordered == {3}
