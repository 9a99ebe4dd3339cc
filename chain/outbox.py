"""One tick's outcome while it is being made: what to keep, what to say to whom, what to tell.

Whatever the order in which rules ran, `flush` puts the durable transaction first.
"""

from chain.codec import encode
from chain.effects import Effect, EvidenceFound, Fault, FaultKind, Persist, Send
from chain.ids import MemberId
from chain.message import Message, pack
from chain.records import KeepEvidence, Record


class Outbox:
    """Collects effects; the replica keeps current who is linked, and which of them are members."""

    def __init__(self) -> None:
        self.linked: set[MemberId] = set()
        self.members: set[MemberId] = set()
        self._records: list[Record] = []
        self._messages: dict[MemberId, list[Message]] = {}
        self._notices: list[Effect] = []
        self._accused: set[tuple[MemberId, str]] = set()

    def keep(self, record: Record) -> None:
        self._records.append(record)

    def to(self, peer: MemberId, message: Message) -> None:
        """For one peer, once a tick; dropped if it is not linked (any more): HELLO mends that later."""
        if peer not in self.linked:
            return
        queue = self._messages.setdefault(peer, [])
        if message not in queue[-64:]:
            queue.append(message)

    def to_all(self, message: Message) -> None:
        """For every linked member."""
        for peer in sorted(self.members):
            self.to(peer, message)

    def tell(self, notice: Effect) -> None:
        self._notices.append(notice)

    def fault(self, peer: MemberId, kind: FaultKind, detail: str) -> None:
        self._notices.append(Fault(peer, kind, detail))

    def evidence(self, member: MemberId, kind: str, first: object, second: object) -> None:
        """Record, once a member and kind, two signed things that contradict each other."""
        if (member, kind) not in self._accused:
            self._accused.add((member, kind))
            self._records.append(KeepEvidence(member, kind, encode(first), encode(second)))
            self._notices.append(EvidenceFound(member, kind))

    def unsend(self, peer: MemberId) -> None:
        """The link is gone: what was meant for it is not sent."""
        self._messages.pop(peer, None)

    def flush(self) -> list[Effect]:
        """All effects of the tick, the transaction first; empty afterwards."""
        effects: list[Effect] = [Persist(tuple(self._records))] if self._records else []
        for peer, messages in self._messages.items():
            effects.extend(Send(peer, envelope) for envelope in pack(messages))
        effects.extend(self._notices)
        self._records, self._messages, self._notices = [], {}, []
        return effects
