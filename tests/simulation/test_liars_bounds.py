"""What one peer can make us hold, send or compute is bounded, and nobody honest is blamed for being fast."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from chain.block import Body, Dep, Head, Slot
from chain.codec import encode
from chain.control import AdmissionRule, Remove, make_request
from chain.effects import Arrived, FaultKind, RoundTrip
from chain.ids import SlotId
from chain.joiner import Joiner
from chain.membership import Ballot
from chain.message import (
    UNSIGNED,
    Ack,
    Finals,
    JoinRequest,
    Refusal,
    SlotMessage,
    pack,
    signed,
)
from tests.simulation.keys import HASHED
from tests.simulation.liars import (
    blamed,
    claim_of,
    heights_above,
    id_of,
    nowhere,
    overhear,
    place_of,
    room_with_liar,
    silent,
    slot_of,
    stranger_at,
    tell,
    wait,
)
from tests.simulation.machine import Node
from tests.simulation.network import fixed
from tests.simulation.room import make_room, make_seat
from tests.simulation.test_exact import DELAY, leader_of, quiet_room
from tests.simulation.test_growth import founded
from tests.simulation.world import World

MEBIBYTE = 1024 * 1024


@contextmanager
def grows_at_most(limit: int) -> Iterator[None]:
    """What this process holds grows by at most `limit` bytes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= limit


# Memory


@pytest.mark.parametrize("who", ["member", "stranger"])
def test_what_comes_early_is_kept_up_to_so_many_bytes(who: str) -> None:
    """Nothing of a later epoch can be verified yet: 24 MiB of it, in slots that anybody could make up."""
    world, liar, (one, *_) = room_with_liar(leads=False)
    source = liar if who == "member" else stranger_at(world, one)
    with grows_at_most(10 * MEBIBYTE):
        for number in range(24 * 16):
            bodies = (Body(bytes(32), number.to_bytes(16, "big") + bytes(65536 - 16)),)
            slot = Slot(world.room.tip.epoch + 1, 0, 1, nowhere(world), (), (), (), number, UNSIGNED)
            tell(world, one, source, SlotMessage(slot, bodies))
        one.faults.clear()


def test_acks_of_slots_that_do_not_exist_cost_no_more_memory_the_more_there_are() -> None:
    world, liar, (one, *_) = room_with_liar(leads=False)
    tip, place = world.room.tip, place_of(world, liar)
    others = [lane for lane in range(4) if lane != place]

    def ack_nothing(first: int) -> None:
        for number in range(first, first + 1000):
            heads = tuple((lane, Head(100, nowhere(world))) for lane in others)
            ack = Ack(tip.epoch, place, 10 + number, heads, UNSIGNED)
            (data,) = pack([signed(ack, room=tip.room, key=liar.seat.vote)])
            one.running.step([Arrived(liar.id, data)], now=world.calendar.now + one.skew, clock_ms=0)

    ack_nothing(0)
    with grows_at_most(MEBIBYTE // 8):
        ack_nothing(1000)


def test_motions_beyond_a_members_share_of_an_epoch_do_not_count() -> None:
    """Each one makes all later ones dearer, for everybody who derives the block."""
    tip = make_room(4, HASHED).tip
    mover, target = (member.identity for member in tip.committee.members[:2])
    ballot = Ballot()
    for number in range(1000):
        ballot = ballot.with_control(
            Remove(target),
            at=(SlotId(number.to_bytes(32, "big")), 0),
            author=mover,
            committee=tip.committee,
            spent=tip.spent,
            room=tip.room,
            verify=HASHED.verify,
        )
    assert 0 < len(ballot.motions) <= 100


# Work and answers


def test_a_hello_repeated_in_one_envelope_is_answered_once() -> None:
    """The answer holds all that the peer lacks: here a whole window of slots."""
    world, liar, (one, *others) = room_with_liar(leads=False)
    for node in others:
        world.crash(node)
    world.run()
    for _ in range(64):
        world.say(one, 1000)
        world.run()
    tip = one.running.tip
    hello = replace(claim_of(world, tip.height), block=tip.block)
    answers: list[int] = []
    for times in (1, 50):
        before = world.bytes
        tell(world, one, liar, *[hello] * times)
        answers.append(world.bytes - before)
        wait(world, 1)
    once, often = answers
    assert once > 64_000
    assert often <= once


def test_a_long_row_of_slots_that_wait_for_one_another_is_taken_in() -> None:
    """Ten of 31 lie: each slot refers to the one before it in a row of 1,280; the first comes last."""
    world = World(31, latency=fixed(DELAY))
    world.populate()
    victim = leader_of(world)
    liars = [node for node in world.nodes if node is not victim][:10]
    row: list[tuple[Node, SlotMessage]] = []
    for liar in liars:
        liar.honest = False
        liar.withhold = silent
        prev = None
        for seq in range(1, 129):
            deps = []
            if row and row[-1][0] is not liar:
                last = row[-1][1]
                deps = [Dep(last.slot.lane, last.slot.seq, id_of(world, last))]
            message = slot_of(world, liar, seq, prev=prev, deps=deps)
            prev = id_of(world, message)
            row.append((liar, message))
    world.give(victim, *(Arrived(liar.id, pack([message])[0]) for liar, message in reversed(row[1:])))
    wait(world, 0)
    tell(world, victim, *row[0])
    held = victim.running.state.broadcast.slots
    assert all(id_of(world, message) in held for _, message in row)


def test_a_nick_that_would_take_long_to_compare_is_refused_before_it_is_looked_at() -> None:
    """Normalising takes the square of its length: 160 kB of combining marks took twenty seconds."""
    world = quiet_room(4)
    one = world.nodes[0]
    guest = stranger_at(world, one)
    request = make_request(
        room=world.room.id,
        nick="a" + "\u0301\u0323" * 1000,
        identity=guest.seat.identity,
        vote=guest.seat.vote,
    )
    tell(world, one, guest, JoinRequest(request))
    assert [(fault.peer, fault.kind) for fault in one.faults] == [(guest.id, FaultKind.MALFORMED)]


# Nobody lies


def test_who_says_much_at_once_is_not_blamed_by_who_hears_the_others_late() -> None:
    world = quiet_room(4)
    speaker = leader_of(world)
    late, *others = (node for node in world.nodes if node is not speaker)
    for node in others:
        world.slow(node, late, fixed(12 * DELAY))
    for _ in range(200):
        world.say(speaker, 60_000)
    world.run()
    assert not blamed(world.nodes)
    assert len(set(heights_above(world, world.nodes))) == 1


def test_who_is_hundreds_of_blocks_ahead_is_not_blamed_by_who_is_behind() -> None:
    """Two of three links are slow, its own patience is long: the third member tells it of the future."""
    world = quiet_room(4)
    speaker = leader_of(world)
    late, *others = (node for node in world.nodes if node is not speaker)
    for node in others:
        world.slow(node, late, fixed(100))
    world.give(late, RoundTrip(1000.0))
    for _ in range(300):
        world.say(speaker)
        wait(world, 4 * DELAY)
    assert heights_above(world, others) == [300, 300]
    assert not blamed(world.nodes)
    world.run()
    assert heights_above(world, [late]) == [300]


def test_a_refusal_can_be_read_whatever_nick_was_asked_for() -> None:
    """A nick of 32 characters of which each takes ten to print."""
    nick = "\U000f0000" * 32
    world, door = founded(AdmissionRule.ASK, latency=fixed(DELAY))
    (founder,) = world.nodes
    seat = make_seat(HASHED, nick)
    door.knock(seat, seat.request(world.room.id), sponsor=founder)
    door.run()
    assert founder.running.tip.committee.n == 2
    guest = stranger_at(world, founder)
    heard = overhear(guest)
    request = make_request(room=world.room.id, nick=nick, identity=guest.seat.identity, vote=guest.seat.vote)
    tell(world, founder, guest, JoinRequest(request))
    world.run()
    assert Refusal in map(type, heard)


def test_a_founder_that_asks_to_join_its_own_room_hears_what_is_wrong() -> None:
    """Its disk is lost; a member answers with the genesis and no final block."""
    room = make_room(1, HASHED)
    joiner = Joiner(room=room.id, identity=room.genesis.founder, anchor=None, verify=HASHED.verify)
    (answer,) = pack([Finals(0, encode(room.genesis), (), (), (), False)])
    told = joiner.receive(answer)
    assert told.admitted is None
    assert told.fault is not None
