"""What every carrier does: it moves small opaque parcels, and may lose, repeat, reorder or invent them.

Nothing that comes out of a carrier is trusted. The carriers there are stand in signaling/carriers.py.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

MAX_PAYLOAD: Final = 16 * 1024


class ParcelKind(Enum):
    """`PRESENCE` is the one public parcel of a lobby: who is here to be asked; its key is all zero."""

    OFFER = "offer"
    ANSWER = "answer"
    PRESENCE = "presence"


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One parcel; a later one of the same kind and key replaces the former."""

    kind: ParcelKind
    key: bytes  # 32 bytes
    payload: bytes  # at most MAX_PAYLOAD

    def __post_init__(self) -> None:
        if len(self.key) != 32 or len(self.payload) > MAX_PAYLOAD:
            raise ValueError("a parcel's key has 32 bytes, its payload at most 16 KiB")


PRESENCE_KEY: Final = bytes(32)


class Carrier(Protocol):
    """A way from one machine to another. Methods raise CarrierError when it cannot work now."""

    spec: str  # "dir:/path": what carrier_from_spec takes

    async def send(self, parcel: Parcel) -> None:
        """Make the parcel available; doing it twice is doing it once."""

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        """Take our parcel back if it is still there."""

    def parcels(self) -> AsyncIterator[Parcel]:
        """Every parcel there is, each at least once, in any order, for ever; ours and junk among them."""

    async def aclose(self) -> None:
        """Withdraw what we left and let go of resources."""
