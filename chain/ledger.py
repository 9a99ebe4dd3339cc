"""The committed record: what a block follows from, and the one function that derives the next.

Proposers, voters, those who catch up and those who verify a store all call `extend`.
"""

from dataclasses import dataclass, field

from chain.block import Block, Head, Leaf, leaves_of
from chain.codec import encode
from chain.committee import Committee, Member, spent_digest
from chain.control import Genesis, Motion
from chain.crypto import Verifier
from chain.errors import InvalidBlockError
from chain.ids import BlockId, MemberId, RoomId, SlotId
from chain.linearize import LaneSlots, linearize
from chain.membership import Ballot, enact
from chain.merkle import Frontier, leaf_hash


@dataclass(frozen=True, slots=True)
class Tip:
    """Everything the next block depends on."""

    room: RoomId
    epoch: int
    height: int
    block: BlockId
    """The last block's id; the room id at height 0."""
    committee: Committee
    spent: tuple[bytes, ...]
    leader: MemberId
    cut: tuple[Head, ...]
    frontier: Frontier
    ballot: Ballot = field(default_factory=Ballot)

    def leader_of(self, round_: int) -> int:
        """The place of the member that proposes the next height in this round; it sticks while it serves."""
        identities = [member.identity for member in self.committee.members]
        following = [place for place, identity in enumerate(identities) if identity >= self.leader]
        return ((following[0] if following else 0) + round_) % self.committee.n


def first_cut(n: int, final: BlockId) -> tuple[Head, ...]:
    """Where every lane of an epoch begins: no slots, after the block that ended the epoch before."""
    return (Head(0, SlotId(final)),) * n


def genesis_tip(genesis: Genesis) -> Tip:
    """The state before height 1: the founder alone."""
    room = genesis.room_id()
    spent: tuple[bytes, ...] = (genesis.vote_key,)
    founder = Member(genesis.founder, genesis.vote_key, genesis.nick)
    return Tip(
        room=room,
        epoch=0,
        height=0,
        block=BlockId(room),
        committee=Committee((founder,), spent_digest(spent)),
        spent=spent,
        leader=genesis.founder,
        cut=first_cut(1, BlockId(room)),
        frontier=Frontier(),
    )


@dataclass(frozen=True, slots=True)
class Extension:
    """A derived block, the items it orders (each with its index), and the state after it."""

    block: Block
    items: tuple[tuple[int, Leaf], ...]
    tip: Tip
    passed: Motion | None
    """The motion that ends the epoch with this block."""


def extend(
    tip: Tip,
    *,
    cut: tuple[Head, ...],
    leader: MemberId,
    slots: LaneSlots,
    verify: Verifier,
) -> Extension:
    """The block at the next height whose cut is `cut`, and all that follows from it.

    `slots` holds, for each lane that moved, the slots after the old cut up to the new one, in order;
    that they link up, belong to their owners and are dep-closed has been checked before.
    """
    ballot, frontier, items = tip.ballot, tip.frontier, []
    for slot_id, slot in linearize(slots, after=tip.cut):
        author = tip.committee.members[slot.lane].identity
        for leaf in leaves_of(slot, slot_id=slot_id, author=author):
            items.append((frontier.size, leaf))
            frontier = frontier.append(leaf_hash(encode(leaf)))
        for position, control in enumerate(slot.control):
            ballot = ballot.with_control(
                control,
                at=(slot_id, position),
                author=author,
                committee=tip.committee,
                spent=tip.spent,
                room=tip.room,
                verify=verify,
            )
    committee, spent = tip.committee, tip.spent
    if ballot.passed is not None:
        committee, spent = enact(ballot.passed, committee=committee, spent=spent)
    block = Block(
        epoch=tip.epoch,
        height=tip.height + 1,
        prev=tip.block,
        leader=leader,
        cut=cut,
        log_size=frontier.size,
        log_root=frontier.root(),
        committee=tip.committee.digest,
        next_committee=committee if ballot.passed is not None else None,
    )
    block_id = block.id(tip.room)
    final = ballot.passed is not None
    after = Tip(
        room=tip.room,
        epoch=tip.epoch + final,
        height=block.height,
        block=block_id,
        committee=committee,
        spent=spent,
        leader=leader,
        cut=first_cut(committee.n, block_id) if final else cut,
        frontier=frontier,
        ballot=Ballot() if final else ballot,
    )
    return Extension(block, tuple(items), after, ballot.passed)


def tip_after_final(*, room: RoomId, block: Block, frontier: Frontier, spent: tuple[bytes, ...]) -> Tip:
    """The state an epoch starts from: the certified final block and what its hashes vouch for."""
    committee = block.next_committee
    if committee is None:
        raise InvalidBlockError(f"block {block.height} ends no epoch")
    if not frontier.is_well_formed() or frontier.size != block.log_size or frontier.root() != block.log_root:
        raise InvalidBlockError(f"the frontier does not lead to the root of block {block.height}")
    if spent_digest(spent) != committee.spent:
        raise InvalidBlockError(f"the spent keys do not match block {block.height}")
    block_id = block.id(room)
    return Tip(
        room=room,
        epoch=block.epoch + 1,
        height=block.height,
        block=block_id,
        committee=committee,
        spent=spent,
        leader=block.leader,
        cut=first_cut(committee.n, block_id),
        frontier=frontier,
    )
