"""What every store of meetings promises, whether it is memory or shared by several hubs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from signaling.hub.meet_memory import MemoryMeetStore
from signaling.hub.meet_store import MAX_QUEUE, Holder, MeetStore
from signaling.hub.redis_store import open_redis
from signaling.hub.settings import HubSettings
from tests.e2e.redis import needs_redis, redis_server

PATIENCE = 10.0
TEA, PUB = "aa" * 32, "bb" * 32


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[MeetStore, MeetStore]]:
    """Two hubs' views of one store; memory's is one."""
    if request.param == "memory":
        store = MemoryMeetStore()
        yield store, store
        return
    async with (
        redis_server(tmp_path) as server,
        open_redis(server.url, HubSettings()) as one,
        open_redis(server.url, HubSettings()) as two,
    ):
        yield one.meet, two.meet


Two = tuple[MeetStore, MeetStore]


async def test_a_queue_is_swapped_only_for_what_it_was(stores: Two) -> None:
    here, there = stores
    empty = await here.load(TEA)
    assert empty.data == b""
    until = empty.now + 10
    assert await here.swap(TEA, old=b"", new=b"ann", until=until)
    assert (await there.load(TEA)).data == b"ann"
    assert not await there.swap(TEA, old=b"", new=b"bob", until=until)
    assert not await there.swap(TEA, old=b"cal", new=b"bob", until=until)
    assert await there.swap(TEA, old=b"ann", new=b"bob", until=until)
    assert (await here.load(TEA)).data == b"bob"
    assert (await here.load(PUB)).data == b""
    assert await here.swap(TEA, old=b"bob", new=b"", until=0)
    assert (await there.load(TEA)).data == b""
    assert await here.swap(TEA, old=b"", new=bytes(range(256)) * (MAX_QUEUE // 256), until=until)
    assert len((await there.load(TEA)).data) == MAX_QUEUE


async def test_of_many_that_swap_at_once_each_has_its_turn(stores: Two) -> None:
    async def add(store: MeetStore, number: int) -> None:
        while True:
            was = await store.load(TEA)
            if await store.swap(TEA, old=was.data, new=was.data + bytes((number,)), until=was.now + 10):
                return

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(add, stores[number % 2], number)
    assert sorted((await stores[0].load(TEA)).data) == list(range(20))


async def test_the_clock_is_one_and_goes_on(stores: Two) -> None:
    times = [(await store.load(TEA)).now for store in (*stores, *stores)]
    assert times == sorted(times)
    assert times[-1] - times[0] < PATIENCE


async def test_whether_somebody_waits_elsewhere_ends_with_its_time(stores: Two) -> None:
    here, there = stores
    assert not await here.elsewhere(TEA)
    now = (await here.load(TEA)).now
    await here.swap(TEA, old=b"", new=b"ann", until=now + 0.3)
    assert not await there.elsewhere(TEA)
    assert await there.elsewhere(PUB)
    with trio.fail_after(PATIENCE):
        while await there.elsewhere(PUB):
            await trio.sleep(0.02)
    assert (await here.load(TEA)).now >= now + 0.3
    await here.swap(PUB, old=b"", new=b"bob", until=now + PATIENCE)
    assert await here.elsewhere(TEA)
    await here.swap(PUB, old=b"bob", new=b"", until=0)
    assert not await here.elsewhere(TEA)


async def test_a_reply_is_handed_to_whom_it_is_for_as_long_as_it_is_held(stores: Two) -> None:
    here, there = stores
    async with here.hold() as ann, here.hold() as bob, there.hold() as cal:
        assert len({ann.holder, bob.holder, cal.holder}) == 3
        assert ann.receive_nowait() is None
        assert await there.hand(ann.holder, b"\0 for ann")
        assert await here.hand(cal.holder, b"for cal")
        assert await here.hand(bob.holder, b"for bob")
        with trio.fail_after(PATIENCE):
            got = [await each.receive() for each in (ann, bob, cal)]
        assert got == [b"\0 for ann", b"for bob", b"for cal"]
        assert ann.receive_nowait() == b"\0 for ann"


async def test_nobody_takes_what_is_for_a_hub_that_is_not_there(stores: Two) -> None:
    assert not await stores[0].hand(Holder("deadbeef:1"), b"reply")


async def test_pairs_are_remembered_for_their_time(stores: Two) -> None:
    here, there = stores
    one, other = "01" * 32, "02" * 32
    assert await here.paired([one, other]) == [False, False]
    await here.remember(one, seconds=60)
    await here.remember(other, seconds=0.3)
    assert await there.paired([other, one, "03" * 32]) == [True, True, False]
    with trio.fail_after(PATIENCE):
        while (await there.paired([other]))[0]:
            await trio.sleep(0.02)
    await there.sweep()
    assert await here.paired([one, other]) == [True, False]
    assert await here.paired([one] * 512) == [True] * 512
