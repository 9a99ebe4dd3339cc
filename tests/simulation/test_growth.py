"""Rooms that grow from one member upward by the real path: ask, move, approve, walk, begin, catch up."""

import hashlib
from collections.abc import Callable
from functools import partial

import pytest

from chain.control import AdmissionRule, Admit, Anchor, Request, make_request, make_voucher
from chain.effects import Asks, Want
from chain.ids import Hash
from tests.simulation.keys import ED25519, HASHED, Scheme
from tests.simulation.machine import Node
from tests.simulation.network import Latency, fixed, heavy_tailed, uniform
from tests.simulation.newcomer import Door
from tests.simulation.rest import check_liveness, check_rest
from tests.simulation.room import Seat, make_room, make_seat
from tests.simulation.world import World

ASK_AFTER = 0.7
"""Seconds until the people at a keyboard say yes."""


def founded(
    rule: AdmissionRule, *, latency: Latency, scheme: Scheme = HASHED, seed: int = 0
) -> tuple[World, Door]:
    """A room with its founder alone, where everybody lets in whoever asks."""
    world = World(1, seed=seed, scheme=scheme, latency=latency, room=make_room(1, scheme, rule))
    world.populate()
    world.on_asks = lambda node, asks: let_in(world, node, asks)
    return world, Door(world)


def let_in(world: World, node: Node, asks: Asks) -> None:
    """With `ask` people take their time; with `auto` the node of whoever was asked moves at once."""
    if world.room.genesis.rule is AdmissionRule.ASK:
        world.at(ASK_AFTER, partial(say_yes, world, node, asks))
    elif asks.motion is None and asks.verified:
        world.give(node, Want(Admit(asks.request)))


def say_yes(world: World, node: Node, asks: Asks) -> None:
    if node.replica is not None:
        world.give(node, Want(Admit(asks.request)))


def invited(world: World, seat: Seat, inviter: Node) -> Request:
    """A request that carries the inviter's voucher, as `auto` wants it."""
    secret = world.scheme.signer(hashlib.sha256(b"invitation for " + seat.id).digest())
    voucher = make_voucher(
        room=world.room.id, key=Hash(secret.public), expires=2**40, inviter=inviter.seat.identity
    )
    return make_request(
        room=world.room.id,
        nick=seat.nick,
        identity=seat.identity,
        vote=seat.vote,
        voucher=voucher,
        invitation=secret,
    )


def asking(world: World, seat: Seat, inviter: Node) -> Request:
    """A bare request, as `ask` takes it."""
    del inviter
    return seat.request(world.room.id)


RULES: list[tuple[AdmissionRule, Callable[[World, Seat, Node], Request]]] = [
    (AdmissionRule.ASK, asking),
    (AdmissionRule.AUTO, invited),
]
LATENCIES = [fixed(1 / 16), uniform(0.001, 0.2), heavy_tailed(0.02, cap=1.0)]


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("rule", "request_of"), RULES)
def test_a_room_grows_from_one_to_seven_and_everybody_holds_the_whole_record(
    rule: AdmissionRule, request_of: Callable[[World, Seat, Node], Request], latency: Latency
) -> None:
    world, door = founded(rule, latency=latency)
    for number in range(1, 7):
        for node in world.nodes:
            world.say(node)
        seat = make_seat(HASHED, f"m{number}")
        sponsor = world.dice.choice(world.nodes)
        door.knock(seat, request_of(world, seat, sponsor), sponsor=sponsor)
        door.run()
        assert [node.running.tip.committee.n for node in world.nodes] == [number + 1] * (number + 1)
    for node in world.nodes:
        world.say(node)
    world.run()
    check_liveness(world)
    check_rest(world)


def test_two_who_ask_at_once_are_both_let_in_one_epoch_after_the_other() -> None:
    world, door = founded(AdmissionRule.ASK, latency=uniform(0.01, 0.1))
    founder = world.nodes[0]
    for name in ("m1", "m2"):
        seat = make_seat(HASHED, name)
        door.knock(seat, seat.request(world.room.id), sponsor=founder)
    door.run()
    assert founder.running.tip.epoch == 2
    assert len(world.nodes) == founder.running.tip.committee.n == 3
    check_rest(world)


def test_what_is_said_while_a_room_grows_is_ordered_once() -> None:
    """Slots of an epoch that ends before they are ordered come back in the next."""
    world, door = founded(AdmissionRule.AUTO, latency=uniform(0.01, 0.3), scheme=ED25519, seed=5)
    for number in range(1, 6):
        seat = make_seat(ED25519, f"m{number}")
        sponsor = world.dice.choice(world.nodes)
        door.knock(seat, invited(world, seat, sponsor), sponsor=sponsor)
        for _ in range(8):
            world.at(world.dice.uniform(0, 1), lambda: world.say(world.dice.choice(world.nodes)))
        door.run()
    assert world.nodes[0].running.tip.committee.n == 6
    check_liveness(world)
    check_rest(world)


def test_a_newcomer_with_an_anchor_walks_past_it() -> None:
    world, door = founded(AdmissionRule.ASK, latency=fixed(1 / 16))
    founder = world.nodes[0]
    first = make_seat(HASHED, "m1")
    door.knock(first, first.request(world.room.id), sponsor=founder)
    door.run()
    tip = founder.running.tip
    second = make_seat(HASHED, "m2")
    door.knock(second, second.request(world.room.id), sponsor=founder, anchor=Anchor(tip.height, tip.block))
    door.run()
    assert len(world.nodes) == founder.running.tip.committee.n == 3
    check_rest(world)


@pytest.mark.parametrize("victim", [0, 1, 2, 3])
def test_members_that_crash_while_a_room_grows_come_back_into_the_right_epoch(victim: int) -> None:
    """One member stops at a boundary of some step around the admission and returns a little later."""
    for step in range(0, 10, 2):
        for index in range(0, 6, 2):
            world, door = founded(AdmissionRule.AUTO, latency=fixed(1 / 16))
            for number in range(1, 5):
                sponsor = world.nodes[0]
                seat = make_seat(HASHED, f"m{number}")
                if number == 4:
                    world.nodes[victim].crash_at = step, index
                    world.restart_after = fixed(0.4)
                    world.say(world.nodes[victim])
                door.knock(seat, invited(world, seat, sponsor), sponsor=sponsor)
                door.run()
            assert {node.running.tip.committee.n for node in world.nodes} == {5}
            check_liveness(world)
            check_rest(world)
