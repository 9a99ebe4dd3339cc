"""What a liar signed is passed on once by each member, however much there is of it."""

from collections import Counter

from chain.block import Head
from chain.lane import HEADS_PER_ACKER
from chain.message import UNSIGNED, Ack, signed, unpack
from tests.simulation.liars import nowhere, place_of, tell, wait
from tests.simulation.machine import Link, Node
from tests.simulation.network import uniform
from tests.simulation.world import World


def test_acks_of_more_heads_than_are_kept_are_not_relayed_in_circles() -> None:
    """Its link is gone, so that everybody passes its acks on to everybody."""
    world = World(7, latency=uniform(0.01, 0.2))
    world.populate()
    liar, *others = world.nodes
    liar.honest = False
    world.crash(liar)
    world.run()
    tip, acker, lane = world.room.tip, place_of(world, liar), place_of(world, others[0])
    passed_on: Counter[tuple[str, str, int]] = Counter()

    def count(link: Link, source: Node, data: bytes) -> bytes:
        for message in unpack(data):
            if isinstance(message, Ack) and message.signer == acker:
                passed_on[source.name, link.other(source).name, message.ackseq] += 1
        return data

    world.sift = count
    for number in range(1, 3 * HEADS_PER_ACKER):
        entries = ((lane, Head(1 + number % 2, nowhere(world))),)
        ack = Ack(tip.epoch, acker, number, entries, UNSIGNED)
        tell(
            world,
            others[number % 6],
            others[(number + 1) % 6],
            signed(ack, room=tip.room, key=liar.seat.vote),
        )
    world.max_steps = world.steps + 20_000
    wait(world, 60)
    assert passed_on
    assert max(passed_on.values()) == 1
