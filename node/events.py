"""What a running node tells: one struct an event, with the field names that `--json` prints.

Ids and fingerprints are lower-case hex; times are milliseconds since 1970.
"""

import msgspec


class Event(msgspec.Struct, frozen=True, tag_field="event", kw_only=True):
    """Base: encodes to a JSON object with `event` and `v`."""

    v: int = 1


class RoomEvent(Event, frozen=True, tag="room"):
    """First, and again after each change of committee."""

    room: str
    """The room's name."""
    fingerprint: str
    me: str
    nick: str
    n: int
    f: int
    quorum: int
    parent: str = ""
    """Fingerprint of the room that this one continues."""
    parent_name: str = ""
    """Its name, where this home has it."""
    via: list[str] = []
    """The carriers of this node."""


class InviteEvent(Event, frozen=True, tag="invite"):
    token: str
    expires: int


class TokenEvent(Event, frozen=True, tag="token"):
    """To be carried by a person now; one who looks later is told again while it is of use."""

    kind: str
    """`offer` (for whoever is invited) or `answer` (for whoever made the offer)."""
    token: str
    expires: int


class OverEvent(Event, frozen=True, tag="over"):
    """A token that was shown is of no use any more."""

    kind: str
    """`offer` or `answer`."""
    token: str
    reason: str
    """`used`; `expired`; `stale`: the addresses it names are ours no more; `withdrawn`: another took its
    place, or nobody needs it."""


class AsksEvent(Event, frozen=True, tag="asks"):
    member: str
    nick: str
    words: str
    """The four safety words; empty where this node has no link to the one who asks."""
    inviter: str
    verified: bool
    have: int
    need: int
    rekey: bool = False
    """A member whose vote key may sign no more asks for a new one."""


class AdmittedEvent(Event, frozen=True, tag="admitted"):
    member: str
    nick: str
    n: int
    f: int
    quorum: int


class RemovalEvent(Event, frozen=True, tag="removal"):
    """Somebody's removal was moved, or one more member is for it."""

    member: str
    nick: str
    by: list[str]
    """Nicks of those who are for it."""
    leaves: bool
    """It asked for that itself."""
    have: int
    need: int
    then_up: int
    """How many of those who stay are up now."""
    then_need: int
    """How many it will take then to make anything final."""


class RemovedEvent(Event, frozen=True, tag="removed"):
    member: str
    nick: str
    n: int
    f: int
    quorum: int
    left: bool = False
    """It asked for that itself."""


class PeerEvent(Event, frozen=True, tag="peer"):
    member: str
    nick: str
    state: str
    """`up` or `down`."""


class PendingEvent(Event, frozen=True, tag="pending"):
    id: str
    text: str


class DeliveredEvent(Event, frozen=True, tag="delivered"):
    id: str
    acks: int


class FinalEvent(Event, frozen=True, tag="final"):
    index: int
    height: int
    id: str
    member: str
    nick: str
    text: str
    claimed_time: int
    mine: bool


class EvidenceEvent(Event, frozen=True, tag="evidence"):
    member: str
    nick: str
    kind: str
    file: str


class LinkView(msgspec.Struct, frozen=True):
    member: str
    nick: str
    state: str


class StatusEvent(Event, frozen=True, tag="status"):
    n: int
    f: int
    quorum: int
    up: int
    """Members that can take part now, this one included."""
    height: int
    index: int
    """How many items are ordered."""
    pending: int
    """Own messages that are not final."""
    waiting_for: list[str]
    """Nicks of members whose absence keeps something from becoming final; empty when nothing waits."""
    links: list[LinkView]
    rule: str = "ask"
    notes: list[str] = []
    """Sentences for `--why` and warnings: signing stopped, history incomplete, ..."""
    anchor: str = ""
    """The block that began this epoch, for verifiers to rest on (FINGERPRINT:HEIGHT:BLOCK); or empty."""
    target: int = 0
    """The height that the room has reached, as far as we know; `height` where we are not behind."""
    parent: str = ""
    """Fingerprint of the room that this one continues."""
    troubles: list[str] = []
    """Those of the notes that are about a carrier or a server which does not work now."""
    undecided: bool = False
    """Something that a member said is not final yet, as far as we know."""


class ProgressEvent(Event, frozen=True, tag="progress"):
    """Blocks are being fetched; the last one has `height` at `target`."""

    height: int
    target: int
    """As high as more members say than may lie."""
    past: bool
    """What was said before we came in, and not what we missed."""


class WordsEvent(Event, frozen=True, tag="words"):
    """A newcomer's own view of the safety words, to compare by voice with the member it reached."""

    member: str
    words: str
    known: str = ""
    """The nick under which this home has met that member before."""


class IdentityEvent(Event, frozen=True, tag="identity"):
    """Who asks or is a member is not who this home would expect; once for members, with each request."""

    kind: str
    """`other-key`: the nick is known with another key. `other-nick`: the key, with another nick."""
    member: str
    nick: str
    known_member: str
    known_nick: str
    room: str
    """The room's name where that one was met."""
    met: int
    message: str


class NoticeEvent(Event, frozen=True, tag="notice"):
    """A sentence for people: progress of a join, a stopped signature, a counted fault worth telling."""

    message: str


class ErrorEvent(Event, frozen=True, tag="error"):
    code: int
    message: str
    hint: str


AnyEvent = (
    RoomEvent
    | InviteEvent
    | TokenEvent
    | OverEvent
    | AsksEvent
    | AdmittedEvent
    | RemovalEvent
    | RemovedEvent
    | PeerEvent
    | PendingEvent
    | DeliveredEvent
    | FinalEvent
    | EvidenceEvent
    | StatusEvent
    | ProgressEvent
    | WordsEvent
    | IdentityEvent
    | NoticeEvent
    | ErrorEvent
)
