"""Proposals and what justifies them: evidence against who breaks the rule, grounds for who keeps it."""

from chain.ballotbox import BallotBox
from chain.epoch import Epoch
from chain.evidence import Justification, Unjustified, allows, bare
from chain.ids import BlockId, Hash
from chain.message import MAX_GROUNDS, Grounds, Prevote, Propose

UNJUSTIFIED_KNOWN = 16


class Objections:
    """Of one height."""

    def __init__(self, epoch: Epoch, *, box: BallotBox) -> None:
        self._epoch = epoch
        self._box = box
        self._unjustified: dict[tuple[int, BlockId, Hash], Justification] = {}
        """Proposals that their own justification does not allow, with it."""

    def on_proposal(self, proposal: Propose) -> None:
        """One that we refuse for its justification: accuse who made it, if its signed part shows that.

        And whoever prevotes for it, before or after.
        """
        epoch = self._epoch
        stub, justification = proposal.stub(epoch.room), bare(proposal.justification)
        named = stub.round, stub.block, stub.justification
        if named in self._unjustified or len(self._unjustified) >= UNJUSTIFIED_KNOWN:
            return
        if allows(
            justification,
            vote=stub,
            block=stub.block,
            room=epoch.room,
            committee=epoch.committee,
            verify=epoch.verify,
        ):
            return  # only what is attached to it is wrong
        self._unjustified[named] = justification
        epoch.out.accuse(Unjustified(stub, justification))
        for prevote in self._box.prevotes.get(proposal.round, {}).values():
            self.on_prevote(prevote)

    def on_prevote(self, prevote: Prevote) -> None:
        """A verified one: is it for a proposal that nobody may prevote?"""
        named = prevote.round, prevote.block, prevote.justification
        if named in self._unjustified:
            self._epoch.out.accuse(Unjustified(prevote, self._unjustified[named]))

    def grounds(self) -> tuple[Grounds, ...]:
        """What the proposals of later rounds, as far as they had a polka, were justified by."""
        found = []
        for round_, proposal in sorted(self._box.proposals.items()):
            stub = proposal.stub(self._epoch.room)
            prevotes = tuple(
                vote
                for _, vote in sorted(self._box.prevotes.get(round_, {}).items())
                if (vote.block, vote.justification) == (stub.block, stub.justification)
            )
            if round_ > 0 and len(prevotes) >= self._epoch.committee.quorum:
                found.append(Grounds(round_, stub.block, bare(proposal.justification), prevotes))
        return tuple(found[:MAX_GROUNDS])
