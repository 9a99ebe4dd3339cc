"""Keys that count no more: of a removed member, of one that has a new key, of a former quorum."""

from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from chain.block import Block, Certificate, Head, block_checkpoint
from chain.committee import Committee
from chain.control import AdmissionRule, Rekey
from chain.crypto import Signer
from chain.effects import Arrived, Asks, FaultKind, Want
from chain.ids import BlockId, Hash, SlotId
from chain.ledger import genesis_tip
from chain.message import (
    UNSIGNED,
    Ack,
    Committed,
    JoinRequest,
    Message,
    Precommit,
    Prevote,
    Propose,
    Refusal,
    RoundChange,
    pack,
    signed,
    unpack,
)
from tests.simulation.change import a_room, check_room, come_back, members, new_key, others, remove, top
from tests.simulation.machine import Node
from tests.simulation.world import World


def overheard(heard: list[bytes], data: bytes) -> bytes:
    heard.append(data)
    return data


def replay(world: World, target: Node, source: Node, envelopes: list[bytes]) -> None:
    world.give(target, *(Arrived(source.id, data) for data in envelopes))
    world.run()


def room_that_lost_one() -> tuple[World, Node, list[bytes]]:
    """Five members, one of them removed; with all that reached the others before that."""
    world = a_room(5)
    gone = world.nodes[1]
    heard: list[bytes] = []
    for node in world.nodes:
        node.filter = partial(overheard, heard)
    for node in world.nodes:
        world.say(node)
    world.run()
    remove(world, gone)
    world.run()
    for node in world.nodes:
        node.filter = None
    gone.honest = False
    return world, gone, heard


def one_short_of_a_quorum(world: World) -> tuple[Node, list[Node]]:
    """So many members stop that nothing can be ordered; the leader, and all that stay."""
    tip = top(world).tip
    leader = tip.committee.members[tip.leader_of(0)].identity
    first = next(node for node in members(world) if node.id == leader)
    stay = [first, *others(world, first)[: tip.committee.quorum - 2]]
    for node in members(world):
        if node not in stay:
            world.crash(node)
    world.run()
    return first, stay


def forged(world: World, leader: Node, key: Signer) -> Iterator[Message]:
    """All that would get the leader's slot ordered, in every member's name, signed with this key."""
    replica, room = leader.running, world.room.id
    tip, state = replica.tip, replica.state
    (proposal,) = (vote for vote in state.ordering.own.all if isinstance(vote, Propose))
    block = proposal.block
    own = state.broadcast.own
    for place in range(tip.committee.n):
        unsigned: list[Ack | Prevote | Precommit | RoundChange] = [
            Ack(tip.epoch, place, 99, ((own.place, own.head),), UNSIGNED),
            Prevote(tip.epoch, block.height, 0, place, block.id(room), proposal.signature[:32], UNSIGNED),
            Precommit(
                tip.epoch, block.height, 0, place, block.id(room), block.log_size, block.log_root, UNSIGNED
            ),
            RoundChange(tip.epoch, block.height, 1, place, None, UNSIGNED),
        ]
        yield from (signed(message, room=room, key=key) for message in unsigned)


@pytest.mark.parametrize("relayed", [False, True])
def test_a_removed_members_votes_and_acks_never_count_whoever_hands_them_on(relayed: bool) -> None:
    world, gone, heard = room_that_lost_one()
    leader, stay = one_short_of_a_quorum(world)
    height = top(world).tip.height
    uuid = world.say(leader)
    world.run()
    source = stay[-1] if relayed else gone
    source.honest = False
    for target in (node for node in stay if node is not source):
        replay(world, target, source, heard)
        replay(world, target, source, pack(list(forged(world, leader, gone.seat.vote))))
        assert target.running.tip.height == height
        own = leader.running.state.broadcast.own
        assert target.running.state.broadcast.support(own.head, own.place) < top(world).tip.committee.quorum
        assert target.faults
    source.honest = True
    for node in world.nodes:
        node.faults.clear()
        if node.replica is None:
            world.start(node)
    world.relink()
    world.run()
    assert uuid is not None
    assert world.properties.spoken[uuid].ordered == 1
    check_room(world)


def test_a_retired_key_never_counts() -> None:
    """A member came back with a new vote key; who found the old one signs with it."""
    world = a_room(5)
    node = world.nodes[2]
    retired = node.seat.vote
    request = come_back(world, node)
    world.run()
    for other in others(world, node):
        world.give(other, Want(Rekey(request)))
    world.run()
    assert node.running.me is not None
    leader, stay = one_short_of_a_quorum(world)
    height = top(world).tip.height
    world.say(leader)
    world.run()
    for target in stay[1:]:
        replay(world, target, leader, pack(list(forged(world, leader, retired))))
        assert target.running.tip.height == height
        assert FaultKind.WRONG_SIGNATURE in {fault.kind for fault in target.faults}


@pytest.mark.parametrize("rule", list(AdmissionRule))
def test_a_request_of_long_ago_brought_up_by_another_takes_no_members_key_away(rule: AdmissionRule) -> None:
    """It asked for a key, lost that as well, and came back with a third one."""
    world = a_room(5, rule=rule)
    asked: list[Asks] = []
    world.on_asks = lambda node, asks: asked.append(asks)
    node, liar, *_ = world.nodes
    abandoned = new_key(world, node, 1)  # which the liar got hold of
    world.crash(node)
    request = come_back(world, node, 2)
    world.run()
    for other in others(world, node):
        world.give(other, Want(Rekey(request)))
    world.run()
    epoch = top(world).tip.epoch
    assert node.running.me is not None
    asked.clear()
    world.calendar.now += 7200
    liar.running.desk._to_move.append(Rekey(abandoned))
    world.give(liar)
    world.run()
    assert not asked
    assert top(world).tip.epoch == epoch
    check_room(world)


def certified(block: Block, committee: Committee, keys: dict[bytes, Signer], world: World) -> Committed:
    text = block_checkpoint(block, room=world.room.id, round_=0)
    signers = [(place, keys[member.vote_key]) for place, member in enumerate(committee.members)]
    return Committed(block, Certificate(0, tuple((place, key.sign(text)) for place, key in signers)))


@pytest.mark.parametrize("epoch_says", ["old", "new"])
@pytest.mark.parametrize("above", [0, 1])
def test_a_former_quorum_certifies_nothing_after_its_epoch(epoch_says: str, above: int) -> None:
    """The whole committee of an epoch that ended signs another block at or above the height of today."""
    world = a_room(5)
    before = top(world).tip
    gone = world.nodes[0]
    remove(world, gone)
    world.run()
    for node in members(world):
        world.say(node)
    world.run()
    tip = top(world).tip
    keys = {node.seat.vote.public: node.seat.vote for node in world.nodes}
    target = members(world)[0]
    real = target.running.state.last
    assert real is not None
    block = msgspec.structs.replace(
        real.block,
        epoch=before.epoch if epoch_says == "old" else tip.epoch,
        height=tip.height + above,
        prev=tip.block if above else BlockId(bytes(32)),
        committee=before.committee.digest,
        cut=(*real.block.cut, Head(1, SlotId(bytes(32)))),
        log_root=Hash(bytes(32)),
    )
    replay(world, target, gone, pack([certified(block, before.committee, keys, world)]))
    assert target.running.tip.block == tip.block
    assert not target.running.forked
    for node in members(world):
        node.faults.clear()
        world.say(node)
    world.run()
    check_room(world)


def test_a_founder_that_rewrites_the_past_stops_nobody() -> None:
    """In epoch 0 its key alone was a quorum, and it still has it."""
    world = a_room(5)
    for node in world.nodes:
        world.say(node)
    world.run()
    founder = next(node for node in world.nodes if node.id == world.room.genesis.founder)
    founder.honest = False
    start = genesis_tip(world.room.genesis)
    tip = top(world).tip
    for height in (1, tip.height, tip.height + 1):
        block = Block(
            epoch=0,
            height=height,
            prev=tip.block if height > tip.height else BlockId(world.room.id),
            leader=founder.id,
            cut=(Head(1, SlotId(bytes(32))),),
            log_size=1,
            log_root=Hash(bytes(32)),
            committee=start.committee.digest,
            next_committee=None,
        )
        keys = {world.room.genesis.vote_key: founder.seat.vote}
        forgery = certified(block, start.committee, keys, world)  # type: ignore[arg-type]
        for target in others(world, founder):
            replay(world, target, founder, pack([forgery]))
            assert not target.running.forked
            assert target.running.tip.block == tip.block
    founder.honest = True
    for node in world.nodes:
        node.faults.clear()
        world.say(node)
    world.run()
    check_room(world)


def test_a_request_for_a_new_key_that_comes_after_the_removal_admits_nobody() -> None:
    """It was meant for a member; whoever says yes to it would let somebody in who believes itself out."""
    world, gone, _ = room_that_lost_one()
    asked: list[Asks] = []
    world.on_asks = lambda node, asks: asked.append(asks)
    request = new_key(world, gone)
    heard: list[bytes] = []
    gone.filter = partial(overheard, heard)
    replay(world, others(world, gone)[0], gone, pack([JoinRequest(request)]))
    assert not asked
    assert [m.reason for data in heard for m in unpack(data) if isinstance(m, Refusal)] == [
        "you were removed from this room; ask a member for a new invitation"
    ]
