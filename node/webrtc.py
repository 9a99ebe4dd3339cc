"""WebRTC data channels for trio: the only file that sees asyncio, aiortc and aioice, and mends them.

No SDP is made or read: the typed fields of an offer or answer go straight to aiortc's ICE, DTLS and SCTP
objects. Each workaround below names what it is for; all were reproduced with aiortc 1.16, aioice 0.13 and
trio-asyncio 0.16.
"""

import asyncio
import base64
import ipaddress
import logging
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import trio

from node.errors import ConnectFailed
from node.link import ChannelClosed
from signaling.description import MAX_CANDIDATES, PWD_BYTES, UFRAG_BYTES, Candidate, Setup, Transport
from signaling.handshake import Role

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

CONNECT_DEADLINE: Final = (
    20.0  # once both descriptions are there; ICE alone would take 63 s, a silent DTLS peer for ever
)
_GATHER_DEADLINE: Final = 3.0
_CLOSE_DEADLINE: Final = 3.0
_MAX_BUFFERED: Final = 1 << 20
_LOW_BUFFERED: Final = 1 << 18
_MAX_INBOX: Final = 4 << 20  # bytes; a link's window is half of it, so only who ignores the window gets there
_MAX_INBOX_COUNT: Final = 65_536
_MAX_REMOTE: Final = 3 * MAX_CANDIDATES
_MAX_EARLY_DATAGRAMS: Final = 256
_MAX_DATAGRAMS: Final = 8192
_MAX_REASSEMBLY: Final = 4096  # chunks: the receive window in full packets, four times over
_MAX_MISORDERED: Final = 2048  # chunks that came before an earlier one: all are sorted for each packet
_MAX_SACK_SPAN: Final = 1 << 14
_SCTP_PORT: Final = 5000
_MAX_SCTP_MESSAGE: Final = 65_536


@asynccontextmanager
async def open_rtc(
    *, loopback_only: bool = False, faults: Counter[str] | None = None
) -> AsyncIterator["Rtc"]:
    """The service that makes connections, one a process. `loopback_only`: gather only 127.0.0.1."""
    import trio_asyncio  # type: ignore[import-untyped]

    _aiortc()
    counter: Counter[str] = faults if faults is not None else Counter()

    def on_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # trio-asyncio's default re-raises into its nursery: one bad packet would end the node.
        counter["webrtc: exception in a callback"] += 1
        error = context.get("exception")
        logger.warning("webrtc: %s: %r", context.get("message"), error)
        logger.debug("webrtc: the traceback", exc_info=error)

    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(on_exception)
        yield Rtc(loop, loopback_only=loopback_only, faults=counter)


class Rtc:
    """Makes connections; the tasks that open them own and close them."""

    def __init__(self, loop: Any, *, loopback_only: bool, faults: Counter[str]) -> None:
        self._loop = loop
        self._loopback_only = loopback_only
        self.faults = faults

    @asynccontextmanager
    async def connection(self, role: Role) -> AsyncIterator["Connection"]:
        """Gather addresses, hold the sockets until the block ends; ConnectFailed without any address."""
        connection = Connection(self._loop, role=role, faults=self.faults)
        try:
            # Shielded: cancelled half-way, aioice forgets sockets it has bound. It takes a millisecond.
            with trio.move_on_after(_GATHER_DEADLINE, shield=True):
                await self._loop.run_aio_coroutine(
                    connection._open(_addresses(loopback_only=self._loopback_only))
                )
            if not connection.local_candidates:
                raise ConnectFailed("This machine has no address to be reached at.", "Check the network.")
            yield connection
        finally:
            # Once, shielded, with a deadline, by the task that opened it: a close cancelled half-way hangs
            # all later ones.
            closing = self._loop.create_task(connection._aclose())
            closed = trio.Event()
            closing.add_done_callback(lambda _task: closed.set())
            with trio.move_on_after(_CLOSE_DEADLINE, shield=True) as scope:
                await closed.wait()
            if scope.cancelled_caught:
                self.faults["webrtc: close took too long"] += 1
                closing.cancel()


class Connection:
    """One end of a WebRTC connection with one ordered, reliable channel (stream 0); it is a link.Channel."""

    def __init__(self, loop: Any, *, role: Role, faults: Counter[str]) -> None:
        self.role = role
        self.local_candidates: tuple[Candidate, ...] = ()
        self.lost = ""  # why the channel closed
        self._loop = loop
        self._faults = faults
        self._ufrag, self._pwd = secrets.token_bytes(UFRAG_BYTES), secrets.token_bytes(PWD_BYTES)
        self._ice: Any = None
        self._dtls: Any = None
        self._sctp: Any = None
        self._channel: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._handed = 0  # bytes on their way to channel.send
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._arrived = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        self._opened = trio.Event()

    def transport(self, *, answering: Transport | None = None) -> Transport:
        """What the other end must know; `answering` is the offer's, when this is to be an answer."""
        if answering is None:
            setup = Setup.ACTPASS
        else:
            setup = Setup.PASSIVE if answering.setup is Setup.ACTIVE else Setup.ACTIVE
        fingerprints = {f.algorithm: f.value for f in self._dtls.getLocalParameters().fingerprints}
        return Transport(
            ufrag=self._ufrag,
            pwd=self._pwd,
            fingerprint=bytes.fromhex(fingerprints["sha-256"].replace(":", "")),
            setup=setup,
            candidates=self.local_candidates,
        )

    async def connect(self, remote: Transport, *, deadline: float = CONNECT_DEADLINE) -> None:
        """Connect to the other end or raise ConnectFailed. Who it is, the handshake proves."""
        # Not awaited through trio-asyncio: that cancels once and waits for the end; wait_for, in the DTLS
        # handshake, may swallow the one cancellation (Python 3.11), and this task would hang for ever.
        self._connecting = self._loop.create_task(self._connect(remote))
        self._connecting.add_done_callback(self._on_connect_end)
        with trio.move_on_after(deadline) as scope:
            await self._opened.wait()
        if scope.cancelled_caught or self.lost:
            raise ConnectFailed(
                f"The connection was not made: {self.lost or f'nothing came within {deadline:g} s'}.",
                "The peer may be gone, or a firewall may stand between.",
            )

    def exporter(self) -> bytes:
        """The channel binding of this DTLS session (RFC 5705, RFC 9266), 32 bytes, the same at both ends."""
        if self._dtls is None or self._dtls.state != "connected":
            raise ChannelClosed(self.lost or "not connected")
        return bytes(self._dtls._ssl.export_keying_material(b"EXPORTER-Channel-Binding", 32))

    async def send(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        # aiortc's send never waits: it would queue without end.
        while not self.lost and self._handed + self._channel.bufferedAmount > _MAX_BUFFERED:
            await self._writable.park()
        if self.lost:
            raise ChannelClosed(self.lost)
        self._handed += len(message)
        self._loop.call_soon(self._hand_over, message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._inbox:
            if self.lost:
                raise ChannelClosed(self.lost)
            await self._arrived.park()
        message = self._inbox.popleft()
        self._inbox_size -= len(message)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    # from here on, in asyncio

    def _hand_over(self, message: bytes) -> None:
        self._handed -= len(message)
        if not self.lost and self._channel.readyState == "open":
            self._channel.send(message)

    async def _open(self, addresses: list[str]) -> None:
        rtc = _aiortc()
        gatherer = rtc.RTCIceGatherer(
            iceServers=[],  # None would ask a public STUN server
            local_username=base64.b64encode(self._ufrag).decode(),
            local_password=base64.b64encode(self._pwd).decode(),
        )
        self._ice = rtc.RTCIceTransport(gatherer)
        ice = self._ice._connection
        ice.ice_controlling = self.role is Role.OFFERER
        _cap_datagrams(ice, self._faults)
        # aioice never gathers loopback, so without a network it gathers nothing: choose the addresses
        # ourselves.
        ice._local_candidates_start = True
        ice._local_candidates += await ice.get_component_candidates(1, addresses)
        ice._local_candidates_end = True
        for protocol in ice._protocols:
            protocol.transport.max_size = 2048  # 256 KiB a datagram is most of the cost of receiving one
        await gatherer.gather()  # only sets the state now
        self._dtls = rtc.RTCDtlsTransport(self._ice, [rtc.RTCCertificate.generateCertificate()])
        self._sctp = rtc.GuardedSctp(self._dtls, _SCTP_PORT)
        self._sctp.guard(self._on_fault)
        parameters = rtc.RTCDataChannelParameters(label="pigeon", negotiated=True, id=0, ordered=True)
        self._channel = rtc.RTCDataChannel(self._sctp, parameters)
        self._channel.bufferedAmountLowThreshold = _LOW_BUFFERED
        self._channel.on("open", self._opened.set)
        self._channel.on("message", self._on_message)
        self._channel.on("close", lambda: self._lose("closed by the peer"))
        self._channel.on("bufferedamountlow", self._writable.unpark_all)
        self._dtls.on("statechange", self._on_dtls_state)
        self.local_candidates = tuple(
            Candidate(type=found.type, address=found.ip, port=found.port)
            for found in gatherer.getLocalCandidates()[:MAX_CANDIDATES]
        )

    async def _connect(self, remote: Transport) -> None:
        rtc = _aiortc()
        # At most 8, literal, checked when decoded: each is an address we send to because a stranger said so.
        for index, candidate in enumerate(remote.candidates[:MAX_CANDIDATES]):
            await self._ice.addRemoteCandidate(
                rtc.RTCIceCandidate(
                    component=1,
                    foundation=str(index),
                    ip=candidate.address,
                    port=candidate.port,
                    priority=rtc.candidate_priority(1, candidate.type, 65535 - index),
                    protocol="udp",
                    type=candidate.type,
                )
            )
        await self._ice.addRemoteCandidate(None)
        self._dtls._set_role("server" if remote.setup is Setup.ACTIVE else "client")
        await self._ice.start(
            rtc.RTCIceParameters(
                usernameFragment=base64.b64encode(remote.ufrag).decode(),
                password=base64.b64encode(remote.pwd).decode(),
            )
        )
        if self._is_lost():
            return None
        if self._ice.state != "completed":
            return self._lose("no address of the peer answered")
        fingerprint = remote.fingerprint.hex(":").upper()
        await self._dtls.start(
            rtc.RTCDtlsParameters(fingerprints=[rtc.RTCDtlsFingerprint("sha-256", fingerprint)])
        )
        if self._is_lost():
            return None
        if self._dtls.state != "connected":
            return self._lose("the secure session could not be made")
        self._dtls._task.add_done_callback(self._on_pump_end)
        await self._sctp.start(rtc.RTCSctpCapabilities(maxMessageSize=_MAX_SCTP_MESSAGE), _SCTP_PORT)
        return None

    async def _aclose(self) -> None:
        self._lose("closed by us")
        if self._connecting is not None:
            self._connecting.cancel()
        for part in (self._sctp, self._dtls, self._ice):
            if part is not None:
                await part.stop()
        if self._connecting is not None:
            await asyncio.wait(
                (self._connecting,)
            )  # whatever swallowed the cancellation, its transport is gone

    def _on_message(self, message: bytes | str) -> None:
        # Only a bounded queue here: an exception in this callback would close the connection.
        if isinstance(message, str) or self.lost:
            return
        self._inbox.append(message)
        self._inbox_size += len(message)
        self._arrived.unpark()
        if self._inbox_size > _MAX_INBOX or len(self._inbox) > _MAX_INBOX_COUNT:
            self._on_fault("more than the window")

    def _on_dtls_state(self) -> None:
        if self._dtls.state in ("closed", "failed"):
            self._lose("the connection ended")

    def _on_connect_end(self, connecting: "asyncio.Task[None]") -> None:
        if not connecting.cancelled() and connecting.exception() is not None:
            self._on_fault(f"{type(connecting.exception()).__name__} while connecting")

    def _on_pump_end(self, pump: "asyncio.Future[None]") -> None:
        if not pump.cancelled() and pump.exception() is not None:
            self._on_fault(f"{type(pump.exception()).__name__} while reading")

    def _on_fault(self, what: str) -> None:
        self._faults[f"webrtc: {what}"] += 1
        logger.warning("webrtc: closing a connection: %s", what)
        self._lose(what)

    def _is_lost(self) -> bool:
        return bool(self.lost)

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        self._arrived.unpark_all()
        self._writable.unpark_all()
        self._opened.set()


def _addresses(*, loopback_only: bool) -> list[str]:
    """This machine's addresses; loopback only when there is no other, or when asked."""
    from aioice.ice import get_host_addresses

    found = get_host_addresses(use_ipv4=True, use_ipv6=True)
    others = [address for address in found if not ipaddress.ip_address(address).is_loopback]
    if loopback_only or not others:
        return ["127.0.0.1"]
    return others[:MAX_CANDIDATES]


def _cap_datagrams(ice: Any, faults: Counter[str]) -> None:
    """Bound what anybody, or a hostile peer, can make aioice keep.

    An open offer takes a junk flood into an unbounded queue, 50 MB/s of it: drop beyond a few hundred.
    """
    receive, queue, check = ice.data_received, ice._queue, ice.check_incoming

    def data_received(data: bytes, component: int) -> None:
        if not data:
            return  # aiortc's DTLS reads the first byte of every datagram without looking
        if queue.qsize() < (_MAX_DATAGRAMS if ice._nominated else _MAX_EARLY_DATAGRAMS):
            receive(data, component)
        else:
            faults["webrtc: datagram dropped"] += 1

    def check_incoming(message: Any, address: tuple[str, int], protocol: Any) -> None:
        # Each source that a peer checks from, or pretends to, is one more address we send checks to.
        known = ice._remote_candidates
        if len(known) < _MAX_REMOTE or any((c.host, c.port) == address for c in known):
            check(message, address, protocol)
        else:
            faults["webrtc: check from too many addresses"] += 1

    def on_malformed() -> None:
        faults["webrtc: malformed packet"] += 1

    ice.data_received = data_received
    ice.check_incoming = check_incoming
    ice.on_malformed = on_malformed


@cache
def _aiortc() -> SimpleNamespace:
    """aiortc, imported when first needed (PyAV comes along: 60 MB), mended against hostile packets."""
    import aioice.ice
    import aiortc
    from aiortc import rtcsctptransport as sctp

    received = aioice.ice.StunProtocol.datagram_received

    def datagram_received(self: Any, data: bytes, addr: tuple[Any, ...]) -> None:
        # Anyone who knows the port can send this: a 3-byte PRIORITY attribute raises struct.error in the
        # parser.
        try:
            received(self, data, addr)
        except Exception as error:
            logger.info(
                "webrtc: dropped a malformed packet of %d bytes from %s: %r", len(data), addr[0], error
            )
            self.receiver.on_malformed()

    aioice.ice.StunProtocol.datagram_received = datagram_received  # type: ignore[method-assign, assignment]

    decode = sctp.decode_params

    def decode_params(body: bytes) -> list[tuple[int, bytes]]:
        # A parameter of length 0 makes the original loop for ever, taking 240 MB/s.
        at = 0
        while at <= len(body) - 4:
            length = int.from_bytes(body[at + 2 : at + 4], "big")
            if length < 4:
                raise ValueError("SCTP parameter shorter than its header")
            at += length + (-length % 4)
        return decode(body)

    sctp.decode_params = decode_params

    class GuardedSctp(sctp.RTCSctpTransport):
        """One channel, stream 0, binary; anything else a peer opens or sends ends this connection only."""

        def guard(self, on_fault: Any) -> None:
            self._on_fault = on_fault

        async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
            # Text that is not UTF-8 raises in the pump; in-band channels are accepted by the ten thousand.
            if stream_id != 0 or pp_id not in (sctp.WEBRTC_BINARY, sctp.WEBRTC_BINARY_EMPTY):
                self._on_fault("text or another channel on a link")
                return
            await super()._receive(stream_id, pp_id, data)

        async def _receive_data_chunk(self, chunk: Any) -> None:
            if chunk.stream_id != 0:
                self._on_fault("text or another channel on a link")
                return
            await super()._receive_data_chunk(chunk)
            # An endless message is kept whole in memory, and each chunk is sorted in by walking all of it.
            waiting = len(self._get_inbound_stream(0).reassembly)
            if self._advertised_rwnd < 0 or waiting > _MAX_REASSEMBLY:
                self._on_fault("more than the receive window")
            elif len(self._sack_misordered) > _MAX_MISORDERED:  # whole messages, and the first never comes
                self._on_fault("too many packets out of order")

        async def _receive_forward_tsn_chunk(self, chunk: Any) -> None:
            # Nothing may be skipped on a reliable channel, and each stream that one names is made.
            self._on_fault("a skipped message on a reliable channel")

        async def _receive_sack_chunk(self, chunk: Any) -> None:
            # One packet of 1,168 bytes with wide gaps keeps the loop busy for most of a second.
            if sum(max(0, last - first) for first, last in chunk.gaps) > _MAX_SACK_SPAN:
                self._on_fault("a SACK wider than the window")
                return
            await super()._receive_sack_chunk(chunk)

    names = (
        "RTCCertificate", "RTCDataChannel", "RTCDataChannelParameters", "RTCDtlsFingerprint",
        "RTCDtlsParameters", "RTCDtlsTransport", "RTCIceCandidate", "RTCIceGatherer", "RTCIceParameters",
        "RTCIceTransport", "RTCSctpCapabilities",
    )  # fmt: skip
    parts = {name: getattr(aiortc, name, None) for name in names}
    assert all(parts.values()), parts
    return SimpleNamespace(
        **parts, GuardedSctp=GuardedSctp, candidate_priority=aioice.candidate.candidate_priority
    )
