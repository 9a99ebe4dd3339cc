"""Total order: a two-phase vote, led by a sticky leader, on a cut through all lanes. One height at a time.

The second vote is the signature on the checkpoint. A new object serves each height.
"""

from dataclasses import dataclass

from chain.ballotbox import BallotBox, Polka
from chain.block import Block, Certificate, Slot, certificate_holds
from chain.broadcast import Broadcast, LaneSlots
from chain.codec import encode
from chain.effects import FaultKind, Forked
from chain.epoch import Epoch
from chain.errors import InvalidBlockError
from chain.ids import BlockId, MemberId, SlotId
from chain.ledger import Extension, Tip, extend
from chain.message import (
    UNSIGNED,
    BlockMessage,
    Committed,
    Message,
    Precommit,
    Prevote,
    Propose,
    PullBlock,
    RoundChange,
    justification_digest,
    signed,
)
from chain.records import Journal
from chain.resync import restored

BACKOFF_CAP = 5
KNOWN_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class Commit:
    """A certified block with everything that follows from it."""

    certificate: Certificate
    extension: Extension


@dataclass(frozen=True, slots=True)
class _Binding:
    """What a proposal's justification leaves its leader free to do."""

    valid: bool
    block: BlockId | None = None
    """The block it must propose again; None: a fresh one."""


class Ordering:
    """The vote on one height."""

    def __init__(self, epoch: Epoch, *, tip: Tip, broadcast: Broadcast, base_timeout: float) -> None:
        self.epoch = epoch
        self.tip = tip
        self.height = tip.height + 1
        self.broadcast = broadcast
        self.base_timeout = base_timeout
        self.box = BallotBox(epoch, height=self.height)
        self.blocks: dict[BlockId, Block] = {}
        self.proposals: dict[int, Propose] = {}
        self.polka: Polka | None = None
        self.deadline: float | None = None
        """When to step again at the latest."""
        self.linked_or_listed: frozenset[MemberId] = frozenset()
        """Members we are linked to, and those that somebody linked to us lists."""
        self._arrived: dict[int, float] = {}
        self._own: list[Propose | Prevote | Precommit | RoundChange] = []
        self.forked = False
        self._decided: tuple[Block, Certificate] | None = None
        self._refused: set[int] = set()
        self._proposed = -1
        self._prevoted = -1
        self._precommitted = -1
        self._asked = 0
        """The highest round we sent a round-change for; 0: none."""
        self._armed_at: float | None = None
        self._asked_blocks: set[tuple[MemberId, BlockId]] = set()

    @property
    def round(self) -> int:
        return self.box.round

    @property
    def leader(self) -> int:
        return self.tip.leader_of(self.round)

    @property
    def own_votes(self) -> tuple[Propose | Prevote | Precommit | RoundChange, ...]:
        return tuple(self._own)

    # What arrives, all of this epoch and height

    def on_vote(self, vote: Prevote | Precommit | RoundChange, *, peer: MemberId) -> bool:
        return self.box.add(vote, peer=peer)

    def on_propose(self, proposal: Propose, *, peer: MemberId, now: float) -> bool:
        """Take in a proposal; true if it is new and worth relaying."""
        out, round_ = self.epoch.out, proposal.round
        known = self.proposals.get(round_)
        if known == proposal or round_ < self.round:
            return False
        if proposal.signer != self.tip.leader_of(round_) or not self.epoch.signature_holds(proposal):
            out.fault(peer, FaultKind.WRONG_SIGNATURE, "a proposal that is not its leader's")
            return False
        if known is not None:
            if known.block != proposal.block:
                who = self.epoch.identity(proposal.signer)
                out.evidence(who, "two proposals in one round", known, proposal)
            return False
        ahead = [r for r in self.proposals if r > self.round]
        if round_ > self.round and ahead:
            if max(ahead) > round_:
                return False
            del self.proposals[max(ahead)]
        self.proposals[round_] = proposal
        self._arrived[round_] = now
        self._learn(proposal.block)
        self.box.note_source(proposal.block.id(self.epoch.room), peer)
        return True

    def on_block(self, message: BlockMessage) -> None:
        """A block we asked for; only one that votes name is kept."""
        if message.block.id(self.epoch.room) in self.box.sources:
            self._learn(message.block)

    def on_committed(self, message: Committed, *, peer: MemberId) -> bool:
        """A certified block of this height, from anyone; false if it is not certified."""
        block = message.block
        if (
            block.epoch != self.epoch.number
            or len(block.cut) != self.epoch.committee.n
            or not certificate_holds(
                message.certificate,
                block,
                room=self.epoch.room,
                committee=self.epoch.committee,
                verify=self.epoch.verify,
            )
        ):
            self.epoch.out.fault(peer, FaultKind.LYING, "a block without a valid certificate")
            return False
        self._learn(block)
        self.box.note_source(block.id(self.epoch.room), peer)
        self._decided = block, message.certificate
        return True

    @property
    def decided(self) -> bool:
        """Whether a certified block of this height is known and only slots may be missing."""
        return self._decided is not None

    def contradicts(self, message: Committed) -> bool:
        """Whether this is a certified block of the epoch, for a height we committed otherwise."""
        return len(message.block.cut) == self.epoch.committee.n and certificate_holds(
            message.certificate,
            message.block,
            room=self.epoch.room,
            committee=self.epoch.committee,
            verify=self.epoch.verify,
        )

    def _learn(self, block: Block) -> None:
        if len(self.blocks) < KNOWN_BLOCKS and block.height == self.height:
            self.blocks[block.id(self.epoch.room)] = block

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

    def try_commit(self) -> Commit | None:
        """The commit of this height if a certificate, its block and all its slots are here."""
        certified = [(b, c) for block_id, c in self.box.certified() if (b := self._block(block_id))]
        if self._decided is not None:
            certified.append(self._decided)
        for block, certificate in certified:
            slots, missing = self.broadcast.slots_of(block.cut)
            if missing:
                for peer in self.box.sources.get(block.id(self.epoch.room), []):
                    self.broadcast.want_cut(missing, peer=peer)
                continue
            extension = self._extend(block, slots)
            if extension is not None and extension.block == block:
                return Commit(certificate, extension)
            if not self.forked:
                # A quorum signed what does not follow: more members lie than we can bear.
                self.forked = True
                self.epoch.out.tell(Forked(block.height))
        return None

    def _extend(self, block: Block, slots: LaneSlots) -> Extension | None:
        try:
            return extend(self.tip, cut=block.cut, leader=block.leader, slots=slots, verify=self.epoch.verify)
        except InvalidBlockError:
            return None

    def _block(self, block_id: BlockId) -> Block | None:
        """A block that votes name; asked for from those who sent them if we lack it."""
        block = self.blocks.get(block_id)
        if block is None:
            for peer in self.box.sources.get(block_id, []):
                if peer in self.epoch.out.linked and (peer, block_id) not in self._asked_blocks:
                    self._asked_blocks.add((peer, block_id))
                    self.epoch.out.to(peer, PullBlock(self.height, block_id))
        return block

    def forget_asked(self, peer: MemberId) -> None:
        """The link is gone: what was asked over it may be asked again."""
        self._asked_blocks = {asked for asked in self._asked_blocks if asked[0] != peer}

    def _enter(self) -> bool:
        round_ = self.box.round_to_enter(self.proposals.values())
        if round_ is None:
            return False
        self._go_to(round_)
        return True

    def _go_to(self, round_: int) -> None:
        self.box.round = round_
        self._armed_at = None

    def _join(self) -> bool:
        round_ = self.box.round_to_join(sent=self._asked)
        if round_ is None:
            return False
        self._ask_for(round_)
        return True

    def _ask_for(self, round_: int) -> None:
        """Send a round-change: from now on nothing is voted below that round."""
        me, key = self.epoch.signer
        lock, prevotes = (self.polka.lock, self.polka.prevotes) if self.polka else (None, ())
        unsigned = RoundChange(self.epoch.number, self.height, round_, me, lock, UNSIGNED, prevotes)
        vote = signed(unsigned, room=self.epoch.room, key=key)
        self._asked = round_
        self.box.round_changes[me] = vote
        self._send(vote, key=f"vote:round-change:{round_}")

    def _give_up(self) -> bool:
        """Ask for the next round at once, unless that was done."""
        if self._asked > self.round:
            return False
        self._ask_for(self.round + 1)
        return True

    def _send(self, vote: Propose | Prevote | Precommit | RoundChange, *, key: str) -> None:
        self._own.append(vote)
        self.epoch.out.keep(Journal(key, encode(vote)))
        self.epoch.out.to_all(vote)

    # Propose

    def _propose(self) -> bool:
        round_ = self.round
        me, key = self.epoch.signer
        if self.leader != me or self._proposed >= round_ or self._asked > round_:
            return False
        justification: tuple[RoundChange, ...] = ()
        block: Block | None = None
        if round_ > 0:
            votes = [v for v in self.box.round_changes.values() if v.round >= round_]
            if len(votes) < self.epoch.committee.quorum:
                return False
            highest = max((v.lock for v in votes if v.lock), default=None)
            justification = _with_one_polka(votes, highest)
            if highest is not None:
                block = self._block(highest[1])
                if block is None:
                    return False
        if block is None:
            block = self._fresh_block()
            if block is None:
                return False
        self._learn(block)
        proposal = signed(
            Propose(self.epoch.number, self.height, round_, me, block, justification, UNSIGNED),
            room=self.epoch.room,
            key=key,
        )
        self._proposed = round_
        self.proposals[round_] = proposal
        self._send(proposal, key=f"vote:propose:{round_}")
        return True

    def _fresh_block(self) -> Block | None:
        cut = self.broadcast.heads_to_propose()
        if cut == self.tip.cut:
            return None
        slots, missing = self.broadcast.slots_of(cut)
        assert not missing
        me, _ = self.epoch.signer
        extension = extend(
            self.tip, cut=cut, leader=self.epoch.identity(me), slots=slots, verify=self.epoch.verify
        )
        return extension.block

    # Prevote

    def _prevote(self, now: float) -> bool:
        for round_, proposal in sorted(self.proposals.items()):
            if round_ < self.round or self._prevoted >= round_ or self._asked > round_:
                continue
            verdict = None if round_ in self._refused else self._judge(proposal, now)
            if verdict is None:
                continue
            if round_ > self.round:
                self._go_to(round_)
            if verdict:
                self._cast_prevote(proposal)
                return True
            self._refused.add(round_)
            return self._give_up()
        return False

    def _cast_prevote(self, proposal: Propose) -> None:
        me, key = self.epoch.signer
        vote = signed(
            Prevote(
                self.epoch.number,
                self.height,
                proposal.round,
                me,
                proposal.block.id(self.epoch.room),
                justification_digest(proposal.justification, room=self.epoch.room, epoch=self.epoch.number),
                UNSIGNED,
            ),
            room=self.epoch.room,
            key=key,
        )
        self._prevoted = proposal.round
        self.box.prevotes.setdefault(vote.round, {})[me] = vote
        self._send(vote, key=f"vote:prevote:{vote.round}")

    def _judge(self, proposal: Propose, now: float) -> bool | None:
        """True: vote for it. False: it breaks a rule, ask for the next round. None: not yet."""
        block, peer = proposal.block, self.epoch.identity(proposal.signer)
        binding = self._binding(proposal)
        if not binding.valid:
            self.epoch.out.fault(peer, FaultKind.INVALID, "a proposal whose justification does not hold")
            self._refused.add(proposal.round)
            return False if proposal.round == self.round else None
        bound = binding.block is not None
        if bound and block.id(self.epoch.room) != binding.block:
            self.epoch.out.fault(peer, FaultKind.INVALID, "a proposal that ignores the block it is bound to")
            return False
        if len(block.cut) != self.epoch.committee.n or not self._is_monotone(block):
            self.epoch.out.fault(peer, FaultKind.INVALID, "a proposal whose cut goes backward")
            return False
        slots, missing = self.broadcast.slots_of(block.cut)
        if missing:
            for source in self.box.sources.get(block.id(self.epoch.room), []):
                self.broadcast.want_cut(missing, peer=source)
            return None
        if not bound:
            if block.leader != peer or not self._vouched(block):
                return False
            if self._omits_delivered(block, arrived=self._arrived.get(proposal.round, now)):
                return False
        extension = self._extend(block, slots) if _closed(slots, self.tip) else None
        if extension is None or extension.block != block:
            self.epoch.out.fault(peer, FaultKind.INVALID, "a proposal with wrong derived fields")
            return False
        return True

    def _is_monotone(self, block: Block) -> bool:
        pairs = list(zip(self.tip.cut, block.cut, strict=True))
        return block.cut != self.tip.cut and all(new == old or new.seq > old.seq for old, new in pairs)

    def _vouched(self, block: Block) -> bool:
        return all(self.broadcast.vouches_for(place, head) for place, head in enumerate(block.cut))

    def _omits_delivered(self, block: Block, *, arrived: float) -> bool:
        """Whether a fresh cut leaves out a slot we delivered long before it came: censorship."""
        for lane, head in zip(self.broadcast.lanes, block.cut, strict=True):
            for kept in self.broadcast.branch(lane.place, have=head.seq, head=lane.delivered):
                if self.broadcast.delivered_at.get(kept.id, arrived) < arrived - 2 * self.base_timeout:
                    return True
        return False

    def _binding(self, proposal: Propose) -> _Binding:
        votes = proposal.justification
        if proposal.round == 0:
            return _Binding(valid=not votes)
        signers = [vote.signer for vote in votes]
        if signers != sorted(set(signers)) or len(signers) < self.epoch.committee.quorum:
            return _Binding(valid=False)
        for vote in votes:
            known = self.box.round_changes.get(vote.signer)
            same = known is not None and (known.round, known.lock, known.signature) == (
                vote.round,
                vote.lock,
                vote.signature,
            )
            if (
                vote.epoch != self.epoch.number
                or vote.height != self.height
                or vote.round < proposal.round
                or not (same or self.epoch.signature_holds(vote))
            ):
                return _Binding(valid=False)
        highest = max((vote.lock for vote in votes if vote.lock), default=None)
        if highest is None:
            return _Binding(valid=True)
        shown = any(vote.lock == highest and self.box.lock_is_shown(vote) for vote in votes)
        return _Binding(valid=shown, block=highest[1])

    # Precommit

    def _precommit(self) -> bool:
        found = self.box.polka_at(self.round)
        if found is None:
            return False
        block_id, prevotes = found
        block = self._block(block_id)
        if block is None:
            return False
        if self.polka is None or self.polka.round < self.round:
            self.polka = Polka(block, prevotes)
            self.epoch.out.keep(Journal("polka", encode(self.polka)))
        if self._precommitted >= self.round or self._asked > self.round:
            return False
        me, key = self.epoch.signer
        vote = signed(
            Precommit(
                self.epoch.number,
                self.height,
                self.round,
                me,
                block_id,
                block.log_size,
                block.log_root,
                UNSIGNED,
            ),
            room=self.epoch.room,
            key=key,
        )
        self._precommitted = self.round
        self.box.precommits.setdefault(self.round, {})[me] = vote
        self._send(vote, key=f"vote:precommit:{self.round}")
        return True

    # Time

    def _lose_patience(self, now: float) -> bool:
        """Ask for the next round when the leader is gone or its time is over; else arm the timer.

        Armed only while something delivered waits or a polka is held; it fires once a round.
        """
        if self._asked > self.round:
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
        return self.leader != self.epoch.me and self.epoch.identity(self.leader) not in self.linked_or_listed

    # Others' questions, and restart

    def block_message(self, block_id: BlockId) -> BlockMessage | None:
        block = self.blocks.get(block_id)
        return BlockMessage(block) if block else None

    def votes_for_peer(self, *, but: frozenset[MemberId]) -> list[Message]:
        """Our votes of this height, and those of members that are not among `but`."""
        votes: list[Message] = list(self._own)
        others: list[Propose | Prevote | Precommit | RoundChange] = [
            *self.proposals.values(),
            *(vote for box in self.box.prevotes.values() for vote in box.values()),
            *(vote for box in self.box.precommits.values() for vote in box.values()),
            *self.box.round_changes.values(),
        ]
        votes.extend(
            vote
            for vote in others
            if vote.signer != self.epoch.me and self.epoch.identity(vote.signer) not in but
        )
        return votes

    def highest_round_of(self, place: int) -> int:
        """The highest round in which we know a vote of this member; -1 for none."""
        return max((vote.round for vote in self.votes_of(place)), default=-1)

    def votes_of(self, place: int) -> list[Propose | Prevote | Precommit | RoundChange]:
        """Every vote of one member that we hold."""
        if place == self.epoch.me:
            return list(self._own)
        found: list[Propose | Prevote | Precommit | RoundChange] = [
            proposal for proposal in self.proposals.values() if proposal.signer == place
        ]
        for prevotes in self.box.prevotes.values():
            found.extend(vote for signer, vote in prevotes.items() if signer == place)
        for precommits in self.box.precommits.values():
            found.extend(vote for signer, vote in precommits.items() if signer == place)
        if place in self.box.round_changes:
            found.append(self.box.round_changes[place])
        return found

    def restore(self, journal: tuple[tuple[str, bytes], ...]) -> None:
        """Take up our own votes of this height where they were left."""
        me = self.epoch.me
        for key, message in journal:
            kind = key.split(":")[1] if key.startswith("vote:") else key
            vote: Propose | Prevote | Precommit | RoundChange
            match kind:
                case "propose":
                    vote = restored(message, Propose)
                    self.proposals[vote.round] = vote
                    self._learn(vote.block)
                    self._proposed = max(self._proposed, vote.round)
                case "prevote":
                    vote = restored(message, Prevote)
                    self.box.prevotes.setdefault(vote.round, {})[vote.signer] = vote
                    self._prevoted = max(self._prevoted, vote.round)
                case "precommit":
                    vote = restored(message, Precommit)
                    self.box.precommits.setdefault(vote.round, {})[vote.signer] = vote
                    self._precommitted = max(self._precommitted, vote.round)
                case "round-change":
                    vote = restored(message, RoundChange)
                    self._asked = max(self._asked, vote.round)
                    if self._asked == vote.round:
                        self.box.round_changes[vote.signer] = vote
                case "polka":
                    self.polka = restored(message, Polka)
                    self._learn(self.polka.block)
                    continue
                case _:
                    continue
            assert vote.signer == me
            self._own.append(vote)
            if not isinstance(vote, RoundChange):
                self.box.round = max(self.box.round, vote.round)


def _closed(slots: LaneSlots, tip: Tip) -> bool:
    """Whether every dep of these slots is old or among them, by id."""
    chosen: set[SlotId] = {slot_id for chain in slots.values() for slot_id, _ in chain}
    every: list[Slot] = [slot for chain in slots.values() for _, slot in chain]
    return all(dep.seq <= tip.cut[dep.lane].seq or dep.id in chosen for slot in every for dep in slot.deps)


def _with_one_polka(votes: list[RoundChange], highest: tuple[int, BlockId] | None) -> tuple[RoundChange, ...]:
    """Ascending by signer; only the first that names the highest polka keeps it attached."""
    stripped: list[RoundChange] = []
    shown = False
    for vote in sorted(votes, key=lambda v: v.signer):
        keep = highest is not None and vote.lock == highest and not shown
        shown |= keep
        polka = vote.polka if keep else ()
        stripped.append(
            RoundChange(vote.epoch, vote.height, vote.round, vote.signer, vote.lock, vote.signature, polka)
        )
    return tuple(stripped)
