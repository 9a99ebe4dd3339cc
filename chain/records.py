"""What a replica wants kept: one closed union of records, applied by the store in one durable transaction."""

from dataclasses import dataclass

from chain.block import Block, Body, Certificate, Leaf, Slot
from chain.committee import Committee
from chain.ids import BlockId, Hash, MemberId, SlotId, VoteKey
from chain.ledger import Tip
from chain.message import Committed


@dataclass(frozen=True, slots=True)
class KeepSlot:
    """A slot with all its bodies: own ones before they are sent, others' before they are acked."""

    id: SlotId
    slot: Slot
    bodies: tuple[Body, ...]


@dataclass(frozen=True, slots=True)
class KeepBlock:
    """A certified block and the items it orders. Its slots are kept already or stand before it."""

    id: BlockId
    block: Block
    certificate: Certificate
    items: tuple[tuple[int, Leaf], ...]


@dataclass(frozen=True, slots=True)
class KeepEpoch:
    """The start of an epoch: the final block of the one before, with its certificate.

    `frontier` and `spent` complete it to a state one can begin from; a newcomer has them only for the
    last epoch of its walk.
    """

    epoch: int
    final: Block
    certificate: Certificate
    frontier: tuple[Hash, ...] | None
    spent: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A body that is in no slot yet (or no longer: its epoch ended before it was ordered)."""

    body: Body
    front: bool = False
    """Before everything queued so far: it was said earlier. Several in one transaction keep their order."""


@dataclass(frozen=True, slots=True)
class Dequeue:
    uuid: bytes


@dataclass(frozen=True, slots=True)
class Journal:
    """One of our own signed messages (or what proves why we signed it), under a key that it replaces."""

    key: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop all journal entries whose key begins so."""

    prefix: str


@dataclass(frozen=True, slots=True)
class KeepEvidence:
    """Something signed with a vote key that no honest member signs; zeroes where no one key is shown."""

    member: MemberId
    vote_key: VoteKey
    kind: str
    evidence: bytes


FOR_GOOD = ("stopped:", "grounds:", "accused:")
"""Journal entries that outlive heights and epochs: keys that stopped, why blocks took several rounds, and
whose evidence is ordered."""


def grounds_key(height: int) -> str:
    """Where the journal keeps for good what the proposals of this height were justified by."""
    return f"grounds:{height}"


@dataclass(frozen=True, slots=True)
class Departure:
    """How far somebody's membership went: it may be shown everything up to this block, and nothing later."""

    member: MemberId
    final: BlockId
    height: int
    epoch: int
    """The one that began without it."""


Record = KeepSlot | KeepBlock | KeepEpoch | Enqueue | Dequeue | Journal | Forget | KeepEvidence


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a replica restarts from: the store's whole relevant content, verified."""

    tip: Tip
    """After the highest block that was kept in a row from the start of its epoch."""
    history: Tip | None
    """After the highest block kept in a row from genesis, while that is lower than where we began."""
    base: Tip | None
    """What we began from, while the history does not reach it."""
    slots: tuple[KeepSlot, ...]
    """Of the current epoch, above the cut, by lane and seq."""
    journal: tuple[tuple[str, bytes], ...]
    queue: tuple[Body, ...]
    """Bodies in no slot, in the order they were said."""
    evidence: tuple[KeepEvidence, ...] = ()
    committees: tuple[Committee, ...] = ()
    """Of all epochs up to that of `tip`, the founder's first."""
    last: Committed | None = None
    """The block `tip` stands at, as it was kept; None at genesis and where the block itself is not here."""
    departed: tuple[Departure, ...] = ()
    """Who was a member once and is none at the tip."""
