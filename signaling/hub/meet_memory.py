"""Meetings of a hub that is alone: queues, held requests and pairs in its memory."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from signaling.hub.held import HeldRequests
from signaling.hub.meet_store import Held, Holder, Snapshot
from signaling.hub.store import StoreAway

_MAX_QUEUES: Final = 10_000
_MAX_BYTES: Final = 32 * 1024 * 1024
_MAX_PAIRS: Final = 200_000


class MemoryMeetStore:
    """A MeetStore for the one hub that has it. `clock`: seconds that only grow."""

    def __init__(self, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._queues: dict[str, tuple[bytes, float]] = {}
        self._bytes = 0
        self._held = HeldRequests()
        self._pairs: dict[str, float] = {}  # when each is forgotten

    def __len__(self) -> int:
        """Queues and pairs that are kept."""
        return len(self._queues) + len(self._pairs)

    async def load(self, queue: str) -> Snapshot:
        await trio.lowlevel.checkpoint()
        return Snapshot(self._queues.get(queue, (b"", 0.0))[0], self._clock())

    async def swap(self, queue: str, *, old: bytes, new: bytes, until: float) -> bool:
        await trio.lowlevel.checkpoint()
        if self._queues.get(queue, (b"", 0.0))[0] != old:
            return False
        more = len(new) - len(old)
        if more > 0 and (self._bytes + more > _MAX_BYTES or len(self._queues) >= _MAX_QUEUES):
            self._sweep_queues()
            if self._bytes + more > _MAX_BYTES or len(self._queues) >= _MAX_QUEUES:
                raise StoreAway("Too many wait at this hub just now. Try again in a minute.")
        self._put(queue, new, until)
        return True

    def _put(self, queue: str, data: bytes, until: float) -> None:
        former, _ = self._queues.pop(queue, (b"", 0.0))
        self._bytes += len(data) - len(former)
        if data:
            self._queues[queue] = (data, until)

    async def elsewhere(self, queue: str) -> bool:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        return any(until > now and name != queue for name, (_, until) in self._queues.items())

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Held]:
        with self._held.hold() as held:
            yield held

    async def hand(self, holder: Holder, reply: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        return self._held.put(holder, reply)

    async def paired(self, pairs: Sequence[str]) -> list[bool]:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        return [self._pairs.get(pair, now) > now for pair in pairs]

    async def remember(self, pair: str, *, seconds: float) -> None:
        await trio.lowlevel.checkpoint()
        self._pairs.pop(pair, None)
        self._pairs[pair] = self._clock() + seconds
        if len(self._pairs) > _MAX_PAIRS:
            del self._pairs[next(iter(self._pairs))]

    async def sweep(self) -> None:
        await trio.lowlevel.checkpoint()
        now = self._clock()
        for pair in [pair for pair, until in self._pairs.items() if until <= now]:
            del self._pairs[pair]
        self._sweep_queues()

    def _sweep_queues(self) -> None:
        now = self._clock()
        for queue in [queue for queue, (_, until) in self._queues.items() if until <= now]:
            self._put(queue, b"", 0.0)
