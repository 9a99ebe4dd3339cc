"""What goes into a replica and what comes out of it: two closed unions and nothing else.

Order matters in what comes out: whatever is to be kept stands before whatever may be sent or shown.
"""

from dataclasses import dataclass
from enum import StrEnum

from chain.block import Body, Leaf
from chain.committee import Committee
from chain.control import Motion, Request
from chain.crypto import Signer
from chain.ids import MemberId
from chain.membership import MotionId
from chain.records import Record

# Inputs


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link to this identity is open and proven; it replaces any former one."""

    peer: MemberId


@dataclass(frozen=True, slots=True)
class LinkDown:
    peer: MemberId


@dataclass(frozen=True, slots=True)
class Arrived:
    """One envelope from a linked peer."""

    peer: MemberId
    data: bytes


@dataclass(frozen=True, slots=True)
class Say:
    """A body to broadcast and order; its data begins with a 16-byte uuid."""

    body: Body


@dataclass(frozen=True, slots=True)
class Want:
    """The user (or a rule) wants this motion to pass; it is moved or approved, again in each epoch."""

    motion: Motion


@dataclass(frozen=True, slots=True)
class Unwant:
    """No longer wanted: the one to be admitted left, say."""

    member: MemberId


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The measured 95th percentile of the links' round trips, in seconds."""

    p95: float


@dataclass(frozen=True, slots=True)
class ComeBack:
    """Our vote key may not sign any more: ask the members to let us go on with this one.

    `key` never signed anything but `request`, or is the one that the replica was started with.
    """

    request: Request
    key: Signer


Input = LinkUp | LinkDown | Arrived | Say | Want | Unwant | RoundTrip | ComeBack


# Effects


@dataclass(frozen=True, slots=True)
class Persist:
    """One durable transaction; it must be on disk before any later effect is carried out."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """One envelope for one peer."""

    peer: MemberId
    data: bytes


@dataclass(frozen=True, slots=True)
class Serve:
    """Read committed blocks from this height on from the store and send them (with their slots)."""

    peer: MemberId
    height: int
    last: int | None = None
    """No block above this height: the peer is no member any more."""


@dataclass(frozen=True, slots=True)
class ServeFinals:
    """Read the epoch-final blocks from this epoch on from the store and send them."""

    peer: MemberId
    epoch: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Step again at this time at the latest; None: no timer at all. Replaces the former."""

    at: float | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A message of ours is safe on our disk."""

    uuid: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message of ours is certified: every honest member will have it."""

    uuid: bytes
    acks: int
    """How many members hold it for sure, we among them."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A block is final; its items follow one another from `items[0]`'s index on."""

    height: int
    items: tuple[tuple[int, Leaf], ...]


@dataclass(frozen=True, slots=True)
class HistoryGrew:
    """Blocks from before we joined were fetched: the record is complete up to this height."""

    height: int
    complete: bool


@dataclass(frozen=True, slots=True)
class CommitteeChanged:
    """A new epoch began. If `passed` removed us, it is the last thing that happens here."""

    epoch: int
    committee: Committee
    passed: Motion


@dataclass(frozen=True, slots=True)
class Asks:
    """Somebody asks to be admitted and has not been yet. `motion` is None while nobody moved it."""

    request: Request
    motion: MotionId | None
    approvals: frozenset[MemberId]
    verified: bool
    """The request carries a voucher of a member that nobody used yet."""
    rekey: bool = False
    """It is a member that asks for a new vote key: wanted by `Rekey(request)`, not by `Admit`."""


class FaultKind(StrEnum):
    MALFORMED = "malformed"
    WRONG_SIGNATURE = "wrong signature"
    STRANGER = "not for strangers"
    INVALID = "breaks the protocol"
    LYING = "answers with something wrong"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something a peer sent was refused. Data, never an exception."""

    peer: MemberId
    kind: FaultKind
    detail: str


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """A member signed two things that no honest member signs both of."""

    member: MemberId
    kind: str


@dataclass(frozen=True, slots=True)
class JournalLost:
    """A peer showed something signed with our vote key that our journal lacks; we sign nothing more."""

    detail: str


@dataclass(frozen=True, slots=True)
class Forked:
    """A certified block that contradicts one of ours: more than f members lied. Everything stops."""

    height: int


Effect = (
    Persist
    | Send
    | Serve
    | ServeFinals
    | SetTimer
    | Pending
    | Delivered
    | Ordered
    | HistoryGrew
    | CommitteeChanged
    | Asks
    | Fault
    | EvidenceFound
    | JournalLost
    | Forked
)
