"""A member that commits a provable offence is convicted by honest members' own code, wherever it shows."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from msgspec.structs import replace

from chain.block import Block, Head, Slot
from chain.case import FORK, check_case
from chain.codec import encode
from chain.control import Accuse, Remove
from chain.effects import Want
from chain.evidence import TwoVotes
from chain.ids import BlockId, Hash, SlotId
from chain.message import (
    UNSIGNED,
    Accusation,
    Ack,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    SlotMessage,
    justification_digest,
    signed,
)
from tests.simulation.liars import (
    heights_above,
    id_of,
    losing,
    overhear,
    place_of,
    room_with_liar,
    silent,
    slot_of,
    tell,
)
from tests.simulation.machine import Node
from tests.simulation.test_directed import finish_without
from tests.simulation.test_exact import quiet_room
from tests.simulation.world import World

M = TypeVar("M", Slot, Ack, Prevote, Precommit, RoundChange, Propose)
ONE, OTHER = BlockId(b"1" * 32), BlockId(b"2" * 32)


class Liar:
    """Signs what it likes at the height above the room's tip."""

    def __init__(self, world: World, node: Node) -> None:
        self.world, self.node = world, node
        self.place = place_of(world, node)
        self.epoch, self.height = world.room.tip.epoch, world.room.tip.height + 1
        node.honest = False
        node.filter = losing(lambda message: isinstance(message, Accusation))  # or its own code would stop
        node.withhold = silent

    def sign(self, message: M) -> M:
        return signed(message, room=self.world.room.id, key=self.node.seat.vote)

    def ack(self, number: int, lane: int, seq: int, head: SlotId) -> Ack:
        return self.sign(Ack(self.epoch, self.place, number, ((lane, Head(seq, head)),), UNSIGNED))

    def prevote(self, block: BlockId, *, round_: int = 0, why: tuple[RoundChange, ...] = ()) -> Prevote:
        digest = justification_digest(why, room=self.world.room.id, epoch=self.epoch)
        return self.sign(Prevote(self.epoch, self.height, round_, self.place, block, digest, UNSIGNED))

    def precommit(self, block: BlockId) -> Precommit:
        return self.sign(
            Precommit(self.epoch, self.height, 0, self.place, block, 9, Hash(bytes(32)), UNSIGNED)
        )

    def precommit_of(self, block: Block, *, round_: int) -> Precommit:
        named = block.id(self.world.room.id), block.log_size, block.log_root
        return self.sign(Precommit(self.epoch, self.height, round_, self.place, *named, UNSIGNED))

    def asks(self, round_: int) -> RoundChange:
        return self.sign(RoundChange(self.epoch, self.height, round_, self.place, None, UNSIGNED))

    def propose(self, round_: int, *, why: tuple[RoundChange, ...] = (), size: int = 1) -> Propose:
        """A block that names nothing new; which one, `size` says."""
        tip = self.world.room.tip
        block = Block(
            epoch=self.epoch,
            height=self.height,
            prev=tip.block,
            leader=self.node.id,
            cut=tip.cut,
            log_size=size,
            log_root=Hash(bytes(32)),
            committee=tip.committee.digest,
            next_committee=None,
        )
        return self.sign(Propose(self.epoch, self.height, round_, self.place, block, why, UNSIGNED))

    # What it tells one honest member, by the kind of offence that this is

    def two_slots(self) -> list[Message]:
        return [slot_of(self.world, self.node, 1), slot_of(self.world, self.node, 1)]

    def two_acks(self) -> list[Message]:
        lane = (self.place + 1) % 4
        return [self.ack(1, lane, 1, SlotId(ONE)), self.ack(1, lane, 2, SlotId(OTHER))]

    def two_branches(self) -> list[Message]:
        lane = (self.place + 1) % 4
        return [self.ack(1, lane, 3, SlotId(ONE)), self.ack(2, lane, 3, SlotId(OTHER))]

    def two_prevotes(self) -> list[Message]:
        return [self.prevote(ONE), self.prevote(OTHER)]

    def two_precommits(self) -> list[Message]:
        return [self.precommit(ONE), self.precommit(OTHER)]

    def two_proposals(self) -> list[Message]:
        return [self.propose(0, size=1), self.propose(0, size=2)]

    def broken_promise(self) -> list[Message]:
        return [self.precommit(ONE), self.asks(1)]

    def broken_promise_backwards(self) -> list[Message]:
        return [self.asks(1), self.precommit(ONE)]

    def unjustified_proposal(self) -> list[Message]:
        return [self.propose(1, why=(self.asks(1),))]

    def prevote_for_the_unjustified(self) -> list[Message]:
        proposal = self.propose(1, why=(self.asks(1),))
        return [
            proposal,
            self.prevote(proposal.block.id(self.world.room.id), round_=1, why=proposal.justification),
        ]

    def prevote_before_the_unjustified(self) -> list[Message]:
        return self.prevote_for_the_unjustified()[::-1]


OFFENCES: dict[Callable[[Liar], list[Message]], set[str]] = {
    Liar.two_slots: {"two slots for one place"},
    Liar.two_acks: {"two acks of one number"},
    Liar.two_branches: {"acks on two branches"},
    Liar.two_prevotes: {"two prevotes in one round"},
    Liar.two_precommits: {"two precommits in one round"},
    Liar.two_proposals: {"two proposals in one round"},
    Liar.broken_promise: {"a precommit taken back"},
    Liar.broken_promise_backwards: {"a precommit taken back"},
    Liar.unjustified_proposal: {"an unjustified proposal"},
    Liar.prevote_for_the_unjustified: {"an unjustified proposal", "an unjustified prevote"},
    Liar.prevote_before_the_unjustified: {"an unjustified proposal", "an unjustified prevote"},
}


def member_leading(world: World, round_: int) -> Node:
    tip = world.nodes[0].running.tip
    identity = tip.committee.members[tip.leader_of(round_)].identity
    return next(node for node in world.nodes if node.id == identity)


def room_with(offence: Callable[[Liar], list[Message]]) -> tuple[Liar, list[Node]]:
    """Four members, one of whom commits this; it leads the round in which it has to propose, if any."""
    world = quiet_room(4)
    leads = 0 if offence is Liar.two_proposals else 1
    liar = Liar(world, member_leading(world, leads))
    return liar, [node for node in world.nodes if node is not liar.node]


def kinds_of(nodes: list[Node], liar: Node) -> list[set[str]]:
    return [{found.kind for found in node.evidence if found.member == liar.id} for node in nodes]


def ordered_accusations(world: World, node: Node) -> list[Accuse]:
    items = node.store.items(stop=node.store.log_size())
    return [item.content for item in items if isinstance(item.content, Accuse)]


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: offence.__name__)
def test_whoever_is_told_convicts_and_all_learn_order_and_mute(
    offence: Callable[[Liar], list[Message]],
) -> None:
    liar, honest = room_with(offence)
    world = liar.world
    for message in offence(liar):
        tell(world, honest[0], liar.node, message)
    world.run()
    assert kinds_of(honest, liar.node) == [OFFENCES[offence]] * 3
    for node in honest:
        assert node.running.state.broadcast.lanes[liar.place].frozen is not None
        assert {kept.member for kept in node.store.evidence()} == {liar.node.id}
        assert len(ordered_accusations(world, node)) == 1
        motions = [motion for motion, _ in node.running.desk.motions.values()]
        assert set(motions) == {Remove(liar.node.id)}
        for kept in node.store.evidence():
            data = node.store.case(kept)
            assert data is not None
            case = check_case(data, verify=world.scheme.verify)
            assert [accused.nick for accused in case.accused] == [liar.node.seat.nick]
    heard = overhear(honest[1])
    tell(world, honest[0], liar.node, slot_of(world, liar.node, 1))
    for node in honest:
        world.say(node)
    world.run()
    assert not any(isinstance(m, Ack) and liar.place in dict(m.entries) for m in heard)
    assert {kept.slot.lane for node in honest for kept in node.store.snapshot().slots} <= {liar.place}
    finish_without(world, liar.node)


def test_the_proposed_removal_takes_a_quorum_and_nothing_of_the_removed_key_counts_then() -> None:
    liar, honest = room_with(Liar.two_prevotes)
    world = liar.world
    for message in liar.two_prevotes():
        tell(world, honest[0], liar.node, message)
    world.run()
    assert all(node.running.tip.committee.n == 4 for node in honest)
    for node in honest[1:]:
        world.give(node, Want(Remove(liar.node.id)))
    world.run()
    assert [node.running.tip.committee.n for node in honest] == [3, 3, 3]
    assert all(node.running.tip.committee.place(liar.node.id) is None for node in honest)


def test_all_who_catch_a_member_propose_its_removal_and_none_of_them_approves_it() -> None:
    """A quorum of machines that saw the same must not remove anybody: that is for people."""
    liar, honest = room_with(Liar.two_prevotes)
    for node in honest:
        for message in liar.two_prevotes():
            tell(liar.world, node, liar.node, message)
    liar.world.run()
    assert [node.running.tip.committee.n for node in honest] == [4, 4, 4]
    backers = [by for node in honest for _, by in node.running.desk.motions.values()]
    assert backers
    assert all(len(by) == 1 for by in backers)


def test_evidence_outlives_a_restart_and_is_not_ordered_twice() -> None:
    liar, honest = room_with(Liar.two_acks)
    world = liar.world
    for message in liar.two_acks():
        tell(world, honest[0], liar.node, message)
    world.run()
    for node in honest:
        world.crash(node)
        world.restart(node)
        world.run()
    assert all(node.running.state.broadcast.lanes[liar.place].frozen for node in honest)
    assert [len(ordered_accusations(world, node)) for node in honest] == [1, 1, 1]
    world.say(honest[0])
    world.run()
    assert heights_above(world, honest) == [2, 2, 2]
    assert [len(ordered_accusations(world, node)) for node in honest] == [1, 1, 1]


def test_who_was_away_when_somebody_was_caught_learns_of_it_from_the_record() -> None:
    world = quiet_room(7)
    liar = Liar(world, member_leading(world, 1))
    away, *others = [node for node in world.nodes if node is not liar.node]
    world.crash(away)
    for message in liar.two_acks():
        tell(world, others[0], liar.node, message)
    world.run()
    assert [len(ordered_accusations(world, node)) for node in others] == [1] * 5
    away.filter = losing(lambda message: isinstance(message, Accusation))
    world.restart(away)
    world.run()
    assert [len(ordered_accusations(world, node)) for node in (away, *others)] == [1] * 6
    assert kinds_of([away], liar.node) == [{"two acks of one number"}]
    assert away.running.state.broadcast.lanes[liar.place].frozen is not None


def test_evidence_of_an_epoch_that_is_not_reached_yet_is_nobodys_fault() -> None:
    """Whoever sends it may just be further; it comes again once we are there, too."""
    liar, (behind, ahead, _) = room_with(Liar.two_prevotes)
    world = liar.world
    liar.epoch += 1
    for message in (TwoVotes(liar.prevote(ONE), liar.prevote(OTHER)),):
        tell(world, behind, ahead, Accusation(encode(message)))
    world.run()
    assert not behind.faults
    assert not behind.evidence


def test_evidence_that_shows_nothing_is_blamed_on_who_brings_it_and_mutes_nobody() -> None:
    world, liar, others = room_with_liar(leads=False)
    victim = Liar(world, others[1])
    others[1].honest, others[1].filter, others[1].withhold = True, None, None
    forged = replace(victim.prevote(ONE), signature=victim.prevote(OTHER).signature)
    tell(world, others[0], liar, Accusation(encode(TwoVotes(victim.prevote(ONE), forged))))
    tell(world, others[0], liar, Accusation(b"nonsense"))
    assert {fault.peer for fault in others[0].faults} == {liar.id}
    assert len(others[0].faults) == 2
    assert not others[0].evidence
    tell(world, others[0], liar, slot_of(world, liar, 1, control=(Accuse(b"nonsense"), Accuse(b""))))
    world.say(others[1])
    world.run()
    assert all(not node.evidence for node in others)
    finish_without(world, liar)


def test_a_fork_across_two_rounds_names_who_hid_what_they_had_precommitted() -> None:
    """Two of four lie, one more than they can bear: each honest member is shown a block of its own."""
    world = quiet_room(4)
    late = member_leading(world, 1)
    one, other, early = [node for node in world.nodes if node is not late]
    world.blocked |= {frozenset((late, node)) for node in (one, other, early)}
    world.relink()
    world.say(early)
    world.run()
    liars = [Liar(world, one), Liar(world, other)]
    world.blocked.discard(frozenset((late, one)))
    world.relink()
    world.run()
    heard = overhear(one)
    world.say(late)
    world.run(until=world.calendar.now + 0.2)
    (said,) = [message for message in heard if isinstance(message, SlotMessage)]
    for liar in liars:
        tell(world, late, one, liar.ack(9, place_of(world, late), 1, id_of(world, said)), liar.asks(1))
    world.run(until=world.calendar.now + 0.2)
    (proposal,) = [message for message in heard if isinstance(message, Propose)]
    block = proposal.block
    late.honest = False  # for the world's bookkeeping only, which knows of one block a height
    for liar in liars:
        tell(world, late, one, liar.prevote(block.id(world.room.id), round_=1, why=proposal.justification))
    for liar in liars:
        tell(world, late, one, liar.precommit_of(block, round_=1))
    assert late.running.tip.block == block.id(world.room.id) != early.running.tip.block
    world.more_lie_than_we_bear = True
    world.blocked.clear()
    world.relink()
    world.run()
    for node in (late, early):
        assert node.running.forked
        assert {found.member for found in node.evidence} == {one.id, other.id}
        assert {found.kind for found in node.evidence} == {"a precommit taken back"}
        assert FORK in {kept.kind for kept in node.store.evidence()}
        cases = [node.store.case(kept) for kept in node.store.evidence()]
        for data in cases:
            assert data is not None
            case = check_case(data, verify=world.scheme.verify)
            assert {accused.nick for accused in case.accused} <= {one.seat.nick, other.seat.nick}
