"""The mesh over lines that live in memory: one line a peer, nobody waits for a slow one, nothing is left."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from chain.effects import Arrived, Input, LinkDown, LinkUp
from chain.ids import MemberId
from node.errors import LinkClosed
from node.mesh import DISMISSED_LIFE, GUEST_LIFE, MAX_GUESTS, MAX_OUTBOX, Line, Mesh

ANN, BOB = MemberId(b"a" * 32), MemberId(b"b" * 32)


@dataclass(eq=False)
class Wire:
    """The near end of a line; the test is the far end. `stuck`: the far end takes nothing."""

    peer: bytes
    words: tuple[str, str, str, str] = ("one", "two", "three", "four")
    rtt: float | None = None
    stuck: bool = False
    watched: bool = False
    taken: list[bytes] = field(default_factory=list)
    flushed: bool = False

    def __post_init__(self) -> None:
        self.closed = trio.Event()
        self._inbox: deque[bytes] = deque()
        self._arrived = trio.lowlevel.ParkingLot()

    def arrive(self, message: bytes) -> None:
        self._inbox.append(message)
        self._arrived.unpark_all()

    def break_down(self) -> None:
        self.closed.set()
        self._arrived.unpark_all()

    async def send(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.stuck:
            await self.closed.wait()
        if self.closed.is_set():
            raise LinkClosed("closed", "")
        self.taken.append(message)

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self.closed.is_set():
                raise LinkClosed("closed", "")
            await self._arrived.park()
        return self._inbox.popleft()

    async def aclose(self, *, deadline: float = 5.0) -> None:
        self.flushed = self.flushed or (deadline > 0 and not self.stuck)
        self.break_down()
        await trio.lowlevel.checkpoint()

    def watch(self, on: bool) -> None:
        self.watched = on


@dataclass
class Rig:
    """A running mesh with what came out of it."""

    mesh: Mesh
    links: trio.MemorySendChannel[Line]
    inbox: trio.MemoryReceiveChannel[Input]
    changes: list[tuple[MemberId, bool]]
    faults: Counter[str]

    async def link(self, wire: Wire) -> Wire:
        await self.links.send(wire)
        return wire

    async def next(self, count: int = 1) -> list[Input]:
        with trio.fail_after(5):
            return [await self.inbox.receive() for _ in range(count)]


@asynccontextmanager
async def running(members: set[MemberId]) -> AsyncIterator[Rig]:
    sender, inbox = trio.open_memory_channel[Input](64)
    links, to_serve = trio.open_memory_channel[Line](0)
    changes: list[tuple[MemberId, bool]] = []
    faults: Counter[str] = Counter()
    mesh = Mesh(
        inbox=sender,
        is_member=lambda peer: peer in members,
        on_change=lambda peer, up: changes.append((peer, up)),
        faults=faults,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mesh.run, to_serve)
        yield Rig(mesh, links, inbox, changes, faults)
        nursery.cancel_scope.cancel()


async def test_what_arrives_reaches_the_inbox_between_up_and_down() -> None:
    async with running({ANN}) as rig:
        wire = await rig.link(Wire(ANN))
        wire.arrive(b"one")
        wire.arrive(b"two")
        assert await rig.next(3) == [LinkUp(ANN), Arrived(ANN, b"one"), Arrived(ANN, b"two")]
        wire.break_down()
        assert await rig.next() == [LinkDown(ANN)]
        assert rig.changes == [(ANN, True), (ANN, False)]
        assert rig.mesh.linked() == frozenset()


async def test_envelopes_leave_in_order_and_only_to_whom_they_are_for() -> None:
    async with running({ANN, BOB}) as rig:
        to_ann, to_bob = await rig.link(Wire(ANN)), await rig.link(Wire(BOB))
        await rig.next(2)
        for number in range(3):
            rig.mesh.send(ANN, bytes([number]))
        rig.mesh.send(MemberId(b"?" * 32), b"to nobody")
        await rig.mesh.drain(deadline=5)
        assert to_ann.taken == [b"\0", b"\1", b"\2"]
        assert to_bob.taken == []


async def test_a_newer_line_replaces_the_older_without_a_moment_of_absence() -> None:
    async with running({ANN}) as rig:
        old = await rig.link(Wire(ANN))
        await rig.next()
        new = await rig.link(Wire(ANN))
        assert await rig.next(2) == [LinkDown(ANN), LinkUp(ANN)]
        with trio.fail_after(5):
            await old.closed.wait()
        new.arrive(b"from the new")
        assert await rig.next() == [Arrived(ANN, b"from the new")]
        assert rig.changes == [(ANN, True)]
        rig.mesh.send(ANN, b"to the new")
        await rig.mesh.drain(deadline=5)
        assert (old.taken, new.taken) == ([], [b"to the new"])


async def test_a_peer_that_takes_nothing_loses_its_line_and_nobody_else_does() -> None:
    async with running({ANN, BOB}) as rig:
        stuck, fine = await rig.link(Wire(ANN, stuck=True)), await rig.link(Wire(BOB))
        await rig.next(2)
        for _ in range(MAX_OUTBOX // (1 << 20) + 1):
            rig.mesh.send(ANN, bytes(1 << 20))
            rig.mesh.send(BOB, b"x")
        with trio.fail_after(5):
            await stuck.closed.wait()
        assert await rig.next() == [LinkDown(ANN)]
        assert rig.faults["mesh: outbox overflow"] == 1
        assert rig.mesh.linked() == {BOB}
        assert not fine.closed.is_set()


async def test_a_block_larger_than_the_outbox_is_served_whole_and_then_no_more_until_it_is_taken() -> None:
    async with running({ANN}) as rig:
        slow = await rig.link(Wire(ANN, stuck=True))
        await rig.next()
        assert rig.mesh.may_serve(ANN)
        rig.mesh.serve(ANN, [bytes(1 << 20)] * (MAX_OUTBOX // (1 << 20) + 1))
        assert not rig.mesh.may_serve(ANN)
        rig.mesh.send(ANN, b"a vote")
        await trio.testing.wait_all_tasks_blocked()
        assert not slow.closed.is_set()
        assert not rig.faults


async def test_a_vote_overtakes_the_blocks_that_are_served() -> None:
    async with running({ANN}) as rig:
        quick = await rig.link(Wire(ANN))
        await rig.next()
        rig.mesh.serve(ANN, [b"block"] * 3)
        rig.mesh.send(ANN, b"vote")
        await trio.testing.wait_all_tasks_blocked()
        assert quick.taken == [b"vote", b"block", b"block", b"block"]
        assert rig.mesh.may_serve(ANN)
        assert not rig.mesh.may_serve(BOB)


async def test_draining_flushes_who_listens_and_does_not_wait_for_who_does_not(
    autojump_clock: MockClock,
) -> None:
    async with running({ANN, BOB}) as rig:
        fine, stuck = await rig.link(Wire(ANN)), await rig.link(Wire(BOB, stuck=True))
        await rig.next(2)
        rig.mesh.send(ANN, b"bye")
        rig.mesh.send(BOB, b"bye")
        began = trio.current_time()
        await rig.mesh.drain(deadline=2)
        assert trio.current_time() - began <= 2
        assert fine.taken == [b"bye"]
        assert fine.flushed
        assert stuck.closed.is_set()


async def test_a_line_that_comes_while_leaving_is_turned_away(autojump_clock: MockClock) -> None:
    async with running({ANN}) as rig:
        await rig.mesh.drain(deadline=1)
        late = await rig.link(Wire(ANN))
        with trio.fail_after(5):
            await late.closed.wait()
        assert rig.changes == []


async def test_guests_are_few_and_members_do_not_count() -> None:
    async with running({ANN}) as rig:
        await rig.link(Wire(ANN))
        guests = [await rig.link(Wire(bytes([number]) * 32)) for number in range(MAX_GUESTS)]
        await rig.next(1 + MAX_GUESTS)
        one_more = await rig.link(Wire(b"z" * 32))
        with trio.fail_after(5):
            await one_more.closed.wait()
        assert rig.mesh.guests() == MAX_GUESTS
        assert not any(guest.closed.is_set() for guest in guests)


async def test_a_guest_must_go_after_its_time_unless_it_became_a_member(autojump_clock: MockClock) -> None:
    members: set[MemberId] = set()
    async with running(members) as rig:
        stays, goes = await rig.link(Wire(ANN)), await rig.link(Wire(BOB))
        await rig.next(2)
        members.add(ANN)
        began = trio.current_time()
        assert await trio_wait(goes.closed) == began + GUEST_LIFE
        assert not stays.closed.is_set()


async def test_who_is_a_member_no_more_is_a_guest_whose_time_ends(autojump_clock: MockClock) -> None:
    members = {ANN}
    async with running(members) as rig:
        goes = await rig.link(Wire(ANN))
        await rig.next()
        began = trio.current_time()
        await trio.sleep(GUEST_LIFE + 1)
        assert not goes.closed.is_set()
        members.clear()
        assert await trio_wait(goes.closed) == began + 2 * GUEST_LIFE


async def test_who_is_dismissed_goes_soon_unless_it_is_a_member_then(autojump_clock: MockClock) -> None:
    members: set[MemberId] = set()
    async with running(members) as rig:
        stays, goes = await rig.link(Wire(ANN)), await rig.link(Wire(BOB))
        await rig.next(2)
        began = trio.current_time()
        rig.mesh.dismiss(ANN)
        rig.mesh.dismiss(BOB)
        members.add(ANN)
        assert await trio_wait(goes.closed) == began + DISMISSED_LIFE
        assert not stays.closed.is_set()


async def test_leaving_does_not_wait_for_a_line_that_broke_while_it_was_sent_to(
    autojump_clock: MockClock,
) -> None:
    async with running({ANN}) as rig, trio.open_nursery() as nursery:
        stuck = await rig.link(Wire(ANN, stuck=True))
        await rig.next()
        rig.mesh.send(ANN, b"never taken")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        nursery.start_soon(partial(rig.mesh.drain, deadline=100))
        await trio.testing.wait_all_tasks_blocked()
        rig.mesh.drop(ANN)
        await stuck.closed.wait()
    assert trio.current_time() == began


async def trio_wait(event: trio.Event) -> float:
    await event.wait()
    return trio.current_time()


async def test_watching_reaches_the_lines_that_are_there_and_those_that_come() -> None:
    async with running({ANN, BOB}) as rig:
        first = await rig.link(Wire(ANN))
        await rig.next()
        rig.mesh.watch(True)
        second = await rig.link(Wire(BOB))
        await rig.next()
        assert first.watched
        assert second.watched
        rig.mesh.watch(False)
        assert not first.watched
        assert not second.watched


@pytest.mark.parametrize("known", [True, False])
async def test_the_safety_words_are_those_of_the_line(known: bool) -> None:
    async with running({ANN}) as rig:
        if known:
            await rig.link(Wire(ANN))
            await rig.next()
        assert rig.mesh.words(ANN) == ("one two three four" if known else "")
