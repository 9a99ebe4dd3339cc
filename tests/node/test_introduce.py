"""Parcels between members over the links of others: real links, meshes and carriers, in memory."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from nacl.signing import SigningKey
from trio.testing import MockClock, wait_all_tasks_blocked

from chain.effects import Input
from chain.ids import MemberId
from node.aside import Aside, Hand, Leave, TakeBack, encode_aside
from node.introduce import InBand
from node.introducer import MAX_KEPT
from node.link import Link
from node.mesh import Line, Mesh
from signaling.carrier import PRESENCE_KEY, Parcel, ParcelKind
from signaling.envelope import Envelope, open_envelope, parcel_key, seal_envelope
from signaling.seal import BUCKET
from tests.node.test_link import WORDS, channels

ROOM = b"r" * 32
OFFER, ANSWER = ParcelKind.OFFER, ParcelKind.ANSWER


class Peer:
    """A member's mesh and carrier, and everything that its carrier brought, as often as it came."""

    def __init__(self, number: int, members: set[bytes]) -> None:
        self.key = SigningKey(bytes([number]) * 32)
        self.me = MemberId(bytes(self.key.verify_key))
        self.faults: Counter[str] = Counter()
        self.came: list[Parcel] = []
        self.members = members
        inbox, self.inbox = trio.open_memory_channel[Input](1000)
        self.links, self.to_serve = trio.open_memory_channel[Line](0)
        self.mesh = Mesh(
            inbox=inbox,
            is_member=lambda peer: peer in self.members,
            on_change=lambda _peer, _up: None,
            faults=self.faults,
        )
        self.carrier = InBand(
            me=self.me, room=ROOM, members=lambda: self.members, mesh=self.mesh, faults=self.faults
        )
        self.mesh.carry_beside(self.carrier)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.mesh.run, self.to_serve)
            nursery.start_soon(self._read)

    async def _read(self) -> None:
        async for parcel in self.carrier.parcels():
            self.came.append(parcel)

    def parcel(self, to: "Peer", words: bytes = b"words", kind: ParcelKind = OFFER) -> Parcel:
        return seal_envelope(Envelope(words), kind=kind, room=ROOM, sender=self.me, to=to.me)

    def read(self) -> list[bytes]:
        return [open_envelope(parcel.payload, key=self.key).description for parcel in self.came]


class Company:
    """Peers, and the cables between them."""

    def __init__(self, nursery: trio.Nursery, count: int, *, strangers: int = 0) -> None:
        self._nursery = nursery
        members: set[bytes] = set()
        self.peers = [Peer(number + 1, members) for number in range(count + strangers)]
        members |= {peer.me for peer in self.peers[:count]}
        for peer in self.peers:
            nursery.start_soon(peer.run)

    async def link(self, one: Peer, other: Peer) -> Callable[[], None]:
        """The result cuts it."""
        near, far = channels()
        for peer, whom, channel in ((one, other, near), (other, one, far)):
            line = Link(channel, peer=whom.me, words=WORDS, initiator=True, faults=peer.faults)
            self._nursery.start_soon(line.run)
            await peer.links.send(line)
        await settle()

        def cut() -> None:
            near.cut()
            far.cut()

        return cut

    async def wire(self, peer: Peer, whom: Peer) -> "Wire":
        """The far end of a link of `peer`, in the hands of somebody with `whom`'s key who keeps no rule."""
        near, far = channels()
        line = Link(near, peer=whom.me, words=WORDS, initiator=True, faults=peer.faults)
        self._nursery.start_soon(line.run)
        await peer.links.send(line)
        wire = Wire(Link(far, peer=peer.me, words=WORDS, initiator=False), line)
        self._nursery.start_soon(wire.link.run)
        await settle()
        return wire


class Wire:
    def __init__(self, link: Link, line: Link) -> None:
        self.link = link
        self.line = line
        self.heard: list[bytes] = []
        link.hear_asides(self.heard.append)

    @property
    def is_cut(self) -> bool:
        return self.line.closed.is_set()

    async def say(self, aside: Aside | bytes) -> None:
        self.link.send_aside(aside if isinstance(aside, bytes) else encode_aside(aside))
        await settle()


async def settle() -> None:
    await wait_all_tasks_blocked()


@asynccontextmanager
async def company(count: int, *, strangers: int = 0) -> AsyncIterator[Company]:
    async with trio.open_nursery() as nursery:
        yield Company(nursery, count, strangers=strangers)
        nursery.cancel_scope.cancel()


async def test_a_common_peer_carries_a_parcel_and_its_answer() -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        await here.link(ann, bob)
        await here.link(bob, cal)
        offer, answer = ann.parcel(cal), cal.parcel(ann, b"back", ANSWER)
        await ann.carrier.send(offer)
        await settle()
        assert cal.came == [offer]
        await cal.carrier.send(answer)
        await settle()
        assert ann.came == [answer]
        assert bob.came == []
        assert all(not peer.faults for peer in here.peers)


async def test_it_waits_until_both_are_linked_to_somebody() -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        offer = ann.parcel(cal)
        await ann.carrier.send(offer)
        await here.link(ann, bob)
        assert cal.came == []
        await here.link(bob, cal)
        assert cal.came == [offer]


async def test_every_common_peer_carries_it_so_that_one_that_drops_it_hinders_nobody() -> None:
    async with company(4) as here:
        ann, bob, cal, dee = here.peers
        liar = await here.wire(ann, bob)  # and nothing comes out of it
        await here.link(ann, cal)
        await here.link(cal, dee)
        offer = ann.parcel(dee)
        await ann.carrier.send(offer)
        await settle()
        assert liar.heard == [encode_aside(Leave(to=dee.me, kind=OFFER, payload=offer.payload))]
        assert dee.came == [offer]


async def test_nobody_carries_it_further_than_one_hop() -> None:
    async with company(4) as here:
        for one, other in pairwise(here.peers):
            await here.link(one, other)
        await here.peers[0].carrier.send(here.peers[0].parcel(here.peers[3]))
        await settle()
        assert all(peer.came == [] for peer in here.peers)


async def test_a_newer_one_replaces_the_older_and_what_was_withdrawn_is_handed_to_nobody() -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        await here.link(ann, bob)
        gone = ann.parcel(cal, b"gone", ANSWER)
        for parcel in (ann.parcel(cal, b"old"), ann.parcel(cal, b"new"), gone):
            await ann.carrier.send(parcel)
        await ann.carrier.withdraw(ANSWER, gone.key)
        await settle()
        await here.link(bob, cal)
        assert cal.read() == [b"new"]
        await ann.carrier.aclose()
        await here.link(bob, cal)
        assert cal.read() == [b"new"]


async def test_a_peer_that_was_restarted_is_given_all_of_it_again() -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        cut = await here.link(ann, bob)
        offer = ann.parcel(cal)
        await ann.carrier.send(offer)
        cut()
        await settle()
        await here.link(bob, cal)
        assert cal.came == []  # it lasted as long as the link of who left it
        await here.link(ann, bob)
        assert cal.came == [offer]
        await here.link(bob, cal)  # in the place of the former, whose end is not seen yet
        assert cal.came == [offer, offer]


async def test_who_is_no_member_uses_nobody_and_is_reached_by_nobody() -> None:
    async with company(2, strangers=1) as here:
        ann, bob, eve = here.peers
        await here.link(ann, bob)
        wire = await here.wire(bob, eve)
        await wire.say(Leave(to=ann.me, kind=OFFER, payload=eve.parcel(ann).payload))
        await ann.carrier.send(ann.parcel(eve))
        await wire.say(Hand(sender=ann.me, kind=OFFER, payload=ann.parcel(bob).payload))
        assert ann.came == bob.came == []
        assert wire.heard == []
        assert bob.faults == {"introduce: by a stranger": 1}


async def test_who_became_a_member_here_a_moment_later_is_heard_then(autojump_clock: MockClock) -> None:
    async with company(2, strangers=1) as here:
        ann, bob, eve = here.peers
        eve.members = {peer.me for peer in here.peers}  # it knows already
        await here.link(ann, bob)
        await here.link(bob, eve)
        offer, back = eve.parcel(ann), ann.parcel(eve)
        await eve.carrier.send(offer)
        await ann.carrier.send(back)
        await settle()
        assert ann.came == eve.came == []
        ann.members.add(eve.me)
        await trio.sleep(1)
        assert ann.came == [offer]
        assert eve.came == [back]


async def test_a_newcomer_that_is_not_told_yet_that_it_was_admitted_is_handed_what_comes() -> None:
    async with company(3) as here:
        ann, bob, new = here.peers
        new.members = set()
        await here.link(ann, bob)
        await here.link(bob, new)
        offer = ann.parcel(new)
        await ann.carrier.send(offer)
        await settle()
        assert new.came == [offer]


async def test_what_came_too_often_comes_a_little_later_and_only_the_latest(
    autojump_clock: MockClock,
) -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        await here.link(ann, bob)
        await here.link(bob, cal)
        for number in range(12):
            await ann.carrier.send(ann.parcel(cal, b"%d" % number))
            await settle()
        assert cal.read() == [b"%d" % number for number in range(8)]
        await trio.sleep(2)
        assert cal.read()[8:] == [b"11"]


async def test_a_presence_is_never_given_to_it() -> None:
    async with company(1) as here:
        with pytest.raises(ValueError, match="presence"):
            await here.peers[0].carrier.send(
                Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"here")
            )


async def test_ten_times_the_same_is_carried_once() -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        await here.link(ann, bob)
        await here.link(bob, cal)
        offer = ann.parcel(cal)
        for _ in range(10):
            await ann.carrier.send(offer)
        await settle()
        assert cal.came == [offer]


# liars


async def test_what_a_liar_repeats_and_invents_is_brought_as_from_any_place_and_hides_no_other() -> None:
    async with company(4) as here:
        ann, bob, cal, dee = here.peers
        liar = await here.wire(dee, cal)
        await here.link(ann, bob)
        await here.link(bob, dee)
        offer = ann.parcel(dee)
        await ann.carrier.send(offer)
        await settle()
        await liar.say(Hand(sender=ann.me, kind=OFFER, payload=b"x" * BUCKET))
        await liar.say(Hand(sender=ann.me, kind=OFFER, payload=offer.payload))
        await liar.say(Hand(sender=b"?" * 32, kind=OFFER, payload=offer.payload))
        assert [parcel == offer for parcel in dee.came] == [True, False, True, False]
        assert {parcel.key for parcel in dee.came} == {
            offer.key,
            parcel_key(OFFER, room=ROOM, sender=b"?" * 32, recipient=dee.me),
        }


async def test_junk_and_lies_about_who_sent_it_are_counted_and_soon_cut_the_link() -> None:
    async with company(2) as here:
        ann, bob = here.peers
        for junk in (
            b"x",
            Hand(sender=ann.me, kind=OFFER, payload=b"x" * BUCKET),
            Hand(sender=bob.me, kind=OFFER, payload=b"x" * BUCKET),
        ):
            wire = await here.wire(ann, bob)
            ann.carrier._budgets.clear()
            for _ in range(32):
                assert not wire.is_cut
                await wire.say(junk)
            await wire.say(junk)
            assert wire.is_cut
        assert ann.came == []
        assert ann.faults == {"introduce: bad size": 33, "introduce: from nobody": 66, "introduce: flood": 3}


async def test_a_flood_costs_bounded_memory_and_then_the_link_and_starting_again_gains_nothing(
    autojump_clock: MockClock,
) -> None:
    async with company(3) as here:
        ann, bob, cal = here.peers
        wire = await here.wire(ann, bob)
        said = 0
        while not wire.is_cut:
            said += 1
            await wire.say(Leave(to=said.to_bytes(32, "big"), kind=OFFER, payload=b"x" * BUCKET))
            assert sum(map(len, ann.carrier._introducer._kept.values())) <= MAX_KEPT
        assert 1000 < said < 1100
        assert not ann.carrier._introducer._kept
        wire = await here.wire(ann, bob)
        await wire.say(TakeBack(to=cal.me, kind=OFFER))
        assert wire.is_cut
        await trio.sleep(1)
        wire = await here.wire(ann, bob)
        await wire.say(TakeBack(to=cal.me, kind=OFFER))
        assert not wire.is_cut


async def test_who_floods_another_through_a_third_costs_the_third_nothing(autojump_clock: MockClock) -> None:
    """The third's link to the flooded one stays, and others still get through at once."""
    async with company(4) as here:
        ann, bob, cal, dee = here.peers
        await here.link(bob, cal)
        await here.link(bob, dee)
        liar = await here.wire(bob, ann)
        for minute in range(10):
            for number in range(600):
                payload = (minute * 1000 + number).to_bytes(BUCKET, "big")
                await liar.say(Leave(to=dee.me, kind=OFFER, payload=payload))
                if number % 60 == 0:
                    await trio.sleep(1)
        assert not liar.is_cut
        assert 8 <= len(dee.came) <= 8 + 101
        offer = cal.parcel(dee)
        await cal.carrier.send(offer)
        await settle()
        assert dee.came[-1] == offer
        assert dee.mesh.linked() == {bob.me}
        assert not dee.faults


async def test_parcels_that_nobody_looks_at_are_bounded_for_each_that_brings_them() -> None:
    async with company(2) as here:
        ann, bob = here.peers
        wire = await here.wire(ann, bob)
        for number in range(300):  # in one go: nothing is read in between
            aside = Hand(sender=number.to_bytes(32, "big"), kind=OFFER, payload=b"x" * BUCKET)
            ann.carrier.on_aside(bob.me, encode_aside(aside))
        assert len(ann.carrier._handed) == 128
        await settle()
        assert len(ann.came) == 128
        assert not ann.carrier._waiting
        assert ann.mesh.linked() == set()  # it paid for the others, and that was too much
        assert wire.is_cut


async def test_asides_never_keep_a_message_from_going_nor_a_message_them() -> None:
    near, far = channels()
    one = Link(near, peer=b"p" * 32, words=WORDS, initiator=True)
    other = Link(far, peer=b"q" * 32, words=WORDS, initiator=False)
    heard: list[bytes] = []
    other.hear_asides(heard.append)
    big = b"m" * 200_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        await one.send(big)
        sizes = [1, 4096, 2000] * 30
        assert all(one.send_aside(bytes([7]) * size) for size in sizes)
        nursery.start_soon(other.run)
        with trio.fail_after(5):
            assert await other.receive() == big
        await settle()
        assert [len(aside) for aside in heard] == sizes
        assert not one.closed.is_set()
        nursery.cancel_scope.cancel()


async def test_asides_that_came_before_anybody_heard_them_are_heard_in_order() -> None:
    near, far = channels()
    one = Link(near, peer=b"p" * 32, words=WORDS, initiator=True)
    other = Link(far, peer=b"q" * 32, words=WORDS, initiator=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        nursery.start_soon(other.run)
        sent = [bytes([number]) for number in range(100)]
        assert all(one.send_aside(each) for each in sent)
        await settle()
        heard: list[bytes] = []
        other.hear_asides(heard.append)
        assert heard == sent
        nursery.cancel_scope.cancel()
