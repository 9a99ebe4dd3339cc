"""One liar against the vote and the lanes: what it says to some, strips, or shows too late changes nothing.

Each schedule once stopped a room, retired an honest key, or had an honest member blamed.
"""

import pytest
from msgspec.structs import replace

from chain.block import Certificate, block_checkpoint
from chain.case import FORK
from chain.control import Accuse, Remove
from chain.effects import Arrived, RoundTrip, Want
from chain.ids import BlockId, Hash
from chain.message import (
    UNSIGNED,
    Accusation,
    Committed,
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
from chain.records import Journal, Record
from tests.simulation.accusing import two_slots
from tests.simulation.liars import (
    blamed,
    heights_above,
    id_of,
    losing,
    member_at,
    nowhere,
    overhear,
    place_of,
    room_with_liar,
    silent,
    slot_of,
    tell,
    wait,
)
from tests.simulation.machine import Node
from tests.simulation.network import fixed
from tests.simulation.test_directed import finish_without, forked_slot
from tests.simulation.test_exact import DELAY, follower_of, leader_of, quiet_room
from tests.simulation.world import World

# Votes


def test_a_round_change_that_comes_back_with_a_junk_polka_does_not_retire_its_signer() -> None:
    world, liar, others = room_with_liar(leads=True)
    heard = overhear(liar)
    liar.withhold = silent
    world.say(others[0])
    wait(world, 1 + 3 * DELAY)
    asked = [vote for vote in heard if isinstance(vote, RoundChange)]
    assert len(asked) == 3
    for vote in asked:
        junk = Prevote(vote.epoch, vote.height, 0, 0, BlockId(bytes(32)), Hash(bytes(32)), UNSIGNED)
        tell(world, member_at(world, vote.signer), liar, replace(vote, polka=(junk,)))
    world.run()
    assert not any(node.journal_lost for node in others)
    assert heights_above(world, others) == [1, 1, 1]
    finish_without(world, liar)


def stripped(proposal: Propose) -> Propose:
    """The same, signature and all, without the polka that its justification has to show."""
    return replace(proposal, justification=tuple(vote.without_polka() for vote in proposal.justification))


def room_with_a_polka_and_no_certificate(*, slow: float) -> tuple[World, Node, list[Node]]:
    """The liar proposed in round 0; the honest ones saw a quorum of prevotes, their precommits are lost.

    What honest members say to one another from here on takes `slow` seconds; the liar says nothing more.
    """
    world, liar, others = room_with_liar(leads=True)
    for node in others:
        node.filter = losing(lambda message: isinstance(message, Precommit) and message.round == 0)
    world.say(liar)
    wait(world, 2.5 * DELAY)
    for one in others:
        for other in others:
            if one is not other:
                world.slow(one, other, fixed(slow))
    liar.withhold = silent
    return world, liar, others


def pass_on_stripped(world: World, liar: Node, others: list[Node]) -> list[Propose]:
    """The liar hands every later proposal on without its polka, and is faster than the true one."""
    seen: list[Propose] = []

    def listen(data: bytes) -> bytes:
        for message in unpack(data):
            if isinstance(message, Propose) and message not in seen:
                seen.append(message)
                for node in others:
                    if node is not member_at(world, message.signer):
                        (copy,) = pack([stripped(message)])
                        world.at(DELAY, lambda node=node, copy=copy: world.give(node, Arrived(liar.id, copy)))
        return data

    liar.filter = listen
    return seen


def test_a_proposal_handed_on_without_its_polka_neither_costs_the_round_nor_its_leader_the_blame() -> None:
    world, liar, others = room_with_a_polka_and_no_certificate(slow=4 * DELAY)
    seen = pass_on_stripped(world, liar, others)
    wait(world, 60)
    assert any(vote.polka for vote in seen[0].justification)
    assert heights_above(world, others) == [1, 1, 1]
    assert {node.running.tip.leader for node in others} == {liar.id}
    assert [proposal.round for proposal in seen] == [1]
    finish_without(world, liar)


def test_a_member_that_precommitted_and_then_gave_up_hears_that_the_round_was_decided() -> None:
    """The liar shows its precommit to one member only, in the tick in which two gave up on the round."""
    world, liar, (one, other, last) = room_with_liar(leads=True)
    liar.filter = losing(lambda message: isinstance(message, Accusation))  # or its own code would stop
    tell(world, last, liar, *unpack(forked_slot(world, liar)))
    kept: list[Message] = []

    def withhold(target: Node, data: bytes) -> bool:
        """Everything but precommits and news of the commit goes out, a little later."""
        messages = unpack(data)
        hidden = [m for m in messages if isinstance(m, Precommit | Committed | Hello)]
        kept.extend(m for m in hidden if isinstance(m, Precommit) and target is other)
        rest = [m for m in messages if m not in hidden]
        if hidden and rest:
            world.at(DELAY, lambda: world.give(target, *(Arrived(liar.id, data) for data in pack(rest))))
        return bool(hidden)

    liar.withhold = withhold
    for source, target in ((one, last), (other, last), (last, one)):
        world.slow(source, target, fixed(40 * DELAY))
    world.give(other, RoundTrip(200.0))  # its patience outlasts the story
    asked: list[Message] = []

    def not_yet(message: Message) -> bool:
        if isinstance(message, RoundChange):
            asked.append(message)
        return isinstance(message, RoundChange)

    other.filter = losing(not_yet)
    world.say(liar)
    wait(world, 1.5)
    other.filter = None
    assert [type(vote) for vote in (*asked, *kept)] == [RoundChange, RoundChange, Precommit]
    for vote in asked:
        assert isinstance(vote, RoundChange)
        world.give(other, Arrived(member_at(world, vote.signer).id, pack([vote])[0]))
    tell(world, other, liar, *kept)
    liar.withhold = silent
    world.run()
    assert heights_above(world, (one, other, last)) == [2, 2, 2]  # what was said, and the evidence
    finish_without(world, liar)


# Lanes


def test_two_slots_too_large_to_keep_together_are_refused_and_do_no_harm_to_the_journal() -> None:
    world, liar, others = room_with_liar(leads=False)
    for _ in range(2):
        tell(world, others[0], liar, slot_of(world, liar, 1, control=(Accuse(bytes(600_000)),)))
    world.run()
    assert {fault.peer for node in others for fault in node.faults} == {liar.id}
    world.crash(others[0])
    world.restart(others[0])
    finish_without(world, liar)


def test_heads_that_do_not_exist_do_not_keep_a_member_from_fetching_the_slot_that_was_certified() -> None:
    """One member is cut off, shown four forks of a lane and named 300 more; the others certify a fifth."""
    world, liar, (blind, *others) = room_with_liar(leads=False)
    world.blocked |= {frozenset((blind, node)) for node in others}
    world.relink()
    world.run()
    liar.withhold = silent
    tell(world, blind, liar, slot_of(world, liar, 1))
    tell(world, blind, liar, slot_of(world, liar, 2, prev=nowhere(world)))
    for _ in range(3):
        tell(world, blind, liar, slot_of(world, liar, 1))
    for _ in range(300):
        tell(world, blind, liar, slot_of(world, liar, 2, prev=nowhere(world)))
    good = slot_of(world, liar, 1)
    for node in others:
        tell(world, node, liar, good)
    wait(world, 3 * DELAY)
    assert id_of(world, good) in world.properties.nodes[others[0].name].delivered_when
    world.blocked.clear()
    world.relink()
    wait(world, 60)
    assert id_of(world, good) in world.properties.nodes[blind.name].delivered_when
    assert heights_above(world, (blind, *others)) == [1, 1, 1]
    finish_without(world, liar)


def test_a_member_that_passed_on_a_flood_is_not_blamed_for_it_and_has_room_left_for_its_own() -> None:
    """8 MiB of slots without predecessors reach one member through the others, which relay them."""
    world, liar, (blind, one, other) = room_with_liar(leads=False)
    world.blocked.add(frozenset((liar, blind)))
    world.relink()
    world.run()
    liar.withhold = silent
    for number in range(133):
        flood = slot_of(world, liar, 2 + number % 127, prev=nowhere(world), size=65536 - 16)
        for node in (one, other):
            tell(world, node, liar, flood)
    world.run()
    liar.withhold = None
    for first, second in ((one, other), (other, one)):
        world.slow(first, blind, fixed(10 * DELAY))
        world.say(first, 60_000)
        wait(world, 2 * DELAY)
        world.say(second, 60_000)  # follows the slot that is still under way
        world.run()
        world.slow(first, blind, fixed(DELAY))
    assert not blamed([blind])
    finish_without(world, liar)


def test_a_member_shown_two_slots_of_its_own_for_one_place_signs_no_third() -> None:
    """Its journal was rolled back, say, and nothing else noticed."""
    world, victim, others = room_with_liar(leads=False)
    pair = slot_of(world, victim, 1), slot_of(world, victim, 1)
    heard = overhear(others[0])
    tell(world, victim, others[0], two_slots(pair[0].slot, pair[1].slot, room=world.room.id))
    world.run()
    for _ in range(3):
        world.say(victim)
        world.run()
    assert victim.journal_lost
    assert not [message for message in heard if isinstance(message, SlotMessage)]


def test_a_fork_that_lost_does_not_stay_unordered_for_ever() -> None:
    world, liar, others = room_with_liar(leads=True)
    tell(world, others[2], liar, *unpack(forked_slot(world, liar)))
    tell(world, others[0], liar, slot_of(world, liar, 1, control=(Remove(others[0].id),)))
    world.run()
    world.crash(liar)
    world.run()
    for node in others:
        world.say(node)
        world.run()
    assert [node.running.unordered for node in others] == [False, False, False]
    finish_without(world, liar)


# Journals and certificates


def test_a_journal_that_lost_its_last_precommit_is_noticed_by_who_holds_it() -> None:
    """Nobody lies, but one disk: its round-change would hide the precommit, and might decide two blocks."""
    world = quiet_room(4)
    leader, victim = leader_of(world), follower_of(world)
    holder, other = (node for node in world.nodes if node not in (leader, victim))
    place = place_of(world, victim)
    for node in (victim, leader):
        node.filter = losing(lambda message: isinstance(message, Precommit))
    holder.filter = losing(lambda message: isinstance(message, Precommit) and message.signer != place)
    other.filter = losing(lambda message: isinstance(message, Propose | Prevote | Precommit))
    transactions: list[tuple[Record, ...]] = []
    keep = victim.store.apply

    def noted(records: tuple[Record, ...]) -> None:
        transactions.append(records)
        keep(records)

    victim.store.apply = noted  # type: ignore[assignment,method-assign]
    world.say(leader)
    wait(world, 3.5 * DELAY)
    before = transactions.index(next(records for records in transactions if has_precommit(records)))
    world.crash(victim)
    world.wipe(victim)
    for records in transactions[:before]:
        victim.store.apply(records)
    victim.filter = None
    world.start(victim)
    world.relink()
    world.slow(leader, victim, fixed(100))
    wait(world, 0.6)
    assert victim.journal_lost
    wait(world, 20)
    assert not victim.running.signing


def has_precommit(records: tuple[Record, ...]) -> bool:
    return any(isinstance(kept, Journal) and kept.key.startswith("vote:precommit") for kept in records)


def room_shown_a_fork(*, ends_an_epoch: bool) -> tuple[World, Node]:
    """A quorum signed two blocks of one height; the node that committed the one was just shown the other."""
    world = quiet_room(4)
    world.more_lie_than_we_bear = True
    one, peer, _, leaving = world.nodes
    if ends_an_epoch:
        for node in world.nodes:
            world.give(node, Want(Remove(leaving.id)))
    else:
        world.say(one)
    world.run()
    tip = one.running.tip
    block = replace(world.properties.blocks[tip.height].block, log_root=Hash(bytes(32)))
    text = block_checkpoint(block, room=tip.room, round_=0)
    quorum = range(world.room.tip.committee.quorum)
    signatures = tuple((place, member_at(world, place).seat.vote.sign(text)) for place in quorum)
    tell(world, one, peer, Committed(block, Certificate(0, signatures)))
    assert one.forks == [tip.height]
    return world, one


@pytest.mark.parametrize("ends_an_epoch", [False, True])
def test_who_is_shown_a_second_certified_block_keeps_it_and_signs_nothing_more(ends_an_epoch: bool) -> None:
    world, one = room_shown_a_fork(ends_an_epoch=ends_an_epoch)
    tip = one.running.tip
    kinds = [kept.kind for kept in one.store.evidence()]
    assert sorted(set(kinds)) == [FORK, "two precommits in one round"]
    assert kinds.count("two precommits in one round") > world.room.tip.committee.f
    for node in world.nodes:
        world.say(node)
        world.run()
    assert not one.running.signing
    assert one.running.tip == tip


def test_a_fork_that_was_seen_is_not_forgotten_by_a_restart() -> None:
    world, one = room_shown_a_fork(ends_an_epoch=False)
    world.crash(one)
    world.restart(one)
    world.run()
    assert not one.running.signing
