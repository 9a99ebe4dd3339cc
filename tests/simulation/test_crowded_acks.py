"""Two liars, one of a forked lane and one that acks everything: who forgets an ack can still vote."""

from chain.block import Head
from chain.lane import HEADS_PER_ACKER
from chain.message import UNSIGNED, Ack, SlotMessage, signed
from tests.simulation.liars import id_of, nowhere, place_of, silent, slot_of, tell, wait
from tests.simulation.machine import Node
from tests.simulation.rest import check_liveness
from tests.simulation.run import REPLAY, attempt
from tests.simulation.test_exact import DELAY, leader_of, quiet_room

ONCE_FAILED = 50319
"""Of five honest members, all of them needed, one refused for ever what it had delivered itself."""


class TwoBranches:
    """Seven members. One branch of the liar's lane has all it needs but the accomplice's ack, of one slot."""

    def __init__(self) -> None:
        self.world = world = quiet_room(7)
        self.liar = leader_of(world)  # nothing is ordered before its round is over
        self.accomplice, *self.honest = (node for node in world.nodes if node is not self.liar)
        for node in (self.liar, self.accomplice):
            node.honest, node.withhold = False, silent
        one, other = slot_of(world, self.liar, 1), slot_of(world, self.liar, 1)
        for node in self.honest[:3]:
            tell(world, node, self.liar, one)
        for node in self.honest[3:]:
            tell(world, node, self.liar, other)
        self.certifying = self.ack(1, Head(1, id_of(world, one)))
        self.one: SlotMessage = one

    def ack(self, number: int, head: Head) -> Ack:
        world = self.world
        entries = ((place_of(world, self.liar), head),)
        bare = Ack(world.room.tip.epoch, place_of(world, self.accomplice), number, entries, UNSIGNED)
        return signed(bare, room=world.room.id, key=self.accomplice.seat.vote)

    def crowd(self, node: Node) -> None:
        """As many other heads as are remembered, all of them higher."""
        for number in range(HEADS_PER_ACKER):
            ack = self.ack(100 + number, Head(40 + number, nowhere(self.world)))
            tell(self.world, node, self.accomplice, ack)

    def check_order(self) -> None:
        """What an honest member says now is ordered, the certified slot as well."""
        world = self.world
        world.say(self.honest[4])
        world.max_steps = world.steps + 20_000
        wait(world, 60)
        check_liveness(world)
        assert id_of(world, self.one) in {leaf.slot for leaf in world.properties.log}


def test_a_member_votes_for_what_it_delivered_though_it_forgot_an_ack_of_it() -> None:
    """The honest ones deliver the one branch; then the accomplice has them forget how that came."""
    room = TwoBranches()
    world = room.world
    tell(world, room.honest[0], room.accomplice, room.certifying)
    place = place_of(world, room.liar)
    wait(world, 8 * DELAY)
    for node in room.honest:
        assert node.running.state.broadcast.lanes[place].delivered.id == id_of(world, room.one)
        room.crowd(node)
    room.check_order()


def test_a_member_with_no_room_for_an_ack_delivers_what_another_one_delivered() -> None:
    room = TwoBranches()
    for node in room.honest[1:]:
        room.crowd(node)
    tell(room.world, room.honest[0], room.accomplice, room.certifying)
    room.check_order()


def test_the_seed_that_showed_it_passes() -> None:
    _, counts, problem = attempt(ONCE_FAILED)
    assert counts is not None, f"{problem}\n    replay: {REPLAY} {ONCE_FAILED}"
