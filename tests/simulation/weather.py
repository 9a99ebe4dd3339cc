"""What the network and the clocks do in a random story: cuts, partitions, one-way links, holds, bent clocks.

Everything here ends with `clear`; an adversary owns the network for a while, not for ever.
"""

import random
from collections.abc import Callable
from functools import partial

from chain.message import (
    Ack,
    Hello,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    SlotMessage,
    pack,
    unpack,
)
from tests.simulation.machine import Link, Node
from tests.simulation.network import Latency, fixed, heavy_tailed, uniform
from tests.simulation.world import World

KIND_SETS: tuple[tuple[type[Message], ...], ...] = (
    (Precommit,),
    (Prevote,),
    (Propose,),
    (Ack,),
    (SlotMessage,),
    (RoundChange,),
    (Prevote, Precommit),
    (Hello,),
)
Held = Callable[[Node, Node, Message], bool]
"""Whether this message, from one to the other, is to wait."""


class Weather:
    """Holds back what a story wants held, and sets up every other trouble between machines."""

    def __init__(self, world: World, dice: random.Random, *, horizon: float) -> None:
        self._world = world
        self._dice = dice
        self._horizon = horizon
        self._holds: list[Held] = []
        self._kept: list[tuple[Link, int, Node, bytes]] = []
        world.sift = self._sift

    # Planning

    def plan(self, *, calm: float, large: bool) -> None:
        """Draw the troubles of a story; `calm` of 1 leaves nothing but latency.

        In a large room each link that comes or goes is told to all: a few are as good as many.
        """
        if self._dice.random() < calm:
            return
        for _ in range(self._dice.randrange(2 if large else 5)):
            self._plan_cut()
        for _ in range(0 if large and self._dice.random() < 0.7 else self._dice.choice((0, 0, 1, 2))):
            self._plan_partition()
        for _ in range(self._dice.choice((0, 0, 1, 2))):
            self._plan_one_way()
        for _ in range(self._dice.choice((0, 0, 1, 2))):
            self._plan_kind_hold()
        if self._dice.random() < 0.15 and len(self._world.nodes) > 2:
            one, other = self._dice.sample(self._world.nodes, 2)
            self._world.blocked.add(frozenset((one, other)))
            self._count("links_missing")

    def clear(self) -> None:
        """The troubles are over; what was held arrives late, or went with its link."""
        self._world.blocked.clear()
        self._holds.clear()
        self._release()

    def _count(self, kind: str) -> None:
        self._world.tally[kind] += 1

    def _some_time(self) -> float:
        return self._dice.uniform(0, self._horizon)

    def _for_a_while(self, begin: Callable[[], None], end: Callable[[], None]) -> float:
        """When it begins."""
        start = self._some_time()
        self._world.at(start, begin)
        self._world.at(start + self._dice.uniform(0.01, 6), end)
        return start

    # Links that are cut

    def _plan_cut(self) -> None:
        one, other = self._dice.choice(self._world.nodes), self._dice.choice(self._world.nodes)
        if one is not other:
            pairs = [frozenset((one, other))]
            self._for_a_while(partial(self._block, pairs), partial(self._unblock, pairs))

    def _plan_partition(self) -> None:
        nodes = self._world.nodes
        island = [node for node in nodes if self._dice.random() < 0.5]
        pairs = [frozenset((one, other)) for one in island for other in nodes if other not in island]
        if pairs:
            self._for_a_while(partial(self._block, pairs), partial(self._unblock, pairs))
            self._count("partitions")

    def _block(self, pairs: list[frozenset[Node]]) -> None:
        self._world.blocked.update(pairs)
        self._world.relink()

    def _unblock(self, pairs: list[frozenset[Node]]) -> None:
        self._world.blocked.difference_update(pairs)
        self._world.relink()

    # What is held back while its link stands

    def _plan_one_way(self) -> None:
        """One direction of a link goes dead and both ends believe in it; at last it is cut, or wakes up."""
        one, other = self._dice.choice(self._world.nodes), self._dice.choice(self._world.nodes)
        if one is other:
            return
        self._count("one_way_links")
        self._plan_hold(lambda source, target, _: source is one and target is other)
        if self._dice.random() < 0.5:
            pairs = [frozenset((one, other))]
            self._world.at(self._horizon, lambda: (self._block(pairs), self._unblock(pairs)))

    def _plan_kind_hold(self) -> None:
        """Nobody but some see messages of a kind: "nobody but 0 sees precommits"."""
        kinds = self._dice.choice(KIND_SETS)
        spared = {node for node in self._world.nodes if self._dice.random() < self._dice.choice((0.2, 0.5))}
        self._count("kind_holds")
        self._plan_hold(lambda _, target, message: target not in spared and isinstance(message, kinds))

    def plan_lost_rounds(self, speak: Callable[[], object]) -> None:
        """Now and then hardly anybody sees precommits, until rounds change and polkas bind their leaders.

        Somebody has to `speak` meanwhile.
        """
        for _ in range(self._dice.randrange(1, 4)):
            share = self._dice.choice((0.0, 0.2, 0.5))
            spared = {node for node in self._world.nodes if self._dice.random() < share}
            self._count("kind_holds")
            start = self._plan_hold(
                lambda _, target, message, spared=spared: (
                    target not in spared and isinstance(message, Precommit) and message.round == 0
                )
            )
            self._world.at(start + 0.01, speak)

    def _plan_hold(self, held: Held) -> float:
        def begin() -> None:
            self._holds.append(held)

        def end() -> None:
            if held in self._holds:
                self._holds.remove(held)
            self._release()

        return self._for_a_while(begin, end)

    def _sift(self, link: Link, source: Node, data: bytes) -> bytes | None:
        if not self._holds or not source.honest:
            return data
        target, messages = link.other(source), unpack(data)
        waits = [any(held(source, target, message) for held in self._holds) for message in messages]
        if not any(waits):
            return data
        for kept in pack([message for message, wait in zip(messages, waits, strict=True) if wait]):
            self._kept.append((link, link.openings, source, kept))
        passing = pack([message for message, wait in zip(messages, waits, strict=True) if not wait])
        return passing[0] if passing else None

    def _release(self) -> None:
        """What nothing holds any more goes on, if its link is still the same."""
        waiting, self._kept = self._kept, []
        for link, openings, source, data in waiting:
            if link.up and link.openings == openings:
                passing = self._sift(link, source, data)
                if passing is not None:
                    self._world.carry(link, source, passing)

    # Clocks

    def bend_clocks(self) -> None:
        """Before the machines start: some clocks run fast or slow; wall clocks jump, also backwards."""
        for node in self._world.nodes:
            if self._dice.random() < 0.15:
                node.rate = self._dice.choice((0.5, 0.9, 1.1, 2.0))
                self._count("clock_rates")
            if self._dice.random() < 0.15:
                jump = self._dice.choice((-3_600_000, -5000, 5000, 86_400_000))
                self._world.at(self._some_time(), partial(self._jump, node, jump))

    def _jump(self, node: Node, jump: int) -> None:
        node.clock_error_ms += jump
        self._count("wall_clock_jumps")


def latency(dice: random.Random, world_tally: Callable[[str], None]) -> Latency:
    """Of one kind for all links of a story."""
    typical = dice.choice((0.002, 0.02, 0.1, 0.4))
    match dice.randrange(3):
        case 0:
            return fixed(typical)
        case 1:
            return uniform(0, 2 * typical)
        case _:
            world_tally("heavy_tails")
            return heavy_tailed(typical, cap=dice.choice((0.5, 4.0)))
