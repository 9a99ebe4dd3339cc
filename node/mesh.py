"""Links by identity: one live line to each peer with a bounded outbox, and one inbox for what arrives.

A newer link to a peer replaces the older: it was restarted and proved itself again. A peer that does
not take what we send loses its link, nothing else; HELLO mends what was lost.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from chain.effects import Arrived, Input, LinkDown, LinkUp
from chain.ids import MemberId
from node.errors import LinkClosed

logger = logging.getLogger(__name__)

MAX_OUTBOX: Final = 8 << 20  # bytes a peer may leave untaken
MAX_SERVED: Final = 1 << 20  # bytes of old blocks that may wait for a peer while it asks for more
MAX_GUESTS: Final = 8
GUEST_LIFE: Final = 600.0  # seconds a link to somebody who is no member may last
DISMISSED_LIFE: Final = 20.0  # of one who only has to hear how its membership ended


class Line(Protocol):
    """What the mesh uses of node.link.Link."""

    peer: bytes
    words: tuple[str, str, str, str]
    rtt: float | None

    async def send(self, message: bytes) -> None: ...

    async def receive(self) -> bytes: ...

    async def aclose(self, *, deadline: float = ...) -> None: ...

    def watch(self, on: bool) -> None: ...

    def send_aside(self, message: bytes) -> bool: ...

    def hear_asides(self, hear: Callable[[bytes], None]) -> None: ...


class Beside(Protocol):
    """What else goes over the lines, as node.introduce.InBand does; none of these may raise."""

    def on_line(self, peer: bytes) -> None: ...

    def on_no_line(self, peer: bytes) -> None: ...

    def on_aside(self, peer: bytes, data: bytes) -> None: ...


class _Place:
    """A line with its outbox."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.outbox: deque[bytes] = deque()
        self.size = 0
        self.serving: deque[bytes] = (
            deque()
        )  # old blocks: they leave when the outbox is empty, votes never wait
        self.served = 0
        self.handed = 0  # envelopes given to the line
        self.sending = False  # a message is between outbox and line
        self.filled = trio.lowlevel.ParkingLot()
        self.emptied = trio.lowlevel.ParkingLot()
        self.scope = trio.CancelScope()
        self.until = math.inf  # when it has to go, if it is no member then
        self.shortened = trio.lowlevel.ParkingLot()


class Mesh:
    """Owns every link. on_change(peer, up) is called when a peer gets its first line or loses its last."""

    def __init__(
        self,
        *,
        inbox: trio.MemorySendChannel[Input],
        is_member: Callable[[MemberId], bool],
        on_change: Callable[[MemberId, bool], None],
        faults: Counter[str],
    ) -> None:
        self._inbox = inbox
        self._is_member = is_member
        self._on_change = on_change
        self._faults = faults
        self._places: dict[MemberId, _Place] = {}
        self._beside: Beside | None = None
        self._watched = False
        self._leaving = False

    def carry_beside(self, beside: Beside) -> None:
        """Give it every line that comes from now on; without it asides are heard by nobody."""
        self._beside = beside

    async def run(self, links: trio.MemoryReceiveChannel[Line]) -> None:
        """Serve every link that comes, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for line in links:
                nursery.start_soon(self._serve, line)

    def linked(self) -> frozenset[MemberId]:
        return frozenset(self._places)

    def words(self, peer: MemberId) -> str:
        """The safety words of the link to this peer; empty without one."""
        place = self._places.get(peer)
        return " ".join(place.line.words) if place else ""

    def guests(self) -> int:
        """How many are linked that are no members."""
        return sum(not self._is_member(peer) for peer in self._places)

    def round_trips(self) -> list[float]:
        """Seconds, one for each line that has measured it."""
        return [place.line.rtt for place in self._places.values() if place.line.rtt is not None]

    def send(self, peer: MemberId, data: bytes) -> None:
        """Queue one envelope, if there is a line; never waits: a peer that takes nothing loses it."""
        place = self._places.get(peer)
        if place is None:
            return
        place.outbox.append(data)
        place.size += len(data)
        place.filled.unpark_all()
        if place.size > MAX_OUTBOX:
            self._faults["mesh: outbox overflow"] += 1
            logger.warning("%s does not take what we send: closing the link", peer.hex()[:8])
            place.scope.cancel()

    def may_serve(self, peer: MemberId) -> bool:
        """Whether the peer has taken nearly all that was served before; if not, it will ask again."""
        place = self._places.get(peer)
        return place is not None and place.served <= MAX_SERVED

    def serve(self, peer: MemberId, envelopes: Sequence[bytes]) -> None:
        """Queue what a peer asked for. It is not held against it: one block may be larger than the outbox."""
        place = self._places.get(peer)
        if place is not None:
            place.serving.extend(envelopes)
            place.served += sum(map(len, envelopes))
            place.filled.unpark_all()

    def send_aside(self, peer: bytes, aside: bytes) -> bool:
        """Say something beside the envelopes, if there is a line and not too much waits on it."""
        place = self._places.get(MemberId(peer))
        return place is not None and place.line.send_aside(aside)

    def drop(self, peer: bytes) -> None:
        """Cut the line to this peer, if any."""
        place = self._places.get(MemberId(peer))
        if place is not None:
            place.scope.cancel()

    def dismiss(self, peer: MemberId) -> None:
        """Let this peer go soon, if it is no member then; time enough to fetch what it may still have."""
        place = self._places.get(peer)
        if place is not None:
            place.until = min(place.until, trio.current_time() + DISMISSED_LIFE)
            place.shortened.unpark_all()

    def watch(self, on: bool) -> None:
        """Have every line notice a dead peer within seconds, or be silent when idle."""
        if on != self._watched:
            self._watched = on
            for place in self._places.values():
                place.line.watch(on)

    async def drain(self, *, deadline: float) -> None:
        """Hand every peer what is queued for it and close its line; at most `deadline` seconds in all."""
        self._leaving = True
        async with trio.open_nursery() as nursery:
            for place in list(self._places.values()):
                nursery.start_soon(self._leave, place, trio.current_time() + deadline)

    async def _leave(self, place: _Place, until: float) -> None:
        with trio.move_on_at(until):
            while place.outbox or place.sending:
                await place.emptied.park()
        await place.line.aclose(deadline=max(0.0, until - trio.current_time()))

    async def _serve(self, line: Line) -> None:
        peer, place = MemberId(line.peer), _Place(line)
        former = self._places.get(peer)
        if self._leaving or (former is None and not self._has_room(peer)):
            await line.aclose(deadline=0)
            return
        self._places[peer] = place
        line.watch(self._watched)
        if former is not None:
            former.scope.cancel()
        else:
            self._on_change(peer, True)
        if self._beside is not None:
            self._beside.on_line(peer)
            line.hear_asides(partial(self._hear, self._beside, peer, place))
        try:
            with place.scope:
                if former is not None:
                    await self._inbox.send(LinkDown(peer))
                await self._inbox.send(LinkUp(peer))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, place)
                    nursery.start_soon(self._expire, peer, place)
                    await self._read(peer, place)
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await line.aclose(deadline=0)
        place.outbox.clear()
        place.sending = False
        place.emptied.unpark_all()
        if self._places.get(peer) is place:
            del self._places[peer]
            self._on_change(peer, False)
            if self._beside is not None:
                self._beside.on_no_line(peer)
            await self._inbox.send(LinkDown(peer))

    def _hear(self, beside: Beside, peer: MemberId, place: _Place, aside: bytes) -> None:
        if self._places.get(peer) is place:
            beside.on_aside(peer, aside)

    def _has_room(self, peer: MemberId) -> bool:
        if self._is_member(peer) or self.guests() < MAX_GUESTS:
            return True
        self._faults["mesh: too many guests"] += 1
        return False

    async def _read(self, peer: MemberId, place: _Place) -> None:
        try:
            while True:
                await self._inbox.send(Arrived(peer, await place.line.receive()))
        except LinkClosed as end:
            logger.info("%s", end.message)

    async def _write(self, place: _Place) -> None:
        try:
            while True:
                while not (place.outbox or place.serving):
                    place.sending = False
                    place.emptied.unpark_all()
                    await place.filled.park()
                place.sending = True
                place.handed += 1
                if place.outbox:
                    data = place.outbox.popleft()
                    await place.line.send(data)
                    place.size -= len(data)
                else:
                    data = place.serving.popleft()
                    await place.line.send(data)
                    place.served -= len(data)
        except LinkClosed:
            pass  # the reader says so

    async def _expire(self, peer: MemberId, place: _Place) -> None:
        # A guest's time is bounded; one that became a member in it stays, until it is a member no more. And
        # a newcomer, who takes everybody for a member, sees later who was none.
        while True:
            place.until = min(place.until, trio.current_time() + GUEST_LIFE)
            while trio.current_time() < place.until:
                with trio.move_on_at(place.until):
                    await place.shortened.park()
            place.until = math.inf
            if not self._is_member(peer):
                self._faults["mesh: guest stayed too long"] += 1
                place.scope.cancel()
                await trio.sleep_forever()
