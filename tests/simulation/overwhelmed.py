"""A story in which more members lie than the room can bear: it may fork, but must notice and name liars.

No honest machine may break or hang, none may sign twice, and none may be blamed. Those that do not know of a
fork agree with one another; those that do have stopped for good, and name more liars than the room bears.
"""

from collections.abc import Container, Iterable
from functools import partial

from chain.block import Block, Head
from chain.ids import SlotId
from chain.records import KeepBlock, KeepSlot, Record
from tests.simulation.adversary import Liar
from tests.simulation.counts import Counts
from tests.simulation.lies_lanes import AcksEverything, ForksSlots
from tests.simulation.lies_votes import OneEar, ProposesTwo, VotesTwice
from tests.simulation.lies_wire import Selective
from tests.simulation.machine import Node
from tests.simulation.properties import Properties, Seen
from tests.simulation.rest import check_convictions, honest
from tests.simulation.room import Room, Seat
from tests.simulation.siege import Siege, Trace
from tests.simulation.signatures import Violation

CALM_AFTER = 300.0
"""Seconds of virtual time without a liar after which a room is quiet, or as good as."""


class EachItsOwn(Properties):
    """Holds each honest member to its own signatures and notes which blocks it has; they need not agree."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.held: dict[str, dict[int, Block]] = {}

    def kept(self, name: str, records: Iterable[Record]) -> None:
        seen = self.nodes.setdefault(name, Seen())
        for record in records:
            match record:
                case KeepBlock(block=block):
                    self.held.setdefault(name, {})[block.height] = block
                    self.blocks.setdefault(block.height, record)
                    seen.height = max(seen.height, block.height)
                case _:
                    pass

    def delivered(
        self, name: str, keep: KeepSlot, *, cut: tuple[Head, ...], earlier: Container[SlotId], at: float
    ) -> None:
        """Consistency is lost with the majority."""

    def own_delivered(self, name: str, uuid: bytes, acks: int) -> None:
        """So is what a certificate shows."""

    def ordered(self, name: str, height: int, items: object, *, at: float) -> None:
        if height not in self.held[name]:
            raise Violation(f"{name} shows block {height} before it is safe")


class Overwhelmed(Siege):
    """f + 1 liars or more, in one gang that forks on purpose."""

    twin_share = 0.8

    def __init__(self, seed: int, trace: Trace) -> None:
        super().__init__(seed, trace)
        world = self.world
        world.more_lie_than_we_bear = True
        world.properties = EachItsOwn(world.room)
        for node in honest(world):
            world.properties.kept(node.name, world.room.records)

    def _size(self) -> int:
        return self.dice.choice((2, 3, 4, 4, 4, 4, 5, 6, 7, 7))

    def _how_many_lie(self) -> int:
        committee = self.world.room.tip.committee
        return self.dice.randint(committee.f + 1, max(committee.f + 1, committee.n - 2))

    def _add_liar(self, seat: Seat) -> None:
        node = self.world.add(seat.nick, seat, records=self.world.room.records, honest=False)
        liar = Liar(self.gang, node)
        plot = (
            ForksSlots,
            ProposesTwo,
            VotesTwice,
            AcksEverything,
            *self.dice.sample((OneEar, Selective), 1),
        )
        liar.lies = [kind(liar, often=self.dice.choice((0.3, 1.0))) for kind in plot]
        self.liars.append(liar)

    def _plan_rollback(self) -> None:
        """Trouble enough."""

    def _plan_lies(self) -> None:
        """As a rule the honest members of the two sides hear nothing of one another until all is over."""
        super()._plan_lies()
        if self.dice.random() < 0.8:
            self._stay_apart()

    def _stay_apart(self) -> None:
        nodes, gang = honest(self.world), self.gang
        one, last = nodes[0], nodes[-1]
        gang.take_sides({node: node is last if node in (one, last) else gang.side(node) for node in nodes})
        self.rewiring = False
        self._talk()
        self.world.blocked |= {
            frozenset((a, b)) for a in nodes for b in nodes if gang.side(a) != gang.side(b)
        }
        self.world.relink()
        for node in nodes:
            self.world.at(self._some_time() / 2, partial(self.world.say, node))

    def _end(self) -> None:
        world = self.world
        world.run(until=world.calendar.now + self.dice.uniform(5, 60))
        self._silence()
        world.run(until=world.calendar.now + CALM_AFTER)
        self._check_calm()
        liars = {node.id for node in world.nodes if not node.honest}
        for node in honest(world):
            # Two sides of a fork refuse what the other builds on; only what is signed twice convicts.
            check_convictions(node, liars)
            if problems := node.store.check():
                raise Violation(f"{node} has a damaged store: {problems[0]}")
        self._check_forks()

    def _check_calm(self) -> None:
        """At rest; or, where two certified branches keep a room from agreeing, at the pace of the timers."""
        world = self.world
        before, n = world.steps, world.room.tip.committee.n
        world.run(until=world.calendar.now + CALM_AFTER)
        if not world.idle and world.steps - before > CALM_AFTER / 30 * 4 * n * n:
            raise Violation(f"{world.steps - before} steps in {CALM_AFTER} s, long after the last lie")

    def _check_forks(self) -> None:
        properties = self.world.properties
        assert isinstance(properties, EachItsOwn)
        unaware = [node for node in honest(self.world) if not node.running.forked]
        for one in unaware:
            for other in unaware:
                mine, its = properties.held.get(one.name, {}), properties.held.get(other.name, {})
                split = [height for height in mine if height in its and mine[height] != its[height]]
                if split:
                    raise Violation(f"{one} and {other} differ at heights {split} and do not know it")
        for node in honest(self.world):
            if node.running.forked:
                self.world.tally["forks_noticed"] += 1
                self._check_culprits(node)

    def _check_culprits(self, node: Node) -> None:
        named = node.running.state.court.convicted.keys()
        if len(named) <= node.running.tip.committee.f:
            raise Violation(f"{node} knows of a fork and names {len(named)} members")

    def _counts(self) -> Counts:
        self.world.tally["overwhelmed_runs"] += 1
        return self._counted()
