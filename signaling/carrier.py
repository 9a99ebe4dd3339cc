"""What every carrier does: it moves small opaque parcels, and may lose, repeat, reorder or invent them.

Nothing that comes out of a carrier is trusted. The carriers there are stand in signaling/carriers.py.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, runtime_checkable

from nacl.signing import SigningKey

from signaling.errors import SignalError

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
    expires: int = 0  # Unix seconds; who sends says so, it does not travel; 0: not said

    def __post_init__(self) -> None:
        if len(self.key) != 32 or len(self.payload) > MAX_PAYLOAD:
            raise ValueError("a parcel's key has 32 bytes, its payload at most 16 KiB")


PRESENCE_KEY: Final = bytes(32)


def bare_parcel(kind: ParcelKind, payload: bytes, *, expires: int = 0) -> Parcel:
    """What a bare carrier moves: one encoded offer or answer, named by its hash."""
    return Parcel(kind=kind, key=hashlib.sha256(payload).digest(), payload=payload, expires=expires)


@dataclass(frozen=True, kw_only=True)
class CarrierContext:
    """What a carrier may be given besides its place; a spec is only checked without it.

    `writer` signs what carriers sign themselves; it belongs to this member in this room and says no name.
    `room` (32 bytes) tells it from others at the same place. tell(spec, error): the carrier cannot do its
    work now, or (None) can; only an Active one finds out by itself.
    """

    faults: Counter[str] = field(default_factory=Counter)
    writer: SigningKey | None = None
    room: bytes | None = None
    tell: Callable[[str, SignalError | None], None] = lambda _spec, _error: None


class Carrier(Protocol):
    """A way from one machine to another. Methods raise CarrierError when it cannot work now."""

    spec: str  # "dir:/path": what carrier_from_spec takes
    bare: bool
    """Parcels are one encoded offer or answer, for whoever holds it; else sealed to one identity, and padded.

    A bare carrier is given no PRESENCE.
    """

    async def send(self, parcel: Parcel) -> None:
        """Make the parcel available; doing it twice is doing it once."""

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        """Take our parcel back if it is still there."""

    def parcels(self) -> AsyncIterator[Parcel]:
        """Every parcel there is, each at least once, in any order, for ever; ours and junk among them."""

    async def aclose(self) -> None:
        """Withdraw what we left and let go of resources."""


@runtime_checkable
class Active(Protocol):
    """A carrier that does something by itself."""

    async def run(self) -> None:
        """Runs as long as the carrier is used, and is cancelled before aclose()."""


@dataclass(frozen=True)
class Shown:
    """A token that waits to be carried by a person."""

    kind: ParcelKind
    token: str
    expires: int = 0  # as its parcel said


@runtime_checkable
class Hands(Protocol):
    """A bare carrier whose parcels a person carries."""

    def shown(self) -> tuple[Shown, ...]:
        """What is to be carried now, oldest first."""

    def on_shown(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever that changes; one listener."""

    def accept(self, text: str) -> ParcelKind:
        """Take the token in a text that came back, for parcels(); SignalError says what is wrong with it."""


def shows_by_itself(carrier: Carrier) -> bool:
    """Whether it shows bare parcels to whoever looks, and nobody has to carry them."""
    return carrier.bare and not isinstance(carrier, Hands)
