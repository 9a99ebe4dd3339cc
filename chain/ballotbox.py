"""The votes of one height: who sent what for which round, bounded, and what a quorum of them shows."""

from collections.abc import Iterator

from chain.block import Block, Certificate
from chain.codec import Record
from chain.effects import FaultKind
from chain.epoch import Epoch
from chain.evidence import BrokenPromise, TwoVotes, breaks_promise, statement
from chain.ids import BlockId, MemberId
from chain.message import Precommit, Prevote, Propose, RoundChange, Vote

ROUNDS_BACK = 8
"""Precommits of so many past rounds are kept: they may still complete a certificate."""


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
        self.proposals: dict[int, Propose] = {}
        """One a round: its leader's."""
        self.prevotes: dict[int, dict[int, Prevote]] = {}
        self.precommits: dict[int, dict[int, Precommit]] = {}
        self.round_changes: dict[int, RoundChange] = {}
        """The highest of each signer."""

    def every(self) -> Iterator[Vote]:
        """All votes held, those we cast among them."""
        yield from self.proposals.values()
        for prevotes in self.prevotes.values():
            yield from prevotes.values()
        for precommits in self.precommits.values():
            yield from precommits.values()
        yield from self.round_changes.values()

    def put(self, vote: Vote) -> None:
        """Count a vote that needs no check: our own."""
        match vote:
            case Propose():
                self.proposals[vote.round] = vote
            case Prevote():
                self.prevotes.setdefault(vote.round, {})[vote.signer] = vote
            case Precommit():
                self.precommits.setdefault(vote.round, {})[vote.signer] = vote
            case RoundChange():
                known = self.round_changes.get(vote.signer)
                if known is None or known.round < vote.round:
                    self.round_changes[vote.signer] = vote

    def add(self, vote: Vote, *, peer: MemberId) -> bool:
        """Count one vote of this height that came from `peer`; true if it is valid and new."""
        known = self._known(vote)
        if known == vote or not self._has_room(vote):
            return False
        if not self.epoch.signature_holds(vote) or not (
            not isinstance(vote, RoundChange) or self.lock_is_shown(vote)
        ):
            self.epoch.out.fault(peer, FaultKind.WRONG_SIGNATURE, f"a {type(vote).__name__.lower()}")
            return False
        if known is not None:
            if known.preimage(self.epoch.room) != vote.preimage(self.epoch.room):
                room = self.epoch.room
                self.epoch.out.accuse(TwoVotes(statement(known, room=room), statement(vote, room=room)))
            return False
        self._compare_promises(vote)
        self._make_room(vote)
        self.put(vote)
        return True

    def _compare_promises(self, vote: Vote) -> None:
        """Whether a signer's precommits and what it asked for in a later round contradict each other."""
        asked, precommits = self.round_changes.get(vote.signer), self._precommits_of(vote.signer)
        match vote:
            case RoundChange():
                asked = vote
            case Precommit():
                precommits = [vote]
            case _:
                return
        for precommit in precommits:
            if asked is not None and breaks_promise(precommit, asked):
                self.epoch.out.accuse(BrokenPromise(precommit, asked.without_polka()))
                return

    def _precommits_of(self, signer: int) -> list[Precommit]:
        return [votes[signer] for votes in self.precommits.values() if signer in votes]

    def _known(self, vote: Vote) -> Vote | None:
        """What we hold of this signer at this very position."""
        match vote:
            case Propose():
                return self.proposals.get(vote.round)
            case Prevote():
                return self.prevotes.get(vote.round, {}).get(vote.signer)
            case Precommit():
                return self.precommits.get(vote.round, {}).get(vote.signer)
            case RoundChange():
                known = self.round_changes.get(vote.signer)
                return known if known is not None and known.round == vote.round else None

    def _has_room(self, vote: Vote) -> bool:
        """Past rounds for precommits only; ahead of us one round a signer and kind, the highest."""
        if isinstance(vote, RoundChange):
            known = self.round_changes.get(vote.signer)
            return known is None or known.round <= vote.round
        if vote.round < self.round:
            return isinstance(vote, Precommit) and vote.round >= self.round - ROUNDS_BACK
        return vote.round == self.round or all(ahead <= vote.round for ahead in self._ahead(vote))

    def _ahead(self, vote: Vote) -> list[int]:
        """The rounds beyond ours in which we hold a vote of this kind by this signer."""
        return [
            held.round
            for held in self.every()
            if type(held) is type(vote) and held.signer == vote.signer and held.round > self.round
        ]

    def _make_room(self, vote: Vote) -> None:
        if isinstance(vote, RoundChange) or vote.round <= self.round:
            return
        for round_ in self._ahead(vote):
            match vote:
                case Propose():
                    del self.proposals[round_]
                case Prevote():
                    del self.prevotes[round_][vote.signer]
                case Precommit():
                    del self.precommits[round_][vote.signer]

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
                (prevote.epoch, prevote.height) == (self.epoch.number, self.height)
                and (prevote.round, prevote.block) == (round_, block)
                and (self._known(prevote) == prevote or self.epoch.signature_holds(prevote))
                for prevote in vote.polka
            )
        )

    # Who named a block

    def names(self, block: BlockId) -> bool:
        """Whether some vote we hold is for this block."""
        return bool(self._backers(block))

    def sources(self, block: BlockId) -> list[MemberId]:
        """Linked members to ask for a block or its slots: who voted for it, or else everybody."""
        linked = self.epoch.out.members
        named = {self.epoch.identity(place) for place in self._backers(block)} & linked
        return sorted(named or linked)

    def _backers(self, block: BlockId) -> set[int]:
        found: set[int] = set()
        named: BlockId | None
        for vote in self.every():
            match vote:
                case Propose():
                    named = vote.block.id(self.epoch.room)
                case RoundChange():
                    named = vote.lock[1] if vote.lock else None
                case Prevote() | Precommit():
                    named = vote.block
            if named == block:
                found.add(vote.signer)
        return found

    # What a quorum shows

    def polka_at(self, round_: int) -> tuple[BlockId, tuple[Prevote, ...]] | None:
        """The block that a quorum prevoted in this round."""
        votes = self.prevotes.get(round_, {})
        for block in sorted({vote.block for vote in votes.values()}):
            backing = sorted((v for v in votes.values() if v.block == block), key=lambda v: v.signer)
            if len(backing) >= self.epoch.committee.quorum:
                return block, tuple(backing)
        return None

    def certified(self) -> list[tuple[BlockId, Certificate]]:
        """Blocks that a quorum precommitted in one round, with the signatures that say so."""
        found = []
        for round_, votes in sorted(self.precommits.items()):
            if len(votes) < self.epoch.committee.quorum:
                continue
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

    def round_to_enter(self) -> int | None:
        """The highest round beyond ours at which a quorum of members is."""
        at: dict[int, int] = {}
        for vote in self._beyond():
            at[vote.signer] = max(at.get(vote.signer, 0), vote.round)
        quorum = self.epoch.committee.quorum
        return sorted(at.values(), reverse=True)[quorum - 1] if len(at) >= quorum else None

    def _beyond(self) -> Iterator[Vote]:
        """The votes of rounds after ours: mostly none."""
        for round_, proposal in self.proposals.items():
            if round_ > self.round:
                yield proposal
        for by_round in (self.prevotes, self.precommits):
            for round_, votes in by_round.items():
                if round_ > self.round:
                    yield from votes.values()
        for vote in self.round_changes.values():
            if vote.round > self.round:
                yield vote
