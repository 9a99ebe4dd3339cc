"""Newcomers that lie: requests that cannot hold, floods, votes before their time; and those who vanish."""

import hashlib

import msgspec
import pytest

from chain.control import AdmissionRule, Admit, Request, make_request, make_voucher
from chain.effects import Arrived, Asks, FaultKind, Want
from chain.ids import BlockId, Hash, RoomId
from chain.message import (
    UNSIGNED,
    Ack,
    JoinRequest,
    Message,
    Precommit,
    PullBlock,
    PullRange,
    PullSlot,
    Refusal,
    RoundChange,
    pack,
    signed,
)
from tests.simulation.change import a_room, check_room, leave, members, others, remove, top
from tests.simulation.keys import HASHED
from tests.simulation.machine import Node
from tests.simulation.network import fixed, uniform
from tests.simulation.newcomer import Door, Stranger
from tests.simulation.room import Seat, make_seat
from tests.simulation.test_growth import founded, invited
from tests.simulation.world import World

EVE = make_seat(HASHED, "eve")


FOR_EACH_TO_JUDGE = ("somebody else's", "a nick much like one", "a voucher that is over")
"""What is no motion is no motion for everybody; about these each member decides for itself."""


def says(world: World, node: Node, target: Node, *messages: Message) -> list[Message]:
    """What a stranger hears after it said this to a member."""
    assert isinstance(node.replica, Stranger)
    world.run()
    before = len(node.replica.heard)
    world.give(target, *(Arrived(node.id, data) for data in pack(list(messages))))
    world.run()
    return node.replica.heard[before:]


def request_of(
    seat: Seat,
    *,
    room: RoomId,
    nick: str = "eve",
    vote: Seat | None = None,
    inviter: Seat | None = None,
    expires: int = 2**40,
) -> Request:
    secret = HASHED.signer(hashlib.sha256(b"secret").digest())
    voucher = None
    if inviter is not None:
        voucher = make_voucher(room=room, key=Hash(secret.public), expires=expires, inviter=inviter.identity)
    return make_request(
        room=room,
        nick=nick,
        identity=seat.identity,
        vote=(vote or seat).vote,
        voucher=voucher,
        invitation=secret if inviter else None,
    )


def all_yes(world: World) -> list[Asks]:
    """Everybody lets in whoever asks; who asked."""
    asked: list[Asks] = []

    def on_asks(node: Node, asks: Asks) -> None:
        asked.append(asks)
        if node.replica is not None:
            world.give(node, Want(Admit(asks.request)))

    world.on_asks = on_asks
    return asked


@pytest.mark.parametrize("rule", list(AdmissionRule))
def test_requests_that_cannot_hold_are_refused_and_nobody_is_asked(rule: AdmissionRule) -> None:
    world = a_room(4, rule=rule)
    asked = all_yes(world)
    door, sponsor = Door(world), world.nodes[0]
    room = world.room.id
    good = request_of(EVE, room=room)
    other = make_seat(HASHED, "somebody else")
    lies = {
        "of another room": request_of(EVE, room=RoomId(bytes(32))),
        "somebody else's": request_of(other, room=room),
        "a nick that is taken": request_of(EVE, room=room, nick=world.nodes[1].seat.nick),
        "a nick much like one": request_of(EVE, room=room, nick=world.nodes[1].seat.nick.upper()),
        "an invisible nick": request_of(EVE, room=room, nick="e\u200bve"),
        "a member's vote key": request_of(EVE, room=room, vote=world.nodes[1].seat),
        "a stranger's voucher": request_of(EVE, room=room, inviter=other),
        "a voucher that is over": request_of(EVE, room=room, inviter=sponsor.seat, expires=1),
        "another nick than was signed": msgspec.structs.replace(good, nick="adam"),
        "another vote key than was signed": msgspec.structs.replace(good, vote_key=other.vote.public),
        "not signed by its identity": msgspec.structs.replace(good, identity_signature=bytes(64)),
        "not signed by its vote key": msgspec.structs.replace(good, vote_signature=bytes(64)),
        "a member's own": world.nodes[1].seat.request(room),
    }
    eve = door.stranger(EVE, sponsor=sponsor)
    for what, lie in lies.items():
        heard = says(world, eve, sponsor, JoinRequest(lie))
        if lie.identity != world.nodes[1].id:
            assert [type(message) for message in heard] == [Refusal], what
        if what not in FOR_EACH_TO_JUDGE:  # a member that lies brings it up
            world.nodes[1].running.desk._to_move.append(Admit(lie))
            world.give(world.nodes[1])
            world.run()
        assert not asked, what
        assert top(world).tip.epoch == world.room.tip.epoch, what
    world.crash(eve)
    world.run()
    check_room(world)


def test_an_invitation_lets_one_in_and_what_it_let_in_cannot_come_twice() -> None:
    """The newcomer's own request, said again by others and after it left."""
    world, door = founded(AdmissionRule.AUTO, latency=fixed(1 / 16))
    for number in range(1, 4):
        seat = make_seat(HASHED, f"m{number}")
        door.knock(seat, invited(world, seat, world.nodes[0]), sponsor=world.nodes[0])
        door.run()
    guest = door.knock(EVE, used := invited(world, EVE, world.nodes[0]), sponsor=world.nodes[1])
    door.run()
    epoch = top(world).tip.epoch
    eve = next(node for node in world.nodes if node.id == EVE.id)
    assert eve is guest
    leave(world, eve)
    world.run()
    world.crash(eve)
    assert top(world).tip.epoch == epoch + 1
    world.nodes.remove(eve)
    again = door.stranger(EVE, sponsor=world.nodes[2])
    for request in (used, msgspec.structs.replace(used, voucher=None, possession=None)):
        assert [type(message) for message in says(world, again, world.nodes[2], JoinRequest(request))] == [
            Refusal
        ]
    world.run()
    assert top(world).tip.epoch == epoch + 1


def test_a_newcomer_whose_inviter_goes_while_it_waits_is_told_so() -> None:
    world = a_room(4)
    inviter, sponsor = world.nodes[0], world.nodes[1]
    eve = Door(world).stranger(EVE, sponsor=sponsor)
    request = JoinRequest(request_of(EVE, room=world.room.id, inviter=inviter.seat))
    assert not says(world, eve, sponsor, request)
    remove(world, inviter)
    world.run()
    assert isinstance(eve.replica, Stranger)
    (told,) = (message for message in eve.replica.heard if isinstance(message, Refusal))
    assert "who invited you is no member" in told.reason
    assert says(world, eve, sponsor, request) == [told]


def test_a_flood_of_requests_is_one_request_and_the_room_goes_on() -> None:
    world = a_room(4, latency=uniform(0.01, 0.1))
    asked: list[Asks] = []
    world.on_asks = lambda node, asks: asked.append(asks)
    door, sponsor = Door(world), world.nodes[0]
    eve = door.stranger(EVE, sponsor=sponsor)
    room = world.room.id
    flood = [
        JoinRequest(request_of(EVE, room=room, nick=f"eve {number}", vote=make_seat(HASHED, f"eve {number}")))
        for number in range(500)
    ]
    steps = world.steps
    says(world, eve, sponsor, *flood)
    world.say(sponsor)
    world.run()
    assert len(sponsor.running.desk.guests) == 1
    assert not any(node.running.desk.guests for node in others(world, sponsor, eve))
    assert world.steps - steps < 500
    for node in members(world):
        assert not node.running.desk.motions
    world.crash(eve)
    world.run()
    assert not sponsor.running.desk.guests
    check_room(world)


def test_more_strangers_than_a_member_can_keep_are_turned_away() -> None:
    world = a_room(4)
    door, sponsor = Door(world), world.nodes[0]
    told: list[Message] = []
    for number in range(40):
        seat = make_seat(HASHED, f"stranger {number}")
        node = door.stranger(seat, sponsor=sponsor)
        told += says(
            world, node, sponsor, JoinRequest(request_of(seat, room=world.room.id, nick=f"s{number}"))
        )
    assert len(sponsor.running.desk.guests) == 32
    assert [message for message in told if isinstance(message, Refusal)] == [
        Refusal("too many wait to be admitted; try again later")
    ] * 8


def test_a_stranger_gets_no_slots_blocks_or_votes_counted() -> None:
    """It may be told where the room is, and the final blocks; nothing that was said, and no addresses."""
    world = a_room(4)
    for node in world.nodes:
        world.say(node)
    world.run()
    door, target = Door(world), world.nodes[0]
    eve = door.stranger(EVE, sponsor=target)
    world.run()
    tip, lane = target.running.tip, target.running.state.broadcast.lanes[1]
    votes = (
        [Ack(tip.epoch, place, 7, (((place + 1) % 4, lane.head),), UNSIGNED) for place in range(4)]
        + [
            Precommit(tip.epoch, tip.height + 1, 0, place, BlockId(bytes(32)), 1, Hash(bytes(32)), UNSIGNED)
            for place in range(4)
        ]
        + [RoundChange(tip.epoch, tip.height + 1, 1, place, None, UNSIGNED) for place in range(4)]
    )
    asked = [
        PullRange(1),
        PullSlot(tip.epoch, 1, 0, lane.head),
        PullBlock(tip.height + 1, BlockId(bytes(32))),
        *(signed(vote, room=world.room.id, key=EVE.vote) for vote in votes),
    ]
    for message in asked:
        assert says(world, eve, target, message) == [], message
    assert {fault.kind for fault in target.faults} == {FaultKind.STRANGER}
    assert len(target.faults) == len(asked)
    assert not target.running.state.ordering.box.round_changes


def crowd(n: int) -> tuple[World, Door]:
    world, door = founded(AdmissionRule.AUTO, latency=fixed(1 / 16))
    for number in range(1, n):
        seat = make_seat(HASHED, f"m{number}")
        door.knock(seat, invited(world, seat, world.nodes[0]), sponsor=world.nodes[0])
        door.run()
    return world, door


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_a_newcomer_that_vanishes_stops_a_room_of_two_or_three_until_it_comes_back_and_no_larger_one(
    n: int,
) -> None:
    world, door = crowd(n)
    guest = door.knock(EVE, invited(world, EVE, world.nodes[0]), sponsor=world.nodes[0])
    world.run()
    assert top(world).tip.committee.n == n + 1
    kept = guest.replica
    world.crash(guest)  # before its replica ever ran
    said = world.say(world.nodes[0])
    world.run()
    assert said is not None
    stops = n + 1 <= 3
    assert world.properties.spoken[said].ordered == (0 if stops else 1)
    assert world.idle
    if not stops:
        remove(world, guest)
        world.run()
        assert top(world).tip.committee.n == n
        return
    guest.replica = kept
    door.run()
    assert world.properties.spoken[said].ordered == 1
    check_room(world)
