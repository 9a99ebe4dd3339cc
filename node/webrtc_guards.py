"""aiortc and aioice as we use them, mended: what hostile packets may cost, and how patiently a check is sent.

Each mend says what it is for; all were reproduced with
aiortc 1.16 and aioice 0.13. They touch private parts, so both are pinned to the minor version.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

from signaling.candidates import MAX_CANDIDATES

logger = logging.getLogger(__name__)

MAX_REMOTE: Final = 3 * MAX_CANDIDATES
MAX_EARLY_DATAGRAMS: Final = 256
_MAX_DATAGRAMS: Final = 8192
_MAX_REASSEMBLY: Final = 4096  # chunks: the receive window in full packets, four times over
_MAX_MISORDERED: Final = 2048  # chunks that came before an earlier one: all are sorted for each packet
_MAX_SACK_SPAN: Final = 1 << 14
_TURNED_AWAY: Final = (403, "Forbidden")  # STUN's code for who is known and may not
_MAX_RETRY_INTERVAL: Final = 2.0  # seconds


def guard_ice(
    ice: Any, *, on_check: Callable[[str], bool], on_turned_away: Callable[[], None], faults: Counter[str]
) -> None:
    """Bound what anybody, or a hostile peer, can make aioice keep.

    An open offer takes a junk flood into an unbounded queue, 50 MB/s of it: drop beyond a few hundred.
    on_check: told the sender's ICE name of each check that has our password and came before connect(). Unless
    it says that we connect with that one, the check is not answered, so that its sender goes on knocking.
    on_turned_away: the other end says, authentically, that it connects with somebody else.
    """
    receive, queue, check = ice.data_received, ice._queue, ice.check_incoming
    request = ice.request_received

    def data_received(data: bytes, component: int) -> None:
        if not data:
            return  # aiortc's DTLS reads the first byte of every datagram without looking
        if queue.qsize() < (_MAX_DATAGRAMS if ice._nominated else MAX_EARLY_DATAGRAMS):
            receive(data, component)
        else:
            faults["webrtc: datagram dropped"] += 1

    def check_incoming(message: Any, address: tuple[str, int], protocol: Any) -> None:
        # Each source that a peer checks from, or pretends to, is one more address we send checks to.
        known = ice._remote_candidates
        if len(known) < MAX_REMOTE or any((c.host, c.port) == address for c in known):
            check(message, address, protocol)
        else:
            faults["webrtc: check from too many addresses"] += 1

    def request_received(message: Any, address: tuple[str, int], protocol: Any) -> None:
        local, _, name = str(message.attributes.get("USERNAME", "")).partition(":")
        if local == ice.local_username and message.check_message_integrity(ice.local_password.encode()):
            if "PRIORITY" not in message.attributes:  # connect() would end with a KeyError
                on_malformed()
                return
            if ice.remote_username is None and not on_check(name):
                return
            if ice.remote_username not in (None, name):
                # It holds the offer that somebody else has answered: it need not knock for minutes.
                ice.respond_error(message, address, protocol, _TURNED_AWAY)
                return
        request(message, address, protocol)

    def on_malformed() -> None:
        faults["webrtc: malformed packet"] += 1

    ice.data_received = data_received
    ice.check_incoming = check_incoming
    ice.request_received = request_received
    ice.on_malformed = on_malformed
    ice.on_turned_away = on_turned_away


@cache
def aiortc_parts() -> SimpleNamespace:
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

    ask = aioice.ice.StunProtocol.request

    async def request(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return await ask(self, *arguments, **named)
        except aioice.stun.TransactionFailed as failed:
            if failed.response.attributes.get("ERROR-CODE") == _TURNED_AWAY:
                self.receiver.on_turned_away()
            raise

    aioice.ice.StunProtocol.request = request  # type: ignore[method-assign]

    default_tries = 1 + aioice.stun.RETRY_MAX

    def retry(self: Any) -> None:
        # A person carries the answer: checks go on, every two seconds, until our own deadline ends them. The
        # original doubles the interval and gives up after 63 s; by then a NAT has forgotten us as well.
        if self._Transaction__future.done():
            return
        if self._Transaction__tries >= self._Transaction__tries_max != default_tries:
            self._Transaction__future.set_exception(aioice.stun.TransactionTimeout())
            return
        self._Transaction__protocol.send_stun(self._Transaction__request, self._Transaction__addr)
        delay = min(self._Transaction__timeout_delay, _MAX_RETRY_INTERVAL)
        self._Transaction__timeout_handle = asyncio.get_running_loop().call_later(
            delay, self._Transaction__retry
        )
        self._Transaction__timeout_delay = 2 * delay
        self._Transaction__tries += 1

    aioice.stun.Transaction._Transaction__retry = retry  # type: ignore[attr-defined]

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

        _not_ours = "text or another channel on a link"

        def guard(self, on_fault: Any) -> None:
            self._on_fault = on_fault

        def _is_ours(self, stream_id: int) -> bool:
            return stream_id == 0

        def _is_flooded(self) -> bool:
            return bool(self._advertised_rwnd < 0)

        async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
            # Text that is not UTF-8 raises in the pump; in-band channels are accepted by the ten thousand.
            if stream_id != 0 or pp_id not in (sctp.WEBRTC_BINARY, sctp.WEBRTC_BINARY_EMPTY):
                self._on_fault(self._not_ours)
                return
            await super()._receive(stream_id, pp_id, data)

        async def _receive_data_chunk(self, chunk: Any) -> None:
            if not self._is_ours(chunk.stream_id):
                self._on_fault(self._not_ours)
                return
            await super()._receive_data_chunk(chunk)
            # An endless message is kept whole in memory, and each chunk is sorted in by walking all of it.
            waiting = len(self._get_inbound_stream(chunk.stream_id).reassembly)
            if self._is_flooded() or waiting > _MAX_REASSEMBLY:
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
