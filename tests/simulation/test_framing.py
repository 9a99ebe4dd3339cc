"""No honest member can be framed: an adversary that heard everything they ever signed tries all it can make.

Across crashes, restarts, lost links and round changes; what it makes of liars' signatures does convict.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations, product

import pytest

from chain.block import Head, SlotStub
from chain.errors import MalformedError
from chain.evidence import (
    BrokenPromise,
    Evidence,
    SignedStub,
    Statement,
    TwoAcks,
    TwoBranches,
    TwoSlots,
    TwoVotes,
    Unjustified,
    bare,
    convict,
    epoch_of,
    parting,
    statement,
)
from chain.ids import MemberId, SlotId
from chain.message import (
    Ack,
    Committed,
    Message,
    Precommit,
    Prevote,
    Propose,
    ProposeStub,
    RoundChange,
    SlotMessage,
    justification_digest,
    unpack,
)
from tests.simulation.machine import Node
from tests.simulation.siege import Siege
from tests.simulation.twin_story import TwinStory
from tests.simulation.world import World

PAIRS = 40_000
"""So many pieces of would-be evidence are tried for each story, at most."""


class Eavesdropper:
    """Keeps everything that is ever sent, by whom it is signed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.room = world.room.id
        self.slots: dict[SlotId, SignedStub] = {}
        self.acks: dict[bytes, Ack] = {}
        self.votes: dict[bytes, Statement] = {}
        self.justifications: dict[bytes, tuple[RoundChange, ...]] = {}
        send = world._send

        def listening(node: Node, peer: MemberId, data: bytes) -> None:
            with suppress(MalformedError):  # some liars send garbage
                for message in unpack(data):
                    self._hear(message)
            send(node, peer, data)

        world._send = listening  # type: ignore[method-assign]

    def _hear(self, message: Message) -> None:
        match message:
            case SlotMessage(slot=slot):
                stub = slot.stub(self.room)
                self.slots[stub.id(self.room)] = SignedStub(stub, slot.signature)
            case Ack():
                self.acks[message.preimage(self.room)] = message
            case Prevote() | Precommit() | RoundChange() | Propose():
                self.votes[message.preimage(self.room)] = statement(message, room=self.room)
                if isinstance(message, RoundChange):
                    for prevote in message.polka:
                        self._hear(prevote)
                if isinstance(message, Propose):
                    why = bare(message.justification)
                    self.justifications[justification_digest(why, room=self.room, epoch=message.epoch)] = why
                    for asked in message.justification:
                        self._hear(asked)
            case Committed(grounds=grounds):
                for one in grounds:
                    for vote in (*one.justification, *one.prevotes):
                        self._hear(vote)
            case _:
                pass

    def inventions(self) -> Iterator[Evidence]:
        """Everything that two of these things, or one of them and a justification, could be made into."""
        slots, acks, votes = list(self.slots.values()), list(self.acks.values()), list(self.votes.values())
        for one, other in combinations(slots, 2):
            if one.stub.lane == other.stub.lane:
                yield TwoSlots(one, other)
        for asked, precommit in product(votes, votes):
            if isinstance(asked, RoundChange) and isinstance(precommit, Precommit):
                yield BrokenPromise(precommit, asked)
        for vote in votes:
            if isinstance(vote, Prevote | ProposeStub) and vote.justification in self.justifications:
                yield Unjustified(vote, self.justifications[vote.justification])
        for a, b in combinations(acks, 2):
            if a.signer == b.signer:
                yield TwoAcks(a, b)
                yield from self._branches(a, b)
        for v, w in combinations(votes, 2):
            if v.signer == w.signer:
                yield TwoVotes(v, w)

    def _branches(self, one: Ack, other: Ack) -> Iterator[Evidence]:
        for (lane, head), (other_lane, other_head) in product(one.entries, other.entries):
            if lane == other_lane:
                found = parting(lane, (head, one), (other_head, other), self._stub)
                if found is not None:
                    yield found
                yield TwoBranches(one, other, lane, self._chain(other_head, down_to=head.seq))

    def _stub(self, slot_id: SlotId) -> SlotStub | None:
        found = self.slots.get(slot_id)
        return found.stub if found is not None else None

    def _chain(self, head: Head, *, down_to: int) -> tuple[SlotStub, ...]:
        chain: list[SlotStub] = []
        below = head.id
        while len(chain) < min(128, head.seq - down_to) and (stub := self._stub(below)) is not None:
            chain.append(stub)
            below = stub.prev
        return tuple(reversed(chain))

    def convicted(self) -> tuple[int, dict[MemberId, set[str]]]:
        """How many inventions were tried, and whom they convict of what."""
        committees = next(n for n in self.world.nodes if n.honest and n.replica).running.state.committees
        found: dict[MemberId, set[str]] = {}
        tried = 0
        for evidence in self.inventions():
            if tried == PAIRS:
                break
            tried += 1
            conviction = convict(
                evidence,
                room=self.room,
                committee=committees[epoch_of(evidence)],
                verify=self.world.scheme.verify,
            )
            if conviction is not None:
                found.setdefault(conviction.member, set()).add(conviction.kind)
        return tried, found


def played(family: type[TwinStory] | type[Siege], seed: int) -> Eavesdropper:
    """A story to its end, and who listened."""
    story = family(seed, None)
    heard = Eavesdropper(story.world)
    story.play()
    return heard


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("family", [TwinStory, Siege], ids=["twin", "siege"])
def test_nothing_that_honest_members_sign_can_be_made_into_evidence_against_them(
    family: type[TwinStory] | type[Siege], seed: int
) -> None:
    heard = played(family, seed)
    tried, convicted = heard.convicted()
    # Whose disk is an old copy of itself may sign twice: it counts among the f, and is called no liar.
    honest = {node.id for node in heard.world.nodes if node.honest and node.accountable}
    assert tried > 0
    assert {member: kinds for member, kinds in convicted.items() if member in honest} == {}


def test_the_same_adversary_does_convict_liars() -> None:
    """Or the test above would show nothing."""
    kinds: set[str] = set()
    for seed in range(16):
        kinds |= {kind for found in played(TwinStory, seed).convicted()[1].values() for kind in found}
    assert kinds >= {"two slots for one place", "two acks of one number", "two prevotes in one round"}
