"""One connection: requests in, answers out, one after the other, until either side has had enough."""

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import trio

from signaling.hub.answering import Gone, answer_to
from signaling.hub.head import Head, Refused
from signaling.hub.http import Answer, EventStream, Request, Response, encode, head_of
from signaling.hub.limits import counted_as, forwarded_for
from signaling.hub.reader import Phase, RequestReader
from signaling.hub.routes import Route
from signaling.hub.shared import Shared
from signaling.hub.store import StoreAway
from signaling.hub.stream import Stream

_RECEIVE: Final = 16 * 1024
_LINGER: Final = 1.0
_LINGER_BYTES: Final = 256 * 1024
_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx: hand on each event at once
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Going:
    """A subscription that was granted, to whom, and what is to be noted when it ends."""

    answer: EventStream
    who: str
    note: Callable[[], None] | None


class Connection:
    """The task of one socket. `due`: when the server is to call `expire` (trio's time)."""

    __slots__ = (
        "_bounds", "_closing", "_counted", "_held", "_nudged", "_peer", "_phase", "_reader", "_shared",
        "_sock", "_who", "busy", "due", "stream",
    )  # fmt: skip

    def __init__(self, shared: Shared, sock: socket.socket, peer: str) -> None:
        self._shared = shared
        self._bounds = shared.settings
        self._sock = sock
        self._peer = peer
        self._who = counted_as(peer)
        self._counted = 0
        self._reader: RequestReader | None = RequestReader(shared.settings)
        self._held: trio.CancelScope | None = None
        self._closing = False
        self._nudged = False
        self._phase: Phase = "idle"
        self.busy = False
        """A request is being answered."""
        self.stream: Stream | None = None
        self.due = trio.current_time() + self._bounds.head_patience

    async def run(self, ended: Callable[[], None]) -> None:
        """Until it is over; then calls `ended`. Raises nothing but what cancels it."""
        try:
            then: bool | _Going = True
            while then is True and not self._closing:
                then = await self._one()
            if isinstance(then, _Going):
                await self._stream(then)  # from here: a subscriber stays for long, and is to hold little
        except (Gone, OSError, trio.ClosedResourceError):
            pass
        except Exception:
            # One connection's end is no other's.
            _log.exception("a connection failed")
            self._shared.counts.of["faults"] += 1
        finally:
            ended()
            self._shared.unfinished.take(-self._counted, who=self._who)
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def _one(self) -> bool | _Going:
        """Read one request and answer it; whether another may follow, or a subscription that begins."""
        reader = self._reader
        assert reader is not None
        try:
            got = reader.next()
            self._count(reader.waiting)
            if got is not None:
                await trio.lowlevel.checkpoint()  # who sends many at once does not keep the others waiting
            while got is None:
                self._wait_for(reader.phase)
                await self._receive(reader)
                got = reader.next()
                self._count(reader.waiting)
        except Refused as refused:
            await self._refuse(refused)
            return False
        self.busy = True
        then = await self._answer(*got)
        self.busy = False
        return then

    def _count(self, waiting: int) -> None:
        """Bytes of a request that is not whole yet, into everybody's budget."""
        if waiting != self._counted:
            if not self._shared.unfinished.take(waiting - self._counted, who=self._who):
                raise Refused(503, "The hub has too much to do just now; try again in a moment.")
            self._counted = waiting

    def _wait_for(self, phase: Phase) -> None:
        """A deadline for the whole head, and one for the whole body: a byte now and then moves neither."""
        if phase != self._phase:
            self._phase = phase
            if phase != "idle":
                patience = self._bounds.head_patience if phase == "head" else self._bounds.body_patience
                self.due = trio.current_time() + patience

    async def _receive(self, reader: RequestReader) -> None:
        if reader.expects_continue and not self._nudged:
            self._nudged = True
            await self._send(_CONTINUE)
        await trio.lowlevel.wait_readable(self._sock)
        data = self._sock.recv(_RECEIVE)
        if not data:
            raise Gone
        reader.feed(data)

    async def _answer(self, head: Head, body: bytes) -> bool | _Going:
        self.due = trio.current_time() + self._bounds.write_patience
        self._nudged, self._phase = False, "idle"
        began = time.perf_counter() if self._shared.log.wanted else 0.0
        request = Request(
            method=head.method,
            path=head.path,
            query=head.query,
            headers=head.headers,
            body=body,
            client=self._client_of(head),
        )
        name, answer = await answer_to(request, self._shared, hold=self._hold)
        keep = head.keep_alive and not self._shared.stopping
        if isinstance(answer, EventStream):
            keep = False
            granted = self._subscription(answer, request, name=name, began=began)
            if isinstance(granted, _Going):
                return granted
            answer = granted
        data = encode(answer, keep_alive=keep, with_body=request.method != "HEAD")
        self._shared.counts.answers[name, answer.status] += 1
        await self._send(data)
        if self._shared.log.wanted:
            self._note(request, name, answer.status, sent=len(data), began=began)
        if not keep:
            await self._linger()
            return False
        self.due = trio.current_time() + self._bounds.idle_patience
        return True

    def _client_of(self, head: Head) -> str:
        if self._bounds.trust_proxy:
            return forwarded_for(head.headers.get("x-forwarded-for", "")) or self._peer
        return self._peer

    async def _hold(self, route: Route, request: Request) -> Answer:
        """Ask a handler that may take long: cancelled when the client leaves or the hub stops."""
        self.due = trio.current_time() + self._bounds.held_patience + self._bounds.write_patience
        answer: Answer | None = None
        failed: Exception | None = None
        with trio.CancelScope() as self._held:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                try:
                    with trio.move_on_after(self._bounds.held_patience):
                        answer = await route.handler(request)
                except Exception as error:  # out of the nursery it would be one of a group
                    failed = error
                nursery.cancel_scope.cancel()
        self._held = None
        self.due = trio.current_time() + self._bounds.write_patience
        if failed is not None:
            raise failed
        if answer is not None:
            return answer
        if self._closing:
            raise Gone
        if self._shared.stopping:
            return Response.words(503, "The hub stops; ask again in a moment.", headers={"Retry-After": "2"})
        return Response.words(503, "This took too long; ask again.", headers={"Retry-After": "2"})

    async def _watch(self, asked: trio.CancelScope) -> None:
        """See the client leave. If it sends its next request meanwhile, that waits, and it has not left."""
        reader = self._reader
        assert reader is not None
        while not reader.waiting:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(_RECEIVE)
            except OSError:
                data = b""
            if not data:
                self._closing = True
                asked.cancel()
                return
            reader.feed(data)

    def _subscription(
        self, answer: EventStream, request: Request, *, name: str, began: float
    ) -> Response | _Going:
        if request.method == "HEAD":
            return Response(200, headers=_STREAM_HEADERS)
        who, note = counted_as(request.client), None
        if not self._shared.subscribers.enter(who):
            self._shared.counts.of["limited"] += 1
            return Response.words(429, "This address has too many subscriptions.")
        self._shared.counts.answers[name, 200] += 1
        if self._shared.log.wanted:
            slim = replace(request, headers={}, body=b"")  # it is held as long as the subscription
            note = partial(self._note, slim, name, 200, sent=0, began=began)
        return _Going(answer, who, note)

    async def _stream(self, going: _Going) -> None:
        """Until the subscriber leaves, reads too slowly, or the hub stops."""
        shared = self._shared
        self._reader = None
        self._count(0)
        self.due = float("inf")
        stream = Stream(
            self._sock,
            max_backlog=self._bounds.max_backlog,
            backlogs=shared.backlogs,
            nursery=shared.nursery,
        )
        stream.write(head_of(200, _STREAM_HEADERS, keep_alive=False))
        stream.beat_due = trio.current_time() + self._bounds.heartbeat
        self.stream = stream
        try:
            if not shared.stopping:
                await going.answer.opened(stream)
                left = _LINGER_BYTES
                while left > 0:  # whatever it says, there is nothing more to ask on this connection
                    await trio.lowlevel.wait_readable(self._sock)
                    left -= len(self._sock.recv(_RECEIVE)) or left
        except StoreAway:
            shared.counts.of["store_away"] += 1  # the head is out: all there is left to say is the end
        finally:
            going.answer.closed(stream)
            shared.subscribers.leave(going.who)
            if stream.too_slow:
                shared.counts.of["slow_readers"] += 1
            if going.note is not None:
                going.note()
            self.stream = None
            stream.cut()

    async def _refuse(self, refused: Refused) -> None:
        self._shared.counts.of["refused"] += 1
        self.due = trio.current_time() + self._bounds.write_patience
        response = Response.words(refused.status, refused.text)
        await self._send(encode(response, keep_alive=False))
        await self._linger()

    async def _send(self, data: bytes) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        rest = memoryview(data)[sent:]
        while rest:
            await trio.lowlevel.wait_writable(self._sock)
            with contextlib.suppress(BlockingIOError):
                rest = rest[self._sock.send(rest) :]

    async def _linger(self) -> None:
        """Say that nothing follows, and read on for a moment: closing at once could destroy what was said."""
        self._sock.shutdown(socket.SHUT_WR)
        self.due = trio.current_time() + _LINGER
        received = 0
        while received <= _LINGER_BYTES:
            await trio.lowlevel.wait_readable(self._sock)
            data = self._sock.recv(_RECEIVE)
            if not data:
                return
            received += len(data)

    def _note(self, request: Request, name: str, status: int, *, sent: int, began: float) -> None:
        seconds = time.perf_counter() - began
        self._shared.log.note(request, route=name, status=status, sent=sent, seconds=seconds)

    def expire(self) -> None:
        """Its time is over: say so if it was at something, and wake its task up to a closed socket."""
        reader = self._reader
        self.due = float("inf")
        self._closing = True
        if reader is not None and reader.phase != "idle" and not self.busy:
            self._shared.counts.of["expired"] += 1
            late = Response.words(408, "The request did not come in time.")
            with contextlib.suppress(OSError):
                self._sock.send(encode(late, keep_alive=False))
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """The hub stops: an idle connection ends now, a held request is answered, a stream is finished."""
        if self.stream is not None:
            self._finish(self.stream)
        elif self._held is not None:
            self._held.cancel()
        elif not self.busy and self._reader is not None and self._reader.phase == "idle":
            self.expire()

    def _finish(self, stream: Stream) -> None:
        """What waits for it may still go out; then its task ends."""
        self._shared.nursery.start_soon(self._end_of, stream)

    async def _end_of(self, stream: Stream) -> None:
        await stream.finish()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        await trio.sleep(0.05)
        stream.cut()
