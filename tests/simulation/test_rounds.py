"""Rounds that fail one after another do so at the pace of a timer, whatever made them fail."""

from msgspec.structs import replace

from chain.block import Head
from chain.ids import Hash
from chain.ledger import extend
from chain.message import UNSIGNED, Ack, Propose, RoundChange, signed
from tests.simulation.liars import id_of, member_at, place_of, silent, slot_of, tell, wait
from tests.simulation.test_exact import quiet_room

ROUNDS = 14


def test_a_member_that_refused_every_leader_twice_asks_for_more_rounds_at_the_pace_of_its_timer() -> None:
    """Two certified branches of one lane make honest members refuse one another's proposals for ever.

    That takes more liars than the room bears; it still must not become a storm of votes at network speed.
    """
    world = quiet_room(4)
    world.more_lie_than_we_bear = True
    victim, *others = world.nodes
    for node in others:
        node.honest, node.withhold = False, silent
    tip, author, acker = world.room.tip, others[0], others[1]
    spoken = slot_of(world, author, 1)
    lane, head = place_of(world, author), Head(1, id_of(world, spoken))
    ack = Ack(tip.epoch, place_of(world, acker), 1, ((lane, head),), UNSIGNED)
    tell(world, victim, author, spoken)
    tell(world, victim, acker, signed(ack, room=tip.room, key=acker.seat.vote))
    cut = tuple(head if place == lane else old for place, old in enumerate(tip.cut))
    slots = {lane: [(head.id, spoken.slot)]}
    made = extend(tip, cut=cut, leader=author.id, slots=slots, verify=world.scheme.verify).block
    wrong = replace(made, log_root=Hash(bytes(32)))
    for round_ in range(ROUNDS):
        leader = member_at(world, tip.leader_of(round_))
        if leader is victim:
            continue
        votes = [
            signed(
                RoundChange(tip.epoch, tip.height + 1, round_, place_of(world, node), None, UNSIGNED),
                room=tip.room,
                key=node.seat.vote,
            )
            for node in others
        ]
        justification = tuple(sorted(votes, key=lambda vote: vote.signer)) if round_ else ()
        at = (tip.epoch, tip.height + 1, round_, place_of(world, leader))
        proposal = signed(Propose(*at, wrong, justification, UNSIGNED), room=tip.room, key=leader.seat.vote)
        tell(world, victim, leader, proposal)
    own = victim.running.state.ordering.own
    assert 0 < own.asked <= 2 * tip.committee.n
    wait(world, 40)
    assert own.asked == ROUNDS
