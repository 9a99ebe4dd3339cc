"""The requests to meet that one hub holds: each has a name, and a place for one reply."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from signaling.hub.meet_store import Held, Holder


class _Inbox:
    """One of them."""

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self._reply: bytes | None = None
        self._came = trio.Event()

    def put(self, reply: bytes) -> None:
        if self._reply is None:
            self._reply = reply
            self._came.set()

    async def receive(self) -> bytes:
        await self._came.wait()
        assert self._reply is not None
        return self._reply

    def receive_nowait(self) -> bytes | None:
        return self._reply


class HeldRequests(dict[Holder, _Inbox]):
    """All of them, by name. `prefix`: what their names begin with."""

    def __init__(self, *, prefix: str = "") -> None:
        super().__init__()
        self._prefix = prefix
        self._given = 0

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """One more, as long as the block lasts."""
        self._given += 1
        inbox = _Inbox(Holder(f"{self._prefix}{self._given}"))
        self[inbox.holder] = inbox
        try:
            yield inbox
        finally:
            del self[inbox.holder]

    def put(self, holder: Holder, reply: bytes) -> bool:
        """Whether it is held still."""
        inbox = self.get(holder)
        if inbox is not None:
            inbox.put(reply)
        return inbox is not None
