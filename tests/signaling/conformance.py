"""What every carrier promises, made so that a new one is held to it by one line in CASES.

The promise. A parcel that was sent, and neither withdrawn nor replaced, comes out of every reader at the same
place at least once, whenever the reader began and whatever else lies there; in no order; perhaps again. The
reader drops what it has seen, as the node does (by kind, key and payload), and what does not verify. What was
withdrawn or replaced does not come out of a reader that begins later. Whoever closes, also after having been
cancelled anywhere, leaves nothing of its own: no file, task or descriptor.

Where a person carries, a task here is that person: whatever one shows, it brings to all the others, twice.
"""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey

from signaling.carrier import Active, Carrier, CarrierContext, Hands, Parcel, ParcelKind, bare_parcel
from signaling.carriers import carrier_from_spec
from signaling.description import Candidate, Identity, Offer, RoomId, encode, make_answer, make_offer
from signaling.envelope import Envelope, seal_envelope
from signaling.errors import OwnToken, SignalError
from signaling.hub_box import HubBox
from tests.signaling.hub_servers import Relay, needs_signalhub, post

PATIENCE = 20.0
SECRET = b"s" * 512
ROOM = RoomId(b"r" * 32)
_ISSUED = 1_800_000_000
_ADDRESS = (Candidate("host", "192.168.1.20", 50_000),)


@dataclass(frozen=True)
class Case:
    """One carrier. `spec`: of a place below a path of the test's own."""

    spec: Callable[[Path], str]
    has_place: bool = True
    """Whether it lives in that path, so that the path can be spoilt."""
    hub: str = ""
    """The kind of hub that carries for it."""


CASES = {
    "dir": Case(lambda path: f"dir:{path}"),
    "log": Case(lambda path: f"log:{path}"),
    "paste": Case(lambda _: "paste", has_place=False),
    "qr": Case(lambda _: "qr", has_place=False),
    "qr-folder": Case(lambda path: f"qr:{path}"),
    "hub-ours": Case(lambda _: "hub:http://127.0.0.1:9", has_place=False, hub="ours"),
    "hub-signalhub": Case(lambda _: "hub:http://127.0.0.1:9", has_place=False, hub="signalhub"),
}


def marks_of(case: Case) -> list[pytest.MarkDecorator]:
    """What a test with this carrier needs."""
    return [needs_signalhub] if case.hub == "signalhub" else []


def person(number: int) -> SigningKey:
    """One of the people of these tests; 0 sends."""
    return SigningKey(number.to_bytes(32, "big"))


@dataclass
class Place:
    """Where carriers of one kind meet; `people` are those who read at it."""

    case: Case
    path: Path
    nursery: trio.Nursery
    open: list[Carrier] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    _changed: trio.Event = field(default_factory=trio.Event)
    _runs: dict[int, trio.CancelScope] = field(default_factory=dict)

    def carrier(self) -> Carrier:
        """One more member's."""
        context = CarrierContext(faults=self.faults, writer=SigningKey.generate(), room=self.room)
        made = carrier_from_spec(self.spec(), context)
        if isinstance(made, Hands):
            made.on_shown(self._tell)
        if isinstance(made, Active):
            self._runs[id(made)] = scope = trio.CancelScope()
            self.nursery.start_soon(self._run, made, scope)
        self.open.append(made)
        self._tell()
        return made

    async def aclose(self, carrier: Carrier) -> None:
        """Close one, who is not brought anything any more."""
        self.open.remove(carrier)
        if id(carrier) in self._runs:
            self._runs.pop(id(carrier)).cancel()
        await carrier.aclose()

    async def _run(self, carrier: Active, scope: trio.CancelScope) -> None:
        with scope:
            await carrier.run()

    def spec(self) -> str:
        """Where it is now."""
        return self.case.spec(self.path)

    @property
    def room(self) -> bytes:
        """One a test, so that two of them may share a hub."""
        return hashlib.sha256(os.fsencode(self.path)).digest()

    async def quiet(self) -> None:
        """Until nothing goes on there on behalf of those who closed."""
        await trio.lowlevel.checkpoint()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def carry(self) -> None:
        """Be the person, until cancelled."""
        while True:
            changed = self._changed
            hands = [each for each in self.open if isinstance(each, Hands)]
            for giver in hands:
                for taker in hands:
                    for shown in giver.shown() if taker is not giver else ():
                        for _ in range(2):
                            with suppress(OwnToken):  # both show it
                                taker.accept(f"here you are:\n> {shown.token}\nbye")
            await changed.wait()

    def spoil(self) -> None:
        """Put there what a stranger might."""
        for carrier in self.open:
            if isinstance(carrier, Hands):
                for junk in ("", "hello", "pigeon:AAAA", "pigeon:" + "A" * 500, "\0" * 1000):
                    try:
                        carrier.accept(junk)
                    except SignalError:
                        continue
                    raise AssertionError(f"{junk!r} was taken for a token")
        if not self.case.has_place:
            return
        self.path.mkdir(exist_ok=True)
        name = b"n" * 32
        self.secret.write_bytes(SECRET)
        for number, ending in enumerate((".offer.bin", ".answer.bin", f".{'0' * 16}.log", ".png")):
            (self.path / f"{name.hex()}{ending}").write_bytes(os.urandom(512))
            (self.path / f"{number:064x}{ending}").symlink_to(self.secret)
            os.mkfifo(self.path / f"{number + 100:064x}{ending}")
            (self.path / f"{number + 200:064x}{ending}").mkdir()
            (self.path / f"{name.hex()} (conflicted copy){ending}").write_bytes(b"")
        (self.path / "host.offer.bin").write_bytes(b"\x93\x01")
        (self.path / "session.json").write_bytes(b"{")
        (self.path / os.fsdecode(b"\xff\xfe\n\x1b[31m")).write_bytes(b"z")

    @property
    def secret(self) -> Path:
        """What links in a spoilt place point to."""
        return self.path.with_name("secret")

    def left(self) -> list[str]:
        """What is there."""
        if not self.case.has_place:
            return [shown.token for each in self.open if isinstance(each, Hands) for shown in each.shown()]
        return sorted(each.name for each in self.path.iterdir()) if self.path.exists() else []

    @asynccontextmanager
    async def unavailable(self) -> AsyncIterator[None]:
        """A file stands where the folder was."""
        await trio.lowlevel.checkpoint()
        aside = self.path.with_name("aside")
        if self.path.exists():
            self.path.rename(aside)
        self.path.write_bytes(b"")
        yield
        self.path.unlink()
        if aside.exists():
            shutil.move(aside, self.path)


@dataclass(kw_only=True)
class HubPlace(Place):
    """A channel at a hub, which is reached through a relay."""

    relay: Relay

    def spec(self) -> str:
        return f"hub:http://127.0.0.1:{self.relay.port}"

    def spoil(self) -> None:
        channel = HubBox(self.room).channel
        strangers = HubBox(b"another room").call(bytes(16))
        for junk in (b"", b"{}", b'"AAAA"', strangers, b"\0\r\n\r\ndata: x\n\n", os.urandom(60_000)):
            post(self.relay.behind, channel, junk)

    async def quiet(self) -> None:
        with trio.fail_after(PATIENCE):
            while self.relay.connections:
                await trio.sleep(0.01)

    @asynccontextmanager
    async def unavailable(self) -> AsyncIterator[None]:
        """Its address refuses."""
        self.relay.cut()
        yield
        await self.relay.open()


Hub = Callable[[str], int]
"""Starts the hub of a kind when it is first asked for; its port."""


@asynccontextmanager
async def opened_place(case: Case, path: Path, *, hub: Hub) -> AsyncIterator[Place]:
    """A place, and all that belongs to it."""
    async with trio.open_nursery() as nursery:
        place = Place(case, path, nursery)
        if case.hub:
            relay = Relay(hub(case.hub))
            await nursery.start(relay.run)
            place = HubPlace(case, path, nursery, relay=relay)
        nursery.start_soon(place.carry)
        yield place
        nursery.cancel_scope.cancel()


class Desk:
    """Makes real parcels for a carrier: an offer or answer, sealed from the sender to one of the others."""

    def __init__(self, *, bare: bool, sender: int = 0) -> None:
        self._bare = bare
        self._key = person(sender)

    def offer(self, to: int = 1, *, version: int = 0) -> Parcel:
        return self._parcel(ParcelKind.OFFER, encode(self._offer(to, version)), to)

    def answer(self, to: int = 1, *, version: int = 0) -> Parcel:
        other = Desk(bare=self._bare)
        other._key = person(to)
        answer = make_answer(
            key=self._key,
            offer=other._offer(0, version),
            issued=_ISSUED,
            fingerprint=b"g" * 32,
            candidates=_ADDRESS,
        )
        return self._parcel(ParcelKind.ANSWER, encode(answer), to)

    def _offer(self, to: int, version: int) -> Offer:
        return make_offer(
            key=self._key,
            room=ROOM,
            recipient=None if self._bare else _identity(to),
            seed=bytes((to, version)) * 8,
            issued=_ISSUED,
            life=600,
            fingerprint=b"f" * 32,
            candidates=_ADDRESS,
        )

    def _parcel(self, kind: ParcelKind, description: bytes, to: int) -> Parcel:
        if self._bare:
            return bare_parcel(kind, description)
        me = bytes(self._key.verify_key)
        return seal_envelope(Envelope(description), kind=kind, room=ROOM, sender=me, to=_identity(to))


def _identity(number: int) -> Identity:
    return Identity(bytes(person(number).verify_key))


class Reader:
    """Reads a carrier as the node does: what came once is dropped, and so is what nobody sent."""

    def __init__(self, carrier: Carrier, *, sent: dict[bytes, Parcel]) -> None:
        self._parcels = carrier.parcels()
        self._sent = sent
        self._known: set[tuple[ParcelKind, bytes, bytes]] = set()
        self.came: list[Parcel] = []

    async def one(self) -> None:
        """Take in the next parcel, whatever it is."""
        parcel = await anext(self._parcels)
        place = (parcel.kind, parcel.key, parcel.payload)
        if place not in self._known and parcel.payload in self._sent:
            assert self._sent[parcel.payload] == parcel, "it came as another than it was sent"
            self.came.append(parcel)
        self._known.add(place)

    async def until(self, *wanted: Parcel) -> list[Parcel]:
        """Read until all these came, and what came with them; all that ever came, in order."""
        with trio.fail_after(PATIENCE):
            while not set(map(_same, wanted)) <= set(map(_same, self.came)):
                await self.one()
        with trio.move_on_after(0.05):  # what the same look found
            while True:
                await self.one()
        return self.came


def _same(parcel: Parcel) -> tuple[ParcelKind, bytes, bytes]:
    return parcel.kind, parcel.key, parcel.payload


def descriptors() -> int:
    """Open in this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the path is no directory of files
