"""The local control socket, 0600 in a 0700 directory: how other commands reach the one running node."""

import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar, assert_never

import msgspec
import trio

from node.api import MemberView, NodeApi
from node.config import Home, RoomConfig
from node.content import check_text
from node.errors import NodeError, Unreachable, UsageError
from node.events import AnyEvent, InviteEvent, RemovalEvent, RoomEvent, StatusEvent
from node.lock import lock_holder
from node.wire import (
    MAX_LINE,
    MAX_REQUEST,
    VERSION,
    AdmitCall,
    AnyCall,
    CarryCall,
    EventsCall,
    Failure,
    InviteCall,
    LeaveCall,
    Lines,
    LineTooLong,
    RemoveCall,
    RenewCall,
    Reply,
    RoomCall,
    SayCall,
    StatusCall,
    WhoCall,
    unreachable,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_CLIENTS: Final = 64
_QUIET: Final = 60.0  # seconds a client may take for a line
_START_PATIENCE: Final = 10.0  # for a node that has the lock and not yet its socket
_LOOK_AGAIN: Final = 0.05

_encode = msgspec.json.Encoder().encode
_calls = msgspec.json.Decoder(AnyCall)
_replies = msgspec.json.Decoder(Reply)
_events: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


# the node's side


async def serve_control(
    node: NodeApi, path: Path, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer clients until cancelled. The caller holds the room's lock: a file that exists is left over."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await listener.bind(os.fspath(path))
        path.chmod(0o600)  # nobody can connect before we listen; a umask would be that of all our threads
        listener.listen(16)
        clients = trio.CapacityLimiter(MAX_CLIENTS)

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                try:
                    clients.acquire_nowait()
                except trio.WouldBlock:
                    return
                try:
                    await _serve_client(node, stream)
                finally:
                    clients.release()

        task_status.started()
        await trio.serve_listeners(serve, [trio.SocketListener(listener)])
    except OSError as error:
        raise NodeError(
            f"The control socket {path} cannot be made: {error.strerror or error}.",
            "Check the directory, or set XDG_RUNTIME_DIR to one that works.",
        ) from error
    finally:
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


async def _serve_client(node: NodeApi, stream: trio.SocketStream) -> None:
    """One client; the worst it can do is lose its connection."""
    lines = Lines(stream, limit=MAX_REQUEST)
    try:
        while True:
            with trio.move_on_after(_QUIET) as quiet:
                line = await lines.next()
            if quiet.cancelled_caught or line is None:
                return
            try:
                call = _calls.decode(line)
                if call.v != VERSION:
                    raise msgspec.ValidationError(f"version {call.v}")
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise NodeError(
                    f"This request is not understood: {error}.", "Use the same version of pigeon for both."
                ) from None
            if isinstance(call, EventsCall):
                await _stream_events(node, stream, call)
                return
            await _send(stream, await _answer(node, call))
    except NodeError as error:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await _send(stream, _encode(Reply(error=Failure.of(error))))
    except LineTooLong:
        logger.warning("control: a client sent a line of more than %d bytes", MAX_REQUEST)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it left


async def _answer(node: NodeApi, call: AnyCall) -> bytes:
    try:
        return _encode(Reply(ok=msgspec.Raw(_encode(await _perform(node, call)))))
    except NodeError as error:
        return _encode(Reply(error=Failure.of(error)))


async def _perform(node: NodeApi, call: AnyCall) -> object:
    match call:
        case RoomCall():
            return await node.room()
        case SayCall(text=text):
            return await node.say(text)
        case StatusCall():
            return await node.status()
        case WhoCall():
            return await node.who()
        case AdmitCall(who=who):
            return await node.admit(who)
        case RemoveCall(who=who):
            return await node.remove(who)
        case LeaveCall():
            return await node.leave()
        case InviteCall():
            return await node.invite()
        case RenewCall(token=token):
            return await node.renew(token)
        case CarryCall(text=text):
            return await node.carry(text)
        case EventsCall():
            raise AssertionError("streams are served elsewhere")
        case _:
            assert_never(call)


async def _stream_events(node: NodeApi, stream: trio.SocketStream, call: EventsCall) -> None:
    async with (
        node.events(since=call.since, watching=call.watching) as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_cancel_at_end, stream, nursery.cancel_scope)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await _copy_events(events, stream)
        nursery.cancel_scope.cancel()


async def _copy_events(events: AsyncIterator[AnyEvent], stream: trio.SocketStream) -> None:
    await _send(stream, _encode(Reply()))
    try:
        async for event in events:
            await _send(stream, _encode(event))
    except NodeError as error:
        await _send(stream, _encode(Reply(error=Failure.of(error))))


async def _cancel_at_end(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """A stream's client says nothing more; without this its leaving would show only at the next event."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.receive_some(1)
    scope.cancel()


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    await stream.send_all(line + b"\n")


# the other commands' side


async def connect_control(home: Home, room: RoomConfig) -> "RemoteNode | None":
    """The running node of this room, or None when no process has it open; Unreachable if one is silent."""
    with trio.move_on_after(_START_PATIENCE):
        while (pid := lock_holder(home, room.fingerprint)) is not None:
            remote = RemoteNode(home.socket_file(room.fingerprint))
            if await remote.is_there():
                return remote
            await trio.sleep(_LOOK_AGAIN)
        return None
    raise Unreachable(
        f"Process {pid or 'unknown'} has the room open and does not answer.", "End it and try again."
    )


class RemoteNode:
    """The NodeApi over the socket, a connection for each call. Errors are the node's, or Unreachable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def is_there(self) -> bool:
        """Whether something listens."""
        try:
            stream = await trio.open_unix_socket(os.fspath(self._path))
        except OSError:
            return False
        await stream.aclose()
        return True

    async def room(self) -> RoomEvent:
        return await self._call(RoomCall(), RoomEvent)

    async def say(self, text: str) -> str:
        check_text(text)  # here too: one that is far too long would not get through
        return await self._call(SayCall(text=text), str)

    async def status(self) -> StatusEvent:
        return await self._call(StatusCall(), StatusEvent)

    async def who(self) -> list[MemberView]:
        return await self._call(WhoCall(), list[MemberView])

    async def admit(self, who: str) -> MemberView:
        return await self._call(AdmitCall(who=who), MemberView)

    async def remove(self, who: str) -> RemovalEvent:
        return await self._call(RemoveCall(who=who), RemovalEvent)

    async def leave(self) -> RemovalEvent:
        return await self._call(LeaveCall(), RemovalEvent)

    async def invite(self) -> InviteEvent:
        return await self._call(InviteCall(), InviteEvent)

    async def renew(self, token: str | None = None) -> InviteEvent:
        return await self._call(RenewCall(token=token), InviteEvent)

    async def carry(self, text: str) -> str:
        return await self._call(CarryCall(text=text), str)

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        async with self._connected() as stream:
            lines = Lines(stream, limit=MAX_LINE)
            await self._request(stream, lines, EventsCall(since=since, watching=watching))
            events = _decoded(lines)
            try:
                yield events
            finally:
                await events.aclose()

    async def _call(self, call: AnyCall, kind: type[T]) -> T:
        async with self._connected() as stream:
            reply = await self._request(stream, Lines(stream, limit=MAX_LINE), call)
            with _understood():
                return msgspec.json.decode(reply.ok, type=kind)

    async def _request(self, stream: trio.SocketStream, lines: Lines, call: AnyCall) -> Reply:
        request = _encode_call(call)
        try:
            await _send(stream, request)
            with _understood():
                line = await lines.next()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            line = None
        if line is None:
            raise unreachable()
        with _understood():
            reply = _replies.decode(line)
        if reply.error is not None:
            raise reply.error.error()
        return reply

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[trio.SocketStream]:
        try:
            stream = await trio.open_unix_socket(os.fspath(self._path))
        except OSError as error:
            raise Unreachable(
                "The node is not running any more.", "Start it again with `pigeon up` or `pigeon chat`."
            ) from error
        async with stream:
            yield stream


def _encode_call(call: AnyCall) -> bytes:
    try:
        return _encode(call)
    except UnicodeEncodeError:
        raise UsageError("This is not valid UTF-8.", "Send it as UTF-8 text.") from None


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """A node that was started with another version may say what we cannot read."""
    try:
        yield
    except (msgspec.DecodeError, ValueError, RecursionError, LineTooLong):
        raise Unreachable(
            "What the running node says is not understood.", "Start it again with the pigeon you use now."
        ) from None


async def _decoded(lines: Lines) -> AsyncGenerator[AnyEvent, None]:
    while True:
        try:
            with _understood():
                line = await lines.next()
        except trio.BrokenResourceError:
            raise unreachable() from None
        if line is None:
            return
        reply, event = Reply(), None
        with _understood():
            if line.startswith(b'{"error"'):
                reply = _replies.decode(line)
            else:
                event = _events.decode(line)
        if reply.error is not None:
            raise reply.error.error()
        if event is not None:
            yield event
