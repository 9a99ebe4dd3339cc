"""Messages of later heights and epochs, kept until we are there; bounded in bytes for each peer."""

from heapq import heappop, heappush
from itertools import count

from chain.ids import MemberId
from chain.message import Message, weight

BYTES_PER_MEMBER = 8 * 1024 * 1024
BYTES_PER_STRANGER = 64 * 1024
"""A newcomer may be ahead of us, and a member already."""

_Kept = tuple[int, int, int, int, Message]
"""Epoch, height, number by arrival, bytes, message."""


class Early:
    """What does not fit is dropped: who is ahead shows us the blocks in between anyway.

    What is far ahead costs nothing at the blocks before: each message is looked at again once.
    """

    def __init__(self) -> None:
        self._kept: dict[MemberId, list[_Kept]] = {}
        """Heaps: who comes first stands first."""
        self._bytes: dict[MemberId, int] = {}
        self._number = count()

    def keep(self, peer: MemberId, message: Message, *, epoch: int, height: int, is_member: bool) -> None:
        """Until we work at this height of this epoch; 0 for any height of it."""
        size = weight(message)
        total = self._bytes.get(peer, 0) + size
        if total <= (BYTES_PER_MEMBER if is_member else BYTES_PER_STRANGER):
            self._bytes[peer] = total
            heappush(self._kept.setdefault(peer, []), (epoch, height, next(self._number), size, message))

    def forget(self, peer: MemberId) -> None:
        self._kept.pop(peer, None)
        self._bytes.pop(peer, None)

    def take_due(self, *, epoch: int, height: int) -> list[tuple[MemberId, Message]]:
        """What is of this epoch and of no later height, as it came; what we are past is dropped."""
        due: list[tuple[MemberId, Message]] = []
        for peer, heap in self._kept.items():
            taken: list[_Kept] = []
            while heap and heap[0][:2] <= (epoch, height):
                taken.append(heappop(heap))
            self._bytes[peer] -= sum(size for _, _, _, size, _ in taken)
            current = sorted((number, message) for of, _, number, _, message in taken if of == epoch)
            due.extend((peer, message) for _, message in current)
        return due
