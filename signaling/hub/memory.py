"""What one hub alone needs no store for: channels and rates in its own memory, bounded and soon forgotten."""

import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Final

import trio

from signaling.hub.meet_memory import MemoryMeetStore
from signaling.hub.settings import HubSettings
from signaling.hub.store import Deliver, Event, Stores

Clock = Callable[[], float]

_SWEEP: Final = 15.0
_MAX_BUCKETS: Final = 100_000
_EVENT: Final = 400  # bytes that an event takes besides its channel and payload; measured


@asynccontextmanager
async def open_memory(settings: HubSettings) -> AsyncIterator[Stores]:
    """Stores that die with this process."""
    channels = MemoryChannels(settings, clock=trio.current_time)
    rates = MemoryRates(clock=trio.current_time)

    async def sweep() -> None:
        while True:
            await trio.sleep(_SWEEP)
            channels.forget_old()
            rates.forget_full()

    async with trio.open_nursery() as sweeper:
        sweeper.start_soon(sweep)
        yield Stores(channels=channels, rates=rates, meet=MemoryMeetStore())
        sweeper.cancel_scope.cancel()


class _Kept:
    """The last events of one channel, with their numbers."""

    __slots__ = ("bytes", "cost", "events", "heard")

    def __init__(self) -> None:
        self.events: deque[tuple[int, Event]] = deque()
        self.bytes = 0
        self.cost = 0
        """Bytes of memory, about."""
        self.heard = 0.0


class MemoryChannels:
    """A ChannelStore of one process. Its ids are a word drawn at the start, and a number that counts."""

    def __init__(self, settings: HubSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._run = secrets.token_hex(4)
        self._last = 0
        self._deliver: Deliver = _nowhere
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # whoever was silent longest comes first
        self.kept_bytes = 0

    @property
    def kept_channels(self) -> int:
        return len(self._kept)

    def deliver_to(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def publish(self, channel: str, payload: bytes) -> str:
        self._last += 1
        event = Event(f"{self._run}-{self._last}", channel, payload)
        self._keep(self._last, event)
        self._deliver(event)
        return event.id

    async def position(self) -> str:
        return f"{self._run}-{self._last}"

    async def since(self, channels: Sequence[str], last: str) -> list[Event]:
        self.forget_old()
        run, dash, number = last.partition("-")
        if not dash or not number.isdecimal() or len(number) > 20:
            return []
        seen = int(number) if run == self._run else 0
        kept = [self._kept[channel].events for channel in channels if channel in self._kept]
        after = [each for events in kept for each in events if each[0] > seen]
        return [event for _, event in sorted(after, key=itemgetter(0))]

    def _keep(self, number: int, event: Event) -> None:
        bounds = self._settings
        kept = self._kept.get(event.channel)
        if kept is None:
            kept = self._kept[event.channel] = _Kept()
        else:
            self._kept.move_to_end(event.channel)
        kept.heard = self._clock()
        kept.events.append((number, event))
        kept.bytes += len(event.payload)
        kept.cost += _cost(event)
        self.kept_bytes += _cost(event)
        while len(kept.events) > bounds.kept_events or kept.bytes > bounds.kept_bytes:
            _, old = kept.events.popleft()
            kept.bytes -= len(old.payload)
            kept.cost -= _cost(old)
            self.kept_bytes -= _cost(old)
        while self.kept_bytes > bounds.kept_in_all or len(self._kept) > bounds.kept_channels:
            self._forget_first()

    def forget_old(self) -> None:
        """Drop what nobody may resume from any more."""
        oldest = self._clock() - self._settings.kept_seconds
        while self._kept and next(iter(self._kept.values())).heard <= oldest:
            self._forget_first()

    def _forget_first(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self.kept_bytes -= kept.cost


class MemoryRates:
    """A RateStore of one process: of each bucket only the time at which it will be full again."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # whoever came longest ago comes first

    async def take(self, key: str, *, rate: float, burst: float) -> float:
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now)
        wait = full_at + (1 - burst) / rate - now
        if wait > 0:
            return wait
        self._full_at[key] = full_at + 1 / rate
        self._full_at.move_to_end(key)
        if len(self._full_at) > _MAX_BUCKETS:
            self._full_at.popitem(last=False)
        return 0.0

    def forget_full(self) -> None:
        """A full bucket is as good as none."""
        now = self._clock()
        for key in [key for key, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[key]


def _cost(event: Event) -> int:
    return _EVENT + len(event.channel) + len(event.payload)


def _nowhere(_event: Event) -> None:
    pass
