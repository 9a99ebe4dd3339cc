"""Messages of later heights and epochs, kept until we are there; bounded in bytes for each peer."""

from chain.ids import MemberId
from chain.message import Message, weight

BYTES_PER_MEMBER = 8 * 1024 * 1024
BYTES_PER_STRANGER = 64 * 1024
"""A newcomer may be ahead of us, and a member already."""


class Early:
    """What does not fit is dropped: who is ahead shows us the blocks in between anyway."""

    def __init__(self) -> None:
        self._messages: dict[MemberId, list[Message]] = {}
        self._bytes: dict[MemberId, int] = {}

    def keep(self, peer: MemberId, message: Message, *, is_member: bool) -> None:
        size = self._bytes.get(peer, 0) + weight(message)
        if size <= (BYTES_PER_MEMBER if is_member else BYTES_PER_STRANGER):
            self._bytes[peer] = size
            self._messages.setdefault(peer, []).append(message)

    def forget(self, peer: MemberId) -> None:
        self._messages.pop(peer, None)
        self._bytes.pop(peer, None)

    def take_all(self) -> list[tuple[MemberId, Message]]:
        """Everything, to be looked at again; nothing is kept."""
        taken = [(peer, message) for peer, kept in self._messages.items() for message in kept]
        self._messages, self._bytes = {}, {}
        return taken
