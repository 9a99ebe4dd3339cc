"""Our own parcels with every carrier: left, left again while a carrier is away, and taken back."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import trio
from nacl.signing import SigningKey

from node.host import Host
from signaling.carrier import PRESENCE_KEY, Carrier, Parcel, ParcelKind, bare_parcel
from signaling.description import Identity, RoomId
from signaling.envelope import Envelope, Presence, parcel_key, presence_parcel, seal_envelope
from signaling.errors import SignalError

logger = logging.getLogger(__name__)

_RETRY: Final = 1.0
_WITHDRAW_DEADLINE: Final = 2.0
_MAX_LOGGED: Final = 32

OnCarrier = Callable[[str, SignalError | None], None]
"""A carrier, by its spec, took something (None), or why it did not."""


class Post:
    """What we have published and on whose behalf: a parcel belongs to the newest owner that left one."""

    def __init__(
        self,
        carriers: Sequence[Carrier],
        *,
        key: SigningKey,
        room: RoomId,
        host_life: int,
        on_carrier: OnCarrier,
        faults: Counter[str],
        in_band: Carrier | None = None,
    ) -> None:
        self._places = carriers  # and who takes our presence
        self._carriers = [*carriers, in_band] if in_band is not None else carriers
        self._key, self._room = key, room
        self._me = Identity(bytes(key.verify_key))
        self._on_carrier = on_carrier
        self._faults = faults
        self._owners: dict[bytes, tuple[ParcelKind, object]] = {}
        self._host_life = host_life
        self.host = Host(self._me, life=host_life)
        self._swept: set[Identity] = set()

    def is_ours(self, key: bytes) -> bool:
        """Whether what lies at this key was left by us."""
        return key in self._owners

    async def leave(
        self, envelope: Envelope, *, kind: ParcelKind, to: Identity, expires: int, owner: object
    ) -> None:
        """Seal it and leave it with every carrier that takes such, trying again until cancelled."""
        parcel = seal_envelope(envelope, kind=kind, room=self._room, sender=self._me, to=to)
        await self._leave_parcel(replace(parcel, expires=expires), owner, bare=False)

    async def leave_bare(self, payload: bytes, *, kind: ParcelKind, expires: int, owner: object) -> None:
        """The same for what is there for whoever holds it."""
        await self._leave_parcel(bare_parcel(kind, payload, expires=expires), owner, bare=True)

    async def _leave_parcel(self, parcel: Parcel, owner: object, *, bare: bool) -> None:
        self._owners[parcel.key] = (parcel.kind, owner)
        async with trio.open_nursery() as nursery:
            for carrier in self._carriers:
                if carrier.bare is bare:
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

    async def be_present(self, *, is_up: Callable[[Identity], bool], before: int) -> None:
        """Be the lobby's host if there is none that is up, or renew our entry; for the arguments see Host."""
        clock, life = int(time.time()), self._host_life
        if not self.host.is_due(now=trio.current_time(), clock=clock, is_up=is_up, before=before):
            return
        parcel = presence_parcel(key=self._key, room=self._room, issued=clock, life=life)

        async def show(carrier: Carrier) -> None:
            if await self._send(carrier, replace(parcel, expires=clock + life)):
                self.host.took_over(Presence(self._me, clock, clock + life))

        async with trio.open_nursery() as nursery:  # one that is away must not keep the others waiting
            for carrier in self._places:
                if not carrier.bare:
                    nursery.start_soon(show, carrier)

    async def be_absent(self) -> None:
        """Withdraw our entry, if the host is us."""
        if self.host.identity == self._me:
            await self._withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)

    async def _leave_with(self, carrier: Carrier, parcel: Parcel) -> None:
        while not await self._send(carrier, parcel):
            await trio.sleep(_RETRY)

    async def _send(self, carrier: Carrier, parcel: Parcel) -> bool:
        """Whether the carrier took it; people hear of one that does not."""
        try:
            await carrier.send(parcel)
        except SignalError as error:
            self._complain("send", carrier, error)
            self._on_carrier(carrier.spec, error)
            return False
        self._on_carrier(carrier.spec, None)
        return True

    async def _withdraw(self, kind: ParcelKind, key: bytes) -> None:
        with trio.move_on_after(_WITHDRAW_DEADLINE, shield=True):
            for carrier in self._carriers:
                try:
                    await carrier.withdraw(kind, key)
                except SignalError as error:
                    self._complain("withdraw", carrier, error)

    def _complain(self, what: str, carrier: Carrier, error: SignalError) -> None:
        fault = f"carrier: {what} failed"
        self._faults[fault] += 1
        if self._faults[fault] <= _MAX_LOGGED:  # it is tried again every second
            logger.warning("%s: %s", carrier.spec, error)
