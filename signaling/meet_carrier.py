"""A meeting's own carrier: one offer and one answer pass through it, and nobody has to carry them by hand."""

import trio

from signaling.carrier import Parcel, ParcelKind, Shown, bare_parcel
from signaling.hands import HandCarrier

_MAX_LEFT = 4  # parcels that nobody asked for yet


class MeetCarrier(HandCarrier):
    """Hands of which people see nothing: whoever carries on a meeting takes and brings."""

    def __init__(self) -> None:
        super().__init__("meet")
        self._left: list[Parcel] = []
        self._came_in = trio.Event()

    async def send(self, parcel: Parcel) -> None:
        await super().send(parcel)
        if parcel not in self._left:
            self._left = [*self._left, parcel][-_MAX_LEFT:]
            self._came_in.set()
            self._came_in = trio.Event()

    def shown(self) -> tuple[Shown, ...]:
        return ()

    def is_over(self, kind: ParcelKind, payload: bytes) -> bool:
        """Whether what was sent has been taken back since."""
        return (kind, bare_parcel(kind, payload).key) not in self._shown

    async def taken(self, kind: ParcelKind) -> bytes:
        """The payload of the newest parcel of this kind, once there is one that was not taken yet."""
        while True:
            for parcel in reversed(self._left):
                if parcel.kind is kind:
                    self._left.remove(parcel)
                    return parcel.payload
            await self._came_in.wait()

    def bring(self, kind: ParcelKind, payload: bytes) -> None:
        """What the other one sent."""
        self._waiting.append(bare_parcel(kind, payload))
        self._news.set()
        self._news = trio.Event()
