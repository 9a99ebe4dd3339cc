"""The votes of one height: who sent what for which round, bounded, and what a quorum of them shows."""

from collections.abc import Iterable
from typing import TypeVar

from chain.block import Block, Certificate
from chain.codec import Record
from chain.effects import FaultKind
from chain.epoch import Epoch
from chain.ids import BlockId, MemberId
from chain.message import Precommit, Prevote, Propose, RoundChange

ROUNDS_BACK = 8
"""Precommits of so many past rounds are kept: they may still complete a certificate."""

V = TypeVar("V", Prevote, Precommit, RoundChange, Propose)


class Polka(Record, frozen=True):
    """A quorum of prevotes for one block in one round, and that block."""

    block: Block
    prevotes: tuple[Prevote, ...]

    @property
    def round(self) -> int:
        return self.prevotes[0].round

    @property
    def lock(self) -> tuple[int, BlockId]:
        return self.prevotes[0].round, self.prevotes[0].block


class BallotBox:
    """Verified votes only. For each signer and kind: those near our round, and the highest one ahead."""

    def __init__(self, epoch: Epoch, *, height: int) -> None:
        self.epoch = epoch
        self.height = height
        self.round = 0
        self.prevotes: dict[int, dict[int, Prevote]] = {}
        self.precommits: dict[int, dict[int, Precommit]] = {}
        self.round_changes: dict[int, RoundChange] = {}
        """The highest of each signer."""
        self.sources: dict[BlockId, list[MemberId]] = {}
        """Linked peers that sent a vote for a block: they serve it."""

    def add(self, vote: Prevote | Precommit | RoundChange, *, peer: MemberId) -> bool:
        """Count one vote of this height; true if it is valid and new."""
        match vote:
            case RoundChange():
                return self._add_round_change(vote, peer)
            case Prevote():
                return self._add_to(self.prevotes, vote, peer)
            case Precommit():
                return self._add_to(self.precommits, vote, peer)

    def _add_to(self, box: dict[int, dict[int, V]], vote: V, peer: MemberId) -> bool:
        known = box.get(vote.round, {}).get(vote.signer)
        if known == vote or not self._has_room(box, vote):
            return False
        if not self.epoch.signature_holds(vote):
            self.epoch.out.fault(peer, FaultKind.WRONG_SIGNATURE, "a vote")
            return False
        if known is not None:
            kind = f"two {type(vote).__name__.lower()}s in one round"
            self.epoch.out.evidence(self.epoch.identity(vote.signer), kind, known, vote)
            return False
        box.setdefault(vote.round, {})[vote.signer] = vote
        if isinstance(vote, Prevote | Precommit):
            self.note_source(vote.block, peer)
        return True

    def _has_room(self, box: dict[int, dict[int, V]], vote: V) -> bool:
        """Past rounds for precommits only; ahead of us one round a signer, the highest."""
        if vote.round < self.round:
            return box is self.precommits and vote.round >= self.round - ROUNDS_BACK
        if vote.round == self.round:
            return True
        ahead = [r for r, votes in box.items() if r > self.round and vote.signer in votes]
        if any(r > vote.round for r in ahead):
            return False
        for r in ahead:
            if r != vote.round:
                del box[r][vote.signer]
        return True

    def _add_round_change(self, vote: RoundChange, peer: MemberId) -> bool:
        known = self.round_changes.get(vote.signer)
        if known is not None and (known.round > vote.round or known == vote):
            return False
        if not self.epoch.signature_holds(vote) or not self.lock_is_shown(vote):
            self.epoch.out.fault(peer, FaultKind.WRONG_SIGNATURE, "a round-change or its polka")
            return False
        if known is not None and known.round == vote.round:
            if known.lock != vote.lock:
                who = self.epoch.identity(vote.signer)
                self.epoch.out.evidence(who, "two round-changes to one round", known, vote)
            return False
        self.round_changes[vote.signer] = vote
        if vote.lock is not None:
            self.note_source(vote.lock[1], peer)
        return True

    def lock_is_shown(self, vote: RoundChange) -> bool:
        """Whether a round-change that names a polka carries it: a quorum of its prevotes."""
        if vote.lock is None:
            return not vote.polka
        round_, block = vote.lock
        signers = {prevote.signer for prevote in vote.polka}
        return (
            round_ < vote.round
            and len(signers) == len(vote.polka) >= self.epoch.committee.quorum
            and all(
                prevote.epoch == self.epoch.number
                and prevote.height == self.height
                and prevote.round == round_
                and prevote.block == block
                and (
                    self.prevotes.get(round_, {}).get(prevote.signer) == prevote
                    or self.epoch.signature_holds(prevote)
                )
                for prevote in vote.polka
            )
        )

    def note_source(self, block: BlockId, peer: MemberId) -> None:
        peers = self.sources.setdefault(block, [])
        if peer not in peers and len(self.sources) <= 64:
            peers.append(peer)

    # What a quorum shows

    def polka_at(self, round_: int) -> tuple[BlockId, tuple[Prevote, ...]] | None:
        """The block that a quorum prevoted in this round."""
        votes = self.prevotes.get(round_, {})
        for block in {vote.block for vote in votes.values()}:
            backing = sorted((v for v in votes.values() if v.block == block), key=lambda v: v.signer)
            if len(backing) >= self.epoch.committee.quorum:
                return block, tuple(backing)
        return None

    def certified(self) -> list[tuple[BlockId, Certificate]]:
        """Blocks that a quorum precommitted in one round, with the signatures that say so."""
        found = []
        for round_, votes in sorted(self.precommits.items()):
            texts = {(vote.block, vote.log_size, vote.log_root) for vote in votes.values()}
            for text in sorted(texts):
                backing = {
                    v.signer: v.signature for v in votes.values() if (v.block, v.log_size, v.log_root) == text
                }
                if len(backing) >= self.epoch.committee.quorum:
                    found.append((text[0], Certificate(round_, tuple(sorted(backing.items())))))
        return found

    def round_to_join(self, *, sent: int) -> int | None:
        """The highest round that some honest member surely asks for, if it is beyond ours."""
        asked = sorted((vote.round for vote in self.round_changes.values()), reverse=True)
        witness = self.epoch.committee.honest_witness
        if len(asked) < witness:
            return None
        round_ = asked[witness - 1]
        return round_ if round_ > max(self.round, sent) else None

    def round_to_enter(self, proposals: Iterable[Propose]) -> int | None:
        """The highest round beyond ours at which a quorum of members is."""
        at: dict[int, int] = {}
        votes: list[Prevote | Precommit | RoundChange | Propose] = [
            *self.round_changes.values(),
            *(vote for box in self.prevotes.values() for vote in box.values()),
            *(vote for box in self.precommits.values() for vote in box.values()),
            *proposals,
        ]
        for vote in votes:
            at[vote.signer] = max(at.get(vote.signer, 0), vote.round)
        quorum = self.epoch.committee.quorum
        reached = sorted(at.values(), reverse=True)
        return reached[quorum - 1] if len(reached) >= quorum and reached[quorum - 1] > self.round else None
