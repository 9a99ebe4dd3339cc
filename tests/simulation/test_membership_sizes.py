"""A room that grows from one member to seven and shrinks back to one, while everybody goes on talking."""

from collections import Counter
from functools import partial

import pytest

from chain.control import AdmissionRule, Anchor
from chain.walk import Walk
from tests.simulation.change import chatter, check_room, leave, members, remove, top
from tests.simulation.keys import ED25519, HASHED, Scheme
from tests.simulation.machine import Node
from tests.simulation.network import fixed, heavy_tailed, uniform
from tests.simulation.newcomer import Door
from tests.simulation.room import make_seat
from tests.simulation.test_growth import asking, founded, invited
from tests.simulation.world import World

LARGEST = 7


def grow(world: World, door: Door, number: int, *, scheme: Scheme) -> Node:
    """One more, let in while lines are said."""
    seat = make_seat(scheme, f"m{number}")
    sponsor = world.dice.choice(world.nodes)
    make = invited if world.room.genesis.rule is AdmissionRule.AUTO else asking
    chatter(world, lines=8, within=1.5)
    node = door.knock(seat, make(world, seat, sponsor), sponsor=sponsor)
    door.run()
    return node


def shrink(world: World) -> Node:
    """One fewer: it leaves, or the others want it out, which below four it has to agree to."""
    gone = world.dice.choice(members(world))
    chatter(world, lines=8, within=1.5)
    if len(members(world)) >= 4 and world.dice.random() < 0.5:
        world.at(0.5, partial(remove, world, gone))
    else:
        world.at(0.5, partial(leave, world, gone))
    world.run()
    return gone


CASES = [
    (AdmissionRule.ASK, HASHED, fixed(1 / 16)),
    (AdmissionRule.ASK, HASHED, uniform(0.001, 0.2)),
    (AdmissionRule.AUTO, ED25519, uniform(0.001, 0.2)),
    (AdmissionRule.AUTO, HASHED, heavy_tailed(0.02, cap=1.0)),
]


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_one_to_seven_and_back_with_every_line_in_the_record_once(seed: int) -> None:
    rule, scheme, latency = CASES[seed]
    world, door = founded(rule, latency=latency, scheme=scheme, seed=seed)
    for number in range(1, LARGEST):
        grow(world, door, number, scheme=scheme)
        assert len(members(world)) == number + 1
    check_room(world)
    for size in range(LARGEST - 1, 0, -1):
        gone = shrink(world)
        assert len(members(world)) == size
        assert gone.running.removed
    (last,) = members(world)
    world.say(last)
    world.run()
    check_room(world)
    _every_line_once(world, last)
    _walkable(world, last)


def _every_line_once(world: World, last: Node) -> None:
    """Also those that had to be said again because an epoch ended under them."""
    times = Counter(item.data[:16] for item in last.store.items() if item.data is not None)
    assert set(times.values()) == {1}
    unsaid = {
        body.data[:16] for node in world.nodes if node is not last for body in node.running.own_unordered()
    }
    promised = {said.uuid for said in world.properties.spoken.values() if said.pending}
    assert times.keys() | unsaid == promised
    assert not times.keys() & unsaid


def others_of_old(world: World, last: Node) -> list[Node]:
    return [node for node in world.nodes if node is not last]


def _walkable(world: World, last: Node) -> None:
    """By the final blocks alone, from the genesis and from every one of them."""
    finals = last.store.finals_from(0, limit=2**30).finals
    assert len(finals) == 2 * (LARGEST - 1)
    for began in range(-1, len(finals)):
        walk = Walk.from_genesis(world.room.genesis, verify=world.scheme.verify)
        if began >= 0:
            block = finals[began].block
            anchor = Anchor(block.height, block.id(world.room.id))
            walk = Walk.from_anchor(anchor, block, room=world.room.id, verify=world.scheme.verify)
        for final in finals[began + 1 :]:
            walk.follow(final.block, final.certificate)
        assert walk.committee == top(world).tip.committee
        assert walk.smallest_quorum == 1


def test_lines_were_said_again_in_a_later_epoch_by_somebody() -> None:
    """Else the count above would show nothing."""
    voided = 0
    for seed in range(3):
        world, door = founded(AdmissionRule.AUTO, latency=uniform(0.01, 0.4), seed=seed)
        for number in range(1, 5):
            grow(world, door, number, scheme=HASHED)
        for _ in range(3):
            shrink(world)
        voided += sum(len(epochs) > 1 for epochs in world.properties._epochs_of.values())
    assert voided > 0
