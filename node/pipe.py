"""A pair of byte streams joined to one data channel of any WebRTC program: what `pigeon pipe` does.

The end of a stream is said by one empty binary message, after which the other direction goes on. Once both
ends were said and everything is acknowledged, the channel is closed. A channel that the other side closes in
good order ends both directions; a connection that is merely gone is a failure.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Final, Literal, Protocol

import trio

from node.errors import ConnectFailed, Exit, NodeError, TimedOut, Unreachable, UsageError
from node.failure import one_error
from node.ice_servers import IceServers
from node.link import ChannelClosed
from node.webrtc import CONNECT_DEADLINE, Rtc, open_rtc
from node.webrtc_inband import InBandConnection
from signaling.description import Setup
from signaling.errors import SignalError
from signaling.handshake import Role
from signaling.sdp import NotYet, SdpKind, Session, Signals, parse_signals, write_signal

LIFE: Final = 600.0  # seconds that a description is waited with, unless told otherwise
_CLOSE_DEADLINE: Final = 3.0

Side = Literal["offer", "answer"]
Heard = Signals
"""What the other side said: perhaps its description, perhaps more of its addresses."""
END: Final = b""


class Exchange(Protocol):
    """How descriptions travel: files, or a person."""

    async def show(self, description: bytes) -> None:
        """Hand out ours: one line of JSON."""

    def heard(self) -> AsyncGenerator[Signals, None]:
        """What the other side has said so far, each time that it has said more; see `understood`."""


class Streams(Protocol):
    """What is joined to the channel."""

    async def read(self) -> bytes:
        """Some bytes; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Returns when they are taken."""

    async def end(self) -> None:
        """No more will be written."""


def understood(text: bytes) -> Signals:
    """What somebody else made, as fields; UsageError."""
    try:
        return parse_signals(text)
    except SignalError as error:
        raise UsageError(error.message, error.hint) from error


def whole(text: bytes) -> Signals | None:
    """As `understood`; None of what may be the beginning of a description, whose rest is to come."""
    try:
        return parse_signals(text)
    except NotYet:
        return None
    except SignalError:
        return understood(text)


async def pipe(
    side: Side,
    *,
    exchange: Exchange,
    streams: Streams,
    on_open: Callable[[], Awaitable[None]],
    timeout: float | None = None,
    ice: IceServers | None = None,
) -> None:
    """Connect and join until both directions are at their end.

    timeout: seconds until the channel is open. ice: servers to ask for addresses. TimedOut; Unreachable when
    the other side was gone before it had everything, or before it said that it was done; UsageError for a
    description that is none.
    """
    role = Role.OFFERER if side == "offer" else Role.ANSWERER
    limit = LIFE if timeout is None else timeout
    with one_error():
        async with open_rtc(ice=ice) as rtc, AsyncExitStack() as stack:
            with trio.move_on_after(limit) as waiting:
                connection = None
                while connection is None:
                    connection = await _attempt(rtc, role, exchange, stack)
            if waiting.cancelled_caught or connection is None:
                raise TimedOut(
                    f"No connection came up within {limit:g} s.",
                    "Make a new offer, carry both descriptions sooner, or give a longer --timeout.",
                )
            await on_open()
            await _Joint(connection, streams).run()


async def _attempt(
    rtc: Rtc, role: Role, exchange: Exchange, stack: AsyncExitStack
) -> InBandConnection | None:
    """A connection that is open and that `stack` closes; None when another offer came in the meantime."""
    async with AsyncExitStack() as own:
        connection = await own.enter_async_context(rtc.open(InBandConnection, role))
        if not await _meet(connection, exchange):
            return None
        stack.push_async_exit(own.pop_all())
        return connection


async def _meet(connection: InBandConnection, exchange: Exchange) -> bool:
    """Whether it is connected; False when another offer came before it was."""
    met = False
    async with aclosing(exchange.heard()) as heard, trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_its_relay, connection)
        if connection.role is Role.OFFERER:
            ours = _ours(connection)
            await exchange.show(write_signal(ours))
            theirs, signals = await _description(heard, kind="answer", to=ours)
            deadline = CONNECT_DEADLINE
        else:
            theirs, signals = await _description(heard, kind="offer")
            await exchange.show(write_signal(_ours(connection, offer=theirs)))
            deadline = math.inf  # the answer has to be carried yet, which `timeout` is for

        async def hear_more() -> None:
            async for more in heard:
                connection.add_later(more.candidates)
                if more.session is not None and _is_another_offer(more.session, than=theirs):
                    nursery.cancel_scope.cancel()

        connection.add_later(signals.candidates)
        nursery.start_soon(hear_more)
        await connection.meet(theirs, deadline=deadline)
        met = True
        nursery.cancel_scope.cancel()
    return met


async def _end_with_its_relay(connection: InBandConnection) -> None:
    """Nobody comes by a description whose only address is gone: do not wait for an answer to it."""
    await connection.moved.wait()
    if connection.lost:
        raise ConnectFailed(
            f"The connection was not made: {connection.lost}.",
            "Start both sides again once the server is back.",
        )


def _is_another_offer(session: Session, *, than: Session) -> bool:
    return session.kind == than.kind == "offer" and session.transport.ufrag != than.transport.ufrag


async def _description(
    heard: AsyncIterator[Signals], *, kind: SdpKind, to: Session | None = None
) -> tuple[Session, Signals]:
    """The first description; of answers, the first that is to our offer or does not say what it is to."""
    missing = f"There is no {kind}."
    async for signals in heard:
        if signals.session is None:
            continue  # candidates alone: it is still to come
        if signals.session.kind != kind:
            raise UsageError(
                f"This is an {signals.session.kind}, and an {kind} is wanted.",
                "One side runs with --offer and the other one with --answer.",
            )
        if to is None or signals.session.answers in ("", to.transport.ufrag):
            return signals.session, signals
        missing = "This answer is to another offer."  # the one to this is perhaps still to come
    raise UsageError(missing, "Give the JSON that the other side made of what is shown here.")


def _ours(connection: InBandConnection, *, offer: Session | None = None) -> Session:
    if offer is None:
        setup = Setup.ACTPASS
    else:
        setup = Setup.PASSIVE if offer.transport.setup is Setup.ACTIVE else Setup.ACTIVE
    transport = connection.describe(setup)
    if offer is None:
        return Session(kind="offer", transport=transport)
    return Session(
        kind="answer",
        transport=transport,
        mid=offer.mid,
        bundled=offer.bundled,
        answers=offer.transport.ufrag,
    )


class _Joint:
    """Both directions of one open channel."""

    def __init__(self, connection: InBandConnection, streams: Streams) -> None:
        self._connection = connection
        self._streams = streams
        self._sending = False  # something was read that is not acknowledged
        self._sent = trio.Event()  # all of ours, and its end
        self._heard = trio.Event()  # all of theirs, and its end
        self._over = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            nursery.start_soon(self._receive)
            nursery.start_soon(self._finish)
            await self._over.wait()
            nursery.cancel_scope.cancel()
        self._judge()

    async def _send(self) -> None:
        try:
            while data := await self._streams.read():
                self._sending = True
                await self._connection.send_all(data)
                self._sending = False
            await self._connection.send(END)
            await self._connection.drain()
        except ChannelClosed:
            return  # _receive sees it, too, after everything that came before it
        self._sent.set()

    async def _receive(self) -> None:
        try:
            while data := await self._connection.receive():
                await self._streams.write(data)
            self._heard.set()
            await self._streams.end()
            await self._connection.receive()
        except ChannelClosed:
            if not self._heard.is_set():
                await self._streams.end()
            self._over.set()
            return
        raise NodeError(
            "The other side sent more after it had said that it was done.",
            "An empty message is the end of the data; the other program has to send it once.",
            exit_code=Exit.UNREACHABLE,
        )

    async def _finish(self) -> None:
        await self._sent.wait()
        await self._heard.wait()
        self._connection.hang_up()
        with trio.move_on_after(_CLOSE_DEADLINE):
            await self._connection.gone.wait()
        self._over.set()

    def _judge(self) -> None:
        if self._sent.is_set() and (self._heard.is_set() or self._connection.finished):
            return
        if not self._connection.finished:
            raise Unreachable(
                f"The connection ended before the data did: {self._connection.lost}.",
                "What came until then was written; the last of it may be missing, in both directions.",
            )
        if self._sending or not self._connection.delivered:
            raise Unreachable(
                "The other side closed the channel before it had everything.",
                "Let it wait for an empty message, which is how the end of the data is said.",
            )
