"""One tick's outcome while it is being made: what to keep, what to say to whom, what to tell.

Whatever the order in which rules ran, `flush` puts the durable transaction first.
"""

from chain.codec import encode
from chain.effects import Effect, Fault, FaultKind, Persist, Send
from chain.evidence import Evidence, charge
from chain.ids import MemberId
from chain.message import Message, pack
from chain.records import Record


class Outbox:
    """Collects effects; the replica keeps current who is linked, and which of them are members."""

    def __init__(self) -> None:
        self.linked: set[MemberId] = set()
        self.members: set[MemberId] = set()
        self._records: list[Record] = []
        self._messages: dict[MemberId, dict[Message, None]] = {}
        self._notices: list[Effect] = []
        self._accused: dict[tuple[int, str], bytes] = {}
        """Evidence that came up in this tick and is still to be judged, one piece a member and kind."""

    def keep(self, record: Record) -> None:
        self._records.append(record)

    def to(self, peer: MemberId, message: Message) -> None:
        """For one peer, once a tick; dropped if it is not linked (any more): HELLO mends that later."""
        if peer not in self.linked:
            return
        self._messages.setdefault(peer, {})[message] = None

    def to_all(self, message: Message) -> None:
        """For every linked member."""
        for peer in sorted(self.members):
            self.to(peer, message)

    def tell(self, notice: Effect) -> None:
        self._notices.append(notice)

    def fault(self, peer: MemberId, kind: FaultKind, detail: str) -> None:
        self._notices.append(Fault(peer, kind, detail))

    def accuse(self, evidence: Evidence) -> bytes:
        """Two things that contradict each other came up; its encoding, which is judged within this tick."""
        place, kind, _ = charge(evidence)
        return self._accused.setdefault((place, kind), encode(evidence))

    def take_accused(self) -> list[bytes]:
        """All of it; none is left."""
        taken, self._accused = self._accused, {}
        return list(taken.values())

    def unsend(self, peer: MemberId) -> None:
        """The link is gone: what was meant for it is not sent."""
        self._messages.pop(peer, None)

    def flush(self) -> list[Effect]:
        """All effects of the tick, the transaction first; empty afterwards."""
        effects: list[Effect] = [Persist(tuple(self._records))] if self._records else []
        for peer, messages in self._messages.items():
            effects.extend(Send(peer, envelope) for envelope in pack(list(messages)))
        effects.extend(self._notices)
        self._records, self._messages, self._notices = [], {}, []
        return effects
