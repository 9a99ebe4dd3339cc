"""The far end of one subscription: an event goes straight to its socket, and only what did not fit waits."""

import contextlib
import socket
from collections import deque
from typing import Final

import trio

_AT_ONCE: Final = 64 * 1024
_MAKE_ROOM: Final = 8  # of the whole, one part


class Stream:
    """An EventWriter. No task is woken for an event; one drains the backlog while there is one.

    A subscriber that reads too slowly is cut off as soon as more waits for it than allowed.
    """

    __slots__ = (
        "_backlog",
        "_backlogs",
        "_max_backlog",
        "_nursery",
        "_sock",
        "_waiting",
        "beat_due",
        "gone",
        "too_slow",
    )

    def __init__(
        self, sock: socket.socket, *, max_backlog: int, backlogs: "Backlogs", nursery: trio.Nursery
    ) -> None:
        # The nursery is the server's: a backlog is drained for as long as the stream lives, which the
        # connection's own task bounds.
        self._sock = sock
        self._max_backlog = max_backlog
        self._backlogs = backlogs
        self._nursery = nursery
        self._backlog: deque[bytes] | None = None  # most subscribers never need one
        self._waiting = 0
        self.gone = False
        self.too_slow = False
        self.beat_due = 0.0

    @property
    def waiting(self) -> int:
        """Bytes that this subscriber has not taken yet."""
        return self._waiting

    def write(self, event: bytes) -> None:
        if self._waiting:
            self._keep(event)
            return
        if self.gone:
            return
        try:
            sent = self._sock.send(event)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.gone = True  # its reader notices, too
            return
        if sent < len(event):
            self._keep(event[sent:])

    def _keep(self, rest: bytes) -> None:
        if self.gone:
            return
        if self._waiting + len(rest) > self._max_backlog or not self._backlogs.take(self, len(rest)):
            self.drop()
            return
        begin = not self._waiting
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(rest)
        self._waiting += len(rest)
        if begin:
            self._nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        try:
            while self._backlog and not self.gone:
                await trio.lowlevel.wait_writable(self._sock)
                if self._backlog:
                    self._send_some(self._backlog)
        except (OSError, trio.ClosedResourceError):
            self.cut()

    def _send_some(self, backlog: deque[bytes]) -> None:
        batch = b""
        while backlog and len(batch) < _AT_ONCE:
            batch += backlog.popleft()
        sent = 0
        try:
            sent = self._sock.send(batch)
        except BlockingIOError:
            pass
        finally:
            self._waiting -= sent
            self._backlogs.give_back(self, sent)
            if sent < len(batch):
                backlog.appendleft(batch[sent:])

    def beat(self) -> None:
        """A line that says the stream lives; not where others wait already."""
        if not self._waiting:
            self.write(b":heartbeat\n\n")

    async def finish(self) -> None:
        """Until what waits is sent; the caller has a deadline for it."""
        while self._backlog and not self.gone:
            await trio.sleep(0.01)

    def drop(self) -> None:
        """It reads too slowly."""
        self.too_slow = True
        self.cut()

    def cut(self) -> None:
        """End it now: whoever waits for the socket wakes up."""
        self.gone = True
        self._backlog = None
        waiting, self._waiting = self._waiting, 0
        self._backlogs.give_back(self, waiting)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class Backlogs:
    """What waits for all slow readers together.

    When that is too much, those go who are furthest behind: a few who read nothing cannot have everybody
    else cut off who is behind by a moment. An eighth is freed at once, so that the search is seldom.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._behind: set[Stream] = set()
        self.used = 0

    def take(self, stream: Stream, size: int) -> bool:
        """So many bytes more wait for this one; False if it has to go itself."""
        if self.used + size > self._most:
            for each in sorted(self._behind, key=lambda each: each.waiting, reverse=True):
                if self.used + size <= self._most - self._most // _MAKE_ROOM:
                    break
                each.drop()
        if stream.gone or self.used + size > self._most:
            return False
        self._behind.add(stream)
        self.used += size
        return True

    def give_back(self, stream: Stream, size: int) -> None:
        """So many less."""
        self.used -= size
        if not stream.waiting:
            self._behind.discard(stream)
