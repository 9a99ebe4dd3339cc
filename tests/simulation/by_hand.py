"""Votes and blocks that a test makes itself, in the name of a liar or of somebody whose node is off.

All are of the epoch and height that the room began with.
"""

from collections.abc import Iterable

from chain.block import Block, Certificate, Head
from chain.ledger import Tip, extend
from chain.linearize import LaneSlots
from chain.message import (
    UNSIGNED,
    Ack,
    Hello,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    Rounds,
    SlotMessage,
    Standing,
    justification_digest,
    signed,
)
from tests.simulation.liars import place_of
from tests.simulation.machine import Node
from tests.simulation.world import World


def block_of(world: World, leader: Node, *messages: SlotMessage, tip: Tip | None = None) -> Block:
    """The block that orders these slots, each lane's from its first on; none: an empty one."""
    tip = tip or world.room.tip
    cut, slots = list(tip.cut), LaneSlots()
    for message in messages:
        slot_id = message.slot.id(tip.room)
        cut[message.slot.lane] = Head(message.slot.seq, slot_id)
        slots.setdefault(message.slot.lane, []).append((slot_id, message.slot))
    return extend(tip, cut=tuple(cut), leader=leader.id, slots=slots, verify=world.scheme.verify).block


def proposal_of(
    world: World, leader: Node, block: Block, *, round_: int = 0, votes: Iterable[RoundChange] = ()
) -> Propose:
    bare = Propose(
        world.room.tip.epoch,
        block.height,
        round_,
        place_of(world, leader),
        block,
        tuple(sorted(votes, key=lambda vote: vote.signer)),
        UNSIGNED,
    )
    return signed(bare, room=world.room.id, key=leader.seat.vote)


def prevote_of(world: World, voter: Node, proposal: Propose) -> Prevote:
    room, epoch = world.room.id, proposal.epoch
    digest = justification_digest(proposal.justification, room=room, epoch=epoch)
    bare = Prevote(
        epoch,
        proposal.height,
        proposal.round,
        place_of(world, voter),
        proposal.block.id(room),
        digest,
        UNSIGNED,
    )
    return signed(bare, room=room, key=voter.seat.vote)


def precommit_of(world: World, voter: Node, proposal: Propose) -> Precommit:
    block = proposal.block
    bare = Precommit(
        proposal.epoch,
        proposal.height,
        proposal.round,
        place_of(world, voter),
        block.id(world.room.id),
        block.log_size,
        block.log_root,
        UNSIGNED,
    )
    return signed(bare, room=world.room.id, key=voter.seat.vote)


def certificate_by(world: World, proposal: Propose, *voters: Node) -> Certificate:
    """What these members' precommits of a proposal make, be they a quorum or not."""
    votes = [precommit_of(world, voter, proposal) for voter in voters]
    return Certificate(proposal.round, tuple(sorted((vote.signer, vote.signature) for vote in votes)))


def round_change_of(world: World, voter: Node, round_: int) -> RoundChange:
    """Asks for this round and knows of no polka."""
    tip = world.room.tip
    bare = RoundChange(tip.epoch, tip.height + 1, round_, place_of(world, voter), None, UNSIGNED)
    return signed(bare, room=tip.room, key=voter.seat.vote)


def ack_of(world: World, acker: Node, *messages: SlotMessage, epoch: int | None = None) -> Ack:
    heads = sorted((m.slot.lane, Head(m.slot.seq, m.slot.id(world.room.id))) for m in messages)
    epoch = world.room.tip.epoch if epoch is None else epoch
    bare = Ack(epoch, place_of(world, acker), 1, tuple(heads), UNSIGNED)
    return signed(bare, room=world.room.id, key=acker.seat.vote)


def hello_to(world: World, target: Node, *, reply: bool = False) -> Hello:
    """From a member at the room's height that has signed nothing since, nor holds what `target` signed."""
    tip = world.room.tip
    base = tip.cut[place_of(world, target)]
    nothing = Standing(base.seq, base.id, 0, Rounds())
    return Hello(
        epoch=tip.epoch,
        height=tip.height,
        block=tip.block,
        linked=(),
        mine=nothing,
        yours=nothing,
        reply=reply,
    )


def prevotes_in(heard: Iterable[Message], *, round_: int | None = None) -> list[Prevote]:
    """The prevotes among these messages, of one round if one is named."""
    votes = [message for message in heard if isinstance(message, Prevote)]
    return [vote for vote in votes if round_ is None or vote.round == round_]
