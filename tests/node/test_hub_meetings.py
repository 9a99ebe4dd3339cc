"""A hub between two who want each other, which knows even their room: it can keep them apart, and no more."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.webrtc import Rtc
from signaling.carrier import CarrierContext, Parcel, ParcelKind
from signaling.description import Candidate, encode, make_offer
from signaling.envelope import Envelope, seal_envelope
from signaling.hub_box import HubBox
from signaling.hub_carrier import HubCarrier
from tests.node.test_connect import ROOM, Member, identity, key_of, stage, talk
from tests.signaling.hub_servers import Relay, hub_process, post

BOX = re.compile(rb'"[A-Za-z0-9+/=]{1366,}"')
Lie = Callable[[Parcel, list[Parcel]], Parcel | None]
"""What is handed on in a parcel's place, given all that came before; None: nothing of use."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with hub_process("ours") as (_, found):
        yield found


class HostileHub:
    """Rewrites what it hands on. It was invited once, so it knows the room's id; it is no member."""

    def __init__(self, lie: Lie) -> None:
        self.box = HubBox(ROOM)
        self.lie: Lie | None = lie
        self.heard: list[Parcel] = []
        self.lies = 0

    def __call__(self, data: bytes) -> bytes:
        return BOX.sub(self._rewrite, data)

    def _rewrite(self, found: re.Match[bytes]) -> bytes:
        said = self.box.open(found[0])
        if not isinstance(said, Parcel) or self.lie is None:
            return found[0]
        told = self.lie(said, self.heard)
        self.heard.append(said)
        self.lies += told != said
        body = self.box.call(bytes(16)) if told is None else self.box.parcel(told)
        return body if len(body) == len(found[0]) else b'"' + b"A" * (len(found[0]) - 2) + b'"'


def other_kind(parcel: Parcel, _: list[Parcel]) -> Parcel:
    turned = {ParcelKind.OFFER: ParcelKind.ANSWER, ParcelKind.ANSWER: ParcelKind.OFFER}
    kind = turned.get(parcel.kind)
    return parcel if kind is None else Parcel(kind=kind, key=parcel.key, payload=parcel.payload)


def other_place(parcel: Parcel, heard: list[Parcel]) -> Parcel:
    key = next((each.key for each in heard if each.key not in (parcel.key, bytes(32))), b"k" * 32)
    return parcel if not any(parcel.key) else Parcel(kind=parcel.kind, key=key, payload=parcel.payload)


def anothers_words(parcel: Parcel, heard: list[Parcel]) -> Parcel | None:
    for each in heard:
        if each.payload != parcel.payload and any(each.key):
            return Parcel(kind=parcel.kind, key=parcel.key, payload=each.payload) if any(parcel.key) else None
    return None


def one_bit(parcel: Parcel, _: list[Parcel]) -> Parcel:
    at = len(parcel.payload) // 2
    changed = parcel.payload[:at] + bytes((parcel.payload[at] ^ 1,)) + parcel.payload[at + 1 :]
    return Parcel(kind=parcel.kind, key=parcel.key, payload=changed)


def nothing(_: Parcel, __: list[Parcel]) -> None:
    return None


def only_the_first(parcel: Parcel, heard: list[Parcel]) -> Parcel:
    """What it heard first of this kind, again and again; news never."""
    return next((each for each in heard if each.kind is parcel.kind), parcel)


@asynccontextmanager
async def pair(
    rtc: Rtc, nursery: trio.Nursery, port: int, place: Path, *, down: Callable[[bytes], bytes]
) -> AsyncIterator[tuple[Member, Member, Relay]]:
    relay = Relay(port, down=down)
    await nursery.start(relay.run)
    members = [Member(name, rtc, place, wants=(other,)) for name, other in (("ann", "bob"), ("bob", "ann"))]
    for each in members:
        context = CarrierContext(faults=each.faults, room=ROOM)
        each.carrier = HubCarrier(f"http://127.0.0.1:{relay.port}", context)
        nursery.start_soon(each.run)
    yield members[0], members[1], relay
    for each in members:
        await each.leave()


@pytest.mark.parametrize("lie", [other_kind, other_place, anothers_words, one_bit, nothing])
async def test_a_hub_that_swaps_alters_or_drops_gets_no_session_and_when_it_is_honest_they_meet(
    tmp_path: Path, port: int, lie: Lie
) -> None:
    hub = HostileHub(lie)
    async with stage(30) as (rtc, nursery), pair(rtc, nursery, port, tmp_path, down=hub) as (ann, bob, _):
        with trio.move_on_after(1.2):
            await ann.link()
            raise AssertionError("a link came of what the hub had changed")
        assert hub.lies
        hub.lie = None
        one, other = await ann.link(), await bob.link()
        assert (one.peer, other.peer) == (bob.me, ann.me)
        assert one.words == other.words
        await talk(one, other)


async def test_a_hub_that_repeats_what_was_brings_nobody_but_who_said_it(tmp_path: Path, port: int) -> None:
    hub = HostileHub(only_the_first)
    async with stage(30) as (rtc, nursery), pair(rtc, nursery, port, tmp_path, down=hub) as (ann, bob, relay):
        with trio.move_on_after(1.2):
            while len(hub.heard) < 12:
                await trio.sleep(0.01)
        hub.lie = None
        one, other = await ann.link(), await bob.link()  # what came first was real, and may link them
        assert (one.peer, other.peer) == (bob.me, ann.me)
        assert one.words == other.words
        for each in reversed(hub.heard * 2):  # all that ever was, in another order, to whoever listens
            body = hub.box.parcel(each)
            await trio.to_thread.run_sync(post, relay.behind, hub.box.channel, body)
        with trio.move_on_after(0.5):
            await ann.link()
            raise AssertionError("what was over began again")
        await talk(one, other)


async def test_offers_that_a_hub_makes_up_are_a_strangers(tmp_path: Path, port: int) -> None:
    """It knows room and identities; what it signs is signed by itself."""
    async with (
        stage(30) as (rtc, nursery),
        pair(rtc, nursery, port, tmp_path, down=bytes) as (ann, bob, relay),
    ):
        one, other = await ann.link(), await bob.link()
        mallory, box = key_of("mallory"), HubBox(ROOM)
        offer = make_offer(
            key=mallory,
            room=ROOM,
            recipient=identity("ann"),
            seed=b"s" * 16,
            issued=int(time.time()),
            life=600,
            fingerprint=b"f" * 32,
            candidates=(Candidate("host", "127.0.0.1", 9),),
        )
        for sender in (identity("mallory"), identity("bob")):
            invented = seal_envelope(
                Envelope(encode(offer)), kind=ParcelKind.OFFER, room=ROOM, sender=sender, to=identity("ann")
            )
            await trio.to_thread.run_sync(post, relay.behind, box.channel, box.parcel(invented))
        while not (ann.faults["signal: not admitted"] and ann.faults["signal: SignalError"]):
            await trio.sleep(0.01)
        await talk(one, other)
        with trio.move_on_after(0.3):
            await ann.link()
            raise AssertionError("a stranger got a link")
