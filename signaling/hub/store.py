"""What several hubs share: every promise that a store keeps, in memory for one hub or elsewhere for many.

A store is opened by an async context manager, which yields Stores. Keys are made by the hub and bounded;
payloads are opaque. Every operation may raise StoreAway; whatever it did then may or may not have happened.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from signaling.hub.meet_store import MeetStore


class StoreAway(Exception):
    """What the hubs share cannot be reached just now: 503. The first argument is a sentence for a client."""


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody broadcast."""

    id: str
    """At most 64 of [0-9A-Za-z-]; ids of one store have one order over all channels."""
    channel: str
    """At most 512 characters of visible ASCII."""
    payload: bytes
    """At most 64 KiB, never changed."""


Deliver = Callable[[Event], None]
"""Never blocks and never raises."""


class ChannelStore(Protocol):
    """Broadcasts, and for a while what was broadcast."""

    def deliver_to(self, deliver: Deliver) -> None:
        """From now on every event of any hub goes to `deliver` once, in the order of ids.

        Over all channels, that is: who listens to several and resumes after the last id it saw misses
        nothing. Called once, before anything is published.
        """

    async def publish(self, channel: str, payload: bytes) -> str:
        """Broadcast, keep for those who resume, and say the id. The memory's delivers before it returns."""

    async def position(self) -> str:
        """An id that is not before any event published so far, on any channel: where a new subscriber is."""

    async def since(self, channels: Sequence[str], last: str) -> list[Event]:
        """What is still kept of these channels after the event `last`, in the order of ids.

        Bounded in count and bytes for each channel. With an id that this store never gave out (of another
        run, say) all that is kept: nothing of that was seen with such an id. Nothing for what is no id at
        all. channels: at most 32, none twice.
        """


class RateStore(Protocol):
    """Token buckets, counted by all hubs together."""

    async def take(self, key: str, *, rate: float, burst: float) -> float:
        """Take one from the bucket `key`, which gains `rate` a second up to `burst` and begins full.

        0 if there was one; else, and then nothing is taken, seconds until there will be one.
        """


async def always_there() -> None:
    """The check of a store that cannot be away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """All of them."""

    channels: ChannelStore
    rates: RateStore
    meet: MeetStore
    check: Callable[[], Awaitable[None]] = always_there
    """Raises StoreAway if they cannot be used just now: /healthz says so."""
