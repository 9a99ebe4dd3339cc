"""What every store of the hub promises, whether it is memory or shared by several hubs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from signaling.hub.memory import open_memory
from signaling.hub.redis_store import open_redis
from signaling.hub.settings import HubSettings
from signaling.hub.store import Event, Stores
from tests.e2e.redis import needs_redis, redis_server

PATIENCE = 10.0
SMALL = HubSettings(kept_events=4, kept_bytes=1000, kept_seconds=0.4, kept_in_all=2000, kept_channels=8)

Open = Callable[[HubSettings], AbstractAsyncContextManager[Stores]]


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a store of this kind; the same one again (another hub's view of it) where it can be shared."""
    if request.param == "memory":
        yield open_memory
        return
    async with redis_server(tmp_path) as server:
        yield partial(open_redis, server.url)


@asynccontextmanager
async def listening(opened: Open, settings: HubSettings) -> AsyncIterator[tuple[Stores, list[Event]]]:
    heard: list[Event] = []
    async with opened(settings) as stores:
        stores.channels.deliver_to(heard.append)
        yield stores, heard


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.01)


async def test_what_is_published_is_delivered_once_in_order_and_with_its_id(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, heard):
        ids = [await stores.channels.publish("app/a", b"%d" % number) for number in range(20)]
        await until(lambda: len(heard) == 20)
        assert heard == [Event(id, "app/a", b"%d" % number) for number, id in enumerate(ids)]
        assert len(set(ids)) == 20
        assert all(len(id) <= 64 and id.replace("-", "").isalnum() and id.isascii() for id in ids)


async def test_payloads_of_any_bytes_and_up_to_64_kib_arrive_as_they_were(opened: Open) -> None:
    payloads = [b"", bytes(range(256)), b"\r\n\r\n", b"x" * 65536]
    async with listening(opened, HubSettings()) as (stores, heard):
        for payload in payloads:
            await stores.channels.publish("app/a,b c", payload)
        await until(lambda: len(heard) == len(payloads))
        assert [event.payload for event in heard] == payloads


async def test_who_resumes_gets_what_came_after_on_that_channel_alone(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        ids = [await stores.channels.publish("app/a", b"%d" % number) for number in range(5)]
        await stores.channels.publish("app/b", b"another")
        after = await stores.channels.since(["app/a"], ids[1])
        assert [event.payload for event in after] == [b"2", b"3", b"4"]
        assert [event.id for event in after] == ids[2:]
        assert await stores.channels.since(["app/a"], ids[-1]) == []
        assert await stores.channels.since(["app/none"], ids[0]) == []


async def test_ids_have_one_order_over_all_channels(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        await stores.channels.publish("app/a", b"before")
        between = await stores.channels.publish("app/b", b"between")
        await stores.channels.publish("app/a", b"after")
        assert [event.payload for event in await stores.channels.since(["app/a"], between)] == [b"after"]


async def test_who_resumes_on_several_channels_gets_all_of_them_in_one_order(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        start = await stores.channels.position()
        channels = ["app/a", "app/b", "app/c", "app/a", "app/c", "app/b", "app/a"]
        ids = [await stores.channels.publish(channel, b"x") for channel in channels]
        missed = await stores.channels.since(["app/b", "app/a"], start)
        wanted = [(id, channel) for id, channel in zip(ids, channels, strict=True) if channel != "app/c"]
        assert [(event.id, event.channel) for event in missed] == wanted


async def test_a_position_is_after_everything_published_before_it(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        start = await stores.channels.position()
        await stores.channels.publish("app/a", b"one")
        assert [event.payload for event in await stores.channels.since(["app/a"], start)] == [b"one"]
        later = await stores.channels.position()
        assert await stores.channels.since(["app/a"], later) == []
        await stores.channels.publish("app/a", b"two")
        assert [event.payload for event in await stores.channels.since(["app/a"], later)] == [b"two"]


@pytest.mark.parametrize(
    "foreign", ["", "?", "no id", "-", "--", "x" * 64, "9" * 64 + "-" + "9" * 64, "ab-c"]
)
async def test_what_is_no_id_of_ours_resumes_nothing_or_all_and_never_fails(
    opened: Open, foreign: str
) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        await stores.channels.publish("app/a", b"one")
        assert len(await stores.channels.since(["app/a"], foreign)) <= 1


async def test_of_a_channel_the_last_few_events_are_kept(opened: Open) -> None:
    async with listening(opened, SMALL) as (stores, _):
        first = await stores.channels.publish("app/a", b"first")
        for number in range(20):
            await stores.channels.publish("app/a", b"%d" % number)
        kept = await stores.channels.since(["app/a"], first)
        assert [event.payload for event in kept] == [b"16", b"17", b"18", b"19"]


async def test_of_a_channel_no_more_bytes_are_kept_than_allowed(opened: Open) -> None:
    async with listening(opened, SMALL) as (stores, _):
        start = await stores.channels.position()
        for _ in range(4):
            await stores.channels.publish("app/a", b"x" * 400)
        kept = await stores.channels.since(["app/a"], start)
        assert 0 < sum(len(event.payload) for event in kept) <= SMALL.kept_bytes


async def test_a_silent_channel_is_forgotten(opened: Open) -> None:
    async with listening(opened, SMALL) as (stores, _):
        start = await stores.channels.position()
        await stores.channels.publish("app/a", b"one")
        assert await stores.channels.since(["app/a"], start)
        with trio.fail_after(PATIENCE):
            while await stores.channels.since(["app/a"], start):
                await trio.sleep(0.05)


async def test_a_bucket_gives_its_burst_and_then_says_how_long_to_wait(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        waits = [await stores.rates.take("one", rate=0.5, burst=3) for _ in range(5)]
        assert waits[:3] == [0, 0, 0]
        assert all(0 < wait <= 2 for wait in waits[3:]), "what is refused costs nothing"
        assert await stores.rates.take("another", rate=0.5, burst=3) == 0


async def test_a_bucket_fills_again(opened: Open) -> None:
    async with listening(opened, HubSettings()) as (stores, _):
        assert await stores.rates.take("one", rate=20, burst=1) == 0
        wait = await stores.rates.take("one", rate=20, burst=1)
        assert 0 < wait <= 0.05
        with trio.fail_after(PATIENCE):
            while await stores.rates.take("one", rate=20, burst=1):
                await trio.sleep(0.01)


async def test_stores_that_work_say_so(opened: Open) -> None:
    async with opened(HubSettings()) as stores:
        await stores.check()
