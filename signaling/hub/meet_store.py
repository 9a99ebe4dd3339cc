"""What several hubs share of meetings: queues that are swapped whole, replies handed over, pairs remembered.

The rules of meeting are signaling/hub/meet_queue.py's alone: a store knows nothing of them. A queue is a few
opaque bytes, replaced only if they are still what they were; whoever lost that race looks again.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, NewType, Protocol

Holder = NewType("Holder", str)
"""Names one held request among those of all hubs: at most 64 of [0-9A-Za-z:-], never used twice."""

MAX_QUEUE: Final = 512 * 1024
"""Bytes of one queue; a `swap` brings no more."""
MAX_REPLY: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`data`: b"" where there is no queue. `now`: the store's clock, one for all hubs, in seconds."""

    data: bytes
    now: float


class Held(Protocol):
    """One request that this hub holds, as long as its block lasts."""

    holder: Holder

    async def receive(self) -> bytes:
        """The reply that some hub handed to it; the first, if there are several."""

    def receive_nowait(self) -> bytes | None:
        """The same if it is there already."""


class MeetStore(Protocol):
    """All may raise StoreAway (store.py). Names of queues and pairs are 64 lower-case hex digits."""

    async def load(self, queue: str) -> Snapshot: ...

    async def swap(self, queue: str, *, old: bytes, new: bytes, until: float) -> bool:
        """Put `new` where `old` is (b"": nothing); False, and nothing is done, if something else is there.

        until: by the store's clock, when nobody in the queue waits any more; it may be dropped then. With
        b"" for `new` the queue is gone at once.
        """

    async def elsewhere(self, queue: str) -> bool:
        """Whether somebody waits in another queue than this."""

    def hold(self) -> AbstractAsyncContextManager[Held]:
        """A new name, to which replies can be handed while the block lasts."""

    async def hand(self, holder: Holder, reply: bytes) -> bool:
        """Give it to the hub that holds this request; False if there is none any more, as far as we know."""

    async def paired(self, pairs: Sequence[str]) -> list[bool]:
        """Which of these are remembered; at most 512 are asked for."""

    async def remember(self, pair: str, *, seconds: float) -> None:
        """From now on for so long."""

    async def sweep(self) -> None:
        """Drop what is over; called now and then by every hub."""
