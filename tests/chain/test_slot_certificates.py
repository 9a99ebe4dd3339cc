"""Acks that certify a slot are shown as one piece: no liar's other acks can push one of them out."""

import pytest
from msgspec.structs import replace

from chain.block import Head
from chain.certified import certificate_of, is_certificate
from chain.cuts import vouches_for
from chain.effects import Fault, FaultKind
from chain.lane import HEADS_PER_ACKER
from chain.message import Ack, SlotCertificate, SlotMessage
from tests.chain.lanes import ROOM, Lanes

LIAR, ACCOMPLICE = 6, 5
AMONG, AGAINST = (0, 1, 2), (3, 4)
"""Who holds the branch that is certified, and who holds the other."""


def head_of(message: SlotMessage) -> Head:
    return Head(message.slot.seq, message.slot.id(ROOM))


def room_with_two_liars() -> tuple[Lanes, SlotMessage]:
    """Seven members; three hold the liar's one slot, two its other; only the accomplice can certify one."""
    lanes = Lanes(7, liars=[LIAR, ACCOMPLICE])
    one, other = lanes.slot(LIAR, "yes"), lanes.slot(LIAR, "no")
    for place in AGAINST:
        lanes.tell(place, other, by=LIAR)
    for place in AMONG:
        lanes.tell(place, one, by=LIAR)
    return lanes, one


def crowd(lanes: Lanes, place: int) -> None:
    """The accomplice acks more heads of slots far up, which nobody has, than are remembered."""
    for number in range(HEADS_PER_ACKER):
        before = lanes.slot(LIAR, f"before {number}")
        far = Ack(1, ACCOMPLICE, 100 + number, ((LIAR, Head(40 + number, head_of(before).id)),), bytes(64))
        lanes.tell(place, lanes.resigned(far), by=ACCOMPLICE)


def test_what_a_member_delivered_it_vouches_for_whatever_an_acker_acks_later() -> None:
    lanes, one = room_with_two_liars()
    lanes.tell(0, lanes.ack(ACCOMPLICE, one), by=ACCOMPLICE)
    lanes.run()
    for place, peer in lanes.peers.items():
        assert peer.delivered == [head_of(one).id]
        crowd(lanes, place)
        assert len(peer.broadcast.lanes[LIAR].acks[ACCOMPLICE]) == HEADS_PER_ACKER
        assert vouches_for(peer.broadcast, LIAR, head_of(one))


def test_totality_what_a_member_delivered_it_can_show_whatever_an_acker_acks_later() -> None:
    lanes, one = room_with_two_liars()
    for place in (0, 1, 2, 3):
        lanes.cut(4, place)
    lanes.tell(0, lanes.ack(ACCOMPLICE, one), by=ACCOMPLICE)
    lanes.run()
    for place in (0, 1, 2, 3):
        crowd(lanes, place)
    lanes.link(4, 0)
    lanes.greet(4, 0)
    lanes.run()
    assert lanes.delivered(LIAR)[4] == [head_of(one).id]


def test_what_was_delivered_before_the_lane_forked_can_be_shown_whatever_an_acker_acks_later() -> None:
    lanes, one = room_with_two_liars()
    for place in (1, 2, 3, 4):
        lanes.cut(0, place)
    lanes.tell(0, *(lanes.ack(place, one) for place in (1, 2, ACCOMPLICE)), by=LIAR)
    lanes.run()
    assert lanes.peers[0].broadcast.lanes[LIAR].frozen is None
    crowd(lanes, 0)
    assert vouches_for(lanes.peers[0].broadcast, LIAR, head_of(one))
    lanes.tell(0, lanes.slot(LIAR, "no"), by=LIAR)
    lanes.link(0, 3)
    lanes.greet(0, 3)
    lanes.run()
    assert set(map(tuple, lanes.delivered(LIAR).values())) == {(head_of(one).id,)}


def test_totality_a_certificate_counts_where_its_ackers_other_heads_came_first() -> None:
    lanes, one = room_with_two_liars()
    for place in (*AMONG[1:], *AGAINST):
        crowd(lanes, place)
    lanes.tell(0, lanes.ack(ACCOMPLICE, one), by=ACCOMPLICE)
    lanes.run()
    assert set(map(tuple, lanes.delivered(LIAR).values())) == {(head_of(one).id,)}


def test_totality_a_certificate_counts_where_its_acker_acked_many_slots_that_exist() -> None:
    lanes, one = room_with_two_liars()
    for number in range(HEADS_PER_ACKER):
        fork = lanes.slot(LIAR, f"fork {number}")
        for place in AGAINST:
            lanes.tell(place, lanes.ack(ACCOMPLICE, fork, number=100 + number), fork, by=ACCOMPLICE)
    lanes.tell(0, lanes.ack(ACCOMPLICE, one), by=ACCOMPLICE)
    lanes.run()
    assert set(map(tuple, lanes.delivered(LIAR).values())) == {(head_of(one).id,)}


def test_totality_an_ack_of_a_later_slot_that_only_one_member_has_counts_for_all() -> None:
    lanes, one = room_with_two_liars()
    later = lanes.slot(LIAR, "later", after=one)
    for place in (*AMONG[1:], *AGAINST):
        crowd(lanes, place)
    lanes.run()
    lanes.tell(0, lanes.ack(ACCOMPLICE, later), later, by=ACCOMPLICE)
    lanes.run()
    assert {ids[0] for ids in lanes.delivered(LIAR).values()} == {head_of(one).id}


# What is no certificate


def shown_by_later_acks() -> tuple[Lanes, SlotMessage, SlotCertificate]:
    """Of the liar's first slot; the accomplice and one more acked the third."""
    lanes = Lanes(7, liars=range(1, 7))
    first = lanes.slot(LIAR, "first")
    second = lanes.slot(LIAR, "second", after=first)
    third = lanes.slot(LIAR, "third", after=second)
    lanes.tell(0, first, second, third, by=LIAR)
    lanes.tell(0, *(lanes.ack(place, first) for place in (1, 2)), by=LIAR)
    lanes.tell(0, *(lanes.ack(place, third) for place in (3, ACCOMPLICE)), by=LIAR)
    broadcast = lanes.peers[0].broadcast
    lane = broadcast.lanes[LIAR]
    made = certificate_of(lane, head_of(first), epoch=lanes.peers[0].epoch, slots=broadcast.slots)
    return lanes, first, made


def test_a_certificate_by_acks_of_later_slots_shows_what_leads_there() -> None:
    _, first, made = shown_by_later_acks()
    assert {ack.signer for ack in made.acks} == {1, 2, 3, ACCOMPLICE}
    assert {stub.seq for stub in made.chain} == {2, 3}
    newcomer = Lanes(7, liars=range(1, 7))
    newcomer.tell(0, first, made, by=1)
    newcomer.run()
    assert newcomer.delivered(LIAR) == {0: [head_of(first).id]}


def test_what_was_delivered_stays_certified_while_slots_of_a_higher_certificate_are_missing() -> None:
    lanes, first, made = shown_by_later_acks()
    third = lanes.slot(LIAR, "third", after=lanes.slot(LIAR, "second", after=first))
    acks = tuple(lanes.ack(place, third) for place in (1, 2, 3, ACCOMPLICE))
    higher = replace(made, head=head_of(third), acks=acks, chain=())
    newcomer = Lanes(7, liars=range(1, 7))
    newcomer.tell(0, first, made, by=1)
    newcomer.run()
    newcomer.tell(0, higher, by=1)
    broadcast = newcomer.peers[0].broadcast
    assert broadcast.lanes[LIAR].certificate == higher
    assert broadcast.is_certified(LIAR, head_of(first))


def wrong_certificates() -> dict[str, SlotCertificate]:
    lanes, first, made = shown_by_later_acks()
    other = lanes.slot(LIAR, "other")
    by_owner = lanes.ack(LIAR, lanes.slot(4, "another lane"), first)
    above = lanes.slot(LIAR, "above", after=other)
    _, *but_one = made.acks
    by_both, both = lanes.ack(1, first), tuple((LIAR, head_of(message)) for message in (first, other))
    unsigned = replace(made.acks[0], signature=bytes(64))
    return {
        "too few acks": replace(made, acks=tuple(but_one)),
        "one acker twice": replace(made, acks=(*but_one, but_one[0])),
        "an ack by the owner": replace(made, acks=(*but_one, by_owner)),
        "an ack that nobody signed": replace(made, acks=(unsigned, *but_one)),
        "an ack by nobody": replace(made, acks=(replace(unsigned, signer=30), *but_one)),
        "an ack of another branch": replace(made, acks=(lanes.ack(1, other), *but_one)),
        "an ack of what follows another branch": replace(
            made,
            acks=(lanes.ack(1, above), *but_one),
            chain=(*made.chain, above.slot.stub(ROOM)),
        ),
        "an ack of another lane": replace(made, acks=(lanes.ack(1, lanes.slot(4, "one")), *but_one)),
        "an ack of both branches": replace(
            made, acks=(lanes.resigned(replace(by_both, entries=both)), *but_one)
        ),
        "no chain to what was acked": replace(made, chain=()),
        "another lane": replace(made, lane=4),
        "a later slot than was acked": replace(made, head=Head(2, made.chain[0].id(ROOM))),
        "the slot at another place": replace(made, head=Head(2, made.head.id)),
        "another epoch": replace(made, epoch=2),
    }


@pytest.mark.parametrize("wrong", wrong_certificates())
def test_what_is_almost_a_certificate_convinces_nobody(wrong: str) -> None:
    made = wrong_certificates()[wrong]
    lanes = Lanes(7, liars=range(1, 7))
    peer = lanes.peers[0]
    assert not is_certificate(made, epoch=peer.epoch)
    lanes.tell(0, made, by=1)
    assert peer.broadcast.lanes[made.lane].certificate is None
    lying = [effect.kind for effect in peer.epoch.out.flush() if isinstance(effect, Fault)]
    assert lying == [FaultKind.LYING]


def test_a_certificate_for_a_lane_that_does_not_exist_or_a_slot_beyond_the_window_is_dropped() -> None:
    lanes, first, made = shown_by_later_acks()
    lanes.tell(0, replace(made, lane=20), replace(made, head=Head(2**30, head_of(first).id)), by=1)
    assert lanes.peers[0].broadcast.lanes[LIAR].certificate is None
