"""A story in which the adversary owns the network, the clocks, some disks and up to f members at once."""

import random
from collections.abc import Callable, Sequence
from functools import partial

from chain.control import AdmissionRule
from chain.effects import RoundTrip
from tests.simulation.adversary import Gang, Liar, Lie
from tests.simulation.bounds import Gauge
from tests.simulation.counts import Counts
from tests.simulation.keys import ED25519, HASHED
from tests.simulation.lies_votes import IgnoresBoundValue
from tests.simulation.machine import Node
from tests.simulation.network import fixed, uniform
from tests.simulation.plots import LIES, PLOTS, some_size
from tests.simulation.proofs import check_proofs
from tests.simulation.rest import check_liveness, check_rest, everybody_is_level, honest, running
from tests.simulation.room import Seat, make_room
from tests.simulation.signatures import Violation
from tests.simulation.twin import Ending, Twin
from tests.simulation.weather import Weather, latency
from tests.simulation.world import World

Trace = Callable[[str], None] | None
HEALED_WITHIN = 400.0
"""Seconds of virtual time in which a healed room must have ordered everything; timers go up to 32 s."""


class Siege:
    """Everything random about a run is drawn from its seed, in one order."""

    rollback_chance = 0.5
    """Where another faulty member is bearable."""
    twin_share = 0.25
    """How many of the liars run twice; the others run once and lie by hand."""

    def __init__(self, seed: int, trace: Trace) -> None:
        self.dice = random.Random(f"siege {seed}")
        n = self._size()
        self.large = n > 13
        scheme = ED25519 if self.dice.random() < 0.1 and not self.large else HASHED
        drawn: list[str] = []
        self.world = world = World(
            n,
            seed=seed,
            scheme=scheme,
            room=make_room(n, scheme, self._rule()),
            latency=latency(self.dice, drawn.append),
            in_order=self.dice.random() > 0.2,
            trace=trace,
        )
        world.tally.update(drawn)
        world.tally["reordering"] += not world.in_order
        world.tally["real_signatures" if scheme is ED25519 else "stand_in_signatures"] += 1
        self.horizon = self.dice.uniform(2, 4) if self.large else self.dice.uniform(3, 15)
        self.gauge = Gauge()
        world.after_step = self.gauge.after_step
        self.gang = Gang(world, self.dice)
        self.liars: list[Liar] = []
        self.twins: list[Twin] = []
        self.rewiring = True
        """Whether it still changes who is told which story."""
        self._plot: Sequence[type[Lie]] = ()
        self._populate()
        self.weather = Weather(world, self.dice, horizon=self.horizon)
        if trace is not None:
            lying = {str(liar.node): [lie.kind for lie in liar.lies] for liar in self.liars}
            twins = [str(half) for twin in self.twins for half in twin.halves]
            trace(f"seed {seed}: n = {n}, liars {lying}, twins {twins}, faults until {self.horizon:.1f} s")

    def _size(self) -> int:
        return some_size(self.dice)

    def _rule(self) -> AdmissionRule:
        return AdmissionRule.ASK

    # Who is there

    def _how_many_lie(self) -> int:
        f = self.world.room.tip.committee.f
        if self.large:
            return self.dice.choice((0, 1, 1, 2))  # everybody accuses each of them: work grows with n cubed
        return self.dice.choice((0, 1, 1, f, f)) if f else 0

    def _populate(self) -> None:
        world, seats = self.world, self.world.room.seats
        self._plot = self.dice.choice(PLOTS) if self.dice.random() < 0.6 else ()
        lying = self._who_lies(len(seats))
        for index, seat in enumerate(seats):
            if index not in lying:
                world.add(seat.nick, seat, records=world.room.records)
            elif self.dice.random() < self.twin_share:
                self.twins.append(Twin(world, seat))
                world.tally["twins"] += 1
            else:
                self._add_liar(seat)
        n = len(seats)
        world.tally["several_liars"] += len(lying) > 1
        world.tally["rooms_of_one"] += n == 1
        world.tally["rooms_of_two_or_three"] += n in (2, 3)
        world.tally["rooms_of_more_than_ten"] += n > 10

    @property
    def _needs_later_rounds(self) -> bool:
        return IgnoresBoundValue in self._plot

    def _who_lies(self, n: int) -> set[int]:
        """Anybody; as a rule whoever leads the first round or the one after is among them."""
        count, tip = self._how_many_lie(), self.world.room.tip
        leads = 1 if self._needs_later_rounds else self.dice.choice((0, 0, 0, 1))
        likely = 1.0 if self._needs_later_rounds else 0.7
        lying = [tip.leader_of(leads)] if count and self.dice.random() < likely else []
        others = [place for place in range(n) if place not in lying]
        return {*lying, *self.dice.sample(others, count - len(lying))}

    def _add_liar(self, seat: Seat) -> None:
        node = self.world.add(seat.nick, seat, records=self.world.room.records, honest=False)
        liar = Liar(self.gang, node)
        kinds = self._plot or self.dice.sample(LIES, self.dice.choice((1, 1, 2, 3, 5, 8)))
        liar.lies = [kind(liar, often=self.dice.choice((0.1, 0.5, 1.0))) for kind in kinds]
        self.liars.append(liar)

    # The story

    def play(self) -> Counts:
        world = self.world
        self.weather.bend_clocks()
        for node in world.nodes:
            world.start(node, restarted=False)
        self._rewire()
        world.relink()
        world.notice = self.dice.choice((fixed(0), uniform(0, 0.5), uniform(0, 8)))
        world.restart_after = uniform(0.05, 6)
        self._plan_speech()
        self._plan_crashes()
        self._plan_rollback()
        self.weather.plan(calm=0.5 if self.large else 0.15, large=self.large)
        if self._needs_later_rounds or self.dice.random() < 0.1:
            self.weather.plan_lost_rounds(self._somebody_speaks)
        self._plan_lies()
        world.run(until=self.horizon)
        self._heal()
        self._end()
        return self._counts()

    def _end(self) -> None:
        """With the network whole everything is ordered, liars or not; without the liars all falls silent."""
        self._await_level()
        check_liveness(self.world)
        self._silence()
        self.world.run()
        check_liveness(self.world)
        check_rest(self.world)
        check_proofs(self.world)
        for node in running(self.world):
            self.gauge.look(node.running)

    def _some_time(self) -> float:
        return self.dice.uniform(0, self.horizon)

    def _plan_speech(self) -> None:
        """Now and then a line, or several at one instant by one or by many; sometimes a long one."""
        for _ in range(self.dice.randrange(1, 4) if self.large else self.dice.randrange(2, 12)):
            at, crowd = self._some_time(), 1 if self.large else self.dice.choice((1, 1, 1, 2, 4, 8))
            for _ in range(crowd):
                node = self.dice.choice(self.world.nodes)
                size = self.dice.choice((20, 20, 20, 20, 5000))
                self.world.at(at, partial(self.world.say, node, size))
        for node in honest(self.world):
            if self.dice.random() < 0.2:
                p95 = self.dice.uniform(0.01, 0.6)
                self.world.at(self._some_time(), partial(self._round_trip, node, p95))

    def _somebody_speaks(self) -> None:
        self.world.say(self.dice.choice(honest(self.world)))

    def _round_trip(self, node: Node, p95: float) -> None:
        if node.replica is not None:
            self.world.give(node, RoundTrip(p95))

    def _plan_crashes(self) -> None:
        """In the middle of a step, at some boundary between two of its effects; or between two steps."""
        for _ in range(self.dice.randrange(2 if self.large else 6)):
            node, where = self.dice.choice(honest(self.world)), self.dice.random()
            if self.dice.random() < 0.2:
                self.world.at(self._some_time(), partial(self._crash_now, node))
            else:
                where = self.dice.choice((0.0, where, where, 0.999))
                self.world.at(self._some_time(), partial(self._crash_next, node, where))

    def _crash_now(self, node: Node) -> None:
        self.world.tally["crash_between_steps"] += node.replica is not None
        self.world.crash(node)

    def _crash_next(self, node: Node, where: float) -> None:
        if node.replica is not None:
            node.crash_next = where

    def _plan_rollback(self) -> None:
        """A member gets an old copy of its disk back; it is one of those that we tolerate."""
        faulty, f = len(self.liars) + len(self.twins), self.world.room.tip.committee.f
        if faulty < f and self.dice.random() < self.rollback_chance:
            self.world.at(self._some_time(), partial(self._roll_back, self.dice.choice(honest(self.world))))

    def _roll_back(self, node: Node) -> None:
        self.world.crash(node)
        kept = len(node.transactions)
        lost = self.dice.choice((1, 2, 5, self.dice.randint(0, kept)))
        self.world.roll_back(node, to=max(0, kept - lost), accountable=False)

    # The liars

    def _plan_lies(self) -> None:
        for liar in self.liars:
            for _ in range(self.dice.randrange(3 if self.large else 25)):
                self.world.at(self._some_time() * 1.3, liar.act)
        if self.liars or self.twins:
            for _ in range(self.dice.randrange(1, 3 if self.large else 8)):
                self.world.at(self._some_time(), self._rewire)
        for half in (half for twin in self.twins for half in twin.halves):
            self.world.at(self._some_time() / 2, partial(self.world.say, half))

    def _rewire(self) -> None:
        """Every honest node is on one side or the other for all liars alike, and some twins talk to few."""
        if self.rewiring:
            self.gang.take_sides({})
            self._talk()

    def _talk(self) -> None:
        for twin in self.twins:
            self.world.tally["twins_rewired"] += 1
            shunned = 0.2 if self.rewiring else 0.0
            twin.talk_to(
                {
                    node: None if self.dice.random() < shunned else twin.halves[self.gang.side(node)]
                    for node in honest(self.world)
                }
            )

    # The end of it

    def _heal(self) -> None:
        world = self.world
        self.weather.clear()
        for node in world.nodes:
            node.crash_next = None
            if node.honest:
                world.restart(node)
        for twin in self.twins:
            twin.revive()
            twin.end(self.dice.choice(list(Ending)))
        match self.dice.choice(list(Ending)):
            case Ending.SILENT:
                for liar in self.liars:
                    world.crash(liar.node)
            case Ending.ONE_HALF:
                self.gang.lying = False
            case Ending.STILL_TWO:
                for liar in self.liars:
                    for _ in range(5):
                        world.at(self.dice.uniform(0, 10), liar.act)
        world.relink()

    def _await_level(self) -> None:
        """As long as it takes, within reason; liars that go on may make rounds fail."""
        world = self.world
        while not everybody_is_level(world) and world.calendar.now < self.horizon + HEALED_WITHIN:
            if world.idle and not self._open_doors():
                return
            world.run(until=world.calendar.now + 1)
            self._open_doors()

    def _open_doors(self) -> bool:
        """Let in whoever was admitted; whether there was anybody."""
        return False

    def _silence(self) -> None:
        self.gang.lying = False
        for twin in self.twins:
            twin.end(Ending.SILENT)
        for node in self.world.nodes:
            if not node.honest:
                self.world.crash(node)

    def _counts(self) -> Counts:
        world = self.world
        if not world.properties.log and any(said.pending for said in world.properties.spoken.values()):
            raise Violation("promises were made and nothing was ordered")
        return self._counted()

    def _counted(self) -> Counts:
        world = self.world
        world.tally["links_cut"] += world.cuts
        world.tally["journal_lost_noticed"] += sum(node.journal_lost for node in honest(world))
        world.tally["evidence_found"] += sum(len(node.evidence) for node in honest(world))
        return Counts(
            seeds=1,
            steps=world.steps,
            messages=world.envelopes,
            blocks=len(world.properties.blocks),
            tally=world.tally,
        )
