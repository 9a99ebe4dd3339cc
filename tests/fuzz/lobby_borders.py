"""What lies in a lobby: its files, the folders that invitations name, and the door that parcels come to."""

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

import node.arrivals
import node.door
from node.attempt import Attempt
from node.connect import _Rendezvous
from node.reception import Reception
from node.webrtc import Rtc
from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.carriers import carrier_from_spec
from signaling.description import (
    Offer,
    encode,
    make_answer,
    make_offer,
)
from signaling.directory import DirectoryCarrier
from signaling.directory_scan import Mine, Scan
from signaling.envelope import Envelope, parcel_key
from signaling.folder import Complaints, opened
from signaling.handshake import Role
from signaling.lobby import LobbyFriend, LobbyProfile, LobbySession
from signaling.refusal import Reason, make_refusal
from tests.fuzz.decoder import Feed, Refused, same, scratch
from tests.fuzz.forms import BINARY, JSON, MESSAGEPACK, TEXT
from tests.fuzz.signal_borders import (
    ANN,
    ANN_ID,
    BOB,
    BOB_ID,
    NOW,
    ROOM,
    invitations,
    offers,
    presences,
    seal_padded,
    signal_decoder,
)

# Lobby folders


def _sessions() -> list[bytes]:
    full = LobbySession(name="tea", url="ff" * 32, last_update=NOW, peers=3, max_peers=31, protected=True)
    return [msgspec.json.encode(each) for each in (full, LobbySession(name="", url=""))]


def _session_feed() -> Feed:
    faults: Counter[str] = Counter()
    folder = scratch() / "session"
    folder.mkdir(exist_ok=True)
    carrier = DirectoryCarrier(str(folder), CarrierContext(faults=faults))

    async def feed(data: bytes) -> object:
        (folder / "session.json").write_bytes(data)
        session = await carrier.read_session()
        if session is None:
            raise Refused
        session.is_stale(now=NOW)
        return session

    return feed


def _profiles() -> list[bytes]:
    friends = (LobbyFriend(room="ab" * 32, carriers=("dir:/x", "paste")), LobbyFriend(room="cd" * 32))
    full = LobbyProfile(name="ann", created=NOW, friends=friends)
    return [msgspec.json.encode(each) for each in (full, LobbyProfile(name=""))]


def _profile_feed() -> Feed:
    place = scratch() / "profiled"
    (place / "profile").mkdir(parents=True, exist_ok=True)
    carrier = DirectoryCarrier(str(place))

    async def feed(data: bytes) -> object:
        (place / "profile" / f"{ANN_ID.hex()}.json").write_bytes(data)
        found = await carrier.read_profiles()
        if not found:
            raise Refused
        return found[ANN_ID]

    return feed


def _entries() -> list[bytes]:
    name = hashlib.sha256(b"place").hexdigest().encode()
    return [
        name + b".offer.bin\n" + bytes(512),
        name + b".answer.bin\n" + b"x" * 1024,
        b"host.offer.bin\n" + presences()[0],
        name + b".offer.bin\n" + bytes(MAX_PAYLOAD),
    ]


def _entry_feed() -> Feed:
    """A file of any name and content in a lobby."""
    folder = os.fsencode(scratch() / "entries")
    Path(os.fsdecode(folder)).mkdir(exist_ok=True)

    def feed(data: bytes) -> object:
        name, _, content = data.partition(b"\n")
        name = name[:255].replace(b"/", b"_").replace(b"\0", b"_") or b"_"
        if name in (b".", b".."):
            raise Refused
        path = os.path.join(folder, name)  # noqa: PTH118 - a name of any bytes
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content)
        complaints = Complaints(Path(os.fsdecode(folder)), kind="lobby", faults=Counter())
        complaints._logged = 1_000_000
        try:
            with opened(Path(os.fsdecode(folder)), make=False) as descriptor:
                found, _ = Scan(complaints, mine=Mine(), aside=None)(descriptor)
        finally:
            os.unlink(path)  # noqa: PTH108
        if not found:
            raise Refused
        (parcel,) = found
        same(parcel.payload, content)
        return parcel

    return feed


def _specs() -> list[bytes]:
    return [b"dir:" + os.fsencode(scratch() / "spec"), b"dir:" + os.fsencode(scratch() / "spec/deeper")]


def _spec_feed() -> Feed:
    """A carrier's name as an invitation gives it: read from for a moment. Only below our own folder."""
    home = str(scratch())

    async def feed(data: bytes) -> object:
        spec = data.decode("utf-8", "replace")
        carrier = cast(DirectoryCarrier, carrier_from_spec(spec))
        if not str(carrier._path).startswith(home) or ".." in str(carrier._path):
            raise Refused("elsewhere")
        await carrier.read_session()
        await carrier.withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)
        return carrier

    return feed


# The door: whatever a carrier brings to a node that runs


class _Started:
    """Stands where the nursery does, and starts nothing."""

    def start_soon(self, *_: object) -> None:
        pass


@contextmanager
def _at(now: int) -> Iterator[None]:
    """The day's clock of the door and of what stands before it; the samples were signed for this second."""
    clock = SimpleNamespace(time=lambda: now)
    rooms: list[Any] = [node.arrivals, node.door]
    former = [room.time for room in rooms]
    for room in rooms:
        room.time = clock
    try:
        yield
    finally:
        for room, time in zip(rooms, former, strict=True):
            room.time = time


def _door_feed() -> Feed:
    """Ann is a member, an introduction is always spent, and Bob waits for an answer of hers."""
    door = _Rendezvous(
        rtc=cast(Rtc, None),
        carriers=(),
        key=BOB,
        room=ROOM,
        wanted=list,
        admits=lambda sender, shown, _hash: Reason.USED if shown is not None else sender == ANN_ID,
        links=cast(Any, None),
        introduce=None,
        on_presence=lambda _who: None,
        on_refused=lambda _who, _why: None,
        on_carrier=lambda _spec, _error: None,
        host=lambda: True,
        offer_life=600,
        connect_deadline=20,
        reception=Reception(),
        faults=Counter(),
    )
    door._nursery = cast(Any, _Started())

    def feed(data: bytes) -> object:
        attempt = Attempt(ANN_ID, Role.OFFERER, 0.0, _offer_to_ann())
        for former in door._attempts:
            door._attempts.drop(former)
        kind = list(ParcelKind)[data[0] % 3] if data else ParcelKind.OFFER
        if kind is ParcelKind.ANSWER:
            door._attempts.put(attempt)
        parcel = Parcel(kind=kind, key=data[1:33].ljust(32, b"\0"), payload=data[33:][:MAX_PAYLOAD])
        with _at(NOW):
            door._arrivals.take(parcel, bare=False)
            door._door.look_again()
        return attempt

    return feed


@cache
def _offer_to_ann() -> Offer:
    return make_offer(
        key=BOB,
        room=ROOM,
        recipient=ANN_ID,
        seed=b"b" * 16,
        issued=NOW,
        life=600,
        fingerprint=bytes(32),
        candidates=offers()[0].candidates,
    )


def _brought() -> list[bytes]:
    """A kind of parcel, then what will be sealed in it."""
    addressed = [offer for offer in offers() if offer.recipient is not None]
    asked = [Envelope(encode(offer)) for offer in addressed]
    asked.append(Envelope(encode(addressed[0]), invitations()[1].grant, b"p" * 64))
    answer = make_answer(
        key=ANN, offer=_offer_to_ann(), issued=NOW, fingerprint=bytes(32), candidates=addressed[0].candidates
    )
    answers = [
        Envelope(encode(answer)),
        Envelope(make_refusal(key=ANN, offer=_offer_to_ann(), reason=Reason.EXPIRED)),
    ]
    pack = msgspec.msgpack.encode
    return [
        *(b"\x00" + pack(each) for each in asked),
        *(b"\x01" + pack(each) for each in answers),
        *(b"\x02" + pack(each) for each in presences()),
    ]


def _carried(data: bytes, dice: random.Random) -> bytes:
    """Sealed to Bob, and where it belongs."""
    kind, inner = data[:1] or b"\0", data[1:]
    if kind == b"\x02":
        return kind + bytes(32) + inner[2:]
    place = parcel_key(list(ParcelKind)[kind[0] % 3], room=ROOM, sender=ANN_ID, recipient=BOB_ID)
    return kind + place + seal_padded(inner, dice)


DECODERS = [
    signal_decoder("door", MESSAGEPACK, _brought, _door_feed, _carried, life=250),
    signal_decoder("lobby/session", JSON, _sessions, _session_feed, waits=True),
    signal_decoder("lobby/profile", JSON, _profiles, _profile_feed, waits=True),
    signal_decoder("lobby/entry", BINARY, _entries, _entry_feed),
    signal_decoder("carrier", TEXT, _specs, _spec_feed, waits=True),
]
