"""Whole messages, in order, over a channel of small ones: cut, bundled, never more than a window ahead.

A channel message is a version byte and frames {kind, stream, length, payload}. Data may be at most WINDOW
bytes ahead of what the other side has taken with `receive()`; CREDIT says how far it has come. BYE asks
"have you got it all?", and BYE_ACK says so: the transport below loses what it has queued when it is closed.
Asides are small, uncut messages on a stream of their own, heard at once; who hears them bounds them. An idle
link sends nothing.
"""

import logging
import struct
from collections import Counter, deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

import trio

from node.errors import LinkClosed, LinkFault

logger = logging.getLogger(__name__)

VERSION: Final = 1
MAX_MESSAGE: Final = 1 << 20
MAX_CHANNEL_MESSAGE: Final = 16 * 1024  # what every WebRTC stack takes
WINDOW: Final = (
    2 * MAX_MESSAGE
)  # more than one message plus the credit held back, or a large message would stall
_CREDIT_STEP: Final = WINDOW // 4
_FRAME_CHARGE: Final = 32  # so that empty messages fill the window too
_MAX_QUEUED: Final = MAX_MESSAGE  # bytes waiting in send(), beyond which it waits

MAX_ASIDE: Final = 4 * 1024
_MAX_ASIDES: Final = 512  # that wait to leave, or for somebody to hear them
_ASIDES_A_BUNDLE: Final = MAX_CHANNEL_MESSAGE // 8  # and the rest of the last one: votes never wait long

PING_EVERY: Final = 2.0
DEAD_AFTER: Final = 8.0
_FLUSH_DEADLINE: Final = 5.0

_HEAD: Final = struct.Struct(">BBH")  # kind, stream, length
_MAX_PIECE: Final = MAX_CHANNEL_MESSAGE - 1 - _HEAD.size
_TOTAL: Final = struct.Struct(">Q")


class _Stream(IntEnum):
    MESSAGES = 0  # and all control frames
    ASIDES = 1


class _Frame(IntEnum):
    PIECE = 1  # of a message, more to come
    LAST = 2  # of a message
    CREDIT = 3
    PING = 4
    PONG = 5
    BYE = 6
    BYE_ACK = 7


class ChannelClosed(Exception):
    """The channel below is gone."""


class Channel(Protocol):
    """Small messages in order, nothing lost, until it closes."""

    async def send(self, message: bytes) -> None:
        """Hand over at most MAX_CHANNEL_MESSAGE bytes; waits while much is queued; ChannelClosed."""

    async def receive(self) -> bytes:
        """The next message; ChannelClosed when there will be none."""


class Link:
    """An authenticated line to one member. `run()` must be running in somebody's task for it to move.

    peer: the identity key it proved (32 bytes). words: the safety words both sides see. initiator: we made
    the offer.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        peer: bytes,
        words: tuple[str, str, str, str],
        initiator: bool,
        faults: Counter[str] | None = None,
    ) -> None:
        self.peer, self.words, self.initiator = peer, words, initiator
        self.closed = trio.Event()
        self.reason = ""  # why it closed, for a log
        self.rtt: float | None = None  # seconds, of the last ping answered
        self._faulty = False
        self._faults: Counter[str] = faults if faults is not None else Counter()
        self._channel = channel
        # outbound
        self._outbox: deque[bytes] = deque()
        self._offset = 0  # of the first message in the outbox
        self._queued = 0
        self._sent = 0
        self._may_send = WINDOW
        self._control: dict[_Frame, bytes] = {}  # at most one of a kind waits: a newer one says more
        self._leaving = False
        self._bye_sent = False
        self._farewell = trio.Event()  # the peer has all we sent, or is gone
        self._asides: deque[bytes] = deque()
        # inbound
        self._inbox: deque[tuple[bytes, int]] = deque()
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._pieces_charge = 0
        self._received = 0
        self._consumed = 0
        self._credited = 0
        self._heard = 0.0
        self._pinged = 0.0
        self._watched = False
        self._doubted = False
        self._early: list[bytes] = []  # asides, before anybody heard them
        self._hear: Callable[[bytes], None] | None = None
        self._work = trio.lowlevel.ParkingLot()  # the writer waits here
        self._room = trio.lowlevel.ParkingLot()  # send() waits here
        self._arrived = trio.lowlevel.ParkingLot()  # receive() waits here
        self._watching = trio.lowlevel.ParkingLot()  # the heart waits here

    def __repr__(self) -> str:
        return f"<Link to {self.peer.hex()[:8]}{' closed' if self.closed.is_set() else ''}>"

    async def send(self, message: bytes) -> None:
        """Queue one message; waits while a megabyte is queued already. LinkClosed once the link is gone."""
        if len(message) > MAX_MESSAGE:
            raise ValueError(f"a message of {len(message)} bytes is too long for a link")
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._queued >= _MAX_QUEUED and not self.closed.is_set() and not self._leaving:
            await self._room.park()
        if self.closed.is_set() or self._leaving:
            raise self._closed_error()
        self._outbox.append(message)
        self._queued += len(message) + _FRAME_CHARGE
        self._work.unpark_all()
        # No checkpoint when there was room: what one task says in one go leaves in one bundle.

    async def receive(self) -> bytes:
        """The next message. What arrived before the end is still given out; then LinkClosed or LinkFault."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._inbox:
            if self.closed.is_set():
                raise self._closed_error()
            await self._arrived.park()
        message, charge = self._inbox.popleft()
        self._consumed += charge
        if self._consumed - self._credited >= _CREDIT_STEP and not self.closed.is_set():
            self._credited = self._consumed
            self._say(_Frame.CREDIT, _TOTAL.pack(self._consumed))
        await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    def send_aside(self, message: bytes) -> bool:
        """Queue an aside (1 to MAX_ASIDE bytes); False when too many wait, or the link is closed."""
        if not 0 < len(message) <= MAX_ASIDE:
            raise ValueError(f"an aside of {len(message)} bytes")
        if self.closed.is_set() or self._leaving or len(self._asides) >= _MAX_ASIDES:
            return False
        self._asides.append(message)
        self._work.unpark_all()
        return True

    def hear_asides(self, hear: Callable[[bytes], None]) -> None:
        """Have every aside given to `hear`, which must not raise; first those that came before."""
        self._hear = hear
        early, self._early = self._early, []
        for message in early:
            hear(message)

    async def aclose(self, *, deadline: float = _FLUSH_DEADLINE) -> None:
        """Refuse more, flush what is queued to a peer that lives (it says when it has all), then close."""
        if not self.closed.is_set():
            self._leaving = True
            self._room.unpark_all()
            self._work.unpark_all()
            try:
                with trio.move_on_after(deadline):
                    await self._farewell.wait()
            finally:
                self._close("closed by us")
        await trio.lowlevel.checkpoint()

    def probe(self) -> None:
        """Ping once; a peer that says nothing for 8 s is dead, watched or not."""
        if not (self._watched or self._doubted):
            self._doubted, self._heard = True, trio.current_time()
            self._watching.unpark_all()

    def watch(self, on: bool) -> None:
        """Ping every 2 s, call the peer dead after 8 s of silence; off (the start) an idle link is silent."""
        if on and not self._watched:
            self._heard = trio.current_time()
        self._watched = on
        self._watching.unpark_all()

    async def run(self) -> None:
        """Move messages until the link closes, by either side; never raises for what the peer did."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._read)
            nursery.start_soon(self._beat)
            try:
                await self.closed.wait()
            finally:
                self._close("cancelled")
                nursery.cancel_scope.cancel()

    # inbound

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._channel.receive())
        except ChannelClosed as end:
            self._close(str(end) or "closed by the peer")
        except LinkFault as fault:
            self._faulty = True
            self._faults[f"link: {fault.message}"] += 1
            logger.warning("link to %s: %s", self.peer.hex()[:8], fault.message)
            self._close(fault.message)

    def _take(self, message: bytes) -> None:
        self._heard, self._doubted = trio.current_time(), False
        if not 1 <= len(message) <= MAX_CHANNEL_MESSAGE:
            raise _fault("oversize or empty channel message")
        if message[0] != VERSION:
            raise _fault("unknown version")
        at, end = 1, len(message)
        while at < end:
            if at + _HEAD.size > end:
                raise _fault("truncated frame")
            kind, stream, length = _HEAD.unpack_from(message, at)
            at += _HEAD.size
            if at + length > end:
                raise _fault("truncated frame")
            match stream:
                case _Stream.MESSAGES:
                    self._take_frame(kind, message[at : at + length])
                case _Stream.ASIDES:
                    self._take_aside(kind, message[at : at + length])
                case _:
                    raise _fault("unknown stream")
            at += length

    def _take_frame(self, kind: int, payload: bytes) -> None:
        match kind:
            case _Frame.PIECE | _Frame.LAST:
                self._take_piece(payload, last=kind == _Frame.LAST)
            case _Frame.CREDIT:
                if len(payload) != _TOTAL.size:
                    raise _fault("malformed credit")
                (taken,) = _TOTAL.unpack(payload)
                if not self._may_send - WINDOW <= taken <= self._sent:
                    raise _fault("impossible credit")
                self._may_send = taken + WINDOW
                self._work.unpark_all()
            case _ if payload:
                raise _fault("malformed control frame")
            case _Frame.PING:
                self._say(_Frame.PONG)
            case _Frame.PONG:
                if self._pinged:
                    self.rtt, self._pinged = trio.current_time() - self._pinged, 0.0
            case _Frame.BYE:
                self._say(_Frame.BYE_ACK)
            case _Frame.BYE_ACK:
                if not self._bye_sent:
                    raise _fault("farewell nobody asked for")
                self._farewell.set()
            case _:
                raise _fault("unknown frame")

    def _take_piece(self, payload: bytes, *, last: bool) -> None:
        charge = len(payload) + _FRAME_CHARGE
        self._received += charge
        if self._received - self._consumed > WINDOW:
            raise _fault("more than the window")
        self._pieces.append(payload)
        self._pieces_size += len(payload)
        self._pieces_charge += charge
        if self._pieces_size > MAX_MESSAGE or (not payload and not last):
            raise _fault("oversize message" if payload else "empty piece")
        if last:
            self._inbox.append((b"".join(self._pieces), self._pieces_charge))
            self._pieces, self._pieces_size, self._pieces_charge = [], 0, 0
            self._arrived.unpark()

    def _take_aside(self, kind: int, payload: bytes) -> None:
        if kind != _Frame.LAST or not 0 < len(payload) <= MAX_ASIDE:
            raise _fault("malformed aside")
        if self._hear is not None:
            self._hear(payload)
        elif len(self._early) < _MAX_ASIDES:
            self._early.append(payload)
        else:
            raise _fault("more asides than anybody could hear")

    # outbound

    async def _write(self) -> None:
        try:
            while True:
                bundle = self._bundle()
                if bundle is None:
                    await self._work.park()
                    continue
                said_farewell = _Frame.BYE_ACK in self._control
                self._control.clear()
                await self._channel.send(bundle)
                if said_farewell and not self._leaving:  # when both leave, each waits for the other's word
                    self._close("closed by the peer")
        except ChannelClosed as end:
            self._close(str(end) or "closed by the peer")

    def _bundle(self) -> bytes | None:
        """One channel message with as much of what waits as fits, or None: few large ones beat many small."""
        parts = [bytes((VERSION,))]
        room = MAX_CHANNEL_MESSAGE - 1
        for kind, payload in self._control.items():  # at most a few dozen bytes in all
            parts.append(_HEAD.pack(kind, 0, len(payload)) + payload)
            room -= _HEAD.size + len(payload)
        before = room
        while self._asides and before - room < _ASIDES_A_BUNDLE:
            aside = self._asides.popleft()
            parts.append(_HEAD.pack(_Frame.LAST, _Stream.ASIDES, len(aside)) + aside)
            room -= _HEAD.size + len(aside)
        while self._outbox and room > _HEAD.size:
            message = self._outbox[0]
            left = len(message) - self._offset
            size = min(left, room - _HEAD.size)
            if size < left and len(parts) > 1 and size < _MAX_PIECE // 2:
                break  # do not cut a message to fill a corner
            if self._sent + size + _FRAME_CHARGE > self._may_send:
                break
            last = size == left
            parts.append(_HEAD.pack(_Frame.LAST if last else _Frame.PIECE, 0, size))
            parts.append(message[self._offset : self._offset + size])
            room -= _HEAD.size + size
            self._sent += size + _FRAME_CHARGE
            self._offset += size
            if last:
                self._outbox.popleft()
                self._offset = 0
                self._queued -= len(message) + _FRAME_CHARGE
                self._room.unpark_all()
        if self._leaving and not self._outbox and not self._bye_sent and room >= _HEAD.size:
            parts.append(_HEAD.pack(_Frame.BYE, 0, 0))
            self._bye_sent = True
        return b"".join(parts) if len(parts) > 1 else None

    def _say(self, kind: _Frame, payload: bytes = b"") -> None:
        self._control[kind] = payload
        self._work.unpark_all()

    # life

    async def _beat(self) -> None:
        while True:
            if not (self._watched or self._doubted):
                await self._watching.park()
                continue
            if trio.current_time() - self._heard >= DEAD_AFTER:
                self._close("the peer has been silent for 8 seconds")
                return
            if not self._pinged:
                self._pinged = trio.current_time()
            self._say(_Frame.PING)
            await trio.sleep(PING_EVERY)

    def _close(self, reason: str) -> None:
        if self.closed.is_set():
            return
        self.reason = reason
        self.closed.set()
        self._farewell.set()
        for lot in (self._room, self._arrived, self._work):
            lot.unpark_all()

    def _closed_error(self) -> LinkClosed:
        what = f"The link to {self.peer.hex()[:8]} is closed: {self.reason or 'closed by us'}."
        if self._faulty:
            return LinkFault(what, "The peer may run another version, or be hostile.")
        return LinkClosed(what, "It is made again as soon as both are there.")


def _fault(what: str) -> LinkFault:
    return LinkFault(what, "")
