"""Meetings of hubs that share a Redis: queues swapped whole, replies published to the hub that waits."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from signaling.hub.held import HeldRequests
from signaling.hub.meet_store import MAX_QUEUE, MAX_REPLY, Held, Holder, Snapshot
from signaling.hub.redis_link import Era, RedisLink
from signaling.hub.redis_scripts import ELSEWHERE, LOAD, PAIRED, PREFIX, REMEMBER, SWAP, SWEEP
from signaling.hub.store import StoreAway

_HUB: Final = f"{PREFIX}hub:"
_QUEUE: Final = f"{PREFIX}queue:"
_QUEUES: Final = f"{PREFIX}queues"
_QUEUE_SIZES: Final = f"{PREFIX}queue-sizes"
_PAIRS: Final = f"{PREFIX}pairs"

_MAX_QUEUES: Final = 10_000
_MAX_QUEUE_BYTES: Final = 32 * 1024 * 1024
_LONGEST_QUEUE: Final = 600
_MAX_PAIRS: Final = 200_000
_FULL: Final = "Too many wait at this hub just now. Try again in a minute."


class RedisMeetStore:
    """A MeetStore. A holder is the name of a hub, and a number of its own; each hub listens under its name.

    A hub that is gone listens no more, so nothing is handed to it from that moment on.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._name = secrets.token_hex(8)
        self._held = HeldRequests(prefix=f"{self._name}:")

    async def load(self, queue: str) -> Snapshot:
        data, now = await self._link.era.run(LOAD, (_QUEUE + queue,))
        return Snapshot(data, float(now))

    async def swap(self, queue: str, *, old: bytes, new: bytes, until: float) -> bool:
        assert len(new) <= MAX_QUEUE
        done = await self._link.era.run(
            SWAP,
            (_QUEUE + queue, _QUEUES, _QUEUE_SIZES),
            queue.encode(),
            old,
            new,
            b"%.6f" % until,
            _QUEUE.encode(),
            *(b"%d" % number for number in (_MAX_QUEUES, _MAX_QUEUE_BYTES, _LONGEST_QUEUE)),
        )
        if done == -1:
            raise StoreAway(_FULL)
        return bool(done)

    async def elsewhere(self, queue: str) -> bool:
        return bool(await self._link.era.run(ELSEWHERE, (_QUEUES,), queue.encode()))

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Held]:
        with self._held.hold() as held:
            yield held

    async def hand(self, holder: Holder, reply: bytes) -> bool:
        assert len(reply) <= MAX_REPLY
        hub = holder.partition(":")[0]
        if hub == self._name:
            await trio.lowlevel.checkpoint()
            return self._held.put(holder, reply)
        heard = await self._link.era.ask(b"PUBLISH", (_HUB + hub).encode(), holder.encode() + b" " + reply)
        return bool(heard)

    async def listen(self, era: Era, *, task_status: trio.TaskStatus[None]) -> None:
        """Take what other hubs hand to requests held here."""

        def take(message: bytes) -> None:
            holder, _, reply = message.partition(b" ")
            self._held.put(Holder(str(holder, "ascii", "replace")), reply)

        await era.listen(_HUB + self._name, take, task_status=task_status)

    async def paired(self, pairs: Sequence[str]) -> list[bool]:
        found = await self._link.era.run(PAIRED, (_PAIRS,), *(pair.encode() for pair in pairs))
        return [bool(each) for each in found]

    async def remember(self, pair: str, *, seconds: float) -> None:
        await self._link.era.run(REMEMBER, (_PAIRS,), pair.encode(), b"%.3f" % seconds, b"%d" % _MAX_PAIRS)

    async def sweep(self) -> None:
        await self._link.era.run(SWEEP, (_QUEUES, _QUEUE_SIZES, _PAIRS), _QUEUE.encode())
