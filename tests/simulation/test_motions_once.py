"""What a member moves it moves once an epoch, however long its own slots wait: the motions that count end."""

from collections import Counter

import pytest

from chain.block import Head
from chain.control import Admit, Remove, make_request
from chain.effects import Want
from chain.ids import MemberId
from chain.membership import MOTIONS_PER_MEMBER
from chain.message import UNSIGNED, Ack, signed
from tests.simulation.keys import HASHED
from tests.simulation.liars import at_once, nowhere, place_of, silent, tell, wait
from tests.simulation.machine import Node
from tests.simulation.newcomer import Door
from tests.simulation.room import make_seat
from tests.simulation.run import REPLAY, attempt
from tests.simulation.test_exact import follower_of, quiet_room
from tests.simulation.world import World


def two_acks(world: World, liar: Node, number: int) -> tuple[Ack, Ack]:
    """One ack number, signed twice."""
    tip, lane = world.room.tip, place_of(world, follower_of(world))
    place = (place_of(world, liar), tip.epoch)
    bare = (Ack(place[1], place[0], number, ((lane, Head(1, nowhere(world))),), UNSIGNED) for _ in range(2))
    one, other = (signed(ack, room=world.room.id, key=liar.seat.vote) for ack in bare)
    return one, other


def cut_off(world: World, node: Node, *but: Node) -> None:
    for other in world.nodes:
        if other not in (node, *but):
            world.blocked.add(frozenset((node, other)))
    world.relink()
    at_once(world)


def moved(world: World, author: Node) -> Counter[tuple[str, MemberId]]:
    """What it moved in the record, and about whom."""
    motions: Counter[tuple[str, MemberId]] = Counter()
    for leaf in world.properties.log:
        if leaf.author == author.id and isinstance(leaf.content, Admit | Remove):
            motion = leaf.content
            about = motion.member if isinstance(motion, Remove) else motion.request.identity
            motions[type(motion).__name__, about] += 1
    return motions


def room_with_one_cut_off() -> tuple[World, Node, Node, list[Node]]:
    """Four members: one linked to nobody but the liar, the liar, and the other two."""
    world = quiet_room(4)
    liar, one, *others = world.nodes
    liar.honest, liar.withhold = False, silent
    cut_off(world, one, liar)
    return world, one, liar, others


def heal(world: World) -> None:
    world.blocked.clear()
    world.relink()
    wait(world, 60)


def test_whoever_is_caught_again_and_again_is_moved_out_once_and_room_is_left_for_a_newcomer() -> None:
    """Found by the simulator: the motions of one member were used up before anybody could be let in."""
    world, one, liar, others = room_with_one_cut_off()
    for number in range(1, MOTIONS_PER_MEMBER + 2):
        tell(world, one, liar, *two_acks(world, liar, number))
    heal(world)
    assert moved(world, one) == {("Remove", liar.id): 1}
    door, seat = Door(world), make_seat(HASHED, "newcomer")
    request = make_request(room=world.room.id, nick=seat.nick, identity=seat.identity, vote=seat.vote)
    newcomer = door.knock(seat, request, sponsor=one)
    wait(world, 1)
    for node in (one, *others):
        world.give(node, Want(Admit(request)))
    world.run()
    assert door.open() == 1
    world.run()
    assert newcomer.running.me is not None


def test_what_is_wanted_again_before_it_is_delivered_is_moved_once() -> None:
    world, one, _, (gone, _) = room_with_one_cut_off()
    for _ in range(5):
        world.give(one, Want(Remove(gone.id)))
        at_once(world)
    heal(world)
    assert moved(world, one) == {("Remove", gone.id): 1}


@pytest.mark.parametrize("seed", [60048, 60350])
def test_a_seed_in_which_somebody_waited_for_ever_to_be_let_in_passes(seed: int) -> None:
    _, counts, problem = attempt(seed)
    assert counts is not None, f"{problem}\n    replay: {REPLAY} {seed}"
