"""Lies in the vote: two proposals, wrong or censoring ones, double votes, hidden polkas, forgeries."""

from collections.abc import Iterable

from msgspec.structs import replace

from chain.block import Block
from chain.ids import BlockId, Hash
from chain.message import (
    UNSIGNED,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    justification_digest,
)
from tests.simulation.adversary import Liar, Lie, no_block
from tests.simulation.machine import Node


def position(message: Prevote | Precommit | Propose | RoundChange) -> tuple[int, int, int]:
    return message.epoch, message.height, message.round


class ProposesTwo(Lie):
    """Each side gets another block for the same round; the gang votes for both."""

    kind = "double_proposals"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        gang = self.liar.gang
        if not isinstance(message, Propose) or not self.liar.is_mine(message) or not gang.side(target):
            return (message,)
        at = position(message)
        if at not in gang.others and self.tempted():
            self._think_of_another(message.block, at)
        if at not in gang.others:
            return (message,)
        proposal = self.liar.sign(replace(message, block=gang.others[at]))
        return (gang.extras[at], proposal) if at in gang.extras else (proposal,)

    def _think_of_another(self, block: Block, at: tuple[int, int, int]) -> None:
        gang, other = self.liar.gang, self.liar.other_block(block)
        if other is None or other == block or self.dice.random() < 0.3:
            made = self.liar.block_with_a_new_slot(block)
            if made is None:
                return
            other, gang.extras[at] = made
        gang.others[at] = other
        self.did()


class ProposesWrong(Lie):
    """A proposal in which one derived field is not what it should be."""

    kind = "wrong_derived_fields"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Propose) or not self.liar.is_mine(message) or not self.tempted():
            return (message,)
        self.did()
        return (self.liar.sign(replace(message, block=self._wrong(message.block))),)

    def _wrong(self, block: Block) -> Block:
        dice = self.dice
        members = self.liar.committee.members
        return dice.choice(
            (
                replace(block, log_size=block.log_size + 1),
                replace(block, log_root=Hash(dice.randbytes(32))),
                replace(block, prev=no_block(dice)),
                replace(block, leader=dice.choice(members).identity),
                replace(block, committee=Hash(dice.randbytes(32))),
                replace(block, next_committee=self.liar.committee),
                replace(block, next_committee=None),
                replace(block, epoch=block.epoch + 1),
                replace(block, height=block.height + 1),
                replace(block, cut=self.liar.tip.cut),
                replace(block, cut=block.cut[:-1] or block.cut),
                replace(block, cut=tuple(reversed(block.cut))),
            )
        )


class IgnoresBoundValue(Lie):
    """In a later round it proposes what it likes, whatever the round-changes bind it to."""

    kind = "bound_value_ignored"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Propose) or not self.liar.is_mine(message):
            return (message,)
        if not any(vote.lock for vote in message.justification) or not self.tempted():
            return (message,)
        fresh = self.liar.fresh_block()
        other = fresh if fresh not in (None, message.block) else self.liar.other_block(message.block)
        if other is not None:
            self.did()
            return (self.liar.sign(replace(message, block=other)),)
        made = self.liar.block_with_a_new_slot(message.block)
        if made is None:
            return (message,)
        self.did()
        return (made[1], self.liar.sign(replace(message, block=made[0])))


class Omits(Lie):
    """Never orders one member's slots; nor, while it can help it, any motions (its own removal, say)."""

    kind = "lane_omitted"

    def __init__(self, liar: Liar, *, often: float) -> None:
        super().__init__(liar, often=often)
        self._victim = self.dice.choice(liar.world.room.seats).id

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Propose) or not self.liar.is_mine(message):
            return (message,)
        for place in self._control_lanes():
            if (block := self.liar.other_block(message.block, without=place)) is not None:
                self.did("control_omitted")
                return (self.liar.sign(replace(message, block=block)),)
        place_of_victim = self.liar.committee.place(self._victim)
        if place_of_victim is None or not self.tempted():
            return (message,)
        block = self.liar.other_block(message.block, without=place_of_victim)
        if block is None:
            return (message,)
        self.did()
        return (self.liar.sign(replace(message, block=block)),)

    def _control_lanes(self) -> list[int]:
        replica = self.liar.replica
        if replica is None:
            return []
        slots = replica.state.broadcast.slots.values()
        return sorted({kept.slot.lane for kept in slots if kept.slot.control})


class VotesTwice(Lie):
    """A second vote in the same round: for what the other side was proposed, or for nothing that exists."""

    kind = "double_votes"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Prevote | Precommit) or not self.liar.is_mine(message):
            return (message,)
        gang, at = self.liar.gang, position(message)
        other = gang.others.get(at)
        if other is not None and gang.side(target):
            self.did()
            second = self._vote_for(message, other)
            return (second,) if self.dice.random() < 0.7 else (second, message)
        if not self.tempted():
            return (message,)
        self.did()
        wrong = self.liar.sign(replace(message, block=self._some_block()))
        return self.dice.choice(((wrong,), (wrong, message), (message, wrong)))

    def _vote_for(self, message: Prevote | Precommit, block: Block) -> Message:
        block_id = block.id(self.liar.world.room.id)
        if isinstance(message, Prevote):
            return self.liar.sign(replace(message, block=block_id))
        return self.liar.sign(
            replace(message, block=block_id, log_size=block.log_size, log_root=block.log_root)
        )

    def _some_block(self) -> BlockId:
        known = self.liar.gang.proposals
        if known and self.dice.random() < 0.6:
            return self.dice.choice(known).block.id(self.liar.world.room.id)
        return no_block(self.dice)


class VotesWithoutCause(Lie):
    """Votes for a proposal at once, in both phases, or asks for rounds that nobody needs."""

    kind = "votes_without_cause"

    def act(self) -> None:
        targets, place, proposals = self.liar.targets(), self.liar.place, self.liar.gang.proposals
        if not targets or place is None:
            return
        tip, dice, room = self.liar.tip, self.dice, self.liar.world.room.id
        made: list[Message] = []
        if proposals and dice.random() < 0.6:
            proposal = dice.choice(list(proposals)[-4:])
            block, round_ = proposal.block, max(0, proposal.round + dice.choice((-1, 0, 0, 0, 1)))
            digest = justification_digest(proposal.justification, room=room, epoch=proposal.epoch)
            at = (proposal.epoch, proposal.height, round_, place)
            made.append(self.liar.sign(Prevote(*at, block.id(room), digest, UNSIGNED)))
            precommit = Precommit(*at, block.id(room), block.log_size, block.log_root, UNSIGNED)
            made.append(self.liar.sign(precommit))
        else:
            round_ = dice.choice((1, 1, 1, 2, 3, 6, 40))
            made.append(self.liar.sign(RoundChange(tip.epoch, tip.height + 1, round_, place, None, UNSIGNED)))
        for target in dice.sample(targets, dice.randint(1, len(targets))):
            self.liar.tell(target, *made)
            self.did()


class HidesPolka(Lie):
    """Asks for the next round as if it had seen no quorum of prevotes; or names one and does not show it."""

    kind = "hidden_polkas"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        match message:
            case RoundChange(lock=lock) if lock is not None and self.tempted():
                if self.liar.is_mine(message) and self.dice.random() < 0.7:
                    self.did()
                    return (self.liar.sign(replace(message, lock=None, polka=())),)
                self.did("stripped_polkas")
                return (message.without_polka(),)
            case Propose(justification=votes) if any(v.polka for v in votes) and self.tempted():
                self.did("stripped_polkas")
                bare = tuple(vote.without_polka() for vote in votes)
                return (replace(message, justification=bare),)
            case _:
                return (message,)


class ForgesJustification(Lie):
    """Leads a round that nobody asked for, or that too few or others asked for."""

    kind = "forged_justifications"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Propose) or not self.liar.is_mine(message):
            return (message,)
        if not message.justification or not self.tempted():
            return (message,)
        self.did()
        votes = list(message.justification)
        match self.dice.randrange(3):
            case 0:
                votes.pop(self.dice.randrange(len(votes)))
            case 1:
                votes[0] = replace(votes[-1])
            case _:
                index = self.dice.randrange(len(votes))
                votes[index] = replace(votes[index], lock=None, polka=(), signature=UNSIGNED)
        return (self.liar.sign(replace(message, justification=tuple(votes))),)

    def act(self) -> None:
        targets, place, tip = self.liar.targets(), self.liar.place, self.liar.tip
        if not targets or place is None:
            return
        block = self.liar.fresh_block()
        if block is None:
            return
        round_ = next((r for r in range(1, tip.committee.n + 1) if tip.leader_of(r) == place), None)
        if round_ is None:
            return
        at = (tip.epoch, tip.height + 1, round_)
        votes = tuple(self._claimed(at, signer, place) for signer in range(tip.committee.quorum))
        made = self.liar.sign(Propose(*at, place, block, votes, UNSIGNED))
        for target in targets:
            self.liar.tell(target, made)
        self.did()

    def _claimed(self, at: tuple[int, int, int], signer: int, me: int) -> RoundChange:
        """A round-change that this member never signed, unless it is ours."""
        lock = (at[2] - 1, no_block(self.dice)) if self.dice.random() < 0.2 else None
        vote = RoundChange(*at, signer, lock, UNSIGNED)
        if signer == me or self.dice.random() < 0.5:
            return self.liar.sign(vote)
        return replace(vote, signature=UNSIGNED)


class OneEar(Lie):
    """Its votes reach one member only, another one at each height."""

    kind = "votes_to_one_only"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Prevote | Precommit | RoundChange) or not self.liar.is_mine(message):
            return (message,)
        others = [node for node in self.liar.world.nodes if node.honest]
        if target is others[(message.height + len(self.kind)) % len(others)]:
            return (message,)
        if not self.tempted():
            return (message,)
        self.did()
        return ()
