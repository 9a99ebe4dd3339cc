"""The carrier that every member has without asking: common peers carry its sealed parcels between members.

A parcel is left with every linked member, which hands it to its recipient as soon as both are linked to it
(node/introducer.py), and taken back from all. Each does this for the others, so that one link is enough to be
linked to all. Who carries sees who wants whom, and nothing else: what is in the parcel is sealed to the
recipient, and what comes out of here is trusted no more than what lies in a folder.
"""

import logging
import math
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from node.aside import Aside, BadAside, Hand, Leave, TakeBack, decode_aside, encode_aside
from node.door import remember
from node.introducer import Bucket, Introducer
from signaling.carrier import Parcel, ParcelKind
from signaling.envelope import parcel_key

logger = logging.getLogger(__name__)

_LOOK: Final = 0.25
_MAX_WAITING: Final = 128  # parcels one peer handed us that nobody has looked at yet
_MAX_PEERS: Final = 64  # whose budgets are remembered, linked or not
_BURST: Final = 1024.0
_RATE: Final = 128.0  # asides a second from one peer; honest ones need a quarter in the largest room
_PRICE_OF_JUNK: Final = 32.0
_MAX_LOGGED: Final = 32


class Neighbours(Protocol):
    """What this carrier uses of node.mesh.Mesh."""

    def linked(self) -> Collection[bytes]: ...

    def send_aside(self, peer: bytes, aside: bytes) -> bool: ...

    def drop(self, peer: bytes) -> None: ...


@dataclass
class _Own:
    """A parcel of ours, and who has it."""

    parcel: Parcel
    to: bytes | None = None  # not known while it is no member
    left: set[bytes] = field(default_factory=set)


class InBand:
    """A Carrier with one reader, and the mesh's Beside.

    `members()`: of the room; without us while we are none, and then nothing leaves.
    """

    spec = "introduce"
    bare = False

    def __init__(
        self,
        *,
        me: bytes,
        room: bytes,
        members: Callable[[], Collection[bytes]],
        mesh: Neighbours,
        faults: Counter[str],
    ) -> None:
        self._me, self._room = me, room
        self._members = members
        self._mesh = mesh
        self._faults = faults
        self._own: dict[tuple[ParcelKind, bytes], _Own] = {}
        self._handed: OrderedDict[tuple[bytes, bytes, ParcelKind], Parcel] = OrderedDict()
        self._waiting: Counter[bytes] = Counter()
        self._budgets: OrderedDict[bytes, Bucket] = OrderedDict()
        self._news = trio.lowlevel.ParkingLot()
        self._introducer = Introducer(members=members, linked=mesh.linked, tell=self._tell)

    @property
    def reaches(self) -> bool:
        """Whether there is anybody to carry for us."""
        return bool(self._carriers())

    # Carrier

    async def send(self, parcel: Parcel) -> None:
        """Never fails: with nobody linked it waits here."""
        if parcel.kind is ParcelKind.PRESENCE:
            raise ValueError("a presence is for a lobby")
        await trio.lowlevel.checkpoint()
        place = (parcel.kind, parcel.key)
        former = self._own.get(place)
        if former is None or former.parcel.payload != parcel.payload:
            self._own[place] = _Own(parcel)
        self._leave_own()
        self._news.unpark_all()

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._take_back(self._own.pop((kind, key), None))

    def parcels(self) -> AsyncIterator[Parcel]:
        return _Reader(self)

    async def aclose(self) -> None:
        while self._own:
            self._take_back(self._own.popitem()[1])
        await trio.lowlevel.checkpoint()

    # the mesh's Beside

    def on_line(self, peer: bytes) -> None:
        """A new line to this peer; the former, if any, is over."""
        self.on_no_line(peer)
        self._introducer.on_up(peer)
        if self._look():
            self._news.unpark_all()

    def on_no_line(self, peer: bytes) -> None:
        self._introducer.on_down(peer)
        for own in self._own.values():
            own.left.discard(peer)

    def on_aside(self, peer: bytes, data: bytes) -> None:
        """Something a peer said; what it may not say, or too much of it, is counted and may cut its link."""
        budget = self._budgets.get(peer) or Bucket(burst=_BURST, rate=_RATE)
        remember(self._budgets, peer, budget, limit=_MAX_PEERS)
        try:
            good = self._take(peer, decode_aside(data))
        except BadAside as error:
            self._faults[f"introduce: bad {error}"] += 1
            good = False
        if not budget.take(1.0 if good else _PRICE_OF_JUNK):
            self._faults["introduce: flood"] += 1
            if self._faults["introduce: flood"] <= _MAX_LOGGED:
                logger.warning("%s floods us with parcels: closing the link", peer.hex()[:8])
            self._mesh.drop(peer)

    # inside

    def _take(self, peer: bytes, aside: Aside) -> bool:
        """Whether the peer may say so."""
        match aside:
            case Leave():
                self._introducer.leave(peer, aside)
                if self._introducer.hand_on(of=peer):
                    self._news.unpark_all()  # the reader looks again after a while
                return True
            case TakeBack():
                self._introducer.take_back(peer, aside)
                return True
            case Hand():
                return self._take_in(peer, aside)

    def _take_in(self, peer: bytes, aside: Hand) -> bool:
        """Who sent it may be a member everywhere but here yet, and so may we: the door asks again."""
        members = self._members()
        if aside.sender in (self._me, peer):
            self._faults["introduce: from nobody"] += 1
            return False
        if self._me in members and peer not in members:
            self._faults["introduce: by a stranger"] += 1
            return True  # it may not know yet that it is none, or we that it is one
        key = parcel_key(aside.kind, room=self._room, sender=aside.sender, recipient=self._me)
        place = (peer, aside.sender, aside.kind)
        if place not in self._handed:
            if self._waiting[peer] >= _MAX_WAITING:
                self._faults["introduce: too many at once"] += 1
                return False
            self._waiting[peer] += 1
        self._handed[place] = Parcel(kind=aside.kind, key=key, payload=aside.payload)
        self._news.unpark_all()
        return True

    def _look(self) -> bool:
        """Leave and hand on what can be; whether one has to look again after a while."""
        waits = self._leave_own()
        return self._introducer.hand_on() or waits

    def _leave_own(self) -> bool:
        waits = False
        members, carriers = self._members(), self._carriers()
        for (kind, key), own in self._own.items():
            if own.to is None:
                own.to = self._recipient(kind, key, members)
            if own.to is None:
                waits = True
                continue
            aside = Leave(to=own.to, kind=kind, payload=own.parcel.payload)
            for peer in carriers - own.left - {own.to}:
                if self._tell(peer, aside):
                    own.left.add(peer)
                else:
                    waits = True
        return waits

    def _take_back(self, own: _Own | None) -> None:
        if own is not None and own.to is not None:
            for peer in own.left:
                self._tell(peer, TakeBack(to=own.to, kind=own.parcel.kind))

    def _carriers(self) -> set[bytes]:
        members = self._members()
        return set(self._mesh.linked()) & set(members) if self._me in members else set()

    def _recipient(self, kind: ParcelKind, key: bytes, members: Collection[bytes]) -> bytes | None:
        for member in members:
            if key == parcel_key(kind, room=self._room, sender=self._me, recipient=member):
                return member
        return None

    def _tell(self, peer: bytes, aside: Aside) -> bool:
        return self._mesh.send_aside(peer, encode_aside(aside))


class _Reader:
    """All that is handed to us, for ever; while it is read, what had to wait is tried again."""

    def __init__(self, carrier: InBand) -> None:
        self._carrier = carrier

    def __aiter__(self) -> "_Reader":
        return self

    async def __anext__(self) -> Parcel:
        await trio.lowlevel.checkpoint()
        mine = self._carrier
        while not mine._handed:
            with trio.move_on_after(_LOOK if mine._look() else math.inf):
                await mine._news.park()
        (peer, _, _), parcel = mine._handed.popitem(last=False)
        mine._waiting[peer] -= 1
        if not mine._waiting[peer]:
            del mine._waiting[peer]
        return parcel
