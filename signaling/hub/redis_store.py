"""What several hubs share, in one Redis: channels, rates and meetings.

Events go through one stream, which every hub reads on from where it was: none is lost while a hub reconnects,
and all hubs see them in one order under the same ids. Payloads are opaque, clients' addresses are hashed, and
every key has a prefix, a bound and an end of its own.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Any, Final

import trio

from signaling.hub.redis_link import WAIT, Era, RedisLink
from signaling.hub.redis_meet import RedisMeetStore
from signaling.hub.redis_scripts import PREFIX, SAY, SINCE, TAKE
from signaling.hub.redis_url import RedisUrl
from signaling.hub.settings import HubSettings
from signaling.hub.store import Deliver, Event, Stores

_EVENTS: Final = f"{PREFIX}events"
_KEPT: Final = f"{PREFIX}kept:"
_HEARD: Final = f"{PREFIX}heard"
_ENDS: Final = f"{PREFIX}ends"
_SIZES: Final = f"{PREFIX}sizes"
_TOTALS: Final = f"{PREFIX}totals"
_RATE: Final = f"{PREFIX}rate:"

_STREAM_EVENTS: Final = 8192
_STREAM_BYTES: Final = 8 * 1024 * 1024
"""How far a hub may fall behind the others before it misses events."""
_AT_ONCE: Final = 64
_READ: Final = (b"XREAD", b"COUNT", b"%d" % _AT_ONCE)
_MISSED_BYTES: Final = 512 * 1024
"""As much is read for one who resumes: two full channels, and the newest of more."""
_BEHIND: Final = 1.0
_MAX_REFUSED: Final = 10_000

_Position = tuple[int, int]
_NEVER: Final = (0, 0)


@asynccontextmanager
async def open_redis(
    url: str, settings: HubSettings, *, changed: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Stores]:
    """Stores that all hubs with this Redis have in common.

    BadRedisUrl, or RedisUnusable if it is not there at first. Later it may come and go: `changed` is told.
    """
    link = RedisLink(RedisUrl.parse(url), changed=changed)
    channels = RedisChannels(link, settings, changed=changed)
    meet = RedisMeetStore(link)

    async def check() -> None:  # by writing: a Redis that takes nothing is as good as away
        await link.era.ask(b"SET", f"{PREFIX}check".encode(), b"", b"PX", b"1000")

    async with trio.open_nursery() as nursery:
        unusable = await nursery.start(link.keep, [channels.follow, meet.listen])
        if unusable is None:
            yield Stores(channels=channels, rates=RedisRates(link), meet=meet, check=check)
        nursery.cancel_scope.cancel()
    if unusable is not None:
        raise unusable


class RedisChannels:
    """A ChannelStore. Its ids are those of a stream: Redis's clock in milliseconds, a dash, a number."""

    def __init__(self, link: RedisLink, settings: HubSettings, *, changed: Callable[[str], None]) -> None:
        """changed: told when events were missed."""
        self._link = link
        self._settings = settings
        self._changed = changed
        self._deliver: Deliver = _nowhere
        self._read: _Position | None = None
        """Up to here all events were delivered."""
        self._moved = trio.Event()

    def deliver_to(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def publish(self, channel: str, payload: bytes) -> str:
        bounds = self._settings
        keep_ms = max(1, int(bounds.kept_seconds * 1000))
        numbers = (bounds.kept_events, bounds.kept_bytes, keep_ms, bounds.kept_in_all, bounds.kept_channels)
        id = await self._link.era.run(
            SAY,
            (_EVENTS, _KEPT + channel, _HEARD, _ENDS, _SIZES, _TOTALS),
            channel.encode(),
            payload,
            *(b"%d" % number for number in numbers),
            _KEPT.encode(),
            *(b"%d" % number for number in (_STREAM_EVENTS, _STREAM_BYTES, keep_ms + 60_000)),
        )
        return str(id, "ascii")

    async def position(self) -> str:
        newest, _ = await self._look((), after=_NEVER)
        return "{}-{}".format(*newest)

    async def since(self, channels: Sequence[str], last: str) -> list[Event]:
        seen = _position(last)
        if seen is None:
            return []
        _, kept = await self._look(channels, after=seen)
        found: list[tuple[_Position, Event]] = []
        for channel, entries in zip(channels, kept, strict=True):
            for entry in entries:
                id, _, payload = entry.partition(b" ")
                found.append((_place(id), Event(str(id, "ascii", "replace"), channel, payload)))
        return [event for _, event in sorted(found, key=itemgetter(0))]

    async def _look(
        self, channels: Sequence[str], *, after: _Position
    ) -> tuple[_Position, list[list[bytes]]]:
        """Where the events end, and what is kept of these channels after that: delivered, all of it."""
        real, id, *kept = await self._link.era.run(
            SINCE,
            (_EVENTS, _ENDS, _SIZES),
            b"%d-%d" % after,
            b"%d" % _MISSED_BYTES,
            _KEPT.encode(),
            *(each.encode() for each in channels),
        )
        newest = _place(id)
        with trio.move_on_after(_BEHIND):
            while real and self._read is not None and self._read < newest:
                await self._moved.wait()
        return newest, kept

    async def follow(self, era: Era, *, task_status: trio.TaskStatus[None]) -> None:
        """Deliver from where the last era ended."""
        _, id = await era.run(SINCE, (_EVENTS, _ENDS, _SIZES), b"0-0", b"0", b"")
        newest = _place(id)
        if self._read is None or newest < self._read:  # the same, if Redis came back with less than it had
            self._read = newest
        ready = complained = False
        batch: list[list[Any]] = []
        while True:
            if not complained and (not ready or len(batch) == _AT_ONCE):  # behind, perhaps too far
                gone = await era.ask(b"HGET", _TOTALS.encode(), b"gone")
                complained = gone is not None and _place(gone) > self._read
                if complained:
                    self._changed("This hub was away for too long, or is too slow: it missed events.")
            wait = (b"BLOCK", b"%d" % (WAIT * 1000)) if ready else ()  # the first one shows that we may read
            found = await era.wait(*_READ, *wait, b"STREAMS", _EVENTS.encode(), b"%d-%d" % self._read)
            batch = (found or {}).get(_EVENTS.encode(), [])
            for id, fields in batch:
                self._read = _place(id)
                match fields:
                    case [b"c", bytes(channel), b"p", bytes(payload)]:
                        self._deliver(Event(str(id, "ascii"), str(channel, "ascii", "replace"), payload))
            if batch:
                self._moved.set()
                self._moved = trio.Event()
            if not ready:
                ready = True
                task_status.started()


class RedisRates:
    """A RateStore. Redis is told hashes of keys, as they hold addresses.

    Whoever was refused is refused again without asking, until the time that was said: a flood stops here.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._refused: OrderedDict[str, float] = (
            OrderedDict()
        )  # until when; who was refused first comes first

    async def take(self, key: str, *, rate: float, burst: float) -> float:
        era, now = self._link.era, trio.current_time()
        if (until := self._refused.get(key, now)) > now:
            await trio.lowlevel.checkpoint()
            return until - now
        hashed = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
        wait = float(await era.run(TAKE, (_RATE + hashed,), b"%.17g" % rate, b"%.17g" % burst))
        self._refused.pop(key, None)
        if wait:
            self._refused[key] = now + wait
            if len(self._refused) > _MAX_REFUSED:
                self._refused.popitem(last=False)
        return wait


def _position(id: str) -> _Position | None:
    """Where an id stands; the beginning for one that only another store gives out, None for what is no id."""
    run, dash, number = id.partition("-")
    if not dash or not number.isdecimal() or len(number) > 20:
        return None
    return (int(run), int(number)) if run.isdecimal() and len(run) <= 20 else _NEVER


def _place(id: bytes) -> _Position:
    """Where an id stands that Redis gave us."""
    return _position(str(id, "ascii", "replace")) or _NEVER


def _nowhere(_event: Event) -> None:
    pass
