"""Members that are removed or leave: who was away is shown the block that says so, and nothing later."""

from functools import partial

import pytest

from chain.control import AdmissionRule, Admit, Remove
from chain.effects import Want
from chain.message import Committed, Finals, Hello, Precommit, SlotMessage, unpack
from tests.simulation.change import (
    a_room,
    chatter,
    check_room,
    leave,
    members,
    new_key,
    others,
    remove,
    top,
)
from tests.simulation.liars import losing
from tests.simulation.machine import Node
from tests.simulation.network import Latency, fixed, heavy_tailed, uniform
from tests.simulation.newcomer import Door
from tests.simulation.test_growth import invited
from tests.simulation.world import World

LATENCIES = [fixed(1 / 16), uniform(0.001, 0.2), heavy_tailed(0.02, cap=1.0)]
RULES = list(AdmissionRule)


def away(world: World, node: Node) -> None:
    world.may_link = lambda one, other: node not in (one, other)
    world.relink()


def back(world: World) -> None:
    world.may_link = lambda one, other: True
    world.relink()


def noting(heard: list[bytes], data: bytes) -> bytes:
    heard.append(data)
    return data


def talk(world: World, *nodes: Node) -> None:
    for node in nodes:
        world.say(node)
    world.run()


@pytest.mark.parametrize("n", [4, 5, 7])
@pytest.mark.parametrize("restarted", [False, True])
def test_who_was_away_when_it_was_removed_is_shown_the_block_that_did_it_and_nothing_later(
    n: int, restarted: bool
) -> None:
    world = a_room(n)
    gone = world.nodes[n - 1]
    talk(world, *world.nodes)
    away(world, gone)
    talk(world, *others(world, gone))
    remove(world, gone)
    world.run()
    final = top(world).tip
    assert final.committee.place(gone.id) is None
    for _ in range(3):
        talk(world, *members(world))
    if restarted:
        for node in [*members(world), gone]:
            world.crash(node)
        for node in world.nodes:
            world.start(node)
        world.run()
    heard: list[bytes] = []
    gone.filter = partial(noting, heard)
    back(world)
    world.run()
    assert gone.running.removed
    assert gone.running.tip.block == final.block
    shown = [message for data in heard for message in unpack(data)]
    assert any(isinstance(message, Committed) for message in shown)
    for message in shown:
        assert not isinstance(message, Committed) or message.block.height <= final.height
        assert not isinstance(message, SlotMessage) or message.slot.epoch < final.epoch
        assert not isinstance(message, Finals)
        assert not isinstance(message, Hello) or message.height <= final.height
    check_room(world)


def test_who_is_linked_when_it_is_removed_knows_at_once_and_asks_for_nothing_more() -> None:
    world = a_room(5)
    gone = world.nodes[2]
    remove(world, gone)
    world.run()
    assert gone.running.removed
    height = gone.running.tip.height
    envelopes = world.envelopes
    world.say(gone)
    world.run()
    assert world.envelopes == envelopes, "what it says now stays with it"
    talk(world, *members(world))
    assert gone.running.tip.height == height < top(world).tip.height
    check_room(world)


def test_who_is_removed_needs_no_votes_to_learn_of_it() -> None:
    """The others stop talking to it as to a member the moment they have the block."""
    world = a_room(5)
    gone = world.nodes[2]
    gone.filter = losing(lambda message: isinstance(message, Precommit))
    remove(world, gone)
    world.run(until=world.calendar.now + 0.9)  # before its own patience is over
    assert gone.running.removed
    world.run()
    check_room(world)


def test_a_removed_member_knows_it_after_a_restart_and_keeps_what_was_not_ordered() -> None:
    world = a_room(5)
    gone = world.nodes[4]
    talk(world, *world.nodes)
    away(world, gone)
    unsaid = world.say(gone)
    remove(world, gone)
    world.run()
    back(world)
    world.run()
    for _ in range(2):
        assert gone.running.removed
        assert gone.running.me is None
        assert [body.data[:16] for body in gone.running.own_unordered()] == [unsaid]
        check_room(world)
        world.crash(gone)
        world.restart(gone)
        world.run()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("n", range(2, 8))
def test_whoever_wants_to_leave_leaves_and_nobody_is_asked(
    n: int, latency: Latency, rule: AdmissionRule
) -> None:
    world = a_room(n, rule=rule, latency=latency, seed=n)
    gone = world.dice.choice(world.nodes)
    chatter(world, lines=2 * n, within=2)
    world.at(1, partial(leave, world, gone))
    world.run()
    assert gone.running.removed
    assert len(members(world)) == n - 1
    talk(world, *members(world))
    check_room(world)


def test_the_last_member_cannot_leave() -> None:
    world = a_room(1)
    leave(world, world.nodes[0])
    talk(world, world.nodes[0])
    assert world.nodes[0].running.tip.epoch == 0
    check_room(world)


@pytest.mark.parametrize("rule", RULES)
def test_nobody_is_removed_by_one_members_word_alone(rule: AdmissionRule) -> None:
    world = a_room(4, rule=rule)
    one, gone = world.nodes[:2]
    world.give(one, Want(Remove(gone.id)))
    world.run()
    assert top(world).tip.committee.n == 4
    check_room(world)


def test_two_that_leave_at_once_go_one_epoch_after_the_other() -> None:
    world = a_room(6, latency=uniform(0.01, 0.2))
    first, second = world.nodes[1:3]
    leave(world, first)
    leave(world, second)
    chatter(world, lines=10, within=1)
    world.run()
    assert len(members(world)) == 4
    assert first.running.removed
    assert second.running.removed
    check_room(world)


def test_two_that_want_each_other_out_do_not_stop_the_room() -> None:
    world = a_room(5)
    one, other, *rest = world.nodes
    for node, target in ((one, other), (other, one), *((node, one) for node in rest)):
        world.give(node, Want(Remove(target.id)))
    world.run()
    assert one.running.removed
    assert len(members(world)) == 4
    talk(world, *members(world))
    check_room(world)


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_removed_member_that_is_let_in_again_goes_on_in_its_old_store(latency: Latency) -> None:
    """Its old vote key is spent for good; what was said without it is fetched like any newcomer's past."""
    world = a_room(5, latency=latency)
    world.on_asks = lambda node, asks: world.give(node, Want(Admit(asks.request)))
    node = world.nodes[3]
    talk(world, *world.nodes)
    away(world, node)
    unsaid = world.say(node)
    remove(world, node)
    world.run()
    back(world)
    talk(world, *members(world))
    assert node.running.removed
    world.crash(node)
    door = Door(world)
    new_key(world, node)
    sponsor = members(world)[0]
    door.knock_again(node, invited(world, node.seat, sponsor), sponsor=sponsor)
    door.run()
    assert node in members(world)
    talk(world, *members(world))
    assert unsaid is not None
    assert world.properties.spoken[unsaid].ordered == 1
    check_room(world)
