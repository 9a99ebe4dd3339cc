"""STUN and TURN servers that say what a test has them say, on loopback."""

import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio
from aioice import stun

from node.ice_servers import IceServers, Server

Where = tuple[str, int]
Answer = Callable[[stun.Message, Where], list[bytes]]
"""(a request, who asks) -> datagrams to send back."""

USERNAME, PASSWORD, REALM = "ann", "a secret", "test.invalid"
KEY = hashlib.md5(f"{USERNAME}:{REALM}:{PASSWORD}".encode()).digest()


@dataclass
class Peer:
    """One at work; `asked` grows with each request, `say` sends to whoever asked last."""

    port: int
    answer: Answer
    _socket: Any
    asked: list[tuple[stun.Message, Where]] = field(default_factory=list)

    @property
    def server(self) -> Server:
        return Server("127.0.0.1", self.port)

    async def say(self, datagram: bytes) -> None:
        await self._socket.sendto(datagram, self.asked[-1][1])

    async def wait_asked(self, count: int, *, method: stun.Method | None = None) -> None:
        with trio.fail_after(10):
            while len(self.requests(method)) < count:
                await trio.sleep(0.01)

    def requests(self, method: stun.Method | None = None) -> list[stun.Message]:
        return [message for message, _ in self.asked if method in (None, message.message_method)]

    async def run(self) -> None:
        while True:
            data, where = await self._socket.recvfrom(65_536)
            try:
                message = stun.parse_message(data)
            except ValueError:
                continue
            self.asked.append((message, where))
            for datagram in self.answer(message, where):
                await self._socket.sendto(datagram, where)


@asynccontextmanager
async def ice_peer(answer: Answer) -> AsyncIterator[Peer]:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        peer = Peer(sock.getsockname()[1], answer, sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            yield peer
            nursery.cancel_scope.cancel()


def says_nothing(_request: stun.Message, _where: Where) -> list[bytes]:
    return []


def reply(request: stun.Message, *, error: int = 0, key: bytes | None = None, **attributes: Any) -> bytes:
    """The answer to a request; with `key` it is authenticated."""
    kind = stun.Class.ERROR if error else stun.Class.RESPONSE
    message = stun.Message(request.message_method, kind, request.transaction_id)
    if error:
        message.attributes["ERROR-CODE"] = (error, "no")
    message.attributes.update({name.replace("_", "-"): value for name, value in attributes.items()})
    if key is not None:
        message.add_message_integrity(key)
    return bytes(message)


def sees(address: str, port: int) -> Answer:
    """A STUN server that sees everybody there."""
    return lambda request, _where: [reply(request, XOR_MAPPED_ADDRESS=(address, port))]


def turns(*, relayed: Where = ("127.0.0.9", 49152), **lies: Answer) -> Answer:
    """A TURN server that does as it should, but for the methods in `lies`, once it knows who asks."""

    def answer(request: stun.Message, where: Where) -> list[bytes]:
        if "NONCE" not in request.attributes and request.message_method is not stun.Method.BINDING:
            return [reply(request, error=401, REALM=REALM, NONCE=b"once")]
        if request.message_method.name in lies:
            return lies[request.message_method.name](request, where)
        match request.message_method:
            case stun.Method.ALLOCATE:
                given = {"XOR_RELAYED_ADDRESS": relayed, "XOR_MAPPED_ADDRESS": where, "LIFETIME": 600}
                return [reply(request, key=KEY, **given)]
            case stun.Method.REFRESH:
                return [reply(request, key=KEY, LIFETIME=request.attributes["LIFETIME"])]
            case stun.Method.CREATE_PERMISSION:
                return [reply(request, key=KEY)]
        return []

    return answer


def relay_only(peer: Peer, place: Path) -> IceServers:
    """What a command line names this server by."""
    path = place / "turn.json"
    server = {"urls": f"turn:{peer.server}", "username": USERNAME, "credential": PASSWORD}
    path.write_bytes(msgspec.json.encode(server))
    path.chmod(0o600)
    return IceServers(turn_file=path, relay_only=True)
