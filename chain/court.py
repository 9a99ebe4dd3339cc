"""Where evidence is judged: once for each vote key and kind, by the committee of the epoch it is about.

What holds is kept, told and passed on; whose key is convicted is muted for as long as it has that key.
"""

from chain.committee import Committee
from chain.control import Accuse
from chain.crypto import Verifier
from chain.effects import EvidenceFound
from chain.errors import MalformedError
from chain.evidence import (
    BrokenPromise,
    Conviction,
    Evidence,
    TwoVotes,
    Unjustified,
    allows,
    bare,
    breaks_promise,
    convict,
    decode_evidence,
    epoch_of,
)
from chain.ids import RoomId, VoteKey
from chain.message import Accusation, Committed, Grounds, Precommit
from chain.outbox import Outbox
from chain.records import Journal, KeepEvidence


class Court:
    """All evidence of one room that one replica knows."""

    def __init__(self, *, room: RoomId, verify: Verifier, out: Outbox, committees: list[Committee]) -> None:
        self._room = room
        self._verify = verify
        self._out = out
        self._committees = committees
        self._known: set[tuple[VoteKey, str]] = set()
        self.convicted: dict[VoteKey, Accuse] = {}
        """Vote keys that broke the protocol, each with the first evidence that came up."""
        self.ordered: set[VoteKey] = set()
        """Those whose evidence stands in the record."""

    def recall(self, kept: tuple[KeepEvidence, ...], journal: tuple[tuple[str, bytes], ...]) -> None:
        """After a restart: what was kept has been judged."""
        for found in kept:
            self._known.add((found.vote_key, found.kind))
            if any(found.vote_key):
                self.convicted.setdefault(found.vote_key, Accuse(found.evidence))
        self.ordered = {
            VoteKey(bytes.fromhex(key.partition(":")[2])) for key, _ in journal if key.startswith("accused:")
        }

    def judge(self, data: bytes) -> Conviction | None:
        """Judge evidence of an epoch that we know; None if it does not hold. Keeps and tells what is new."""
        found = self._judged(data)
        if found is not None and (found.vote_key, found.kind) not in self._known:
            self._known.add((found.vote_key, found.kind))
            self.convicted.setdefault(found.vote_key, Accuse(data))
            self._out.keep(KeepEvidence(found.member, found.vote_key, found.kind, data))
            self._out.tell(EvidenceFound(found.member, found.kind))
            self._out.to_all(Accusation(data))
        return found

    def _judged(self, data: bytes) -> Conviction | None:
        try:
            evidence = decode_evidence(data)
        except MalformedError:
            return None
        epoch = epoch_of(evidence)
        if epoch >= len(self._committees):
            return None
        committee = self._committees[epoch]
        return convict(evidence, room=self._room, committee=committee, verify=self._verify)

    def is_ahead(self, data: bytes) -> bool:
        """Whether it is about an epoch whose committee we do not know yet."""
        try:
            return epoch_of(decode_evidence(data)) >= len(self._committees)
        except MalformedError:
            return False

    def is_known(self, data: bytes) -> bool:
        """Whether just this evidence convicted somebody already: nothing is to be checked again."""
        return any(known.evidence == data for known in self.convicted.values())

    def note_ordered(self, found: Conviction) -> None:
        """Its evidence stands in the record now."""
        if found.vote_key not in self.ordered:
            self.ordered.add(found.vote_key)
            self._out.keep(Journal(f"accused:{found.vote_key.hex()}", b""))


def culprits(
    one: Committed, other: Committed, *, room: RoomId, committee: Committee, verify: Verifier
) -> list[Evidence]:
    """Evidence, one piece a member, against those who made two certified blocks of one height possible.

    Both certificates are known to hold. With those of one round every double signer is named. With those
    of two rounds it takes the grounds of the lowest later round in which another block had a polka: who
    precommitted the first block and hid that, or else everybody who prevoted against what was shown. Either
    way at least f + 1 members.
    """
    first, second = sorted((one, other), key=lambda message: message.certificate.round)
    early, late = _precommits(first, room=room), _precommits(second, room=room)
    if first.certificate.round == second.certificate.round:
        return [TwoVotes(early[place], late[place]) for place in early if place in late]
    blamed: dict[int, Evidence] = {}
    for grounds in (*first.grounds, *second.grounds):
        if grounds.round > first.certificate.round and grounds.block != first.block.id(room):
            for place, evidence in _blamed_by(grounds, early, room, committee, verify):
                blamed.setdefault(place, evidence)
    return list(blamed.values())


def _blamed_by(
    grounds: Grounds, early: dict[int, Precommit], room: RoomId, committee: Committee, verify: Verifier
) -> list[tuple[int, Evidence]]:
    justification = bare(grounds.justification)
    found: list[tuple[int, Evidence]] = []
    for asked in justification:
        precommit = early.get(asked.signer)
        if precommit is not None and breaks_promise(precommit, asked):
            found.append((asked.signer, BrokenPromise(precommit, asked)))
    for vote in grounds.prevotes:
        if not allows(
            justification, vote=vote, block=vote.block, room=room, committee=committee, verify=verify
        ):
            found.append((vote.signer, Unjustified(vote, justification)))
    return found


def _precommits(message: Committed, *, room: RoomId) -> dict[int, Precommit]:
    """The votes that a certificate is made of."""
    block, certificate = message.block, message.certificate
    block_id = block.id(room)
    return {
        place: Precommit(
            block.epoch,
            block.height,
            certificate.round,
            place,
            block_id,
            block.log_size,
            block.log_root,
            signature,
        )
        for place, signature in certificate.signatures
    }
