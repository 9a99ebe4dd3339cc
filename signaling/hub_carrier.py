"""`hub:URL`, a carrier over a hub that is not trusted, and may store nothing: what is out is said again.

On subscribing one calls; whoever hears that says what it has out, and everybody does so now and then.
What leaves us is a box for the room (signaling/hub_box.py). Whatever comes back may be old, doubled or made
up: it is bounded here and judged elsewhere.
"""

import logging
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, assert_never
from weakref import WeakSet

import trio

from signaling.carrier import CarrierContext, Parcel, ParcelKind
from signaling.errors import CarrierError, SignalError
from signaling.event_stream import Event
from signaling.hub_box import CALLER, Call, HubBox
from signaling.hub_client import HubAway, HubClient, hub_url
from signaling.hub_line import HubLine
from signaling.hub_pace import Turns

logger = logging.getLogger(__name__)

_AGAIN: Final = (1.0, 3.0, 10.0, 30.0, 60.0)  # seconds from one time to the next; the last one stays
_MAX_UNREAD: Final = 256
_MAX_KNOWN: Final = 4096  # broadcasts
_MAX_LOGGED: Final = 16
_CLOSE: Final = 2.0


@dataclass(eq=False)
class _Own:
    """A parcel that is out, and when it is said again."""

    parcel: Parcel
    body: bytes
    due: float
    said: bool = False
    times: int = 0


class HubCarrier:
    """One room's channel at one hub. Nothing is sent or comes but while `run` runs."""

    bare = False

    def __init__(
        self,
        where: str,
        context: CarrierContext | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock`: the day's, in Unix seconds."""
        context = context or CarrierContext()
        url = hub_url(where)
        self.spec = f"hub:{url}"
        self.faults = context.faults
        self._clock = clock
        self._has_room = context.room is not None  # else this is a spec that was checked, and no more
        self._box = HubBox(context.room or bytes(32))
        self._client = HubClient(url, channel=self._box.channel)
        self._line = HubLine(
            self._client,
            on_up=self._on_up,
            hear=self._hear,
            tell=lambda error: context.tell(self.spec, error),
            faults=self.faults,
            clock=clock,
        )
        self._caller = secrets.token_bytes(CALLER)
        self._own: dict[tuple[ParcelKind, bytes], _Own] = {}
        self._readers: WeakSet[_Reader] = WeakSet()
        self._known: OrderedDict[int, None] = OrderedDict()
        self._logged = 0
        self._calls = False  # we have to
        self._called = False  # somebody did
        self._turns = Turns()
        self._news = trio.Event()

    # Carrier

    async def send(self, parcel: Parcel) -> None:
        if not self._has_room:
            raise CarrierError("A hub carries for a room.", "Make one, or join one.")
        own = self._own.get((parcel.kind, parcel.key))
        if own is None or own.parcel.payload != parcel.payload:
            own = _Own(parcel, self._box.parcel(parcel), trio.current_time() + _AGAIN[0])
            self._own[parcel.kind, parcel.key] = own
            self._wake()
        await self._line.wait_up()
        if not own.said:
            await self._say(own)

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        """It is said no more; nobody keeps it, so nobody has to be told."""
        await trio.lowlevel.checkpoint()
        self._own.pop((kind, key), None)

    def parcels(self) -> AsyncIterator[Parcel]:
        reader = _Reader()
        self._readers.add(reader)
        self._known.clear()  # what the others took is news to this one
        self._calls = True
        self._wake()
        return reader

    async def aclose(self) -> None:
        self._own.clear()
        await self._client.aclose()

    async def run(self) -> None:
        """Listen, and say what is out again and again."""
        if not self._has_room:
            await trio.sleep_forever()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._line.run)
                await self._repeat()
        finally:
            with trio.move_on_after(_CLOSE, shield=True):
                await self._client.aclose()

    # Saying

    async def _repeat(self) -> None:
        while True:
            news = self._news
            with trio.move_on_after(await self._say_what_is_due()):
                await news.wait()

    async def _say_what_is_due(self) -> float:
        """Seconds until there is more to say."""
        if not self._line.up:
            return math.inf  # _on_up wakes us
        try:
            if self._calls:
                self._calls = False
                await self._post(self._box.call(self._caller))
            if self._called and self._turns.take(now=trio.current_time()):
                self._called = False
                self._all_are_due()
            for own in [each for each in self._own.values() if each.due <= trio.current_time()]:
                if not self._is_over(own):
                    await self._say(own)
        except CarrierError as error:
            return max(1.0, error.wait if isinstance(error, HubAway) else 0.0)
        now = trio.current_time()
        wait = self._turns.wait(now=now) if self._called else math.inf
        return max(0.0, min([wait, *(own.due - now for own in self._own.values())]))

    def _is_over(self, own: _Own) -> bool:
        """Withdrawn or replaced while others were said, or too old for anybody."""
        place = (own.parcel.kind, own.parcel.key)
        if self._own.get(place) is not own:
            return True
        if 0 < own.parcel.expires <= self._clock():
            del self._own[place]
            return True
        return False

    async def _say(self, own: _Own) -> None:
        # Due again whether it succeeds or not: it is not to be said twice at a time.
        own.due = trio.current_time() + _AGAIN[min(own.times, len(_AGAIN) - 1)]
        own.times += 1
        await self._post(own.body)
        own.said = True

    async def _post(self, body: bytes) -> None:
        digest, well = hash(body), False
        self._line.saying(digest)
        try:
            await self._client.post(body)
            well = True
        finally:
            self._line.said(digest, well=well)

    def _on_up(self) -> None:
        """Nobody may have heard what was said before."""
        self._calls = True
        self._all_are_due()
        self._wake()

    def _all_are_due(self) -> None:
        for own in self._own.values():
            own.due = trio.current_time()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    # Hearing

    def _hear(self, event: Event) -> None:
        digest = hash(event.data)
        self._line.heard(digest)
        if digest in self._known:
            self._known.move_to_end(digest)
            return
        self._known[digest] = None
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        try:
            said = self._box.open(event.data)
        except SignalError as error:
            self._complain(error)
            return
        match said:
            case Call(caller=caller):
                if caller != self._caller:
                    self._called = True
                    self._wake()
            case Parcel():
                for reader in self._readers:
                    if not reader.put(said):
                        self.faults["hub: too many at once"] += 1
                        self._known.pop(digest, None)  # let it come again
            case _:
                assert_never(said)

    def _complain(self, error: SignalError) -> None:
        self.faults[f"hub: {type(error).__name__}"] += 1
        self._logged += 1
        if self._logged <= _MAX_LOGGED:
            logger.warning("%s: ignoring what is not of this room: %s", self.spec, error.message)


class _Reader:
    """No generator: one that is cancelled while it waits goes on afterwards."""

    def __init__(self) -> None:
        self._unread: deque[Parcel] = deque()
        self._news = trio.Event()

    def put(self, parcel: Parcel) -> bool:
        """Whether there was room for it."""
        if len(self._unread) >= _MAX_UNREAD:
            return False
        self._unread.append(parcel)
        self._news.set()
        return True

    def __aiter__(self) -> "_Reader":
        return self

    async def __anext__(self) -> Parcel:
        await trio.lowlevel.checkpoint()
        while not self._unread:
            self._news = trio.Event()
            await self._news.wait()
        return self._unread.popleft()
