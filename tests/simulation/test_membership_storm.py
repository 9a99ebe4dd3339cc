"""Many things at once, by seed: people come and go and lose disks while links and machines fail."""

import os
import random
from collections.abc import Callable

import pytest

from tests.simulation.change import leave, members, remove
from tests.simulation.machine import Node
from tests.simulation.network import heavy_tailed, uniform
from tests.simulation.test_membership_rounds import Hall

HORIZON = 12.0


class Storm:
    """One seed's story in a room where everybody says yes; never so few that one lost disk stops it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"storm {seed}")
        latency = self.dice.choice((uniform(0, 0.2), heavy_tailed(0.05, cap=2.0)))
        self.hall = Hall(self.dice.randrange(6, 9), latency=latency, seed=seed)
        self.world = self.hall.world
        self.newcomers = 0
        self.lost_a_disk: Node | None = None

    def play(self) -> None:
        world = self.world
        world.restart_after = uniform(0.1, 4)
        for _ in range(30):
            self._sometime(self._speak)
        for happen in (self._admit, self._admit, self._leave, self._remove, self._lose_disk):
            if self.dice.random() < 0.8:
                self._sometime(happen)
        for _ in range(self.dice.randrange(4)):
            self._sometime(self._crash)
        for _ in range(self.dice.randrange(4)):
            self._sometime(self._split)
        while world.calendar.now < HORIZON:
            world.run(until=world.calendar.now + 0.5)
            self.hall.door.open()
        for node in world.nodes:
            node.crash_next = None
            world.restart(node)
        self.hall.end()

    def _sometime(self, happen: Callable[[], None]) -> None:
        self.world.at(self.dice.uniform(0, HORIZON), happen)

    def _somebody(self) -> Node | None:
        """A member that runs."""
        up = [node for node in members(self.world) if node in self.hall.running()]
        return self.dice.choice(up) if up else None

    def _speak(self) -> None:
        if (node := self._somebody()) is not None:
            self.world.say(node)

    def _admit(self) -> None:
        self.newcomers += 1
        if self._somebody() is not None:
            self.hall.admit(f"new {self.newcomers}")

    def _leave(self) -> None:
        if (node := self._somebody()) is not None:
            leave(self.world, node)

    def _remove(self) -> None:
        if (node := self._somebody()) is not None and len(members(self.world)) > 4:
            remove(self.world, node)

    def _lose_disk(self) -> None:
        if (node := self._somebody()) is not None and len(members(self.world)) > 3:
            self.hall.lose_and_come_back(node)

    def _crash(self) -> None:
        if (node := self._somebody()) is not None and node not in self.hall.back:
            node.crash_next = self.dice.random()

    def _split(self) -> None:
        world = self.world
        island = {node for node in world.nodes if self.dice.random() < 0.4}
        pairs = {frozenset((one, other)) for one in island for other in world.nodes if other not in island}
        world.blocked |= pairs
        world.relink()
        world.at(self.dice.uniform(0.1, 4), lambda: self._mend(pairs))

    def _mend(self, pairs: set[frozenset[Node]]) -> None:
        self.world.blocked -= pairs
        self.world.relink()


SEEDS = 300 if os.environ.get("NIGHTLY") else 6


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_storm_is_weathered(seed: int) -> None:
    Storm(seed).play()
