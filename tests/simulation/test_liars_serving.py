"""Wrong answers to who catches up: each lie costs its victim a few round trips, and never a wrong block."""

import pytest

from chain.effects import Arrived
from chain.fetch import PATIENCE
from chain.message import Message
from tests.bench.catch_up_lies import LIES, Liar
from tests.simulation.liars import heights_above, id_of, room_with_liar, silent, slot_of, tell, wait
from tests.simulation.machine import Node
from tests.simulation.test_exact import DELAY, quiet_room
from tests.simulation.world import World

MISSED = 40
ROUND_TRIPS = 20
AT_ONCE = sorted(LIES.keys() - {"stall", "garbage", "stale", "slow", "trickle"})
"""Lies in the answer itself, which show when it comes; without those that are not about messages."""


def behind_a_liar(lie: str) -> tuple[World, Node, Node]:
    """The room, who is back after missing a lot, and the liar that it asks first."""
    world = quiet_room(4)
    liar, *others, back = world.nodes
    world.crash(back)
    wait(world, 1)
    for number in range(MISSED):
        world.say(others[number % 2])
        world.say(liar)
        world.run()
    liar.honest = False
    right = liar.store.blocks_from

    def blocks_from(height: int, *, limit: int, last: int | None = None) -> list[Message]:
        answer = LIES[lie](Liar(world.room.id, liar.seat.vote), right(height, limit=limit, last=last))
        return [message for message in answer if not isinstance(message, bytes)]

    liar.store.blocks_from = blocks_from  # type: ignore[method-assign]
    world.restart(back)
    return world, back, liar


@pytest.mark.parametrize("lie", AT_ONCE)
def test_a_wrong_answer_costs_a_few_round_trips(lie: str) -> None:
    world, back, liar = behind_a_liar(lie)
    wait(world, ROUND_TRIPS * 2 * DELAY)
    assert back.running.tip == liar.running.tip
    world.run()
    assert back.running.signing


def test_no_answer_costs_one_patience() -> None:
    world, back, liar = behind_a_liar("stall")
    wait(world, PATIENCE)
    assert back.running.tip != liar.running.tip
    wait(world, ROUND_TRIPS * 2 * DELAY)
    assert back.running.tip == liar.running.tip


def test_garbage_costs_a_few_round_trips() -> None:
    world, back, liar = behind_a_liar("stall")
    wait(world, 2 * 2 * DELAY)
    world.give(back, Arrived(liar.id, b"no envelope"))
    wait(world, ROUND_TRIPS * 2 * DELAY)
    assert back.running.tip == liar.running.tip


@pytest.mark.parametrize("length", [2, 20, 60])
def test_a_branch_that_only_the_victim_was_shown_does_not_keep_it_from_the_certified_one(length: int) -> None:
    """However long both are: the first slots of the right one count before its last says so."""
    world, liar, (victim, *others) = room_with_liar(leads=False)
    forked, prev = [], None
    for seq in range(1, length + 1):
        forked.append(slot_of(world, liar, seq, prev=prev))
        prev = id_of(world, forked[-1])
    alone = {frozenset((liar, other)) for other in others}
    away = {frozenset((victim, node)) for node in (liar, *others)}
    liar.withhold = silent
    blocked(world, alone | {frozenset((victim, other)) for other in others})
    tell(world, victim, liar, *forked)
    wait(world, 1)
    assert len(victim.running.state.broadcast.slots) == length
    liar.withhold = None
    blocked(world, away)
    for _ in range(length):
        world.say(liar)
        wait(world, 0)
    wait(world, 5)
    assert heights_above(world, [victim, *others]) == [0, 1, 1]
    blocked(world, set())
    wait(world, ROUND_TRIPS * 2 * DELAY)
    assert heights_above(world, [victim, *others]) == [2, 2, 2]


def blocked(world: World, pairs: set[frozenset[Node]]) -> None:
    """From now on exactly these pairs cannot link."""
    world.blocked = pairs
    for one, other in (tuple(pair) for pair in pairs):
        world.cut(one, other)
    world.relink()
    wait(world, 1)
