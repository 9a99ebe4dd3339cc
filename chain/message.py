"""What replicas say to one another, each a typed record; an envelope carries everything for one peer.

Votes and acks are signed over a tagged preimage of all fields but the signature (and what is attached).
"""

from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

from chain.block import Block, Body, Certificate, Counter, Head, Place, Slot, SlotStub, checkpoint_text
from chain.codec import Record, decode, encode
from chain.committee import MAX_MEMBERS
from chain.control import MAX_EVIDENCE, Request
from chain.crypto import Signer, preimage, tagged_hash
from chain.errors import MalformedError
from chain.ids import BlockId, Hash, MemberId, RoomId, Signature, SlotId
from chain.membership import MAX_SPENT

WIRE_VERSION = 1
MAX_ENVELOPE = 1024 * 1024
ENVELOPE_TARGET = 256 * 1024
"""An envelope is closed when it would grow beyond this; one message may be larger."""

MAX_GROUNDS = 4
"""So many rounds of one height are kept with its block."""

MAX_CHAIN = 4096
"""As many slots as every member's ack could lie above the one that is certified."""

_PerMember = msgspec.Meta(max_length=MAX_MEMBERS)
Round = Annotated[int, msgspec.Meta(ge=0, le=2**32)]


class SlotMessage(Record, frozen=True, tag=1):
    slot: Slot
    bodies: Annotated[tuple[Body, ...], msgspec.Meta(max_length=32)]


class Ack(Record, frozen=True, tag=2):
    epoch: Counter
    signer: Place
    ackseq: Counter
    entries: Annotated[tuple[tuple[Place, Head], ...], _PerMember]
    signature: Signature

    def preimage(self, room: RoomId) -> bytes:
        core = (self.epoch, self.signer, self.ackseq, self.entries)
        return preimage("ack", room=room, epoch=self.epoch, payload=encode(core))


class Prevote(Record, frozen=True, tag=3):
    epoch: Counter
    height: Counter
    round: Round
    signer: Place
    block: BlockId
    justification: Hash
    signature: Signature

    def preimage(self, room: RoomId) -> bytes:
        core = (self.epoch, self.height, self.round, self.signer, self.block, self.justification)
        return preimage("prevote", room=room, epoch=self.epoch, payload=encode(core))


class Precommit(Record, frozen=True, tag=4):
    epoch: Counter
    height: Counter
    round: Round
    signer: Place
    block: BlockId
    log_size: Counter
    log_root: Hash
    signature: Signature

    def preimage(self, room: RoomId) -> bytes:
        return checkpoint_text(
            room=room,
            epoch=self.epoch,
            height=self.height,
            round_=self.round,
            block=self.block,
            log_size=self.log_size,
            log_root=self.log_root,
        )


class RoundChange(Record, frozen=True, tag=5):
    epoch: Counter
    height: Counter
    round: Round
    """The round it asks for; it promises no prevote or precommit below."""
    signer: Place
    lock: tuple[Round, BlockId] | None
    """The highest polka its signer knows, whose prevotes are attached."""
    signature: Signature
    polka: Annotated[tuple[Prevote, ...], _PerMember] = ()

    def without_polka(self) -> "RoundChange":
        """As it stands in a justification, where one attached polka serves all."""
        return msgspec.structs.replace(self, polka=())

    def preimage(self, room: RoomId) -> bytes:
        core = (self.epoch, self.height, self.round, self.signer, self.lock)
        return preimage("round-change", room=room, epoch=self.epoch, payload=encode(core))


class Propose(Record, frozen=True, tag=6):
    epoch: Counter
    height: Counter
    round: Round
    signer: Place
    block: Block
    justification: Annotated[tuple[RoundChange, ...], _PerMember]
    signature: Signature

    def preimage(self, room: RoomId) -> bytes:
        return self.stub(room).preimage(room)

    def stub(self, room: RoomId) -> "ProposeStub":
        """The proposal with its block and its justification named by their hashes."""
        return ProposeStub(
            self.epoch,
            self.height,
            self.round,
            self.signer,
            self.block.id(room),
            justification_digest(self.justification, room=room, epoch=self.epoch),
            self.signature,
        )


class ProposeStub(Record, frozen=True, tag=18):
    """What the leader of a round signs; evidence is made of these."""

    epoch: Counter
    height: Counter
    round: Round
    signer: Place
    block: BlockId
    justification: Hash
    signature: Signature

    def preimage(self, room: RoomId) -> bytes:
        core = (self.epoch, self.height, self.round, self.signer, self.block, self.justification)
        return preimage("propose", room=room, epoch=self.epoch, payload=encode(core))


def justification_digest(justification: tuple[RoundChange, ...], *, room: RoomId, epoch: int) -> Hash:
    """Names the signed parts of the round-changes; attached polkas are checked, not named."""
    payload = encode([(vote.preimage(room), vote.signature) for vote in justification])
    return tagged_hash("justification", room=room, epoch=epoch, payload=payload)


Vote = Prevote | Precommit | RoundChange | Propose
Signed = Ack | Prevote | Precommit | RoundChange | Propose


Reached = Annotated[int, msgspec.Meta(ge=-1, le=2**32)]
"""The highest round of the current height with a vote of some kind; -1 for none."""


class Rounds(Record, frozen=True):
    """How far one member's votes of the current height go, kind by kind."""

    proposed: Reached = -1
    prevoted: Reached = -1
    precommitted: Reached = -1
    asked: Reached = -1

    def of(self, vote: Vote) -> int:
        """The entry for this vote's kind."""
        match vote:
            case Propose():
                return self.proposed
            case Prevote():
                return self.prevoted
            case Precommit():
                return self.precommitted
            case RoundChange():
                return self.asked

    def covers(self, other: "Rounds") -> bool:
        """Whether this goes at least as far in every kind."""
        return (
            other.proposed <= self.proposed
            and other.prevoted <= self.prevoted
            and other.precommitted <= self.precommitted
            and other.asked <= self.asked
        )


def rounds_of(votes: Iterable[Vote]) -> Rounds:
    """The highest round of each kind among these votes."""
    highest = [-1, -1, -1, -1]
    for vote in votes:
        kind = (Propose, Prevote, Precommit, RoundChange).index(type(vote))
        highest[kind] = max(highest[kind], vote.round)
    return Rounds(*highest)


class Standing(Record, frozen=True):
    """How far one member's own signatures go, as somebody knows them."""

    seq: Counter
    head: SlotId
    ackseq: Counter
    rounds: Rounds


class Hello(Record, frozen=True, tag=7):
    epoch: Counter
    height: Counter
    block: BlockId
    linked: Annotated[tuple[MemberId, ...], _PerMember]
    mine: Standing | None
    """What the sender holds of itself (none: it observes)."""
    yours: Standing | None
    """What the sender holds of the receiver in this epoch."""
    reply: bool


class PullSlot(Record, frozen=True, tag=8):
    """Asks for the slots of one branch after `have`, up to and with this one."""

    epoch: Counter
    lane: Place
    have: Counter
    head: Head


class PullBlock(Record, frozen=True, tag=9):
    """Asks for a block that was voted on and is not committed yet."""

    height: Counter
    block: BlockId


class BlockMessage(Record, frozen=True, tag=10):
    block: Block


class PullRange(Record, frozen=True, tag=11):
    """Asks for committed blocks from this height on, with their slots."""

    height: Counter


class Grounds(Record, frozen=True):
    """Why a quorum prevoted a block in a round after the first: what its proposal was justified by.

    Kept with a block that took several rounds: should a quorum ever sign another block at its height,
    these show who broke which rule.
    """

    round: Round
    block: BlockId
    justification: Annotated[tuple[RoundChange, ...], _PerMember]
    prevotes: Annotated[tuple[Prevote, ...], _PerMember]


class Committed(Record, frozen=True, tag=12):
    """A block with its certificate; in an answer to PullRange its slots follow."""

    block: Block
    certificate: Certificate
    grounds: Annotated[tuple[Grounds, ...], msgspec.Meta(max_length=MAX_GROUNDS)] = ()


class Accusation(Record, frozen=True, tag=13):
    """Evidence against a member (see evidence.py), encoded: the reason to mute it."""

    evidence: Annotated[bytes, msgspec.Meta(max_length=MAX_EVIDENCE)]


class SlotCertificate(Record, frozen=True, tag=19):
    """Acks by which a quorum, the lane's owner among it, vouches for one slot and all before it."""

    epoch: Counter
    lane: Place
    head: Head
    acks: Annotated[tuple[Ack, ...], _PerMember]
    chain: Annotated[tuple[SlotStub, ...], msgspec.Meta(max_length=MAX_CHAIN)]
    """Where an ack is of a later slot: what leads from there down to this one."""


class JoinRequest(Record, frozen=True, tag=14):
    request: Request


class Refusal(Record, frozen=True, tag=17):
    """Why somebody who asked to join cannot be admitted as things stand."""

    reason: Annotated[str, msgspec.Meta(max_length=200)]


class PullFinals(Record, frozen=True, tag=15):
    """Asks for the epoch-final blocks from this epoch on."""

    epoch: Counter


class Final(Record, frozen=True):
    block: Block
    certificate: Certificate


class Finals(Record, frozen=True, tag=16):
    """Epoch-final blocks in a row, and what the state after the last of them needs.

    `genesis` stands there when the walk begins at epoch 0.
    """

    epoch: Counter
    genesis: Annotated[bytes, msgspec.Meta(max_length=2048)]
    finals: Annotated[tuple[Final, ...], msgspec.Meta(max_length=256)]
    frontier: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=64)]
    spent: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_SPENT)]
    more: bool


Message = (
    SlotMessage
    | Ack
    | Prevote
    | Precommit
    | RoundChange
    | Propose
    | Hello
    | PullSlot
    | PullBlock
    | BlockMessage
    | PullRange
    | Committed
    | Accusation
    | SlotCertificate
    | JoinRequest
    | PullFinals
    | Finals
    | Refusal
)


class Envelope(Record, frozen=True):
    version: int
    messages: Annotated[tuple[Message, ...], msgspec.Meta(max_length=4096)]


def weight(message: Message) -> int:
    """Its encoded size in bytes: what bounds are counted in."""
    return len(encode(message))


def pack(messages: list[Message]) -> list[bytes]:
    """Envelopes, each at most about ENVELOPE_TARGET bytes, that carry the messages in order."""
    envelopes: list[bytes] = []
    batch: list[Message] = []
    size = 0
    for message in messages:
        length = weight(message)
        if batch and (size + length > ENVELOPE_TARGET or len(batch) == 4096):
            envelopes.append(encode(Envelope(WIRE_VERSION, tuple(batch))))
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        envelopes.append(encode(Envelope(WIRE_VERSION, tuple(batch))))
    return envelopes


UNSIGNED = Signature(bytes(64))

S = TypeVar("S", Slot, Ack, Prevote, Precommit, RoundChange, Propose)


def signed(message: S, *, room: RoomId, key: Signer) -> S:
    """The same message with its signature filled in."""
    return msgspec.structs.replace(message, signature=key.sign(message.preimage(room)))


def unpack(data: bytes) -> tuple[Message, ...]:
    """The messages of one envelope; MalformedError for anything else, also an unknown version."""
    if len(data) > 2 and data[0] == 0x92 and data[1] != WIRE_VERSION:
        version = str(data[1]) if data[1] < 0x80 else "beyond 127"
        raise MalformedError(f"version {version} of the protocol; this node speaks {WIRE_VERSION}")
    return decode(data, Envelope, limit=MAX_ENVELOPE).messages
