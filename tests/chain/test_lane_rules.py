"""What a member takes into a lane, acks and counts there: each rule broken by one liar alone."""

import pytest
from msgspec.structs import replace

from chain.block import Dep, Head
from chain.ids import SlotId
from chain.lane import HEADS_PER_ACKER, WINDOW
from chain.message import SlotMessage
from chain.parking import Parking
from chain.records import KeepSlot
from tests.chain.lanes import CUT, ROOM, Lanes


def id_of(message: SlotMessage) -> SlotId:
    return message.slot.id(ROOM)


def dep_on(message: SlotMessage, *, seq: int | None = None, lane: int | None = None) -> Dep:
    """A dependency on this slot, at its own place unless told otherwise."""
    slot = message.slot
    return Dep(slot.lane if lane is None else lane, slot.seq if seq is None else seq, id_of(message))


def far_up(lanes: Lanes, place: int, seq: int) -> SlotMessage:
    """A slot at this seq whose predecessor nobody has."""
    before = lanes.slot(place, f"before {seq}")
    return lanes.slot(place, f"slot {seq}", after=replace(before, slot=replace(before.slot, seq=seq - 1)))


# Forks


def test_of_two_branches_a_member_acks_the_one_that_it_saw_first() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    one, other = lanes.slot(3, "yes"), lanes.slot(3, "no")
    for message in (one, other, lanes.slot(3, "more", after=one), lanes.slot(3, "more", after=other)):
        lanes.tell(0, message, by=3)
        lanes.run()
    broadcast = lanes.peers[0].broadcast
    assert broadcast.ackseq == 1
    assert broadcast.last_ack[0].entries == ((3, Head(1, id_of(one))),)


def test_of_many_slots_for_one_place_only_the_first_is_held_unless_one_is_named() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    first, *others = (lanes.slot(3, f"fork {number}") for number in range(20))
    broadcast = lanes.peers[0].broadcast
    lanes.tell(0, first, *others, by=3)
    assert list(broadcast.slots) == [id_of(first)]
    lanes.tell(0, lanes.ack(2, others[7]), *others, by=3)
    assert set(broadcast.slots) == {id_of(first), id_of(others[7])}


# Dependencies


@pytest.mark.parametrize("wrong", [{"seq": 2}, {"lane": 1}])
def test_a_slot_that_names_another_place_than_its_dependency_has_is_not_held(wrong: dict[str, int]) -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    cause = lanes.slot(2, "cause")
    right = lanes.slot(3, "right", deps=(dep_on(cause),))
    effect = lanes.slot(3, "effect", deps=(dep_on(cause, **wrong),))
    lanes.tell(0, cause, effect, by=3)
    lanes.run()
    broadcast = lanes.peers[0].broadcast
    assert set(broadcast.slots) == {id_of(cause)}
    assert broadcast.lanes[3].acked_seq == 0
    again = Lanes(4, liars=[1, 2, 3])
    again.tell(0, cause, right, by=3)
    assert set(again.peers[0].broadcast.slots) == {id_of(cause), id_of(right)}


def test_a_slot_is_not_acked_before_its_dependencies_are_held() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    cause = lanes.slot(2, "cause")
    effect = lanes.slot(3, "effect", deps=(dep_on(cause),))
    lane = lanes.peers[0].broadcast.lanes[3]
    lanes.tell(0, effect, by=3)
    lanes.run()
    assert lane.acked_seq == 0
    lanes.tell(0, cause, by=3)
    lanes.run()
    assert lane.acked_seq == 1


def test_dependencies_out_of_order_twice_or_on_its_own_lane_are_refused() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    one, two, three = (lanes.slot(place, "cause") for place in (1, 2, 3))
    lanes.tell(0, one, two, three, by=3)
    for deps in ((dep_on(two), dep_on(one)), (dep_on(one), dep_on(one)), (dep_on(three),)):
        lanes.tell(0, lanes.slot(3, "effect", after=three, deps=deps), by=3)
    broadcast = lanes.peers[0].broadcast
    assert set(broadcast.slots) == {id_of(one), id_of(two), id_of(three)}
    fine = lanes.slot(3, "effect", after=three, deps=(dep_on(one), dep_on(two)))
    lanes.tell(0, fine, by=3)
    assert id_of(fine) in broadcast.slots


# Bounds


def test_a_slot_beyond_two_windows_is_neither_held_nor_parked() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    within, beyond = far_up(lanes, 3, 2 * WINDOW), far_up(lanes, 3, 2 * WINDOW + 1)
    lanes.tell(0, within, beyond, by=3)
    broadcast = lanes.peers[0].broadcast
    assert id_of(within) in broadcast._parking
    assert id_of(beyond) not in broadcast._parking
    assert not broadcast.slots


def test_an_author_stops_at_a_whole_window_until_the_cut_moves() -> None:
    lanes = Lanes(4)
    broadcast = lanes.peers[0].broadcast
    said = [lanes.say(0, f"number {number}") for number in range(WINDOW)]
    assert not broadcast.may_append()
    broadcast.advance((Head(1, said[0]), *(Head(0, SlotId(CUT)) for _ in range(3))))
    assert broadcast.may_append()


def test_what_waits_for_its_predecessors_is_bounded_for_each_owner() -> None:
    lanes, parking = Lanes(4, liars=[1, 2, 3]), Parking()
    words = "x" * 60_000

    def park(place: int, number: int) -> bool:
        message = lanes.slot(place, f"{number} {words}")
        kept = KeepSlot(id_of(message), message.slot, message.bodies)
        return parking.park(kept, waits_for=[SlotId(bytes(32))], peer=lanes.people[place].id)

    assert [park(3, number) for number in range(150)].count(True) * len(words) <= 8 * 1024 * 1024
    assert park(2, 0)


# Acks


def test_an_ack_that_its_signer_did_not_sign_counts_for_nothing() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    slot = lanes.slot(3, "mine")
    forged = [replace(lanes.ack(place, slot), signature=bytes(64)) for place in (1, 2)]
    lanes.tell(0, slot, *forged, by=3)
    lanes.run()
    assert lanes.peers[0].delivered == []
    lanes.tell(0, lanes.ack(1, slot), by=3)
    lanes.run()
    assert lanes.peers[0].delivered == [id_of(slot)]


def test_an_owner_that_acks_its_own_lane_counts_once() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    slot, another = lanes.slot(3, "mine"), lanes.slot(2, "another's")
    lanes.tell(0, slot, another, lanes.ack(3, slot), lanes.ack(3, slot, another, number=2), by=3)
    lanes.run()
    assert lanes.peers[0].delivered == []
    lanes.tell(0, lanes.ack(2, slot), by=3)
    lanes.run()
    assert lanes.peers[0].delivered == [id_of(slot)]


def test_of_what_one_member_acks_in_a_lane_so_many_heads_are_remembered() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    for number in range(3 * HEADS_PER_ACKER):
        lanes.tell(0, lanes.ack(2, far_up(lanes, 3, 20 + number), number=1 + number), by=2)
    assert len(lanes.peers[0].broadcast.lanes[3].acks[2]) == HEADS_PER_ACKER


def test_what_was_acked_is_known_after_a_restart_and_acks_are_numbered_on() -> None:
    lanes = Lanes(4, liars=[1, 2, 3])
    first = lanes.slot(3, "first")
    lanes.tell(0, first, by=3)
    lanes.run()
    lanes.peers[0].start()
    broadcast = lanes.peers[0].broadcast
    assert (broadcast.ackseq, broadcast.lanes[3].acked_seq) == (1, 1)
    lanes.tell(0, lanes.slot(3, "second", after=first), by=3)
    lanes.run()
    assert (broadcast.ackseq, broadcast.lanes[3].acked_seq) == (2, 2)
