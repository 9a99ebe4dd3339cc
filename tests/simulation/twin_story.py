"""The first kind of story: a room with one lying member that runs twice, crashes, cuts and partitions.

Seeds that failed once are kept by number, so nothing here may draw anything new.
"""

import random
from collections.abc import Callable
from functools import partial

from chain.effects import RoundTrip
from tests.simulation.counts import Counts
from tests.simulation.keys import ED25519, HASHED
from tests.simulation.machine import Node
from tests.simulation.network import Latency, fixed, heavy_tailed, uniform
from tests.simulation.proofs import check_proofs
from tests.simulation.rest import check_liveness, check_rest, everybody_is_level, honest
from tests.simulation.signatures import Violation
from tests.simulation.twin import Ending, Twin
from tests.simulation.world import World

HEALED_WITHIN = 400.0
"""Seconds of virtual time in which a healed room must have ordered everything; timers go up to 32 s."""
SIZES = (1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 7, 7, 7, 8, 9, 10)


class TwinStory:
    """Everything random about a run is drawn from its seed, in one order."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None) -> None:
        self.dice = random.Random(f"story {seed}")
        n = self.dice.choice(SIZES)
        self.world = World(
            n,
            seed=seed,
            scheme=ED25519 if self.dice.random() < 0.1 else HASHED,
            latency=self._latency(),
            in_order=random.Random(f"order {seed}").random() > 0.15,
            trace=trace,
        )
        self.horizon = self.dice.uniform(3, 15)
        self.twin: Twin | None = None
        liar = self.dice.choice(self.world.room.seats) if n >= 4 else None
        for seat in self.world.room.seats:
            if seat is liar:
                self.twin = Twin(self.world, seat)
            else:
                self.world.add(seat.nick, seat, records=self.world.room.records)
        if trace is not None:
            liars = liar.nick if liar else "nobody"
            trace(f"seed {seed}: n = {n}, twin: {liars}, faults until {self.horizon:.1f} s")

    def _latency(self) -> Latency:
        typical = self.dice.choice((0.002, 0.02, 0.1, 0.4))
        return self.dice.choice(
            (fixed(typical), uniform(0, 2 * typical), heavy_tailed(typical, cap=self.dice.choice((0.5, 4.0))))
        )

    def play(self) -> Counts:
        world = self.world
        for node in world.nodes:
            world.start(node, restarted=False)
        if self.twin is not None:
            self.twin.rewire(self.dice)
        world.relink()
        world.notice = self.dice.choice((fixed(0), uniform(0, 0.5), uniform(0, 8)))
        world.restart_after = uniform(0.05, 6)
        self._plan_speech()
        self._plan_crashes()
        self._plan_cuts()
        self._plan_twin()
        world.run(until=self.horizon)
        self._heal()
        self._await_level()
        check_liveness(world)
        if self.twin is not None:
            self.twin.end(Ending.SILENT)
            for half in self.twin.halves:
                world.crash(half)
        world.run()
        check_liveness(world)
        check_rest(world)
        check_proofs(world)
        return self._counts()

    def _some_time(self) -> float:
        return self.dice.uniform(0, self.horizon)

    def _node(self) -> Node:
        return self.dice.choice(self.world.nodes)

    def _plan_speech(self) -> None:
        """Now and then a line, or several at one instant by one or by many."""
        for _ in range(self.dice.randrange(2, 12)):
            at, crowd = self._some_time(), self.dice.choice((1, 1, 1, 2, 4))
            for _ in range(crowd):
                node = self._node()
                self.world.at(at, partial(self.world.say, node))
        for node in honest(self.world):
            if self.dice.random() < 0.2:
                p95 = self.dice.uniform(0.01, 0.6)
                self.world.at(self._some_time(), partial(self._round_trip, node, p95))

    def _round_trip(self, node: Node, p95: float) -> None:
        if node.replica is not None:
            self.world.give(node, RoundTrip(p95))

    def _plan_crashes(self) -> None:
        """In the middle of a step, at some boundary between two of its effects; or between two steps."""
        for _ in range(self.dice.randrange(5)):
            node, where = self.dice.choice(honest(self.world)), self.dice.random()
            if self.dice.random() < 0.2:
                self.world.at(self._some_time(), partial(self.world.crash, node))
            else:
                self.world.at(self._some_time(), partial(self._crash_next, node, where))

    def _crash_next(self, node: Node, where: float) -> None:
        if node.replica is not None:
            node.crash_next = where

    def _plan_cuts(self) -> None:
        """Single links, and partitions of the whole room; each for a while, all healed at the end."""
        nodes = self.world.nodes
        for _ in range(self.dice.randrange(6)):
            one, other = self._node(), self._node()
            if one is not other:
                self._block_for_a_while([frozenset((one, other))])
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            island = {node for node in nodes if self.dice.random() < 0.5}
            pairs = [frozenset((one, other)) for one in island for other in nodes if other not in island]
            self._block_for_a_while(pairs)
        if self.dice.random() < 0.2 and len(nodes) > 2:
            one, other = self.dice.sample(nodes, 2)
            self.world.blocked.add(frozenset((one, other)))

    def _block_for_a_while(self, pairs: list[frozenset[Node]]) -> None:
        start = self._some_time()
        self.world.at(start, lambda: self._block(pairs))
        self.world.at(start + self.dice.uniform(0.01, 5), lambda: self._unblock(pairs))

    def _block(self, pairs: list[frozenset[Node]]) -> None:
        self.world.blocked.update(pairs)
        self.world.relink()

    def _unblock(self, pairs: list[frozenset[Node]]) -> None:
        self.world.blocked.difference_update(pairs)
        self.world.relink()

    def _plan_twin(self) -> None:
        if (twin := self.twin) is None:
            return
        for _ in range(self.dice.randrange(1, 8)):
            self.world.at(self._some_time(), lambda: twin.rewire(self.dice))
        for half in twin.halves:
            self.world.at(self._some_time() / 2, partial(self.world.say, half))

    def _heal(self) -> None:
        world = self.world
        world.blocked.clear()
        for node in world.nodes:
            node.crash_next = None
            if node.honest:
                world.restart(node)
        if self.twin is not None:
            self.twin.revive()
            self.twin.end(self.dice.choice(list(Ending)))
        world.relink()

    def _await_level(self) -> None:
        """As long as it takes, within reason; a lying twin may go on making rounds fail."""
        world = self.world
        while not everybody_is_level(world) and world.calendar.now < self.horizon + HEALED_WITHIN:
            if world.idle:
                return
            world.run(until=world.calendar.now + 1)

    def _counts(self) -> Counts:
        world = self.world
        if not world.properties.log and any(said.pending for said in world.properties.spoken.values()):
            raise Violation("promises were made and nothing was ordered")
        world.tally["links_cut"] += world.cuts
        world.tally["twins"] += self.twin is not None
        world.tally["evidence_found"] += sum(len(node.evidence) for node in honest(world))
        world.tally["real_signatures" if world.scheme is ED25519 else "stand_in_signatures"] += 1
        world.tally["reordering"] += not world.in_order
        return Counts(
            seeds=1,
            steps=world.steps,
            messages=world.envelopes,
            blocks=len(world.properties.blocks),
            tally=world.tally,
        )
