"""What it costs to catch up when nobody lies: each block comes once, and nothing is asked for twice."""

from chain.message import Message, PullRange, PullSlot, weight
from tests.simulation.liars import member_at, overhear, wait
from tests.simulation.machine import Node
from tests.simulation.test_exact import quiet_room
from tests.simulation.world import World

SIZE = 20  # bytes of text: many small blocks in an answer


def after_absence(missed: int) -> tuple[World, Node, list[Message], list[Message]]:
    """One of four missed so many blocks and is back: the world, it, what reached it and them."""
    world = quiet_room(4)
    back = member_at(world, 3)
    for node in world.nodes:
        if node is not back:
            world.slow(node, back, lambda dice: dice.uniform(0.05, 0.5))  # envelopes come one by one
    world.crash(back)
    wait(world, 1)
    for number in range(missed):
        world.say(member_at(world, number % 3), SIZE)
        world.run()
    others = [overhear(node) for node in world.nodes if node is not back]
    heard = overhear(back)
    world.restart(back)
    world.run()
    return world, back, heard, [message for each in others for message in each]


def test_each_missed_block_is_served_once_and_no_slot_of_it_is_asked_for() -> None:
    world, back, heard, asked = after_absence(700)
    missed = back.store.blocks_from(world.room.tip.height + 1, limit=2**30)
    needed = sum(weight(message) for message in missed)
    assert len(missed) == 2 * 700
    assert needed < sum(weight(message) for message in heard) < 1.1 * needed
    assert [message for message in asked if isinstance(message, PullSlot)] == []
    assert any(isinstance(message, PullRange) for message in asked)


def test_an_answer_of_whole_blocks_keeps_within_its_limit() -> None:
    world, back, _, _ = after_absence(100)
    for limit in (20_000, 30_000, 40_000):
        answer = back.store.blocks_from(world.room.tip.height + 1, limit=limit)
        assert 0.9 * limit < sum(weight(message) for message in answer) <= limit
