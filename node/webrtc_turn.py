"""One allocation on a TURN server (RFC 8656), over UDP: a transport that aioice sends and receives through.

Written anew, for aioice 0.13 relays over channels which it renews every 500 s while their permissions end
after 300 s, asks an allocation only once in ten minutes whether it is still there (a router forgets the way
back after ten seconds), waits 63 s for a server that is dead, and can permit nobody before it has something
to send. Send and Data indications cost 32 bytes a packet more than a channel and have no life of their own.
"""

import asyncio
import hashlib
import ipaddress
import logging
import math
import os
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from node.ice_servers import FindingError, TurnServer
from node.turn_packets import DATA_INDICATION, HEAD, Address, parse_data, peer_attribute, send_indication
from signaling.candidates import MAX_CANDIDATES, is_one_host

logger = logging.getLogger(__name__)

KEEP_EVERY: Final = (
    4.5  # seconds: the way back through a router that forgets after ten, with one try to spare
)
_CALM_EVERY: Final = 25.0  # once linked through it, what is said keeps the way open
_LIFETIME: Final = 600
_LEAST_LIFETIME: Final = 10
_PERMIT_EVERY: Final = 100.0  # a permission ends after 300 s
_DENIED: Final = 30.0  # seconds in which a peer that may not be reached is not asked for again
_FIRST_RETRY: Final = 0.25
_LONGEST_RETRY: Final = 2.0
_GIVEN_UP_AFTER: Final = 15.0  # seconds of silence
_DOUBTED_FOR: Final = 4.0  # seconds of silence, once the system has said that nobody is there
_PERMIT_DEADLINE: Final = 5.0
_FAREWELL: Final = 0.4
_LEAST_PAUSE: Final = 1.0
_MAX_PEERS: Final = 3 * MAX_CANDIDATES + 1
_MAX_HELD: Final = 4  # datagrams to one peer, until it may be reached
_MAX_DATAGRAM: Final = 2048
_MAX_PACKET: Final = _MAX_DATAGRAM + 128
_MAX_CHALLENGE: Final = 763  # bytes of a realm or a nonce (RFC 8489, 14.9)
_UDP: Final = 17 << 24
_ERRORS: Final[dict[int, FindingError]] = {
    401: "credentials",
    431: "credentials",
    441: "credentials",
    403: "forbidden",
    437: "gone",
    486: "full",
    508: "full",
}


class TurnFailed(Exception):
    """No allocation, or none any more."""

    def __init__(self, error: FindingError, detail: str = "") -> None:
        super().__init__(f"{error} {detail}".rstrip())
        self.error = error
        self.detail = detail


async def allocate(
    server: TurnServer, address: Address, *, deadline: float, faults: Counter[str]
) -> "Allocation":
    """An address on the server that leads here; TurnFailed. `address`: where its name leads."""
    allocation = Allocation(server, faults=faults)
    try:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: allocation, remote_addr=address)
    except OSError as error:
        raise TurnFailed("unroutable", error.strerror or "") from error
    try:
        await allocation.begin(deadline=deadline)
    except BaseException:
        allocation.drop()
        raise
    return allocation


class Allocation(asyncio.DatagramProtocol):
    """What of an asyncio.DatagramTransport aioice uses, and the protocol of the socket to the server."""

    max_size = _MAX_DATAGRAM

    def __init__(self, server: TurnServer, *, faults: Counter[str]) -> None:
        self.relayed: Address = ("", 0)
        self.local: Address = ("", 0)
        self.on_lost: Callable[[TurnFailed], None] = lambda _why: None
        self.receiver: Any = None  # aioice's StunProtocol
        self._server = server
        self._faults = faults
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._key: bytes | None = None
        self._realm, self._nonce = "", b""
        self._waiting: dict[bytes, tuple[asyncio.Future[Any], bytes | None]] = {}
        self._permitted: dict[str, float] = {}  # when last
        self._denied: dict[str, float] = {}  # until when
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, deque[tuple[bytes, Address]]] = {}
        self._heads: dict[Address, tuple[bytes, bytes]] = {}
        self._expires = 0.0
        self._lifetime = float(_LIFETIME)
        self._keeping: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._ended = False
        self._heard = 0.0
        self._calm = False
        self._doubt = asyncio.Event()
        self._doubted = math.inf  # since when

    async def begin(self, *, deadline: float) -> None:
        """Ask for it; TurnFailed."""
        answer = await self._ask(
            "ALLOCATE", patience=deadline, LIFETIME=_LIFETIME, **{"REQUESTED-TRANSPORT": _UDP}
        )
        self._heed_lifetime(answer)
        self.relayed = _checked(answer.attributes.get("XOR-RELAYED-ADDRESS"))
        # Who relays through this server too comes from its address: so one scan is enough for the two of us.
        self._permitted[self.relayed[0]] = 0.0
        self._keeping = self._loop.create_task(self._keep())

    def calm_down(self) -> None:
        """The connection is made: through this, or not."""
        self._calm = True

    def is_idle(self, seconds: float) -> bool:
        """Whether nothing came through it for so long."""
        return self._loop.time() - self._heard >= seconds

    # what aioice asks of a transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.relayed if name == "sockname" else default

    def is_closing(self) -> bool:
        return self._ended or self._closing is not None

    def sendto(self, data: bytes, address: Address) -> None:
        """Through the server and no other way; what cannot be sent is dropped, as UDP does."""
        host = address[0]
        if self.is_closing() or len(data) > _MAX_DATAGRAM:
            return
        if host in self._permitted:
            self._relay(data, address)
            return
        if self._denied.get(host, 0.0) > self._loop.time() or (
            host not in self._held and len(self._held) + len(self._permitted) >= _MAX_PEERS
        ):
            return
        self._held.setdefault(host, deque(maxlen=_MAX_HELD)).append((data, address))
        if host not in self._asking:
            self._asking[host] = self._loop.create_task(self._permit(host))

    def close(self) -> None:
        """Give it back; the receiver hears of it once it is gone."""
        if not self._ended and self._closing is None:
            self._closing = self._loop.create_task(self._give_back())

    async def _give_back(self) -> None:
        self._stop_tasks()
        try:
            await self._ask("REFRESH", patience=_FAREWELL, LIFETIME=0)
        except TurnFailed as failed:
            logger.info("turn: an allocation is left to expire: %s", failed)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket at once."""
        if self._ended:
            return
        self._ended = True
        self._stop_tasks()
        if self._transport is not None:
            self._transport.abort()
        if self.receiver is not None:
            self.receiver.connection_lost(None)

    def _stop_tasks(self) -> None:
        for task in (self._keeping, *self._asking.values()):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    def _lose(self, why: TurnFailed) -> None:
        logger.warning("turn: the allocation at %s is lost: %s", self._server.server, why)
        self.drop()
        self.on_lost(why)

    # kept alive

    async def _keep(self) -> None:
        try:
            await self._renew_permissions()
            while True:
                every = min(_CALM_EVERY if self._calm else KEEP_EVERY, self._lifetime / 3)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._doubt.wait(), every)
                patience = min(_GIVEN_UP_AFTER, max(0.0, self._expires - self._loop.time()))
                self._heed_lifetime(await self._ask("REFRESH", patience=patience, LIFETIME=_LIFETIME))
                await asyncio.sleep(_LEAST_PAUSE)
                self._doubt.clear()
                await self._renew_permissions()
        except TurnFailed as failed:
            self._lose(failed)

    def _heed_lifetime(self, answer: Any) -> None:
        lifetime = answer.attributes.get("LIFETIME", 0)
        if lifetime < _LEAST_LIFETIME:
            raise TurnFailed("odd", "its allocations end at once")
        self._lifetime = min(lifetime, _LIFETIME)
        self._expires = self._loop.time() + self._lifetime

    async def _renew_permissions(self) -> None:
        for host, last in list(self._permitted.items()):
            if not last or self._loop.time() - last >= _PERMIT_EVERY:
                await self._permit(host)

    async def _permit(self, host: str) -> None:
        """Let this peer's packets through, and send what waits for it."""
        try:
            await self._ask("CREATE_PERMISSION", patience=_PERMIT_DEADLINE, **{"XOR-PEER-ADDRESS": (host, 9)})
        except TurnFailed as failed:
            logger.info("turn: %s may not be reached: %s", host, failed)
            self._permitted.pop(host, None)
            self._held.pop(host, None)
            self._denied[host] = self._loop.time() + _DENIED
            while len(self._denied) > _MAX_PEERS:
                del self._denied[next(iter(self._denied))]
        else:
            self._permitted[host] = self._loop.time()
            for data, address in self._held.pop(host, ()):
                self._relay(data, address)
        finally:
            self._asking.pop(host, None)

    # requests

    async def _ask(self, method: str, *, patience: float, **attributes: Any) -> Any:
        """One request and its answer, authenticated once the server has told how; TurnFailed."""
        from aioice import stun

        end = self._loop.time() + patience
        for _ in range(3):
            request = stun.Message(stun.Method[method], stun.Class.REQUEST)
            request.attributes.update(attributes)
            if self._key is not None:
                request.attributes.update(
                    USERNAME=self._server.username, REALM=self._realm, NONCE=self._nonce
                )
                request.add_message_integrity(self._key)
            answer = await self._exchange(request, end=end)
            code = answer.error_code
            if answer.message_class == stun.Class.RESPONSE:
                return answer
            if not (code == 438 or (code == 401 and self._key is None)):
                break
            self._take_challenge(answer)
        if code is None or code not in _ERRORS:
            raise TurnFailed("odd", f"it answers with error {code}")
        raise TurnFailed(_ERRORS[code], f"error {code}")

    def _take_challenge(self, answer: Any) -> None:
        realm, nonce = answer.attributes.get("REALM", self._realm), answer.attributes.get("NONCE", b"")
        if not nonce or max(len(realm.encode()), len(nonce)) > _MAX_CHALLENGE:
            raise TurnFailed("odd", "its challenge is none")
        self._realm, self._nonce = realm, nonce
        text = f"{self._server.username}:{realm}:{self._server.password}"
        self._key = hashlib.md5(text.encode(), usedforsecurity=False).digest()  # RFC 8489, 9.2.2

    async def _exchange(self, request: Any, *, end: float) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[request.transaction_id] = (future, self._key)
        delay = _FIRST_RETRY
        try:
            while (
                left := min(end, self._doubted + _DOUBTED_FOR) - self._loop.time()
            ) > 0 and not self._ended:
                self._transport.sendto(bytes(request))
                done, _ = await asyncio.wait((future,), timeout=min(delay, left))
                if done:
                    self._doubted = math.inf
                    return future.result()
                delay = min(2 * delay, _LONGEST_RETRY)
        finally:
            del self._waiting[request.transaction_id]
            future.cancel()
        raise TurnFailed("silent")

    # the socket to the server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.max_size = _MAX_PACKET
        self.local = transport.get_extra_info("sockname")[:2]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._ended:
            self._lose(TurnFailed("unroutable", str(exc)))

    def error_received(self, exc: Exception) -> None:
        # Before there is anything to lose it is the answer. Later whoever can forge an ICMP packet could end
        # the connection with one: it is a reason to ask, and silence is the answer.
        self._doubt.set()
        self._doubted = min(self._doubted, self._loop.time())
        if not self.relayed[0]:
            kind: FindingError = "refused" if isinstance(exc, ConnectionRefusedError) else "unroutable"
            for future, _ in self._waiting.values():
                if not future.done():
                    future.set_exception(TurnFailed(kind, getattr(exc, "strerror", "") or ""))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        # The socket is connected: it takes from the server's address only, which is not believed either.
        try:
            self._receive(data)
        except Exception as error:
            self._faults["turn: malformed packet"] += 1
            logger.info("turn: dropped a malformed packet of %d bytes: %r", len(data), error)

    def _receive(self, data: bytes) -> None:
        from aioice import stun

        if not HEAD.size <= len(data) <= _MAX_PACKET:
            raise ValueError("no TURN packet has this size")
        kind = int.from_bytes(data[:2], "big")
        if kind == DATA_INDICATION:
            peer, payload = parse_data(data)
            if peer[0] in self._permitted and self.receiver is not None and payload and not self.is_closing():
                self._heard = self._loop.time()
                self.receiver.datagram_received(payload, peer)
            return
        message = stun.parse_message(data)
        if message.transaction_id not in self._waiting:
            return
        future, key = self._waiting[message.transaction_id]
        challenged = message.message_class == stun.Class.ERROR and message.error_code in (401, 438)
        if message.message_class not in (stun.Class.RESPONSE, stun.Class.ERROR):
            return
        if key is not None and not challenged and not message.check_message_integrity(key):
            self._faults["turn: unauthenticated answer"] += 1
            return
        if not future.done():
            future.set_result(message)

    def _relay(self, data: bytes, address: Address) -> None:
        known = self._heads.get(address)
        if known is None:
            if len(self._heads) >= 4 * _MAX_PEERS:
                self._heads.clear()
            transaction = os.urandom(12)
            known = self._heads[address] = transaction, peer_attribute(address, transaction)
        transaction, peer = known
        self._transport.sendto(send_indication(data, peer=peer, transaction=transaction))


def _checked(relayed: Any) -> Address:
    if relayed is None or not relayed[1] or not is_one_host(ipaddress.ip_address(relayed[0])):
        raise TurnFailed("odd", "the address it gives is none")
    return str(relayed[0]), int(relayed[1])
