"""A hub in this process on a real socket, and clients that see every byte."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import BinaryIO

import trio

from signaling.hub.access_log import AccessLog
from signaling.hub.channels import Channels
from signaling.hub.connection import Connection
from signaling.hub.counts import Counts
from signaling.hub.http import Request, Response
from signaling.hub.listening import listen
from signaling.hub.memory import open_memory
from signaling.hub.routes import Route, Routes
from signaling.hub.server import Server
from signaling.hub.settings import HubSettings
from signaling.hub.shared import Shared
from signaling.hub.store import Stores

PATIENCE = 10.0
PLAIN = HubSettings()
GET = b"GET /v1/none HTTP/1.1\r\nHost: hub\r\n\r\n"


def route(name: str, handler: object, *, held: bool = False, method: str = "GET") -> Route:
    return Route(method=method, path=f"/{name}", name=name, handler=handler, operation={}, held=held)  # type: ignore[arg-type]


async def echo(request: Request) -> Response:
    return Response(200, request.body + request.query.encode() + request.client.encode())


ECHO = route("echo", echo, method="POST")


class Client:
    """One connection to it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.said = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def get(self, path: str, headers: str = "") -> bytes:
        """The answer to a GET, which has a Content-Length."""
        await self.send(f"GET {path} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n".encode())
        return await self.answer()

    async def post(self, path: str, body: bytes, headers: str = "") -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        await self.send(head.encode() + body)
        return await self.answer()

    async def subscribe(self, path: str, headers: str = "") -> bytes:
        """The head, once the stream stands: after the id that says where."""
        await self.send(f"GET {path} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n".encode())
        head = await self.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return head

    async def until(self, end: bytes) -> bytes:
        """What comes up to and with this."""
        with trio.fail_after(PATIENCE):
            while (at := self.said.find(end)) < 0:
                data = await self.stream.receive_some()
                assert data, f"the end came first, after {self.said!r}"
                self.said += data
        at += len(end)
        found, self.said = self.said[:at], self.said[at:]
        return found

    async def event(self) -> bytes:
        """The next event, heartbeats and positions too."""
        return await self.until(b"\n\n")

    async def answer(self) -> bytes:
        """Head and body of one answer."""
        head = await self.until(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        with trio.fail_after(PATIENCE):
            while len(self.said) < length:
                self.said += await self.stream.receive_some()
        body, self.said = self.said[:length], self.said[length:]
        return head + body

    async def rest(self) -> bytes:
        """All that still comes, to the end; a connection that is reset ends, too."""
        with trio.fail_after(PATIENCE):
            try:
                while data := await self.stream.receive_some():
                    self.said += data
            except trio.BrokenResourceError:
                pass
        return self.said

    async def ended(self) -> bool:
        return await self.rest() == b""


class Hub:
    """One that runs."""

    def __init__(self, port: int, counts: Counts, shared: Shared, server: Server) -> None:
        self.port = port
        self.server = server
        self.counts = counts
        self.shared = shared
        self.stop = trio.Event()
        self.stopped = trio.Event()

    @property
    def connections(self) -> set[Connection]:
        return self.server._connections

    def gauge(self, name: str) -> float:
        return self.counts.gauges[name][1]()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        with trio.fail_after(PATIENCE):
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            yield Client(stream)

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                await trio.sleep(0.005)


@asynccontextmanager
async def running(
    settings: HubSettings,
    *routes: Route,
    stores: Callable[[HubSettings], AbstractAsyncContextManager[Stores]] = open_memory,
    log_to: BinaryIO | None = None,
) -> AsyncIterator[Hub]:
    """Channels and these routes, on a free port of 127.0.0.1."""
    listeners: Sequence[socket.socket] = listen("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    counts = Counts()
    log = AccessLog(log_to, counts)
    async with stores(settings) as opened, trio.open_nursery() as nursery:
        table = Routes([*Channels(opened.channels, settings, counts).routes, *routes])
        shared = Shared(settings, routes=table, stores=opened, counts=counts, log=log)
        hub = Hub(port, counts, shared, Server(shared))

        async def serve() -> None:
            await hub.server.run(listeners, stop=hub.stop)
            hub.stopped.set()

        nursery.start_soon(serve)
        nursery.start_soon(log.run)
        try:
            yield hub
        finally:
            hub.stop.set()
            with trio.move_on_after(PATIENCE, shield=True):
                await hub.stopped.wait()
            nursery.cancel_scope.cancel()
