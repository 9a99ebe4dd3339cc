"""One end of a WebRTC connection: from gathered addresses to a channel that bytes go through.

No SDP is made or read: the typed fields of an offer or answer go straight to aiortc's ICE, DTLS and SCTP
objects. Each workaround below names what it is for; all were reproduced with aiortc 1.16, aioice 0.13 and
trio-asyncio 0.16.
"""

import asyncio
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import trio

from node.errors import ConnectFailed
from node.ice_lookup import Reachable
from node.ice_servers import Finding
from node.link import ChannelClosed
from node.webrtc_guards import aiortc_parts, guard_ice
from node.webrtc_ice import Outside, direct_first
from signaling.candidates import MAX_CANDIDATES, Candidate
from signaling.description import Setup, Transport
from signaling.handshake import Role

logger = logging.getLogger(__name__)

CONNECT_DEADLINE: Final = (
    20.0  # once both descriptions are there; ICE alone would take 63 s, a silent DTLS peer for ever
)
_MAX_BUFFERED: Final = 1 << 20
_LOW_BUFFERED: Final = 1 << 18
_MAX_INBOX: Final = 4 << 20  # bytes; a link's window is half of it, so only who ignores the window gets there
_MAX_INBOX_COUNT: Final = 65_536
_SCTP_PORT: Final = 5000
_TURNED_AWAY: Final = "it is connected with somebody else by the same offer"
_MAX_SCTP_MESSAGE: Final = 65_536


class Connection:
    """One end of a WebRTC connection with one ordered, reliable channel (stream 0); it is a link.Channel."""

    _more_may_come = False  # addresses of the other end, after its description
    _max_message = _MAX_SCTP_MESSAGE
    _sctp_port = _SCTP_PORT

    def __init__(self, loop: Any, *, role: Role, faults: Counter[str]) -> None:
        self.role = role
        self.local_candidates: tuple[Candidate, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        """What each server said, of those that are configured."""
        self.moved = trio.Event()
        """An address that was shown leads here no more: a router changed it, or the TURN server is lost."""
        self.lost = ""  # why the channel closed
        self._loop = loop
        self._faults = faults
        self._on_check: Callable[[str], bool] = lambda _ufrag: True
        self._relay_only = False
        self._outside: Outside | None = None
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

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of our DTLS certificate, made for this connection alone."""
        fingerprints = {f.algorithm: f.value for f in self._dtls.getLocalParameters().fingerprints}
        return bytes.fromhex(fingerprints["sha-256"].replace(":", ""))

    def describe(self, setup: Setup) -> Transport:
        """A description for the other end under ICE credentials of its own, by which we go from now on."""
        transport = Transport(
            ufrag=secrets.token_hex(4),
            pwd=secrets.token_hex(16),
            fingerprint=self.fingerprint,
            setup=setup,
            candidates=self.local_candidates,
        )
        self.identify(transport)
        return transport

    def identify(self, local: Transport, *, on_check: Callable[[str], bool] | None = None) -> None:
        """Go by these ICE credentials from now on: those of the description that the other end will see.

        on_check: called with the other end's username fragment when a check arrives before connect() that
        proves to know our password, perhaps often and with several names: whether it is the one we wait for.
        """
        self._on_check = on_check or self._on_check
        ice = self._ice._connection
        ice._local_username, ice._local_password = local.ufrag, local.pwd

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
                f"The connection was not made: {self.lost or f'nothing came within {deadline:.3g} s'}.",
                "Each token connects once: ask for a new one."
                if self.lost == _TURNED_AWAY
                else "The peer may be gone, or a firewall may stand between.",
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
        rtc = aiortc_parts()
        gatherer = rtc.RTCIceGatherer(
            iceServers=[],  # None would ask a public STUN server
        )
        self._ice = rtc.RTCIceTransport(gatherer)
        ice = self._ice._connection
        ice.ice_controlling = self.role is Role.OFFERER
        guard_ice(
            ice,
            on_check=self._on_early_check,
            on_turned_away=lambda: self._lose(_TURNED_AWAY),
            faults=self._faults,
        )
        # aioice never gathers loopback, so without a network it gathers nothing: choose the addresses
        # ourselves.
        ice._local_candidates_start = True
        ice._local_candidates += await ice.get_component_candidates(1, addresses)
        ice._local_candidates_end = True
        for protocol in ice._protocols:
            protocol.transport.max_size = 2048  # 256 KiB a datagram is most of the cost of receiving one
        await gatherer.gather()  # only sets the state now
        self._dtls = rtc.RTCDtlsTransport(self._ice, [rtc.RTCCertificate.generateCertificate()])
        self._make_channel(rtc)
        self._dtls.on("statechange", self._on_dtls_state)
        self._show([])

    async def _ask(self, servers: Reachable) -> None:
        self._outside = Outside(self._ice._connection, on_moved=self._on_moved, faults=self._faults)
        try:
            await self._outside.ask(servers)
        finally:
            self.findings = tuple(self._outside.findings)
            self._show(self._outside.candidates())

    def _show(self, given: list[Candidate]) -> None:
        """Ours: the one that most can use, then what servers gave, then the rest, for not all may fit."""
        own = [
            Candidate(type=found.type, address=found.host, port=found.port)
            for found in self._ice._connection._local_candidates
        ]
        self.local_candidates = tuple((own[:1] + given + own[1:])[:MAX_CANDIDATES])

    def _on_moved(self, why: str) -> None:
        logger.info("webrtc: %s", why)
        self.moved.set()
        if self._relay_only:  # a path that is gone is never made up for by another one
            self._lose(why)

    def _make_channel(self, rtc: Any) -> None:
        """The one channel and the association it is in, before either is connected."""
        self._sctp = rtc.GuardedSctp(self._dtls, _SCTP_PORT)
        self._sctp.guard(self._on_fault)
        parameters = rtc.RTCDataChannelParameters(label="pigeon", negotiated=True, id=0, ordered=True)
        self._use(rtc.RTCDataChannel(self._sctp, parameters))

    def _use(self, channel: Any) -> None:
        self._channel = channel
        channel.bufferedAmountLowThreshold = _LOW_BUFFERED
        channel.on("open", self._opened.set)
        channel.on("message", self._on_message)
        channel.on("close", lambda: self._lose("closed by the peer"))
        channel.on("bufferedamountlow", self._writable.unpark_all)

    def _on_early_check(self, ufrag: str) -> bool:
        return self._on_check(ufrag)

    async def _connect(self, remote: Transport) -> None:
        rtc = aiortc_parts()
        # At most 8, literal, checked when decoded: each is an address we send to because a stranger said so.
        for index, candidate in enumerate(remote.candidates[:MAX_CANDIDATES]):
            await self._add_candidate(candidate, index)
        # Without any, the end of them would mean that nothing can come.
        if remote.candidates and not self._more_may_come:
            await self._ice.addRemoteCandidate(None)
        if not self._relay_only and any(each.type != "relay" for each in remote.candidates):
            direct_first(self._ice._connection)
        self._dtls._set_role("server" if remote.setup is Setup.ACTIVE else "client")
        await self._ice.start(
            rtc.RTCIceParameters(
                usernameFragment=remote.ufrag,
                password=remote.pwd,
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
        await self._sctp.start(rtc.RTCSctpCapabilities(maxMessageSize=self._max_message), self._sctp_port)
        return None

    async def _add_candidate(self, candidate: Candidate, index: int) -> None:
        rtc = aiortc_parts()
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

    async def _aclose(self) -> None:
        self._lose("closed by us")
        if self._outside is not None:
            self._outside.stop()
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
