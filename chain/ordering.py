"""Total order: a two-phase vote, led by a sticky leader, on a cut through all lanes. One height at a time.

The second vote is the signature on the checkpoint. A new object serves each height.
"""

from collections.abc import Callable
from dataclasses import dataclass

from chain.ballotbox import BallotBox, Polka
from chain.block import Block, Certificate, Slot
from chain.broadcast import Broadcast
from chain.cuts import heads_to_propose, slots_of
from chain.effects import FaultKind
from chain.epoch import Epoch
from chain.evidence import highest_lock
from chain.ids import BlockId, MemberId
from chain.judgement import Judge, Verdict, derive, justification_of
from chain.ledger import Extension, Tip, extend
from chain.message import (
    UNSIGNED,
    BlockMessage,
    Committed,
    Precommit,
    Prevote,
    Propose,
    PullBlock,
    RoundChange,
    Vote,
    justification_digest,
)
from chain.objections import Objections
from chain.ownvotes import OwnVotes

BACKOFF_CAP = 5
KNOWN_BLOCKS = 64
PATIENT_AFTER = 2
"""Once everybody led so often in vain, more members lie than we can bear: the timer paces the rounds."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A certified block with everything that follows from it."""

    certificate: Certificate
    extension: Extension


class Ordering:
    """The vote on one height."""

    def __init__(
        self,
        epoch: Epoch,
        *,
        tip: Tip,
        broadcast: Broadcast,
        base_timeout: float,
        is_up: Callable[[MemberId], bool],
    ) -> None:
        self.epoch = epoch
        self.tip = tip
        self.height = tip.height + 1
        self.broadcast = broadcast
        self.base_timeout = base_timeout
        self.box = BallotBox(epoch, height=self.height)
        self.own = OwnVotes(epoch)
        self.objections = Objections(epoch, box=self.box)
        self.polka: Polka | None = None
        """The highest one we know."""
        self.deadline: float | None = None
        """When to step again at the latest."""
        self._is_up = is_up
        self._judge = Judge(epoch, tip, broadcast, self.box)
        self._blocks: dict[BlockId, Block] = {}
        self._arrived: dict[int, float] = {}
        self._refused: set[int] = set()
        """Rounds whose proposal we judged bad."""
        self._decided: tuple[Block, Certificate] | None = None
        self._deciders: set[MemberId] = set()
        self.forked: Committed | None = None
        """A certified block that does not follow from ours."""
        self._armed_at: float | None = None
        self._asked_blocks: set[tuple[MemberId, BlockId]] = set()

    @property
    def round(self) -> int:
        return self.box.round

    @property
    def leader(self) -> int:
        return self.tip.leader_of(self.round)

    @property
    def decided(self) -> bool:
        """Whether a certified block of this height is known and only slots may be missing."""
        return self._decided is not None

    # What arrives, all of this epoch and height

    def on_vote(self, vote: Vote, *, peer: MemberId, now: float) -> bool:
        """Take in a vote; true if it is valid, new and worth relaying."""
        if isinstance(vote, Propose):
            return self._on_propose(vote, peer=peer, now=now)
        news = self.box.add(vote, peer=peer)
        if news and isinstance(vote, Prevote):
            self.objections.on_prevote(vote)
        return news

    def _on_propose(self, proposal: Propose, *, peer: MemberId, now: float) -> bool:
        if proposal.signer != self.tip.leader_of(proposal.round):
            self.epoch.out.fault(peer, FaultKind.INVALID, "a proposal that is not its leader's")
            return False
        if proposal.round < self.round or self.box.proposals.get(proposal.round) == proposal:
            return False
        if self.epoch.signature_holds(proposal):
            binding = self._judge.binding(proposal)
            if not binding.allows(proposal.block.id(self.epoch.room)):
                self.objections.on_proposal(proposal)
            # A round-change's polka is not under the proposal's signature: who hands it on may strip it.
            if not binding.valid:
                self.epoch.out.fault(peer, FaultKind.LYING, "a proposal whose justification does not hold")
                return False
        if not self.box.add(proposal, peer=peer):
            return False
        self._arrived[proposal.round] = now
        self._learn(proposal.block)
        return True

    def on_block(self, message: BlockMessage) -> None:
        """A block we asked for; only one that votes name is kept."""
        if self.box.names(message.block.id(self.epoch.room)):
            self._learn(message.block)

    def on_committed(self, message: Committed, *, peer: MemberId) -> bool:
        """A certified block of this height, from anyone; false if it is not certified."""
        if not self.epoch.is_certified(message):
            self.epoch.out.fault(peer, FaultKind.LYING, "a block without a valid certificate")
            return False
        if message.block.prev != self.tip.block:
            self.forked = message  # a quorum built on another block than the one we hold
            return True
        self._decided = message.block, message.certificate
        self.broadcast.forget_doubtful()
        self._deciders.add(peer)
        return True

    def awaits(self, slot: Slot) -> bool:
        """Whether a certified block of this height is known and orders this slot."""
        if self._decided is None or slot.lane >= self.epoch.committee.n:
            return False
        return slot.seq <= self._decided[0].cut[slot.lane].seq

    # The rules, run until nothing moves

    def step(self, now: float) -> Commit | None:
        """Apply every rule that applies; the commit of this height, once there is one."""
        self.deadline = None
        while True:
            commit = self.try_commit()
            if commit is not None:
                return commit
            if self._enter():
                continue
            if not self.epoch.signing:
                return None
            if not (
                self._join()
                or self._propose()
                or self._prevote(now)
                or self._precommit()
                or self._lose_patience(now)
            ):
                return None

    def try_commit(self, *, pull: bool = True) -> Commit | None:
        """The commit of this height if a certificate, its block and all its slots are here.

        `pull`: ask for slots that are missing; not while they may stand in the rest of an envelope.
        """
        certified = [(b, c) for block_id, c in self.box.certified() if (b := self._block(block_id))]
        if self._decided is not None:
            certified.append(self._decided)
        for block, certificate in certified:
            slots, missing = slots_of(self.broadcast, block.cut)
            if missing:
                self.broadcast.name_cut(missing)
                sources = self._deciders.union(self.box.sources(block.id(self.epoch.room))) if pull else ()
                for peer in sorted(sources):
                    self.broadcast.want_cut(missing, peer=peer)
                continue
            extension = derive(self.tip, block, slots, epoch=self.epoch)
            if extension is not None and extension.block == block:
                return Commit(certificate, extension)
            # A quorum signed what does not follow: more members lie than we can bear.
            self.forked = Committed(block, certificate)
        return None

    def _learn(self, block: Block) -> None:
        """Keep a block; when there are too many, give up one that no vote we hold names."""
        if block.height != self.height:
            return
        if len(self._blocks) >= KNOWN_BLOCKS:
            unnamed = (block_id for block_id in self._blocks if not self.box.names(block_id))
            self._blocks.pop(next(unnamed, next(iter(self._blocks))))
        self._blocks[block.id(self.epoch.room)] = block

    def _block(self, block_id: BlockId) -> Block | None:
        """A block that votes name; asked for from those who sent them if we lack it."""
        block = self._blocks.get(block_id)
        if block is None:
            for peer in self.box.sources(block_id):
                if (peer, block_id) not in self._asked_blocks:
                    self._asked_blocks.add((peer, block_id))
                    self.epoch.out.to(peer, PullBlock(self.height, block_id))
        return block

    def forget_asked(self, peer: MemberId) -> None:
        """The link is gone: what was asked over it may be asked again."""
        self._asked_blocks = {asked for asked in self._asked_blocks if asked[0] != peer}

    # Rounds

    def _enter(self) -> bool:
        round_ = self.box.round_to_enter()
        if round_ is None:
            return False
        self._go_to(round_)
        return True

    def _go_to(self, round_: int) -> None:
        self.box.round = round_
        self._armed_at = None

    def _join(self) -> bool:
        round_ = self.box.round_to_join(sent=self.own.asked)
        if round_ is None:
            return False
        self._ask_for(round_)
        return True

    def _give_up(self) -> bool:
        """Ask for the next round at once, unless that was done."""
        if self.own.asked > self.round:
            return False
        self._ask_for(self.round + 1)
        return True

    def _ask_for(self, round_: int) -> None:
        """Send a round-change: from now on nothing is voted below that round."""
        me, _ = self.epoch.signer
        lock, prevotes = (self.polka.lock, self.polka.prevotes) if self.polka else (None, ())
        vote = RoundChange(self.epoch.number, self.height, round_, me, lock, UNSIGNED, prevotes)
        self.box.put(self.own.cast(vote))

    def _lose_patience(self, now: float) -> bool:
        """Ask for the next round when the leader is gone or its time is over; else arm the timer.

        Armed only while something delivered waits or a polka is held; it fires once a round.
        """
        if self.own.asked > self.round:
            return False
        if self.broadcast.anything_unordered() and self._leader_is_gone():
            return self._give_up()
        if not self.broadcast.anything_delivered() and self.polka is None:
            self._armed_at = None
            return False
        if self._armed_at is None:
            self._armed_at = now
        deadline = self._armed_at + self.base_timeout * 2 ** min(self.round, BACKOFF_CAP)
        if now >= deadline:
            return self._give_up()
        self.deadline = deadline
        return False

    def _leader_is_gone(self) -> bool:
        leader = self.leader
        return leader != self.epoch.me and not self._is_up(self.epoch.identity(leader))

    # Propose, prevote, precommit

    def _propose(self) -> bool:
        round_ = self.round
        me, _ = self.epoch.signer
        if self.leader != me or self.own.proposed >= round_ or self.own.asked > round_:
            return False
        votes = [vote for vote in self.box.round_changes.values() if vote.round >= round_ > 0]
        if round_ > 0 and len(votes) < self.epoch.committee.quorum:
            return False
        lock = highest_lock(tuple(votes))
        block = self._block(lock[1]) if lock is not None else self._fresh_block()
        if block is None:
            return False
        self._learn(block)
        proposal = Propose(
            self.epoch.number, self.height, round_, me, block, justification_of(votes), UNSIGNED
        )
        self.box.put(self.own.cast(proposal))
        return True

    def _fresh_block(self) -> Block | None:
        """The furthest cut we could vote for, unless there is nothing new."""
        cut = heads_to_propose(self.broadcast)
        if cut == self.tip.cut:
            return None
        slots, missing = slots_of(self.broadcast, cut)
        assert not missing
        me, _ = self.epoch.signer
        leader = self.epoch.identity(me)
        return extend(self.tip, cut=cut, leader=leader, slots=slots, verify=self.epoch.verify).block

    def _prevote(self, now: float) -> bool:
        for round_, proposal in sorted(self.box.proposals.items()):
            if round_ < self.round or self.own.prevoted >= round_ or self.own.asked > round_:
                continue
            if round_ in self._refused:
                continue
            verdict = self._judge.verdict(
                proposal, arrived=self._arrived.get(round_, now), patience=2 * self.base_timeout
            )
            if verdict is Verdict.WAIT:
                continue
            if round_ > self.round:
                self._go_to(round_)  # a proposal that is justified shows that its round was reached
            if verdict is Verdict.BAD:
                self._refused.add(round_)
                if round_ >= PATIENT_AFTER * self.epoch.committee.n:
                    continue
                return self._give_up()
            self._cast_prevote(proposal)
            return True
        return False

    def _cast_prevote(self, proposal: Propose) -> None:
        me, _ = self.epoch.signer
        room, epoch = self.epoch.room, self.epoch.number
        digest = justification_digest(proposal.justification, room=room, epoch=epoch)
        block_id = proposal.block.id(room)
        vote = Prevote(epoch, self.height, proposal.round, me, block_id, digest, UNSIGNED)
        self.box.put(self.own.cast(vote))

    def _precommit(self) -> bool:
        found = self.box.polka_at(self.round)
        block = self._block(found[0]) if found else None
        if found is None or block is None:
            return False
        block_id, prevotes = found
        if self.polka is None or self.polka.round < self.round:
            self.polka = Polka(block, prevotes)
            self.own.keep_polka(self.polka)
        elif self.polka.lock != (self.round, block_id):
            return False  # two polkas in one round: more lie than we can bear, and we keep our promise
        if self.own.precommitted >= self.round or self.own.asked > self.round:
            return False
        me, _ = self.epoch.signer
        vote = Precommit(
            self.epoch.number,
            self.height,
            self.round,
            me,
            block_id,
            block.log_size,
            block.log_root,
            UNSIGNED,
        )
        self.box.put(self.own.cast(vote))
        return True

    # Others' questions, and restart

    def may_miss(self) -> list[MemberId]:
        """Linked members that asked for another round: their timers are spent, whatever they signed."""
        gave_up = {self.epoch.identity(place) for place in self.box.round_changes}
        return sorted(gave_up & self.epoch.out.members)

    def block_message(self, block_id: BlockId) -> BlockMessage | None:
        """The answer to a PullBlock."""
        block = self._blocks.get(block_id)
        return BlockMessage(block) if block else None

    def votes_for_peer(self, *, but: frozenset[MemberId]) -> list[Vote]:
        """Our votes of this height, and those of members that are not among `but`."""
        others = [
            vote
            for vote in self.box.every()
            if vote.signer != self.epoch.me and self.epoch.identity(vote.signer) not in but
        ]
        return [*self.own.all, *others]

    def votes_of(self, place: int) -> list[Vote]:
        """Every vote of one member that we hold."""
        if place == self.epoch.me:
            return list(self.own.all)
        return [vote for vote in self.box.every() if vote.signer == place]

    def restore(self, journal: tuple[tuple[str, bytes], ...]) -> None:
        """Take up our own votes of this height where they were left."""
        self.polka = self.own.restore(journal)
        if self.polka is not None:
            self._learn(self.polka.block)
        for vote in self.own.all:
            self.box.put(vote)
            if isinstance(vote, Propose):
                self._learn(vote.block)
            if not isinstance(vote, RoundChange):
                self.box.round = max(self.box.round, vote.round)
