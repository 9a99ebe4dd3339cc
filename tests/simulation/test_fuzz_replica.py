"""Whatever a member or a stranger sends, a replica blames somebody or takes it in; it never breaks."""

import random

import pytest
from msgspec.structs import replace

from chain.block import Body
from chain.codec import encode
from chain.control import Admit, Remove
from chain.effects import Arrived, Input, Want
from chain.joiner import Joiner
from chain.message import (
    WIRE_VERSION,
    Envelope,
    Finals,
    Hello,
    JoinRequest,
    Message,
    Propose,
    PullFinals,
    PullRange,
    Refusal,
    SlotMessage,
    pack,
    unpack,
)
from chain.records import KeepEpoch
from tests.simulation.fuzz import Mutator, signed_again
from tests.simulation.keys import HASHED
from tests.simulation.liars import Deaf
from tests.simulation.machine import Node
from tests.simulation.network import fixed
from tests.simulation.room import make_seat
from tests.simulation.test_exact import DELAY, leader_of, quiet_room
from tests.simulation.world import World

INPUTS = 3000
NEWCOMERS = 9


class Fuzzed:
    """A room in which one member and one stranger send nearly true things to the others."""

    def __init__(self, n: int, *, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(n, seed=seed, latency=fixed(DELAY))
        self.mutator = Mutator(self.dice)
        self.world.populate()
        self.liar = self.dice.choice(self.world.nodes)
        self.liar.honest = False
        self.honest = [node for node in self.world.nodes if node is not self.liar]
        self.stranger = self.world.add("stranger", make_seat(HASHED, "stranger"), honest=False)
        self.stranger.replica = Deaf()
        self.world.relink()
        request = self.stranger.seat.request(self.world.room.id)
        self.mutator.remember([JoinRequest(request), PullFinals(0), PullRange(1), Refusal("no")])
        for node in self.honest:
            node.filter = self._overhear

    def _overhear(self, data: bytes) -> bytes:
        self.mutator.remember(unpack(data))
        return data

    def run(self, inputs: int) -> None:
        for _ in range(inputs):
            if self.dice.random() < 0.02:
                self._people_act()
            self._send()
            pause = self.dice.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, DELAY / 2, DELAY, 0.5, 2))
            self.world.run(until=self.world.calendar.now + pause)

    def _people_act(self) -> None:
        if self.dice.random() < 0.8:
            self.world.say(self.dice.choice(self.world.nodes[:-1]), self.dice.choice((1, 100, 5000)))
            return
        newcomer = make_seat(HASHED, f"z{self.dice.randrange(NEWCOMERS)}")
        motions = (
            Admit(newcomer.request(self.world.room.id)),
            Remove(newcomer.id),
            Remove(self.liar.id),
        )
        self._everybody(Want(self.dice.choice(motions)))

    def _everybody(self, given: Input) -> None:
        for node in self.world.nodes[:-1]:
            if node.replica is not None:
                self.world.give(node, given)

    def _send(self) -> None:
        target = self.dice.choice(self.honest)
        source = self.liar if self.dice.random() < 0.8 else self.stranger
        messages = tuple(self._message(target) for _ in range(self.dice.choice((1, 1, 2, 5))))
        try:
            data = encode(Envelope(WIRE_VERSION, messages))
        except OverflowError:
            return  # a number that no envelope can hold
        if self.dice.random() < 0.02:
            data = self.mutator.flipped(data)
        self.world.give(target, Arrived(source.id, data))

    def _message(self, target: Node) -> Message:
        message = self.mutator.message()
        tip, seat = target.running.tip, self.liar.seat
        if isinstance(message, Propose) and self.dice.random() < 0.5:
            turns = [round_ for round_ in range(8) if tip.leader_of(round_) == tip.committee.place(seat.id)]
            message = replace(message, epoch=tip.epoch, height=tip.height + 1, round=(*turns, 0)[0])
        if self.dice.random() < 0.85:
            try:
                message = signed_again(message, seat, room=tip.room, epoch=tip.epoch, committee=tip.committee)
            except OverflowError:
                return message
        if isinstance(message, SlotMessage):
            for body in message.bodies:
                self._may_be_ordered(body)
        return message

    def _may_be_ordered(self, body: Body) -> None:
        self.world.properties.said(body, author=self.liar.id, honest=False)


@pytest.mark.parametrize(("n", "seed"), [(4, 1), (4, 2), (4, 3), (5, 4), (5, 5), (7, 6)])
def test_nothing_that_a_liar_and_a_stranger_send_breaks_a_replica_or_gets_an_honest_member_blamed(
    n: int, seed: int
) -> None:
    fuzzed = Fuzzed(n, seed=seed)
    fuzzed.run(INPUTS)
    strangers = {fuzzed.liar.id, fuzzed.stranger.id}
    faults = [fault for node in fuzzed.honest for fault in node.faults]
    assert [fault for fault in faults if fault.peer not in strangers] == []
    assert not any(node.journal_lost for node in fuzzed.honest)
    # It was no walkover: much was refused, much was taken in, and the room went on meanwhile.
    assert len(faults) > INPUTS // 10
    assert min(node.running.tip.height for node in fuzzed.honest) > fuzzed.world.room.tip.height


def test_nothing_that_a_member_sends_breaks_a_newcomer_or_lets_it_in_by_a_wrong_door() -> None:
    """Each newcomer is shown the true walk with something changed, whole or in two parts."""
    dice = random.Random(5)
    mutator = Mutator(dice)
    world = quiet_room(5)
    one = leader_of(world)
    room, me = world.room.id, world.room.seats[0].id
    walk = one.store.finals_from(0, limit=2**20)
    true = {final.block.id(room) for final in walk.finals}
    kept = [record for record in world.room.records if isinstance(record, KeepEpoch)]
    state = {(record.final, record.frontier, record.spent) for record in kept}
    start = Finals(0, walk.genesis, walk.finals[:2], (), (), True)
    tip = one.running.tip
    hello = Hello(tip.epoch, tip.height, tip.block, (), None, None, False)
    admitted = 0
    for _ in range(2000):
        mutator.remember([walk, start, hello])
        joiner = Joiner(room=room, identity=me, anchor=None, verify=HASHED.verify)
        for part in ([start, walk], [walk], [hello, mutator.message()], [mutator.message()]):
            changed = mutator.changed(dice.choice(part)) if dice.random() < 0.8 else dice.choice(part)
            try:
                (data, *_) = pack([changed])
            except OverflowError:
                continue
            told = joiner.receive(mutator.flipped(data) if dice.random() < 0.1 else data)
            if told.admitted is not None:
                admitted += 1
                assert {kept.final.id(room) for kept in told.admitted} <= true
                last = told.admitted[-1]
                assert (last.final, last.frontier, last.spent) in state
    assert admitted > 0
