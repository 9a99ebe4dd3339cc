"""The simulator's own eyes: each rule it watches over is broken once here, and it must say so."""

from dataclasses import replace

import msgspec
import pytest

from chain.block import Body, Certificate, Head, Slot, block_checkpoint
from chain.ids import BlockId, Hash, SlotId
from chain.ledger import extend
from chain.message import UNSIGNED, Ack, Precommit, Prevote, RoundChange, Signed, signed
from chain.records import KeepBlock, KeepEpoch, KeepSlot, Record
from tests.simulation.keys import HASHED
from tests.simulation.properties import Properties
from tests.simulation.room import make_room
from tests.simulation.signatures import LoggedSigner, SignatureLog, Violation

ROOM = make_room(4, HASHED)
SEAT = ROOM.seats[0]


class Voter:
    """One member that signs whatever it is told to, each thing in a step of its own."""

    def __init__(self) -> None:
        self.log = SignatureLog()
        self._key = LoggedSigner(SEAT.vote)

    def sign(self, message: Signed | Slot, *records: Record) -> None:
        self._key.sign(message.preimage(ROOM.id))
        self.log.commit(SEAT.id, self._key.take(), records)

    def sign_and_crash(self, message: Signed) -> None:
        self._key.sign(message.preimage(ROOM.id))
        self._key.take()


def prevote(round_: int, block: int) -> Prevote:
    return Prevote(3, 4, round_, 0, BlockId(bytes([block]) * 32), Hash(bytes(32)), UNSIGNED)


def precommit(round_: int, block: int) -> Precommit:
    return Precommit(3, 4, round_, 0, BlockId(bytes([block]) * 32), 5, Hash(bytes(32)), UNSIGNED)


def round_change(round_: int, lock: tuple[int, int] | None = None) -> RoundChange:
    named = (lock[0], BlockId(bytes([lock[1]]) * 32)) if lock else None
    return RoundChange(3, 4, round_, 0, named, UNSIGNED)


def test_the_same_signature_again_is_no_second_one() -> None:
    voter = Voter()
    voter.sign(prevote(0, 1))
    voter.sign(prevote(0, 1))
    assert len(voter.log.positions) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Ack(3, 0, 1, (), UNSIGNED), Ack(3, 0, 1, ((1, ROOM.tip.cut[1]),), UNSIGNED)),
        (prevote(2, 1), prevote(2, 2)),
        (precommit(2, 1), precommit(2, 2)),
        (round_change(2), round_change(2, lock=(1, 1))),
    ],
)
def test_two_different_signatures_for_one_position_are_noticed(first: Signed, second: Signed) -> None:
    voter = Voter()
    voter.sign(first)
    with pytest.raises(Violation, match="two different"):
        voter.sign(second)


def test_what_was_signed_in_a_step_that_crashed_does_not_count() -> None:
    voter = Voter()
    voter.sign_and_crash(prevote(0, 1))
    voter.sign(prevote(0, 2))
    assert len(voter.log.positions) == 1


def test_two_slots_for_one_place_are_noticed() -> None:
    voter = Voter()
    for time in (1, 2):
        slot = Slot(3, 0, 1, SlotId(ROOM.tip.block), (), (), (Hash(bytes(32)),), time, UNSIGNED)
        keep = KeepSlot(slot.id(ROOM.id), slot, ())
        if time == 1:
            voter.sign(slot, keep)
        else:
            with pytest.raises(Violation, match="two different"):
                voter.sign(slot, keep)


def test_a_slot_that_is_signed_and_not_kept_is_noticed() -> None:
    slot = Slot(3, 0, 1, SlotId(ROOM.tip.block), (), (), (Hash(bytes(32)),), 0, UNSIGNED)
    with pytest.raises(Violation, match="does not keep"):
        Voter().sign(slot)


@pytest.mark.parametrize("late", [prevote(1, 1), precommit(1, 1)])
def test_a_vote_below_a_round_one_asked_for_is_noticed(late: Signed) -> None:
    voter = Voter()
    voter.sign(round_change(2))
    with pytest.raises(Violation, match="after asking"):
        voter.sign(late)


@pytest.mark.parametrize("lock", [None, (0, 1)])
def test_a_round_change_that_hides_a_precommit_is_noticed(lock: tuple[int, int] | None) -> None:
    voter = Voter()
    voter.sign(precommit(1, 1))
    with pytest.raises(Violation, match="hides"):
        voter.sign(round_change(2, lock=lock))


# The record


def block_at(height: int) -> KeepBlock:
    return next(keep for keep in ROOM.records if isinstance(keep, KeepBlock) and keep.block.height == height)


def watched() -> Properties:
    """One node has kept the whole history of the room."""
    properties = Properties(ROOM)
    properties.kept("somebody", ROOM.records)
    return properties


def test_a_room_that_grew_by_the_rules_breaks_none() -> None:
    properties = watched()
    properties.kept("another", ROOM.records)
    assert len(properties.blocks) == 3
    assert properties.nodes["another"].history == {1, 2, 3}


def test_another_block_at_a_height_is_noticed() -> None:
    with pytest.raises(Violation, match="two blocks"):
        watched().kept("another", [replace(block_at(1), id=BlockId(bytes(32)))])


def test_a_block_without_its_predecessor_is_noticed() -> None:
    with pytest.raises(Violation, match="out of turn"):
        watched().kept("another", [block_at(2)])


def test_a_block_kept_twice_is_noticed() -> None:
    with pytest.raises(Violation, match="out of turn"):
        watched().kept("somebody", [block_at(2)])


def test_another_order_of_items_is_noticed() -> None:
    keep = block_at(3)
    assert len(keep.items) > 1
    with pytest.raises(Violation, match="other items"):
        watched().kept("another", [block_at(1), block_at(2), replace(keep, items=keep.items[::-1])])


def changed(keep: KeepBlock, how: str) -> KeepBlock:
    """A block as only a broken node would keep it first."""
    if how == "certificate":
        return replace(keep, certificate=Certificate(0, keep.certificate.signatures[:-1]))
    if how == "order":
        first, second = (leaf for _, leaf in keep.items)
        return replace(keep, items=((keep.items[0][0], second), (keep.items[1][0], first)))
    if how == "hole":
        return replace(keep, items=tuple((index + 1, leaf) for index, leaf in keep.items))
    return replace(keep, items=keep.items[:-1])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("certificate", "no certificate"),
        ("order", "before what it refers to"),
        ("hole", "a hole"),
        ("omission", "exactly the items"),
    ],
)
def test_a_block_that_breaks_a_rule_is_noticed(how: str, said: str) -> None:
    records = [
        changed(record, how) if isinstance(record, KeepBlock) and record.block.height == 2 else record
        for record in ROOM.records
    ]
    with pytest.raises(Violation, match=said):
        Properties(ROOM).kept("somebody", records)


def test_an_epoch_that_begins_without_a_certificate_is_noticed() -> None:
    start = next(record for record in ROOM.records if isinstance(record, KeepEpoch))
    with pytest.raises(Violation, match="without a certificate"):
        Properties(ROOM).kept("newcomer", [replace(start, certificate=Certificate(0, ()))])


def test_a_slot_that_its_owner_did_not_sign_is_noticed() -> None:
    keep = next(record for record in ROOM.records if isinstance(record, KeepSlot))
    forged = msgspec.structs.replace(keep.slot, claimed_time=1)
    with pytest.raises(Violation, match="did not sign"):
        Properties(ROOM).kept("somebody", [KeepSlot(forged.id(ROOM.id), forged, ())])


def spoken_slot(time: int) -> KeepSlot:
    body = Body(bytes(32), bytes([time]) * 16)
    commitment = body.commitment(room=ROOM.id, author=SEAT.id)
    bare = Slot(3, 0, 1, ROOM.tip.cut[0].id, (), (), (commitment,), time, UNSIGNED)
    slot = signed(bare, room=ROOM.id, key=SEAT.vote)
    return KeepSlot(slot.id(ROOM.id), slot, (body,))


def test_two_deliveries_at_one_position_are_noticed() -> None:
    properties, one, other = watched(), spoken_slot(1), spoken_slot(2)
    properties.kept("somebody", [one, other])
    properties.kept("another", ROOM.records)
    properties.delivered("somebody", one, cut=ROOM.tip.cut, earlier=(), at=0)
    with pytest.raises(Violation, match="another slot"):
        properties.delivered("another", other, cut=ROOM.tip.cut, earlier=(), at=1)


def test_a_delivery_of_something_not_kept_is_noticed() -> None:
    with pytest.raises(Violation, match="did not keep"):
        watched().delivered("somebody", spoken_slot(1), cut=ROOM.tip.cut, earlier=(), at=0)


def test_a_delivery_before_what_the_slot_refers_to_is_noticed() -> None:
    properties, one = watched(), spoken_slot(1)
    bare = msgspec.structs.replace(one.slot, seq=2, prev=one.id)
    second = signed(bare, room=ROOM.id, key=SEAT.vote)
    keep = KeepSlot(second.id(ROOM.id), second, one.bodies)
    properties.kept("somebody", [one, keep])
    with pytest.raises(Violation, match="before what it refers to"):
        properties.delivered("somebody", keep, cut=ROOM.tip.cut, earlier=(), at=0)
    properties.delivered("somebody", keep, cut=ROOM.tip.cut, earlier={one.id}, at=0)


def test_a_block_whose_slots_too_few_hold_is_noticed() -> None:
    """A quorum prevoted for it, and one of these may have lied."""
    properties, keep = watched(), spoken_slot(1)
    properties.said(keep.bodies[0], author=SEAT.id, honest=True)
    cut = (Head(1, keep.id), *ROOM.tip.cut[1:])
    slots = {0: [(keep.id, keep.slot)]}
    made = extend(ROOM.tip, cut=cut, leader=SEAT.id, slots=slots, verify=HASHED.verify)
    text = block_checkpoint(made.block, room=ROOM.id, round_=0)
    signatures = tuple((place, ROOM.seats[place].vote.sign(text)) for place in range(3))
    block = KeepBlock(made.tip.block, made.block, Certificate(0, signatures), made.items)
    properties.kept("somebody", [keep])
    with pytest.raises(Violation, match="fewer than 2 hold"):
        properties.kept("somebody", [block])
    properties.kept("another", [*ROOM.records, keep, block])


def test_a_delivery_that_too_few_vouch_for_is_noticed() -> None:
    properties, keep = watched(), spoken_slot(1)
    properties.kept("somebody", [keep])
    with pytest.raises(Violation, match="2 members"):
        properties.own_delivered("somebody", keep.bodies[0].data[:16], 2)


def test_a_block_shown_before_it_is_kept_is_noticed() -> None:
    properties = Properties(ROOM)
    properties.kept("somebody", [record for record in ROOM.records if isinstance(record, KeepSlot)][:1])
    with pytest.raises(Violation, match="before it is safe"):
        properties.ordered("somebody", 1, block_at(1).items, at=0)
