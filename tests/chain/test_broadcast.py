"""The five properties of reliable broadcast, without any ordering that could mend what it misses."""

import msgspec

from chain.block import Dep
from chain.message import PullSlot, SlotMessage
from tests.chain.drawing import body
from tests.chain.lanes import ROOM, Lanes

LIAR, ACCOMPLICE = 6, 5


def test_validity_what_an_honest_member_says_everybody_delivers() -> None:
    lanes = Lanes(4)
    said = [lanes.say(0, "one"), lanes.say(0, "two")]
    lanes.run()
    assert set(map(tuple, lanes.delivered(0).values())) == {tuple(said)}


def test_no_duplication_however_often_a_slot_comes() -> None:
    lanes = Lanes(4)
    said = lanes.say(0, "once")
    lanes.run()
    for place in (1, 2, 3):
        lanes.greet(0, place)
    lanes.run()
    assert all(delivered == [said] for delivered in lanes.delivered(0).values())


def test_integrity_only_what_its_owner_signed_is_held() -> None:
    lanes = Lanes(4, liars=[3])
    genuine = lanes.slot(3, "mine")
    other_words = SlotMessage(genuine.slot, (body("not mine"),))
    forged = SlotMessage(msgspec.structs.replace(genuine.slot, signature=bytes(64)), genuine.bodies)
    another_lane = SlotMessage(msgspec.structs.replace(genuine.slot, lane=0), genuine.bodies)
    for place in lanes.peers:
        lanes.tell(place, other_words, forged, another_lane, by=3)
    lanes.run()
    assert all(not peer.broadcast.slots for peer in lanes.peers.values())


def test_consistency_of_two_slots_for_one_place_at_most_one_is_delivered() -> None:
    for to_first in range(4):
        lanes = Lanes(4, liars=[3])
        one, other = lanes.slot(3, "yes"), lanes.slot(3, "no")
        for place in lanes.peers:
            lanes.tell(place, one if place < to_first else other, by=3)
        lanes.run()
        assert len({slot_id for ids in lanes.delivered(3).values() for slot_id in ids}) <= 1


def split_by_a_liar(lanes: Lanes) -> None:
    """The liar's slot gets to 0, 1 and 2; 3 and 4 hold another; one accomplice's ack reaches 0 only."""
    one, other = lanes.slot(LIAR, "yes"), lanes.slot(LIAR, "no")
    for place in (3, 4):
        lanes.tell(place, other, by=LIAR)
    for place in (0, 1, 2):
        lanes.tell(place, one, by=LIAR)
    lanes.tell(0, lanes.ack(ACCOMPLICE, one), by=ACCOMPLICE)


def test_totality_a_certificate_that_only_one_member_saw_reaches_all() -> None:
    lanes = Lanes(7, liars=[LIAR, ACCOMPLICE])
    split_by_a_liar(lanes)
    lanes.run()
    delivered = lanes.delivered(LIAR)
    assert all(len(ids) == 1 for ids in delivered.values()), delivered


def test_totality_holds_for_a_member_that_was_cut_off_while_the_certificate_went_round() -> None:
    lanes = Lanes(7, liars=[LIAR, ACCOMPLICE])
    for place in (0, 1, 2, 3):
        lanes.cut(4, place)
    split_by_a_liar(lanes)
    lanes.run()
    assert lanes.delivered(LIAR)[4] == []
    lanes.link(4, 0)
    lanes.greet(4, 0)
    lanes.run()
    assert len(lanes.delivered(LIAR)[4]) == 1


def test_totality_survives_a_restart_of_the_only_member_that_saw_the_certificate() -> None:
    lanes = Lanes(7, liars=[LIAR, ACCOMPLICE])
    for place in (1, 2, 3, 4):
        lanes.cut(0, place)
    one = lanes.slot(LIAR, "yes")
    lanes.tell(0, one, by=LIAR)
    lanes.run()
    lanes.tell(0, *(lanes.ack(place, one) for place in (ACCOMPLICE, 1, 2)), by=LIAR)
    lanes.tell(0, lanes.slot(LIAR, "no"), by=LIAR)
    lanes.run()
    lanes.peers[0].start()
    assert lanes.peers[0].broadcast.lanes[LIAR].frozen is not None
    lanes.link(0, 3)
    lanes.greet(0, 3)
    lanes.run()
    assert lanes.delivered(LIAR)[3] == [one.slot.id(ROOM)]


def test_a_slot_waits_for_what_it_depends_on() -> None:
    lanes = Lanes(4, liars=[2, 3])
    cause = lanes.slot(2, "cause")
    effect = lanes.slot(3, "effect", deps=(Dep(2, 1, cause.slot.id(ROOM)),))
    lanes.cut(0, 1)
    lanes.tell(0, cause, effect, lanes.ack(1, effect), by=3)
    lanes.run()
    # `effect` has its owner, 1 and 0: a quorum. `cause` has its owner and 0 only.
    assert lanes.peers[0].delivered == []
    lanes.tell(0, lanes.ack(1, cause, number=2), by=3)
    lanes.run()
    assert lanes.peers[0].delivered == [cause.slot.id(ROOM), effect.slot.id(ROOM)]


def test_a_frozen_lane_is_never_acked_again() -> None:
    lanes = Lanes(4, liars=[3])
    one, other = lanes.slot(3, "yes"), lanes.slot(3, "no")
    lanes.tell(0, one, other, by=3)
    lanes.run()
    acked = lanes.peers[0].broadcast.lanes[3].acked_seq
    lanes.tell(0, lanes.slot(3, "more", after=one), lanes.slot(3, "less", after=other), by=3)
    lanes.run()
    assert lanes.peers[0].broadcast.lanes[3].acked_seq == acked == 0


def test_what_was_asked_over_a_link_that_broke_is_asked_again_over_the_next() -> None:
    lanes = Lanes(4, liars=[3])
    first = lanes.slot(3, "first")
    second = lanes.slot(3, "second", after=first)
    lanes.tell(1, first, second, by=3)
    lanes.tell(0, second, by=1)
    asked = lanes.run(withhold=lambda message: isinstance(message, PullSlot))
    assert asked
    peer = lanes.peers[0]
    for link in (1, 2, 3):
        peer.broadcast.forget_asked(lanes.people[link].id)
    lanes.greet(0, 1)
    lanes.run()
    assert [len(ids) for ids in lanes.delivered(3).values()] == [2, 2, 2]
