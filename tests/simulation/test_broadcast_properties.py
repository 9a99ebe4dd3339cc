"""The five properties of reliable broadcast, each against a liar who tries to break just that one."""

import msgspec
import pytest

from chain.block import Body, Slot
from chain.effects import Arrived, FaultKind
from chain.message import UNSIGNED, SlotMessage, pack, signed
from tests.simulation.machine import Node
from tests.simulation.network import fixed
from tests.simulation.rest import check_liveness, check_rest, honest
from tests.simulation.test_exact import DELAY, follower_of, leader_of, quiet_room
from tests.simulation.twin import Ending, Twin
from tests.simulation.world import World


def room_with_twin(n: int, split: int) -> tuple[World, Twin, list[Node]]:
    """A twin whose first half talks to `split` of the honest nodes and whose second talks to the rest."""
    world = World(n, latency=fixed(DELAY))
    *seats, liar = world.room.seats
    nodes = [world.add(seat.nick, seat, records=world.room.records) for seat in seats]
    twin = Twin(world, liar)
    for node in world.nodes:
        world.start(node, restarted=False)
    twin.talk_to({node: twin.halves[place >= split] for place, node in enumerate(nodes)})
    world.run()
    return world, twin, nodes


def finish(world: World, twin: Twin) -> None:
    twin.end(Ending.SILENT)
    for half in twin.halves:
        world.crash(half)
    world.run()
    check_liveness(world)
    check_rest(world)


def delivered_in_lane(world: World, place: int) -> dict[str, set[bytes]]:
    """For each honest node, the slots of one lane that its broadcast delivered."""
    return {
        node.name: {
            slot_id
            for slot_id in world.properties.nodes[node.name].delivered_when
            if world.properties.slot(slot_id).lane == place
        }
        for node in honest(world)
    }


@pytest.mark.parametrize("n", [4, 7])
def test_validity_what_an_honest_member_says_all_honest_members_deliver(n: int) -> None:
    world, twin, nodes = room_with_twin(n, split=1)
    for node in nodes:
        world.say(node)
    world.run()
    for place in (world.room.tip.committee.place(node.id) for node in nodes):
        assert place is not None
        heard = delivered_in_lane(world, place)
        assert all(heard.values())
        assert len(set(map(frozenset, heard.values()))) == 1
    finish(world, twin)


def test_no_duplication_what_comes_again_is_delivered_once() -> None:
    world = quiet_room(4)
    speaker, listener = follower_of(world), leader_of(world)
    world.say(speaker)
    world.run(until=world.calendar.now + DELAY)
    place = world.room.tip.committee.place(speaker.id)
    kept = next(keep for keep in listener.store.snapshot().slots if keep.slot.lane == place)
    (again,) = pack([SlotMessage(kept.slot, kept.bodies)])
    for _ in range(3):
        world.give(listener, Arrived(speaker.id, again))
        world.run()
    assert [said.ordered for said in world.properties.spoken.values()] == [1]
    check_rest(world)


def test_integrity_nobody_speaks_in_anothers_name() -> None:
    world = quiet_room(4)
    victim, forger, listener = world.nodes[:3]
    place = world.room.tip.committee.place(victim.id)
    assert place is not None
    body = Body(bytes(32), b"I never said it!")
    slot = signed(
        Slot(
            epoch=world.room.tip.epoch,
            lane=place,
            seq=1,
            prev=world.room.tip.cut[place].id,
            deps=(),
            control=(),
            commitments=(body.commitment(room=world.room.id, author=victim.id),),
            claimed_time=0,
            signature=UNSIGNED,
        ),
        room=world.room.id,
        key=forger.seat.vote,
    )
    (forged,) = pack([SlotMessage(slot, (body,))])
    world.give(listener, Arrived(forger.id, forged))
    world.run()
    assert [(fault.peer, fault.kind) for fault in listener.faults] == [(forger.id, FaultKind.WRONG_SIGNATURE)]
    listener.faults.clear()
    assert not world.properties.nodes[listener.name].delivered_when
    check_rest(world)


def test_integrity_a_body_that_was_changed_on_the_way_is_refused() -> None:
    world = quiet_room(4)
    speaker, listener = follower_of(world), leader_of(world)
    world.say(speaker)
    world.run(until=world.calendar.now)
    (kept,) = speaker.store.snapshot().slots
    other = msgspec.structs.replace(kept.bodies[0], data=bytes(40))
    world.give(listener, Arrived(speaker.id, pack([SlotMessage(kept.slot, (other,))])[0]))
    world.run(until=world.calendar.now)
    assert [fault.kind for fault in listener.faults] == [FaultKind.INVALID]
    assert not listener.store.snapshot().slots
    listener.faults.clear()
    world.run()
    check_liveness(world)
    check_rest(world)


@pytest.mark.parametrize(("n", "split"), [(4, 1), (4, 2), (5, 2), (7, 3)])
def test_consistency_two_slots_at_one_place_are_never_both_delivered(n: int, split: int) -> None:
    """Whatever split the liar chooses: at most one of the two, the same everywhere, and evidence."""
    world, twin, nodes = room_with_twin(n, split)
    for half in twin.halves:
        world.say(half)
    world.run()
    for node in nodes:
        world.say(node)
    world.run()
    place = world.room.tip.committee.place(twin.halves[0].id)
    assert place is not None
    assert len(set().union(*delivered_in_lane(world, place).values())) <= 1
    assert all(node.evidence for node in nodes)
    finish(world, twin)


def test_totality_what_one_honest_member_delivers_all_deliver() -> None:
    """The liar shows one slot to a bare quorum and another to the last; all end with the first."""
    world, twin, nodes = room_with_twin(4, split=2)
    uuid = world.say(twin.halves[0])
    world.say(twin.halves[1])
    world.run()
    finish(world, twin)
    place = world.room.tip.committee.place(twin.halves[0].id)
    assert place is not None
    assert uuid is not None
    (slot_id,) = set().union(*delivered_in_lane(world, place).values())
    assert world.properties.spoken[uuid].ordered == 1
    assert all(slot_id in {item.slot for item in node.store.items()} for node in nodes)


def test_delivery_does_not_wait_for_a_leader() -> None:
    """The leader is gone and nobody knows it yet: what is said is delivered all the same, order pending."""
    world = quiet_room(4)
    world.notice = fixed(30)
    world.crash(leader_of(world))
    speaker = next(node for node in world.nodes if node.replica is not None)
    began, blocks = world.calendar.now, len(world.properties.blocks)
    uuid = world.say(speaker)
    world.run(until=began + 2 * DELAY)
    assert uuid in speaker.acks_of
    assert len(world.properties.blocks) == blocks
    world.run()
    assert len(world.properties.blocks) == blocks + 1
