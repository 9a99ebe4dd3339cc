"""Wrong answers to who catches up: each lie costs its victim a few round trips, and never a wrong block."""

import pytest

from chain.effects import Arrived
from chain.fetch import PATIENCE
from chain.message import Message
from tests.bench.catch_up_lies import LIES, Liar
from tests.simulation.liars import wait
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
