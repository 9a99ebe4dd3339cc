"""A killed member finds its links one after the other, and signs again whatever the first one brings."""

import pytest

from tests.simulation.machine import Node
from tests.simulation.rest import check_liveness, check_rest
from tests.simulation.test_exact import quiet_room
from tests.simulation.world import World

BETWEEN_LINKS = 0.3
"""Seconds: long enough for a block to be completed over the first link."""


def come_back_link_by_link(world: World, node: Node, *, first: Node) -> None:
    """It is started again; `first` is linked at once, the others later."""
    others = [other for other in world.nodes if other not in (node, first)]
    world.blocked = {frozenset((node, other)) for other in others}
    world.restart(node)
    for number, other in enumerate(others, start=1):
        world.at(number * BETWEEN_LINKS, lambda other=other: unblock(world, node, other))


def unblock(world: World, one: Node, other: Node) -> None:
    world.blocked.discard(frozenset((one, other)))
    world.relink()


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_member_killed_at_any_boundary_signs_again_when_its_links_come_back_one_by_one(
    n: int, victim: int
) -> None:
    """What a peer confirmed at one height says nothing of the next: it has to be asked again there."""
    crashed = 0
    for first in (1, 2):
        for step in (1, 2, 3, 5):
            for index in (1, 2, 4):
                world = quiet_room(n)
                node = world.nodes[victim % n]
                node.crash_at = step, index
                world.say(world.nodes[0])
                world.say(node)
                world.run()
                if node.replica is not None:
                    continue
                crashed += 1
                come_back_link_by_link(world, node, first=world.nodes[(victim + first) % n])
                world.run()
                assert not any(other.running.recovering for other in world.nodes)
                for other in world.nodes:
                    world.say(other)
                world.run()
                check_liveness(world)
                check_rest(world)
    assert crashed > 0
