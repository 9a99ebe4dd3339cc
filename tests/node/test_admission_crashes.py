"""An admission goes on whoever is killed at whichever write, and in whatever order its links come back.

`NIGHTLY=1` kills before and after every effect of every step; otherwise only after each transaction.
"""

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.node.admitting import Porch
from tests.simulation.machine import Node
from tests.simulation.rest import check_liveness, check_rest

NIGHTLY = os.environ.get("NIGHTLY") == "1"
LATER = 0.3
"""Seconds between the first link that comes back and the others."""


def killed(porch: Porch, victim: Node, *, reached: list[Node], at: tuple[int, int]) -> bool:
    """It speaks and is killed at this boundary while a newcomer comes to those; whether it got there."""
    victim.crash_at = at
    porch.say(victim)
    porch.knock(reached)
    porch.live()
    victim.crash_at = None
    return victim.replica is None


def come_back(porch: Porch, victim: Node, *, first: Node | None) -> None:
    """All its links are there at once, or this one before the others."""
    others = [node for node in porch.nodes if node is not victim]
    if first is not None:
        porch.blocked = {frozenset((victim, other)) for other in others if other is not first}
        porch.at(LATER, porch.blocked.clear)
        porch.at(LATER, porch.relink)
    porch.restart(victim)


def settle(porch: Porch) -> None:
    porch.live()
    assert porch.stuck() == ""
    for node in porch.nodes:
        porch.say(node)
    porch.run()
    check_liveness(porch)
    check_rest(porch)


def boundaries() -> Iterator[tuple[int, int]]:
    """Steps of one machine around an admission, and before which effect of each it is killed."""
    if NIGHTLY:
        return itertools.product(range(14), range(12))
    return itertools.product(range(7), (1,))


@pytest.mark.parametrize("reached", [(0,), (1, 2)])
@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("first", [None, 1, 2] if NIGHTLY else [None, 1])
def test_a_newcomer_comes_in_whichever_member_is_killed_at_whatever_write(
    who: int, first: int | None, reached: tuple[int, ...]
) -> None:
    crashes = 0
    for at in boundaries():
        porch = Porch(3)
        victim, asked = porch.nodes[who], [porch.nodes[place] for place in reached]
        if killed(porch, victim, reached=asked, at=at):
            crashes += 1
            come_back(porch, victim, first=None if first is None else porch.nodes[(who + first) % 3])
            settle(porch)
    assert crashes > 0


@pytest.mark.parametrize("reached", [(0,), (0, 2)] if NIGHTLY else [(0, 2)])
def test_a_newcomer_that_is_killed_comes_in_when_it_asks_again(reached: tuple[int, ...]) -> None:
    for at in boundaries():
        porch = Porch(3)
        asked = [porch.nodes[place] for place in reached]
        guest = porch.knock(asked)
        guest.crash_at = at
        porch.live()
        guest.crash_at = None
        porch.restart(guest)
        settle(porch)


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_member_that_is_killed_again_while_it_comes_back_lets_the_newcomer_in(who: int) -> None:
    twice = 0
    for first, second in itertools.product((2, 4), (0, 1, 2)):
        porch = Porch(3)
        victim = porch.nodes[who]
        if killed(porch, victim, reached=[porch.nodes[0]], at=(first, 1)):
            victim.crash_at = second, 1
            come_back(porch, victim, first=porch.nodes[(who + 1) % 3])
            porch.live()
            victim.crash_at = None
            if victim.replica is None:
                twice += 1
                come_back(porch, victim, first=porch.nodes[(who + 2) % 3])
            settle(porch)
    assert twice > 0
