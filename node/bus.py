"""Events to any number of subscribers: publishing never waits, and who falls far behind is cut off, alone."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from node.errors import Exit, NodeError
from node.events import AnyEvent

MAX_BEHIND: Final = 8192  # events; with 16 KiB of text each that is the most a sleeping reader can cost


class FellBehind(NodeError):
    """The subscriber took events too slowly and was cut off."""

    exit_code = Exit.COULD_NOT_CHECK

    def __init__(self) -> None:
        super().__init__("Too many events waited to be read, so the stream was cut off.", "Ask for it again.")


class Subscription:
    """One subscriber's events, in order: an async iterator that ends when the node does."""

    def __init__(self, limit: int, *, watching: bool) -> None:
        self.watching = watching
        self._send, self._receive = trio.open_memory_channel[AnyEvent](limit)
        self._cut = False

    def put(self, event: AnyEvent) -> None:
        """Queue one event, or cut the subscriber off."""
        if self._cut:
            return
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self._cut = True
            self._send.close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it left

    def end(self) -> None:
        """No more will come; what is queued can still be taken."""
        self._send.close()

    def __aiter__(self) -> AsyncIterator[AnyEvent]:
        return self

    async def __anext__(self) -> AnyEvent:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self._cut:
                raise FellBehind from None
            raise StopAsyncIteration from None


class Bus:
    """Where events come from."""

    def __init__(self, *, limit: int = MAX_BEHIND) -> None:
        self._limit = limit
        self._subscriptions: set[Subscription] = set()
        self._ended = False
        self._left = trio.lowlevel.ParkingLot()

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    @property
    def watched(self) -> bool:
        """Whether somebody looks at it now, and would want to see within seconds that a peer died."""
        return any(subscription.watching for subscription in self._subscriptions)

    def publish(self, event: AnyEvent) -> None:
        for subscription in self._subscriptions:
            subscription.put(event)

    def end(self) -> None:
        """Every subscriber's stream ends after what it has; new ones are empty."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.end()

    async def wait_unread(self) -> None:
        """After the end: until every subscriber has taken what it was told, and left."""
        while self._subscriptions:
            await self._left.park()

    @contextmanager
    def subscribe(self, *, watching: bool = True) -> Iterator[Subscription]:
        """Every event from now on."""
        subscription = Subscription(self._limit, watching=watching)
        self._subscriptions.add(subscription)
        if self._ended:
            subscription.end()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            subscription.end()
            if not self._subscriptions:
                self._left.unpark_all()
