"""After a fork was noticed a member rests: no timer of a vote that is over, no question twice."""

from msgspec.structs import replace

from chain.block import Block, Certificate, block_checkpoint
from chain.ids import BlockId, Hash
from chain.message import Committed, Precommit, PullRange
from tests.simulation.liars import losing, member_at, overhear, tell, wait
from tests.simulation.machine import Node
from tests.simulation.test_exact import DELAY, quiet_room
from tests.simulation.world import World


def certified(world: World, block: Block) -> Committed:
    """The block with a quorum's signatures, which no quorum should have given."""
    text = block_checkpoint(block, room=world.room.id, round_=0)
    quorum = range(world.room.tip.committee.quorum)
    signatures = tuple((place, member_at(world, place).seat.vote.sign(text)) for place in quorum)
    return Committed(block, Certificate(0, signatures))


def room_about_to_hear_of_a_fork() -> tuple[World, Node, Node, Block]:
    """Two members, and a block that contradicts the last one of the first."""
    world = quiet_room(4)
    world.more_lie_than_we_bear = True
    one, peer, *_ = world.nodes
    world.say(one)
    world.run()
    held = world.properties.blocks[one.running.tip.height].block
    return world, one, peer, replace(held, log_root=Hash(bytes(32)))


def test_a_member_that_sees_a_fork_while_its_vote_timer_runs_comes_to_rest() -> None:
    world, one, peer, other = room_about_to_hear_of_a_fork()
    for node in world.nodes:
        node.filter = losing(lambda message: isinstance(message, Precommit))
    world.say(one)
    wait(world, 3.5 * DELAY)
    assert one.timer is not None
    tell(world, one, peer, certified(world, other))
    assert one.forks
    world.max_steps = world.steps + 1000
    wait(world, 60)
    assert one.timer is None


def test_a_member_that_sees_a_fork_asks_no_more_about_it() -> None:
    """Else it and one that goes on would exchange the same two blocks for ever."""
    world, one, peer, other = room_about_to_hear_of_a_fork()
    tell(world, one, peer, certified(world, other))
    assert one.forks
    heard = overhear(peer)
    following = replace(other, height=other.height + 1, prev=BlockId(other.id(world.room.id)))
    for _ in range(3):
        tell(world, one, peer, certified(world, following))
    wait(world, 10)
    assert not [message for message in heard if isinstance(message, PullRange)]
