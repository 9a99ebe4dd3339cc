"""Crashes at every boundary there is, absences, and what is caught up on afterwards."""

import pytest

from tests.simulation.keys import ED25519
from tests.simulation.machine import Node
from tests.simulation.network import fixed, uniform
from tests.simulation.rest import check_liveness, check_rest
from tests.simulation.test_exact import follower_of, leader_of, quiet_room
from tests.simulation.world import World


def settle(world: World) -> None:
    """Everybody comes back, and everything promised must be ordered everywhere."""
    for node in world.nodes:
        node.crash_next = node.crash_at = None
        world.restart(node)
    world.run()
    check_liveness(world)
    check_rest(world)


def named(world: World, name: str) -> Node:
    return next(node for node in world.nodes if node.name == name)


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("who", ["speaker", "leader", "bystander"])
def test_a_crash_at_any_boundary_of_any_step_loses_nothing_that_was_promised(n: int, who: str) -> None:
    """One message; the node stops in its step-th step before its index-th effect, and comes back."""
    crashed = 0
    for step in range(6):
        for index in range(12):
            world = quiet_room(n)
            speaker, leader = follower_of(world), leader_of(world)
            bystander = next((node for node in world.nodes if node not in (speaker, leader)), leader)
            victim = {"speaker": speaker, "leader": leader, "bystander": bystander}[who]
            victim.crash_at = step, index
            world.restart_after = fixed(0.3)
            world.say(speaker)
            world.run()
            crashed += world.crashes
            settle(world)
    assert crashed > 0


def test_three_of_four_go_on_without_the_fourth() -> None:
    world = quiet_room(4)
    world.crash(world.nodes[2])
    for speaker in (world.nodes[0], world.nodes[1], world.nodes[3]):
        world.say(speaker)
        world.run()
    check_liveness_without(world, world.nodes[2])
    settle(world)


def check_liveness_without(world: World, absent: Node) -> None:
    """Everything promised is ordered at everybody else."""
    assert all(said.ordered == 1 for said in world.properties.spoken.values() if said.pending)
    heights = {node.running.tip.height for node in world.nodes if node is not absent}
    assert heights == {max(world.properties.blocks)}


def test_two_of_four_order_nothing_and_keep_what_they_said() -> None:
    world = quiet_room(4)
    world.crash(world.nodes[0])
    world.crash(world.nodes[1])
    world.run()
    before = len(world.properties.blocks)
    world.say(world.nodes[2])
    world.say(world.nodes[3])
    world.run()
    assert len(world.properties.blocks) == before
    assert world.idle
    settle(world)
    assert len(world.properties.blocks) > before


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_a_room_whose_members_all_restart_at_once_goes_on(n: int) -> None:
    world = World(n, latency=uniform(0.01, 0.1), scheme=ED25519)
    world.populate()
    for node in world.nodes:
        world.say(node)
    world.run(until=world.calendar.now + 0.12)
    for node in world.nodes:
        world.crash(node)
    settle(world)
    world.say(world.nodes[0])
    settle(world)
    assert sum(said.ordered for said in world.properties.spoken.values()) == n + 1


def test_a_member_that_missed_two_hundred_blocks_catches_up() -> None:
    world = quiet_room(4)
    absent = follower_of(world)
    world.crash(absent)
    world.run()
    others = [node for node in world.nodes if node is not absent]
    for number in range(200):
        world.say(others[number % 3], size=200)
        world.run()
    assert len(world.properties.blocks) >= 200
    began = world.calendar.now
    settle(world)
    assert world.calendar.now - began < 5
    assert len(list(absent.store.items())) == len(world.properties.log)


def test_a_member_that_was_away_speaks_again_at_once() -> None:
    world = quiet_room(4)
    absent = follower_of(world)
    world.crash(absent)
    for _ in range(5):
        world.say(leader_of(world))
        world.run()
    world.restart(absent)
    world.say(absent)
    world.run()
    assert all(said.ordered == 1 for said in world.properties.spoken.values() if said.pending)
    settle(world)


def test_what_was_said_alone_is_ordered_when_the_others_come() -> None:
    world = quiet_room(4)
    alone = follower_of(world)
    for node in world.nodes:
        if node is not alone:
            world.crash(node)
    world.run()
    uuids = [world.say(alone) for _ in range(100)]
    world.run()
    assert all(world.properties.spoken[uuid].pending for uuid in uuids if uuid)
    settle(world)
    assert all(world.properties.spoken[uuid].ordered == 1 for uuid in uuids if uuid)


def test_one_missing_link_and_one_absent_member_do_not_stop_a_room_of_four() -> None:
    """The two that cannot reach each other are served by the third, who relays."""
    world = quiet_room(4)
    absent, one, other, _ = world.nodes
    world.crash(absent)
    world.blocked.add(frozenset((one, other)))
    world.relink()
    world.run()
    world.say(one)
    world.say(other)
    world.run()
    check_liveness_without(world, absent)
    world.blocked.clear()
    settle(world)


def test_a_member_whose_disk_was_rolled_back_signs_nothing_more_and_says_so() -> None:
    """It would sign its first slot, ack and vote of this epoch again, and differently."""
    world = quiet_room(4)
    victim = follower_of(world)
    for node in world.nodes:
        world.say(node)
        world.run()
    world.crash(victim)
    world.wipe(victim)
    world.properties.forget(victim.name)
    world.properties.kept(victim.name, world.room.records)
    world.restart(victim)
    world.say(victim)
    world.run()
    assert victim.journal_lost
    others = [node for node in world.nodes if node is not victim]
    world.say(others[0])
    world.run()
    heights = {node.running.tip.height for node in world.nodes}
    assert heights == {max(world.properties.blocks)}
    assert sum(said.ordered for said in world.properties.spoken.values()) == 5
