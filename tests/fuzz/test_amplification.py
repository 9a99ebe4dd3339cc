"""What one peer's bytes can make us send, keep and do over and over: found by reading, kept as tests."""

import time

import pytest
from msgspec.structs import replace

from chain.block import Body, Head, Slot
from chain.crypto import ed25519_verify
from chain.early import Early
from chain.effects import Arrived, Fault, Send
from chain.history import History
from chain.ids import MemberId
from chain.joiner import Joiner
from chain.ledger import genesis_tip
from chain.message import (
    UNSIGNED,
    Committed,
    Finals,
    Hello,
    Message,
    PullFinals,
    PullSlot,
    RoundChange,
    SlotMessage,
    pack,
    signed,
)
from chain.outbox import Outbox
from chain.records import KeepBlock, KeepSlot
from tests.fuzz.chain_borders import messages, room
from tests.simulation.keys import HASHED
from tests.simulation.liars import place_of, room_with_liar
from tests.simulation.room import make_room

MEBIBYTE = 1024 * 1024
PAST = make_room(3, HASHED)
ANN, BOB = MemberId(b"a" * 32), MemberId(b"b" * 32)


def test_slots_asked_for_two_thousand_times_in_one_envelope_are_sent_once() -> None:
    """Half a megabyte that asks for a quarter of one again and again got 260 MB for an answer."""
    world, liar, (one, *_) = room_with_liar(leads=False)
    tip, place = one.running.tip, place_of(world, liar)
    messages: list[Message] = []
    head = tip.cut[place]
    for seq in range(1, 129):
        body = Body(bytes(32), seq.to_bytes(16, "big") + bytes(2900))
        commitments = (body.commitment(room=tip.room, author=liar.id),)
        slot = Slot(tip.epoch, place, seq, head.id, (), (), commitments, 0, UNSIGNED)
        slot = signed(slot, room=tip.room, key=liar.seat.vote)
        messages.append(SlotMessage(slot, (body,)))
        head = Head(seq, slot.id(tip.room))
    messages += [PullSlot(tip.epoch, place, number % 128, head) for number in range(2000)]
    inputs = [Arrived(liar.id, data) for data in pack(messages)]
    assert sum(len(item.data) for item in inputs) < MEBIBYTE
    effects = one.running.step(inputs, now=world.calendar.now + one.skew, clock_ms=0)
    answers = [effect.data for effect in effects if isinstance(effect, Send) and effect.peer == liar.id]
    assert MEBIBYTE // 8 < sum(map(len, answers)) < MEBIBYTE


def whole_walk() -> Finals:
    """Two epochs that ended, from the genesis on."""
    return next(
        each for each in messages() if isinstance(each, Finals) and each.genesis and len(each.finals) == 2
    )


def newcomer() -> Joiner:
    here = room()
    return Joiner(room=here.id, identity=here.people["cal"].id, anchor=None, verify=ed25519_verify)


def test_a_member_that_has_always_more_and_shows_nothing_is_not_asked_at_once_again() -> None:
    """It could keep a newcomer and itself busy for ever, as fast as the line is."""
    walk = whole_walk()
    joiner = newcomer()
    (nothing,) = pack([Finals(0, walk.genesis, (), (), (), True)])
    assert joiner.receive(nothing).send == ()
    (some,) = pack([Finals(0, walk.genesis, walk.finals[:1], (), (), True)])
    assert joiner.receive(some).send == tuple(pack([PullFinals(1)]))
    assert joiner.receive(some).send == ()
    (whole,) = pack([walk])
    assert joiner.receive(whole).admitted is not None


def test_a_newcomer_answers_an_envelope_full_of_greetings_once() -> None:
    tip = room().tip
    hellos: list[Message] = [
        Hello(tip.epoch, tip.height + number, tip.block, (), None, None, True) for number in range(3000)
    ]
    (data,) = pack(hellos)
    assert newcomer().receive(data).send == tuple(pack([PullFinals(0)]))


def test_a_walk_of_more_epochs_than_a_room_can_have_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = whole_walk()
    monkeypatch.setattr("chain.joiner.MAX_EPOCHS", 1)
    (data,) = pack([walk])
    assert newcomer().receive(data).fault == "no room has so many epochs: somebody makes them up"


def true_slot() -> SlotMessage:
    kept = next(record for record in PAST.records if isinstance(record, KeepSlot))
    return SlotMessage(kept.slot, kept.bodies)


def of_the_past(number: int) -> SlotMessage:
    """What the founder, who lies, could sign besides what it said in the first block."""
    founder = next(seat for seat in PAST.seats if seat.id == PAST.genesis.founder)
    forged = replace(true_slot().slot, claimed_time=number, control=(), commitments=())
    return SlotMessage(signed(forged, room=PAST.id, key=founder.vote), ())


def first_block() -> Committed:
    record = next(record for record in PAST.records if isinstance(record, KeepBlock))
    return Committed(record.block, record.certificate)


def test_of_what_a_peer_shows_of_the_past_one_slot_is_held_for_each_place() -> None:
    """One that lied in that epoch can sign them without end, and whoever waits for the right one waits."""
    out = Outbox()
    history = History(genesis_tip(PAST.genesis), base=PAST.tip, verify=HASHED.verify, out=out)
    history.on_committed(first_block(), peer=ANN, now=0.0)
    history.on_slot(of_the_past(1), peer=BOB, now=0.0)
    for number in range(1000):
        history.on_slot(of_the_past(number), peer=ANN, now=0.0)
    assert set(history._slots) == {of_the_past(number).slot.id(PAST.id) for number in (1, 999)}
    history.on_slot(true_slot(), peer=ANN, now=0.0)
    assert history.tip.height == 1
    assert not any(isinstance(effect, Fault) for effect in out.flush())


def test_who_repeats_a_block_of_the_past_does_not_make_us_forget_what_others_brought_of_it() -> None:
    out = Outbox()
    history = History(genesis_tip(PAST.genesis), base=PAST.tip, verify=HASHED.verify, out=out)
    history.on_committed(first_block(), peer=BOB, now=0.0)
    history.on_slot(of_the_past(1), peer=BOB, now=0.0)
    history.on_committed(first_block(), peer=ANN, now=0.0)
    assert len(history._slots) == 1
    history.on_slot(true_slot(), peer=ANN, now=0.0)
    assert history.tip.height == 1


def vote(height: int, *, epoch: int = 3, round_: int = 0) -> RoundChange:
    return RoundChange(epoch, height, round_, 0, None, UNSIGNED)


def keep(early: Early, peer: MemberId, message: RoundChange) -> None:
    early.keep(peer, message, epoch=message.epoch, height=message.height, is_member=True)


def test_what_came_early_is_handed_out_once_when_its_height_is_there_in_the_order_it_came() -> None:
    early = Early()
    for height, round_ in ((12, 0), (11, 5), (11, 2), (13, 0)):
        keep(early, ANN, vote(height, round_=round_))
    keep(early, BOB, vote(11))
    assert early.take_due(epoch=3, height=10) == []
    assert early.take_due(epoch=3, height=11) == [
        (ANN, vote(11, round_=5)),
        (ANN, vote(11, round_=2)),
        (BOB, vote(11)),
    ]
    assert early.take_due(epoch=3, height=11) == []
    assert early.take_due(epoch=3, height=13) == [(ANN, vote(12)), (ANN, vote(13))]


def test_what_came_early_for_an_epoch_that_ended_before_is_dropped() -> None:
    early = Early()
    keep(early, ANN, vote(900))
    keep(early, ANN, vote(20, epoch=4))
    assert early.take_due(epoch=4, height=20) == [(ANN, vote(20, epoch=4))]
    assert early.take_due(epoch=5, height=10**6) == []


def test_what_was_handed_out_makes_room_for_more() -> None:
    early = Early()
    for _ in range(2):
        for height in range(100_000):
            keep(early, ANN, vote(height + 11, round_=2**32))
        kept = early.take_due(epoch=3, height=10**6)
        assert 50_000 < len(kept) < 100_000


def test_a_block_costs_no_more_when_a_liar_said_much_of_heights_that_never_come() -> None:
    """Each block took fifty times as long while all of it was looked at again: years, for who catches up."""
    world, liar, (one, *others) = room_with_liar(leads=False)
    tip, place = one.running.tip, place_of(world, liar)
    spam = [
        RoundChange(tip.epoch, tip.height + 1000 + number, 1, place, None, UNSIGNED)
        for number in range(50_000)
    ]
    took = []
    for said in ([], spam):
        for data in pack(list(said)):
            one.running.step([Arrived(liar.id, data)], now=world.calendar.now + one.skew, clock_ms=0)
        began = time.process_time()
        for _ in range(10):
            world.say(others[0])
            world.run()
        took.append(time.process_time() - began)
    quiet, spammed = took
    assert spammed < 10 * quiet + 0.2
