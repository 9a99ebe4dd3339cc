"""Schedules that show what a conviction leads to: for everybody, after a restart, and for an earlier epoch.

Chance alone hardly finds them; `tests/mutants` breaks the rules one by one to see that these notice.
"""

from msgspec.structs import replace

from chain.control import Remove
from chain.effects import Want
from chain.evidence import TwoVotes
from chain.ids import BlockId
from chain.message import Accusation, Prevote, signed
from tests.simulation.accusing import accusation
from tests.simulation.by_hand import block_of, prevote_of, proposal_of
from tests.simulation.liars import (
    at_once,
    blamed,
    place_of,
    room_with_liar,
    silent,
    slot_of,
    tell,
)
from tests.simulation.machine import Node
from tests.simulation.test_exact import quiet_room
from tests.simulation.world import World


def two_prevotes(world: World, liar: Node) -> tuple[Prevote, Prevote]:
    """Two blocks prevoted in one round: nothing that by itself freezes a lane."""
    one = prevote_of(world, liar, proposal_of(world, liar, block_of(world, liar, slot_of(world, liar, 1))))
    other = signed(replace(one, block=BlockId(bytes(32))), room=world.room.id, key=liar.seat.vote)
    return one, other


def proof(world: World, liar: Node) -> Accusation:
    return accusation(TwoVotes(*two_prevotes(world, liar)))


def convicted(nodes: list[Node]) -> list[set[bytes]]:
    return [{found.member for found in node.evidence} for node in nodes]


def test_evidence_that_one_member_came_by_convicts_at_all() -> None:
    world, liar, others = room_with_liar(leads=False)
    liar.withhold = silent
    tell(world, others[0], liar, proof(world, liar))
    at_once(world)
    world.run()
    assert convicted(others) == [{liar.id}] * 3


def test_a_convicted_key_is_muted_whatever_it_was_convicted_of() -> None:
    world, liar, (one, *_) = room_with_liar(leads=False)
    liar.withhold = silent
    tell(world, one, liar, proof(world, liar), slot_of(world, liar, 1))
    place = place_of(world, liar)
    assert one.running.state.broadcast.lanes[place].frozen is not None
    assert one.running.state.broadcast.lanes[place].acked_seq == 0


def test_a_convicted_key_stays_muted_after_a_restart() -> None:
    """Its node hears nothing of it from the others then: there are none."""
    world, liar, (one, *_) = room_with_liar(leads=False)
    tell(world, one, liar, proof(world, liar))
    for node in world.nodes:
        world.crash(node)
    assert convicted([one]) == [{liar.id}]
    world.restart(one)
    world.run()
    assert one.running.state.broadcast.lanes[place_of(world, liar)].frozen is not None


def test_evidence_of_an_earlier_epoch_convicts_who_held_the_place_then() -> None:
    """The first member left, so everybody stands one place lower now."""
    world = quiet_room(4)
    leaving, *others = sorted(world.nodes, key=lambda node: place_of(world, node))
    liar, one, _ = others
    for node in world.nodes:
        world.give(node, Want(Remove(leaving.id)))
    world.run()
    assert one.running.tip.committee.n == 3
    liar.honest = False
    liar.withhold = silent
    tell(world, one, liar, proof(world, liar))
    assert convicted([one]) == [{liar.id}]
    assert not blamed([one])
