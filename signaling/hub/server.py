"""The hub's HTTP server: takes connections in, within limits, and ends them all when it is told to."""

import contextlib
import errno
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from signaling.hub.connection import Connection
from signaling.hub.http import Response, encode
from signaling.hub.limits import Tally, counted_as, plain_address
from signaling.hub.shared import Shared

_AT_ONCE: Final = 64
_TURNING_AWAY: Final = 64
_BACK_OFF: Final = 0.2
_TICK: Final = 1.0
_RECEIVE: Final = 16 * 1024


class Server:
    """Runs within one nursery, which is its own."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._bounds = shared.settings
        self._counts = shared.counts
        self._addresses = Tally(most_each=shared.settings.max_connections_each)
        self._connections: set[Connection] = set()
        self._turning_away = 0
        count = self._counts.gauge
        count("open_connections", "Connections that are open.", lambda: len(self._connections))
        count("subscribers", "Subscriptions that are open.", lambda: shared.subscribers.total)

    async def run(self, listeners: Sequence[socket.socket], *, stop: trio.Event) -> None:
        """Serve until told to stop; then answer what was asked and end every stream, in settings.grace."""
        async with trio.open_nursery() as self._shared.nursery:
            nursery = self._shared.nursery
            nursery.start_soon(self._keep_time)
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener)
                await stop.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.close()
            self._shared.stopping = True
            for each in list(self._connections):
                each.stop()
            with trio.move_on_after(self._bounds.grace):
                while self._connections:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(_AT_ONCE):  # then it is the others' turn
                    sock, address = listener.accept()
                    self._welcome(sock, str(address[0]))
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    # Most likely no descriptor is left. Whoever waits stays in the kernel's queue, and trying
                    # again at once would only burn time.
                    self._counts.of["accept_failures"] += 1
                    await trio.sleep(_BACK_OFF)

    def _welcome(self, sock: socket.socket, said: str) -> None:
        sock.setblocking(False)
        peer = plain_address(said) or "unknown"
        full = len(self._connections) >= self._bounds.max_connections
        who = counted_as(peer)
        counted = not self._bounds.trust_proxy  # else all are the proxy's
        if full or (counted and not self._addresses.enter(who)):
            self._turn_away(sock, full=full)
            return
        self._counts.of["connections"] += 1
        connection = Connection(self._shared, sock, peer)
        self._connections.add(connection)
        ended = partial(self._ended, connection, who if counted else None)
        self._shared.nursery.start_soon(connection.run, ended)

    def _ended(self, connection: Connection, who: str | None) -> None:
        self._connections.discard(connection)
        if who is not None:
            self._addresses.leave(who)

    def _turn_away(self, sock: socket.socket, *, full: bool) -> None:
        """A sentence, and the end; in a flood only the end."""
        self._counts.of["turned_away"] += 1
        if full:
            response = Response.words(503, "The hub is full; try again later.", headers={"Retry-After": "30"})
        else:
            response = Response.words(429, "This address has too many connections.")
        with contextlib.suppress(OSError):
            sock.send(encode(response, keep_alive=False))
            if self._turning_away < _TURNING_AWAY:
                sock.shutdown(socket.SHUT_WR)
                self._turning_away += 1
                self._shared.nursery.start_soon(self._see_off, sock)
                return
        sock.close()

    async def _see_off(self, sock: socket.socket) -> None:
        # Closed before the request was read, the connection is reset, and the sentence is lost with it.
        try:
            with trio.move_on_after(1.0), contextlib.suppress(OSError):
                await trio.lowlevel.wait_readable(sock)
                sock.recv(_RECEIVE)
        finally:
            self._turning_away -= 1
            trio.lowlevel.notify_closing(sock)
            sock.close()

    async def _keep_time(self) -> None:
        """Deadlines and heartbeats of all connections, once a tick: cheaper than a timer for each."""
        bounds = self._bounds
        shortest = min(bounds.heartbeat, bounds.head_patience, bounds.body_patience, bounds.idle_patience)
        tick = min(_TICK, shortest / 4)
        while True:
            await trio.sleep(tick)
            now = trio.current_time()
            for each in list(self._connections):
                if each.due <= now:
                    each.expire()
                stream = each.stream
                if stream is not None and stream.beat_due <= now:
                    stream.beat_due = now + bounds.heartbeat
                    stream.beat()
