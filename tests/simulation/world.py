"""The simulated world: real replicas and real stores, under virtual time, over links that can fail.

Everything that reaches a node at one instant is one step of its replica; the effects of a step are carried
out in order, so a crash between any two of them is a cut through that list. One seed decides everything.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import assert_never

from chain.block import Body
from chain.effects import (
    Asks,
    CommitteeChanged,
    Delivered,
    Effect,
    EvidenceFound,
    Fault,
    Forked,
    HistoryGrew,
    Input,
    JournalLost,
    Ordered,
    Pending,
    Persist,
    Say,
    Send,
    Serve,
    ServeFinals,
    SetTimer,
)
from chain.ids import MemberId, SlotId
from chain.message import ENVELOPE_TARGET, Message, pack
from chain.records import Record
from chain.replica import Replica
from chain.store import Store
from tests.simulation.keys import HASHED, Scheme
from tests.simulation.machine import Core, Node
from tests.simulation.network import Latency, fixed
from tests.simulation.properties import Properties
from tests.simulation.room import Room, Seat, make_room
from tests.simulation.signatures import Violation
from tests.simulation.wires import Wires


class World(Wires):
    """A room of n members, all linked to all unless told otherwise, and everything that happens to it."""

    def __init__(
        self,
        n: int,
        *,
        seed: int = 0,
        scheme: Scheme = HASHED,
        latency: Latency | None = None,
        in_order: bool = True,
        room: Room | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(random.Random(seed), latency=latency or fixed(1 / 16), in_order=in_order)
        self.scheme = scheme
        self.room = room or make_room(n, scheme)
        self.properties: Properties = Properties(self.room)
        self.restart_after: Latency | None = None
        """How long a crashed node is down; None: until told otherwise."""
        self.on_asks: Callable[[Node, Asks], None] = lambda node, asks: None
        """What people do when somebody asks to be let in."""
        self.after_step: Callable[[Node], None] | None = None
        """Looks at each honest member after each of its steps."""
        self.tally: Counter[str] = Counter()
        """Faults injected, by kind."""
        self.more_lie_than_we_bear = False
        """Whether the test lets a quorum sign two blocks of one height: then a fork is to be noticed."""
        self.steps = self.crashes = 0
        self.max_steps = 200_000
        self._awake: dict[Node, None] = {}
        self._trace = trace

    # Building

    def populate(self) -> None:
        """Start every member of the room, linked to all others, and let the greetings drain."""
        for seat in self.room.seats:
            self.add(seat.nick, seat, records=self.room.records)
        for node in self.nodes:
            self.start(node, restarted=False)
        self.relink()
        self.run()

    def add(self, name: str, seat: Seat, *, records: Iterable[Record] = (), honest: bool = True) -> Node:
        """A machine with this store; not started yet."""
        node = Node(name, seat, genesis=self.room.genesis, scheme=self.scheme, honest=honest)
        if records := tuple(records):
            node.store.apply(records)
        if honest:
            self.properties.kept(node.name, records)
        self.nodes.append(node)
        return node

    def wipe(self, node: Node) -> None:
        """A stopped machine loses all that it knew since the room was made."""
        assert node.replica is None
        node.store.close()
        node.store = Store.create(
            ":memory:", genesis=self.room.genesis, me=node.id, verify=self.scheme.verify
        )
        node.store.apply(self.room.records)

    def roll_back(self, node: Node, *, to: int, accountable: bool) -> None:
        """A stopped machine's disk is as it was after its first `to` transactions.

        Its member counts among the faulty ones from now on: nobody owes it anything. Only if all that it
        ever signed has reached the others is it `accountable` for never signing anything twice.
        """
        node.amnesiac = True
        node.accountable = accountable
        self.tally["disk_rolled_back"] += 1
        for said in self.properties.spoken.values():
            said.honest = said.honest and said.author != node.id
        self.wipe(node)
        node.transactions = node.transactions[:to]
        for records in node.transactions:
            node.store.apply(records)
        self.properties.forget(node.name)
        self.properties.kept(node.name, self.room.records)
        for records in node.transactions:
            self.properties.kept(node.name, records)

    def start(self, node: Node, *, restarted: bool = True) -> None:
        """Run a replica from what the store holds; its clock starts at a number of its own."""
        assert node.replica is None
        node.skew = float(self.dice.randrange(1000))
        node.clock_error_ms = self.dice.randrange(-5000, 5000)
        node.key.take()
        node.replica = Replica(
            node.store.snapshot(),
            identity=node.id,
            key=node.key,
            rule=self.room.genesis.rule,
            verify=self.scheme.verify,
            now=self._clock(node),
            restarted=restarted,
        )
        self._wake(node)

    # What happens to it

    def say(self, node: Node, size: int = 20) -> bytes | None:
        """Somebody types a line; its uuid, or None if the machine is down."""
        if node.replica is None:
            return None
        uuid = self.dice.randbytes(16)
        body = Body(self.dice.randbytes(32), uuid + self.dice.randbytes(size))
        self.properties.said(body, author=node.id, honest=node.honest and not node.amnesiac)
        self.give(node, Say(body))
        return uuid

    def give(self, node: Node, *inputs: Input) -> None:
        """Inputs for the node's next step, which comes at this very instant."""
        node.inbox += inputs
        self._wake(node)

    def at(self, delay: float, happen: Callable[[], object]) -> None:
        """Do something `delay` seconds from now."""
        self.calendar.schedule(self.calendar.now + delay, lambda: void(happen()))

    def crash(self, node: Node) -> None:
        """Stop at once; what is durable stays. It comes back by itself if `restart_after` says so."""
        if node.replica is None:
            return
        self._note(lambda: f"{node}: CRASH")
        self.crashes += node.honest
        node.replica = None
        node.inbox.clear()
        node.crash_next = node.crash_at = None
        self._awake.pop(node, None)
        self._set_timer(node, None)
        node.links.clear()
        for link in self._links.values():
            if node in link.ends:
                if notice := link.notices.pop(node, None):
                    notice.alive = False
                if link.up:
                    self._drop(link)
        if self.restart_after is not None and node.honest:
            self.at(self.restart_after(self.dice), lambda: self.restart(node))

    def restart(self, node: Node) -> None:
        """Bring a crashed node back from its store; its links follow at once."""
        if node.replica is None:
            self._note(lambda: f"{node}: restart")
            self.start(node)
            self.relink()

    def _clock(self, node: Node) -> float:
        """Monotonic seconds as this machine counts them."""
        return self.calendar.now * node.rate + node.skew

    # Running

    def run(self, *, until: float | None = None) -> None:
        """Let time pass until `until` (seconds), or until nothing is left to happen."""
        while (at := self.calendar.next_time()) is not None or self._awake:
            if at is not None and not self._awake:
                if until is not None and at > until:
                    break
                self.calendar.now = at
            while (event := self.calendar.pop_due()) is not None:
                event.happen()
            self._step_awake()
        if until is not None:
            self.calendar.now = max(self.calendar.now, until)

    @property
    def idle(self) -> bool:
        """Nothing is left to happen: no message under way, no timer."""
        return self.calendar.next_time() is None and not self._awake

    def _wake(self, node: Node) -> None:
        self._awake[node] = None

    def _step_awake(self) -> None:
        awake, self._awake = self._awake, {}
        for node in awake:
            if node.replica is not None:
                self._step(node, node.replica)

    def _step(self, node: Node, replica: Core) -> None:
        self.steps += 1
        if self.steps > self.max_steps:
            raise Violation(f"no rest after {self.steps} steps, {self.calendar.now:.1f} s")
        inputs, node.inbox = node.inbox, []
        now = self._clock(node)
        if node.timer is not None and not node.timer.alive:
            now = max(now, node.timer_at)
            node.timer = None
        clock_ms = 1_800_000_000_000 + int(self.calendar.now * 1000) + node.clock_error_ms
        try:
            effects = replica.step(inputs, now=now, clock_ms=clock_ms)
        except Exception:
            if node.honest:
                raise
            self.crash(node)
            return
        self._note(lambda: self._tell(node, inputs, effects))
        crash_at = self._crash_point(node, len(effects))
        signed, persists = node.key.take(), 0
        for effect in effects[:crash_at]:
            if isinstance(effect, Persist):
                persists += 1
                if node.honest and node.accountable:
                    self.properties.signatures.commit(node.id, signed, effect.records)
                    signed = []
            self._perform(node, effect)
        if node.honest and isinstance(replica, Replica):
            self._watch_broadcast(node, replica)
            if self.after_step is not None:
                self.after_step(node)
        if crash_at is not None:
            self.tally[self._crash_kind(effects, crash_at)] += 1
            self.crash(node)
        elif node.honest and signed and node.accountable:
            raise Violation(f"{node} signed {len(signed)} things and kept none of them")
        if persists > 1:
            raise Violation(f"{node} wrote {persists} transactions in one step")

    def _watch_broadcast(self, node: Node, replica: Replica) -> None:
        """Note what its broadcast delivered and what is not ordered yet."""
        broadcast, earlier = replica.state.broadcast, set[SlotId]()
        known, cut = self.properties.nodes[node.name].delivered_when, None
        for slot_id in broadcast.delivered_at:
            if slot_id not in known:
                cut = cut or tuple(lane.base for lane in broadcast.lanes)
                kept = broadcast.slots[slot_id]
                self.properties.delivered(node.name, kept, cut=cut, earlier=earlier, at=self.calendar.now)
            earlier.add(slot_id)

    def _crash_kind(self, effects: list[Effect], crash_at: int) -> str:
        """Which boundary of a step a crash is at."""
        before, after = effects[:crash_at], effects[crash_at:]
        if any(isinstance(effect, Persist) for effect in after):
            return "crash_before_transaction"  # which is also what a torn or refused one comes to
        if not any(isinstance(effect, Send) for effect in after):
            return "crash_after_sends"
        return "crash_between_sends" if any(isinstance(e, Send) for e in before) else "crash_before_sends"

    def _crash_point(self, node: Node, effects: int) -> int | None:
        """Before which effect of this step the node crashes; as many as there are: after all of them."""
        if node.crash_next is not None:
            return min(effects, int(node.crash_next * (effects + 1)))
        if node.crash_at is not None:
            steps, index = node.crash_at
            if steps == 0:
                return index if index <= effects else None
            node.crash_at = steps - 1, index
        return None

    def _perform(self, node: Node, effect: Effect) -> None:
        match effect:
            case Persist(records=records):
                node.store.apply(records)
                node.transactions.append(records)
                if node.honest:
                    self.properties.kept(node.name, records)
            case Send(peer=peer, data=data):
                self._send(node, peer, data)
            case Serve(peer=peer, height=height, last=last):
                self._serve(node, peer, node.store.blocks_from(height, limit=ENVELOPE_TARGET, last=last))
            case ServeFinals(peer=peer, epoch=epoch):
                self._serve(node, peer, [node.store.finals_from(epoch, limit=ENVELOPE_TARGET)])
            case SetTimer(at=at):
                self._set_timer(node, at)
            case Pending(uuid=uuid):
                self.properties.pending(uuid)
            case Delivered(uuid=uuid, acks=acks):
                node.acks_of[uuid] = acks
                if node.honest:
                    self.properties.own_delivered(node.name, uuid, acks)
            case Ordered(height=height, items=items):
                if node.honest:
                    self.properties.ordered(node.name, height, items, at=self.calendar.now)
            case Fault():
                node.faults.append(effect)
            case EvidenceFound():
                node.evidence.append(effect)
            case Asks():
                self.on_asks(node, effect)
            case JournalLost():
                node.journal_lost = True
            case Forked(height=height):
                node.forks.append(height)
                if not self.more_lie_than_we_bear:
                    raise Violation(f"{node} sees a fork at height {height}")
            case CommitteeChanged() | HistoryGrew():
                pass
            case _:
                assert_never(effect)

    def _serve(self, node: Node, peer: MemberId, messages: list[Message]) -> None:
        for data in pack(messages):
            self._send(node, peer, data)

    def _send(self, node: Node, peer: MemberId, data: bytes) -> None:
        link = node.links.get(peer)
        if link is None:
            raise Violation(f"{node} sends to {self._name(peer)} without a link")
        target = link.other(node)
        if node.withhold is not None and node.withhold(target, data):
            return
        for changed in (data,) if node.rewrite is None else node.rewrite(target, data):
            self.transmit(node, target, changed)

    def _set_timer(self, node: Node, at: float | None) -> None:
        if node.timer is not None:
            node.timer.alive = False
            node.timer = None
        if at is not None:
            node.timer_at = at
            node.timer = self.calendar.schedule((at - node.skew) / node.rate, lambda: self._wake(node))

    # Telling

    def _note(self, tell: Callable[[], str]) -> None:
        if self._trace is not None:
            self._trace(f"{self.calendar.now:9.4f} {tell()}")

    def _tell(self, node: Node, inputs: list[Input], effects: list[Effect]) -> str:
        from tests.simulation.trace import tell_effect, tell_input

        lines = [f"{node}: step"]
        lines += [f"    < {tell_input(given, self._name)}" for given in inputs]
        lines += [f"    > {tell_effect(effect, self._name)}" for effect in effects]
        return "\n".join(lines)

    def _name(self, member: MemberId) -> str:
        return next((node.name for node in self.nodes if node.id == member), member.hex()[:8])


def void(_: object) -> None:
    """Take a value and give none."""
