"""Our own parcels with every carrier: left, left again while a carrier is away, and taken back."""

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import trio
from nacl.signing import SigningKey

from signaling.carrier import PRESENCE_KEY, Carrier, Parcel, ParcelKind
from signaling.description import Identity, RoomId
from signaling.envelope import Envelope, Presence, parcel_key, presence_parcel, seal_envelope
from signaling.errors import SignalError

logger = logging.getLogger(__name__)

_RETRY: Final = 1.0
_WITHDRAW_DEADLINE: Final = 2.0


class Post:
    """What we have published and on whose behalf: a parcel belongs to the newest owner that left one."""

    def __init__(
        self, carriers: Sequence[Carrier], *, key: SigningKey, room: RoomId, faults: Counter[str]
    ) -> None:
        self._carriers = carriers
        self._key, self._room = key, room
        self._me = Identity(bytes(key.verify_key))
        self._faults = faults
        self._owners: dict[bytes, tuple[ParcelKind, object]] = {}
        self._presence: Presence | None = None  # the newest one known, ours or another's
        self._swept: set[Identity] = set()

    def is_ours(self, key: bytes) -> bool:
        """Whether what lies at this key was left by us."""
        return key in self._owners

    async def leave(self, envelope: Envelope, *, kind: ParcelKind, to: Identity, owner: object) -> None:
        """Seal it and leave it with every carrier, trying those that are away again until cancelled."""
        parcel = seal_envelope(envelope, kind=kind, room=self._room, sender=self._me, to=to)
        self._owners[parcel.key] = (kind, owner)
        async with trio.open_nursery() as nursery:
            for carrier in self._carriers:
                nursery.start_soon(self._leave_with, carrier, parcel)

    async def take_back(self, owner: object) -> None:
        """Withdraw what was left for `owner`, unless a later one took the place; done even when cancelled."""
        mine = [(key, kind) for key, (kind, whose) in self._owners.items() if whose is owner]
        for key, kind in mine:
            await self._withdraw(kind, key)
            if self._owners.get(key) == (kind, owner):
                del self._owners[key]

    async def sweep(self, peer: Identity) -> None:
        """Once: withdraw an answer to `peer` that a former life of ours left behind."""
        if peer not in self._swept:
            self._swept.add(peer)
            key = parcel_key(ParcelKind.ANSWER, room=self._room, sender=self._me, recipient=peer)
            await self._withdraw(ParcelKind.ANSWER, key)

    def saw_presence(self, presence: Presence) -> None:
        """Somebody, perhaps we, is known to be the lobby's host."""
        self._presence = presence

    async def be_present(self, *, life: float) -> None:
        """Be the lobby's host if there is none, or refresh our entry at half its life."""
        now, seconds = int(time.time()), math.ceil(life)
        known = self._presence
        if known is not None and known.expires - now > (seconds // 2 if known.sender == self._me else 0):
            return
        parcel = presence_parcel(key=self._key, room=self._room, issued=now, life=seconds)
        for carrier in self._carriers:
            try:
                await carrier.send(parcel)
                self._presence = Presence(self._me, now, now + seconds)
            except SignalError as error:
                self._complain("send", carrier, error)

    async def be_absent(self) -> None:
        """Withdraw our entry, if the host is us."""
        if self._presence is not None and self._presence.sender == self._me:
            await self._withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)

    async def _leave_with(self, carrier: Carrier, parcel: Parcel) -> None:
        while True:
            try:
                return await carrier.send(parcel)
            except SignalError as error:
                self._complain("send", carrier, error)
                await trio.sleep(_RETRY)

    async def _withdraw(self, kind: ParcelKind, key: bytes) -> None:
        with trio.move_on_after(_WITHDRAW_DEADLINE, shield=True):
            for carrier in self._carriers:
                try:
                    await carrier.withdraw(kind, key)
                except SignalError as error:
                    self._complain("withdraw", carrier, error)

    def _complain(self, what: str, carrier: Carrier, error: SignalError) -> None:
        self._faults[f"carrier: {what} failed"] += 1
        logger.warning("%s: %s", carrier.spec, error)
