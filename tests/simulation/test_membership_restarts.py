"""What members say about a newcomer outlasts their restarts, and is said again only if nobody heard it."""

import hashlib
from collections.abc import Iterable

from chain.control import AdmissionRule, Admit, Control, Request, make_request, make_voucher
from chain.effects import Asks, Want
from chain.ids import Hash
from chain.message import JoinRequest, Refusal, SlotMessage, pack, unpack
from chain.records import KeepSlot
from tests.simulation.change import a_room, check_room, members, others
from tests.simulation.machine import Node
from tests.simulation.newcomer import Door, Stranger
from tests.simulation.room import Seat, make_seat
from tests.simulation.test_exact import leader_of
from tests.simulation.world import World


def invited(world: World, seat: Seat, inviter: Node) -> Request:
    """A request with an invitation of this member that nobody used yet."""
    secret = world.scheme.signer(hashlib.sha256(b"invitation for " + seat.id).digest())
    key, room = Hash(secret.public), world.room.id
    return make_request(
        room=room,
        nick=seat.nick,
        identity=seat.identity,
        vote=seat.vote,
        voucher=make_voucher(room=room, key=key, expires=2**40, inviter=inviter.seat.identity),
        invitation=secret,
    )


def only_linked(world: World, node: Node, to: Iterable[Node]) -> None:
    """From now on this machine reaches nobody else; what it lost meanwhile stays lost."""
    world.blocked = {frozenset((node, other)) for other in world.nodes if other not in (node, *to)}
    world.relink()


def moved_by(node: Node, lane: int) -> list[Control]:
    """What it said about membership since the world began, from this lane; all of it is in its store."""
    kept = [record for records in node.transactions for record in records if isinstance(record, KeepSlot)]
    return [control for record in kept if record.slot.lane == lane for control in record.slot.control]


def without_slots_of_its_own(node: Node, data: bytes) -> list[bytes]:
    """For `rewrite`: it votes, and nobody hears what it has to say."""
    lane = node.running.me
    messages = unpack(data)
    return pack([m for m in messages if not (isinstance(m, SlotMessage) and m.slot.lane == lane)])


def test_a_motion_ordered_while_a_member_could_not_sign_is_approved_after_another_restart() -> None:
    """What it read while its journal was not confirmed, it has to answer once it is, as the rule says."""
    world = a_room(4, rule=AdmissionRule.AUTO)
    door = Door(world)

    def by_rule(node: Node, asks: Asks) -> None:
        if asks.motion is None:
            world.give(node, Want(Admit(asks.request)))

    world.on_asks = by_rule
    leader = leader_of(world)
    silent, late, _ = others(world, leader)
    silent.honest = False
    silent.rewrite = lambda target, data: without_slots_of_its_own(silent, data)
    world.crash(late)
    world.run()
    seat = make_seat(world.scheme, "new")
    door.knock(seat, invited(world, seat, leader), sponsor=leader)
    world.run()
    assert leader.running.tip.ballot.motions, "the motion is ordered, and lacks one approval"
    only_linked(world, late, [leader])
    world.restart(late)
    world.run()
    assert late.running.tip.ballot.motions
    assert late.running.recovering
    world.crash(late)
    world.blocked.clear()
    world.restart(late)
    door.run()
    assert seat.nick in [node.name for node in members(world)]


def test_who_was_restarted_hears_of_a_motion_that_was_ordered_before() -> None:
    """Its people have to say yes, and whoever is linked to the newcomer may be away."""
    world = a_room(3)
    door = Door(world)
    asked: list[tuple[Node, Asks]] = []
    world.on_asks = lambda node, asks: asked.append((node, asks))
    sponsor, hears, _ = world.nodes
    seat = make_seat(world.scheme, "new")
    door.knock(seat, seat.request(world.room.id), sponsor=sponsor)
    world.run()
    world.give(sponsor, Want(Admit(seat.request(world.room.id))))
    world.run()
    asked.clear()
    world.crash(hears)
    world.crash(sponsor)
    world.restart(hears)
    world.run()
    assert [(node, asks.request.identity, asks.approvals) for node, asks in asked] == [
        (hears, seat.id, frozenset({sponsor.id}))
    ]


def test_a_yes_from_before_the_newcomer_came_to_us_moves_it_once_it_does() -> None:
    """People say yes to somebody whom only another member is linked to; then it turns to us."""
    world = a_room(2)
    door = Door(world)
    one, other = world.nodes
    seat = make_seat(world.scheme, "new")
    request = seat.request(world.room.id)
    guest = door.knock(seat, request, sponsor=one)
    world.run()
    world.give(other, Want(Admit(request)))
    world.run()
    assert not one.running.desk.motions
    world.crash(guest)
    world.run()
    door.knock_again(guest, request, sponsor=other)
    world.run()
    assert list(one.running.desk.motions.values()) == [(Admit(request), {other.id})]
    world.give(one, Want(Admit(request)))
    door.run()
    assert guest in members(world)
    check_room(world)


def test_who_asks_and_is_wanted_many_times_is_moved_once() -> None:
    world = a_room(3)
    door = Door(world)
    seat = make_seat(world.scheme, "new")
    request = seat.request(world.room.id)
    door.knock(seat, request, sponsor=world.nodes[0])
    world.run()
    for _ in range(5):
        world.give(world.nodes[0], Want(Admit(request)))
        world.run(until=world.calendar.now + 0.01)
    world.run()
    assert moved_by(world.nodes[0], 0) == [Admit(request)]


def test_what_stands_in_a_slot_of_ours_is_not_said_again_after_a_restart() -> None:
    """An approval is on our disk; that nobody got it before we stopped is no reason to sign another one."""
    world = a_room(3, rule=AdmissionRule.AUTO)
    door = Door(world)
    sponsor, victim, _ = world.nodes
    seat = make_seat(world.scheme, "new")
    request = invited(world, seat, sponsor)
    guest = door.knock(seat, request, sponsor=sponsor)
    world.run()
    victim.rewrite = lambda target, data: ()
    world.give(sponsor, Want(Admit(request)))
    world.run()
    assert len(moved_by(victim, 1)) == 1
    world.crash(victim)
    victim.rewrite = None
    world.restart(victim)
    door.run()
    assert guest in members(world)
    assert len(moved_by(victim, 1)) == 1
    check_room(world)


def test_whose_nick_was_taken_while_it_waited_is_told_so() -> None:
    """It would wait for ever: nobody may let it in any more."""
    world = a_room(2)
    door = Door(world)
    sponsor, other = world.nodes
    lucky, late = make_seat(world.scheme, "lucky"), make_seat(world.scheme, "late")
    namesake = Seat(late.identity, late.vote, lucky.nick)
    waiting = door.stranger(late, sponsor=sponsor)
    world.transmit(waiting, sponsor, pack([JoinRequest(namesake.request(world.room.id))])[0])
    request = lucky.request(world.room.id)
    door.knock(lucky, request, sponsor=sponsor)
    world.run()
    for node in (sponsor, other):
        world.give(node, Want(Admit(request)))
    door.run()
    assert "lucky" in [node.name for node in members(world)]
    assert isinstance(waiting.replica, Stranger)
    assert [m.reason for m in waiting.replica.heard if isinstance(m, Refusal)] == [
        "somebody here has this nick, or one much like it; choose another"
    ]
