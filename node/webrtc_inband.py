"""A connection with one in-band data channel (RFC 8832), as any other WebRTC program makes or takes it.

Unlike a link between members it obeys the window that the other side advertises, and advertises its own by
what its reader has taken: a foreign sender knows no other way to be held back.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

import trio

from node.errors import ConnectFailed
from node.link import MAX_CHANNEL_MESSAGE, ChannelClosed
from node.webrtc import CONNECT_DEADLINE, Connection
from node.webrtc_guards import aiortc_parts
from signaling.candidates import MAX_CANDIDATES, Candidate
from signaling.handshake import Role
from signaling.sdp import Session

LABEL: Final = "pipe"
_CHARGE: Final = 64  # bytes that a message takes beside its own, so that tiny ones fill the window too
_PACKET: Final = 1200
_WINDOW: Final = 1 << 20
_MAX_FLIGHT: Final = 128 * 1024  # what a socket's usual buffer holds; a lost tail costs a second
_PROBE_EVERY: Final = 1.0
_NO_LIMIT: Final = 1 << 32
_DCEP, _STRING, _BINARY, _STRING_EMPTY, _BINARY_EMPTY = 50, 51, 53, 56, 57  # RFC 8831, 8
_OPENED, _OPENS, _RELIABLE = 2, 3, 0  # RFC 8832, 5.1 and 8.2
_OPEN: Final = struct.Struct("!BBHLHH")


class InBandConnection(Connection):
    """One end with exactly one ordered, reliable channel: the offerer opens it, the answerer takes it.

    Messages are bytes, text as its UTF-8. An empty binary message comes out as b""; an empty text is dropped.
    """

    _more_may_come = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.finished = False  # the other side closed the channel in good order: all it had sent is here
        self.gone = trio.Event()
        self.delivered = False  # at the end of the channel: whether the other side had got all data
        self._piece = MAX_CHANNEL_MESSAGE
        self._later: list[Candidate] = []
        self._was_open = False
        self._progress = trio.lowlevel.ParkingLot()

    async def meet(self, remote: Session, *, deadline: float = CONNECT_DEADLINE) -> None:
        """As `connect`, by a foreign description; more addresses may follow."""
        self._sctp_port, self._max_message = remote.sctp_port, remote.max_message
        self._piece = min(self._piece, remote.max_message or self._piece)
        try:
            await self.connect(remote.transport, deadline=deadline)
        except ConnectFailed:
            if not self._was_open:  # else it is over already, and what was said has yet to be read
                raise

    def add_later(self, found: Sequence[Candidate]) -> None:
        """Try these addresses as well, before or after `meet`; a few in all, each once."""
        for each in found:
            if each not in self._later and len(self._later) < MAX_CANDIDATES:
                self._later.append(each)
                self._loop.call_soon(self._loop.create_task, self._add_candidate(each, len(self._later)))

    async def send_all(self, data: bytes) -> None:
        """Hand over bytes, in as many messages as they need; waits while much is queued; ChannelClosed."""
        for at in range(0, len(data), self._piece):
            await self.send(data[at : at + self._piece])

    async def drain(self) -> None:
        """Until the other side has acknowledged all that was sent; ChannelClosed."""
        handed_over = trio.Event()
        self._loop.call_soon(handed_over.set)  # after whatever is still on its way there
        await handed_over.wait()
        while not self.lost and not self._is_drained():
            await self._progress.park()
        if self.lost:
            raise ChannelClosed(self.lost)
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        message = await super().receive()
        self._loop.call_soon(self._sctp.taken, len(message))
        return message

    def hang_up(self) -> None:
        """Close the channel in good order: what was sent arrives first. `gone` is set when it is closed."""
        self._loop.call_soon(self._channel.close)

    # from here on, in asyncio

    def _make_channel(self, rtc: Any) -> None:
        self._sctp = _inband_sctp()(self._dtls, self._sctp_port)
        self._sctp.guard(self._on_fault)
        self._sctp.watch(self)
        if self.role is Role.OFFERER:
            self._use(rtc.RTCDataChannel(self._sctp, rtc.RTCDataChannelParameters(label=LABEL, ordered=True)))
        else:
            self._sctp.on("datachannel", self._take)

    def _use(self, channel: Any) -> None:
        super()._use(channel)
        channel.on("open", self._on_open)

    def _take(self, channel: Any) -> None:
        self._use(channel)
        self._on_open()
        self._opened.set()

    def _on_open(self) -> None:
        self._was_open = True

    def _on_message(self, message: bytes | str) -> None:
        assert isinstance(message, bytes)
        if not self.lost:  # the association drops what is beyond the window
            self._inbox.append(message)
            self._inbox_size += len(message)
            self._arrived.unpark()

    def _on_progress(self) -> None:
        if self._is_drained():
            self._progress.unpark_all()

    def _on_reset(self) -> None:
        self.finished = True
        self._lose("closed by the peer")

    def _is_drained(self) -> bool:
        return not self._handed and bool(self._sctp.is_drained)

    def _lose(self, why: str) -> None:
        if not self.lost:
            self.delivered = self._sctp is None or not (self._handed or self._sctp.owes_data)
        super()._lose(why)
        self._progress.unpark_all()
        self.gone.set()


@cache
def _inband_sctp() -> Any:
    rtc = aiortc_parts()

    class InBandSctp(rtc.GuardedSctp):  # type: ignore[misc, name-defined, unused-ignore]
        """One channel that is opened in band, on whatever stream its opener chose."""

        _not_ours = "another channel than the one"
        _stream: int | None = None
        _held = 0  # bytes that wait for the reader, with their charge
        _cwnd: int
        _peer_window = _NO_LIMIT
        _probe: Any = None

        def watch(self, connection: InBandConnection) -> None:
            self._connection = connection

        @property
        def is_drained(self) -> bool:
            return not (self._sent_queue or self._outbound_queue or self._data_channel_queue)

        @property
        def owes_data(self) -> bool:
            """Whether any of it is unacknowledged: ends and acknowledgements of channels are none."""
            chunks = (chunk.protocol for queue in (self._sent_queue, self._outbound_queue) for chunk in queue)
            return _BINARY in chunks or any(kind == _BINARY for _, kind, _ in self._data_channel_queue)

        def taken(self, size: int) -> None:
            """The reader took a message of this size: tell the sender once there is room for much again."""
            before = self._advertised_rwnd
            self._held -= size + _CHARGE
            self._advertised_rwnd += size + _CHARGE
            if before < _WINDOW // 2 <= self._advertised_rwnd:
                self._loop.create_task(self._say_window())

        async def _say_window(self) -> None:
            if self._association_state == self.State.ESTABLISHED:
                with suppress(ConnectionError):
                    await self._send_sack()

        # inbound

        def _is_ours(self, stream_id: int) -> bool:
            if self._stream is None:  # the opener's own is known before anything can come on it
                channel = self._connection._channel
                self._stream = stream_id if channel is None else channel.id
            return bool(stream_id == self._stream)

        def _is_flooded(self) -> bool:
            # Nothing is missing and nothing waits for the reader: one endless message fills the window.
            return self._advertised_rwnd <= 0 and not self._held and not self._sack_misordered

        async def _receive_data_chunk(self, chunk: Any) -> None:
            # What is beyond the window is not taken, and comes again. With nothing left for the reader, what
            # fills the window are later parts of what is still missing: then that must come through.
            is_next = (
                self._last_received_tsn is not None and chunk.tsn == (self._last_received_tsn + 1) % 2**32
            )
            if self._advertised_rwnd <= 0 and (self._held > 0 or not is_next):
                self._sack_needed = True
                return
            await super()._receive_data_chunk(chunk)

        async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
            if pp_id == _DCEP:
                await self._receive_control(stream_id, data)
            elif pp_id in (_STRING, _BINARY, _BINARY_EMPTY):
                kind, size = (_BINARY, len(data)) if pp_id != _BINARY_EMPTY else (_BINARY_EMPTY, 0)
                self._held += size + _CHARGE
                self._advertised_rwnd -= size + _CHARGE
                await self._data_channel_receive(stream_id, kind, data)
            elif pp_id != _STRING_EMPTY:
                self._on_fault("a message of an unknown kind")

        async def _receive_control(self, stream_id: int, data: bytes) -> None:
            if data[:1] == bytes((_OPENED,)) and stream_id in self._data_channels:
                await self._data_channel_receive(stream_id, _DCEP, data)
            elif data[:1] != bytes((_OPENS,)) or not _is_readable(data):
                self._on_fault("a malformed channel")
            elif data[1] != _RELIABLE:
                self._on_fault("a channel that may lose messages or change their order")
            elif self._data_channels:
                self._on_fault("the same channel twice")
            else:
                await self._data_channel_receive(stream_id, _DCEP, data)

        async def _reset_deferred_streams(self) -> None:
            request = self._reconfig_deferred
            await super()._reset_deferred_streams()
            if request is not None and self._reconfig_deferred is None and self._stream in request.streams:
                self._connection._on_reset()

        # outbound

        async def _receive_sack_chunk(self, chunk: Any) -> None:
            if (chunk.cumulative_tsn - self._last_sacked_tsn) % 2**32 < 2**31:
                self._peer_window = chunk.advertised_rwnd
            await super()._receive_sack_chunk(chunk)
            self._connection._on_progress()

        async def _transmit(self) -> None:
            # aiortc takes no notice of the window that the other side advertises.
            waiting = self._sent_queue or self._outbound_queue
            if waiting and not self._flight_size and self._peer_window < _PACKET:
                if self._probe is None:
                    self._probe = self._loop.call_later(_PROBE_EVERY, self._probe_window)
                return
            congestion_window = self._cwnd
            self._cwnd = min(congestion_window, self._peer_window, _MAX_FLIGHT)
            try:
                await super()._transmit()
            finally:
                self._cwnd = congestion_window

        def _probe_window(self) -> None:
            """Say a packet's worth although there is no room, in case the word that there is was lost."""
            self._probe = None
            if self._association_state == self.State.ESTABLISHED:
                self._peer_window = max(self._peer_window, _PACKET)
                self._loop.create_task(self._transmit())

        async def stop(self) -> None:
            if self._probe is not None:
                self._probe.cancel()
            await super().stop()

    return InBandSctp


def _is_readable(opening: bytes) -> bool:
    """Whether the label and the protocol of a DATA_CHANNEL_OPEN are there and are UTF-8."""
    if len(opening) < _OPEN.size:
        return False
    *_, label, protocol = _OPEN.unpack_from(opening)
    text = opening[_OPEN.size :]
    try:
        text[:label].decode()
        text[label : label + protocol].decode()
    except UnicodeDecodeError:
        return False
    return bool(len(text) == label + protocol)
