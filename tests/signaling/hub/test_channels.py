"""Broadcasts and subscriptions over real sockets: all in order, whatever is in them, none lost."""

import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import trio

from signaling.event_stream import Event as SseEvent
from signaling.event_stream import EventStream as SseStream
from signaling.hub.channels import Channels, event_text
from signaling.hub.counts import Counts
from signaling.hub.http import EventStream, Request
from signaling.hub.memory import open_memory
from signaling.hub.settings import HubSettings
from signaling.hub.store import ChannelStore, Event, StoreAway, Stores
from tests.signaling.hub.hubs import Client, Hub, running

PLAIN = HubSettings()


async def listening(stack: AsyncExitStack, hub: Hub, path: str, headers: str = "") -> Client:
    client = await stack.enter_async_context(hub.client())
    await client.subscribe(path, headers)
    return client


async def heard(client: Client) -> list[bytes]:
    """Id and data lines of the next event that has data."""
    while b"data: " not in (event := await client.event()):
        pass
    return event.removesuffix(b"\n\n").split(b"\n")


async def test_every_subscriber_of_a_channel_and_no_other_gets_every_broadcast_in_order() -> None:
    async with running(PLAIN) as hub, AsyncExitStack() as stack:
        here = [await listening(stack, hub, "/v1/app/here") for _ in range(3)]
        there = await listening(stack, hub, "/v1/app/there")
        other_app = await listening(stack, hub, "/v1/ppa/here")
        poster = await stack.enter_async_context(hub.client())
        for number in range(20):
            answer = await poster.post("/v1/app/here", b"%d" % number)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\n")
        for path in ("/v1/app/there", "/v1/ppa/here"):
            await poster.post(path, b"last")
        for client in here:
            assert [(await heard(client))[1] for _ in range(20)] == [b"data: %d" % each for each in range(20)]
        for client in (there, other_app):
            assert (await heard(client))[1] == b"data: last"


async def test_the_head_of_a_subscription_lets_nobody_on_the_way_hold_events_back() -> None:
    async with running(PLAIN) as hub, hub.client() as client:
        head = await client.subscribe("/v1/app/a?query=is+ignored")
        assert b"\r\nContent-Type: text/event-stream; charset=utf-8\r\n" in head
        assert b"\r\nCache-Control: no-cache\r\n" in head and b"\r\nX-Accel-Buffering: no\r\n" in head
        assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head


async def test_several_channels_in_one_subscription_and_one_of_them_named_twice() -> None:
    async with running(PLAIN) as hub, hub.client() as client, hub.client() as poster:
        await client.subscribe("/v1/app/a,b,,a,c/d")
        for channel in ("a", "x", "b", "c/d", "c"):
            await poster.post(f"/v1/app/{channel}", channel.encode())
        await poster.post("/v1/app/a", b"end")
        assert [(await heard(client))[1] for _ in range(4)] == [
            b"data: a", b"data: b", b"data: c/d", b"data: end",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "lines"),
    [
        (b'{"a": 1}', [b'data: {"a": 1}']),
        (b"", [b"data: "]),
        (b"one\ntwo\r\nthree\rfour", [b"data: one", b"data: two", b"data: three", b"data: four"]),
        (
            b"x\n\ndata: forged\nid: forged",
            [b"data: x", b"data: ", b"data: data: forged", b"data: id: forged"],
        ),
        ("grüß\u2028".encode(), ["data: grüß\u2028".encode()]),
        (b"\xff\xfe", ["data: \ufffd\ufffd".encode()]),
        (b"\0", [b"data: \0"]),
        (b" leading", [b"data:  leading"]),
    ],
)
def test_no_payload_ends_or_forges_an_event(payload: bytes, lines: list[bytes]) -> None:
    text = event_text(Event("id-1", "app/a", payload))
    assert text == b"\n".join([b"id: id-1", *lines, b"", b""])


def test_whatever_is_broadcast_a_reader_of_event_streams_finds_one_event_with_it() -> None:
    dice = random.Random(1)
    pieces = (
        b"\n",
        b"\r",
        b"\r\n",
        b"data: ",
        b"id: ",
        b":",
        b" ",
        b"\0",
        b"\xff",
        "\u2028ä".encode(),
        b"abc",
    )
    for _ in range(5000):
        payload = b"".join(dice.choices(pieces, k=dice.randrange(12)))
        reader = SseStream()
        events = reader.feed(event_text(Event("id-1", "app/a", payload)))
        wanted = payload.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        assert events == [SseEvent(wanted.encode())], payload
        assert reader.last_id == "id-1"


async def test_a_broadcast_of_64_kib_arrives_and_one_byte_more_is_refused() -> None:
    async with running(PLAIN) as hub, hub.client() as client, hub.client() as poster:
        await client.subscribe("/v1/app/a")
        await poster.post("/v1/app/a", b"x" * 65536)
        assert (await heard(client))[1] == b"data: " + b"x" * 65536
        assert (await poster.post("/v1/app/a", b"x" * 65537)).startswith(b"HTTP/1.1 413 ")


async def test_who_comes_back_with_the_last_id_gets_what_was_missed_first_and_then_what_comes() -> None:
    async with running(PLAIN) as hub, hub.client() as poster:
        async with hub.client() as client:
            await client.subscribe("/v1/app/a,b")
            await poster.post("/v1/app/a", b"seen")
            seen = (await heard(client))[0].removeprefix(b"id: ").decode()
        for channel, payload in (("b", b"1"), ("a", b"2"), ("c", b"not ours"), ("b", b"3")):
            await poster.post(f"/v1/app/{channel}", payload)
        async with hub.client() as client:
            await client.subscribe("/v1/app/a,b", f"Last-Event-ID: {seen}\r\n")
            await poster.post("/v1/app/b", b"4")
            assert [(await heard(client))[1] for _ in range(4)] == [
                b"data: %d" % each for each in (1, 2, 3, 4)
            ]
        assert hub.counts.of["resumed"] == 1


async def test_a_resuming_subscriber_that_was_cut_off_costs_nothing_more_and_comes_back_for_more() -> None:
    class Writer:
        """Is cut off when it was given three events; what is written then is written in vain."""

        def __init__(self) -> None:
            self.got = list[bytes]()

        @property
        def gone(self) -> bool:
            return len(self.got) >= 3

        def write(self, event: bytes) -> None:
            self.got.append(event)

    async with open_memory(PLAIN) as stores:
        channels = Channels(stores.channels, PLAIN, Counts())
        for number in range(10):
            await stores.channels.publish(f"app/{number}", b"%d" % number)
        last, parts = "0-0", list[bytes]()
        while len(parts) < 10:
            path = f"/v1/app/{','.join(str(number) for number in range(10))}"
            request = Request(method="GET", path=path, headers={"last-event-id": last})
            answer, writer = await channels.subscribe(request), Writer()
            assert isinstance(answer, EventStream)
            await answer.opened(writer)
            await stores.channels.publish("app/0", b"later")
            answer.closed(writer)
            assert len(writer.got) == 3, "it was gone by then"
            said = SseStream(last_id=last)
            parts += [event.data for each in writer.got for event in said.feed(each)]
            last = said.last_id
        assert parts[:10] == [b"%d" % number for number in range(10)]


async def test_who_was_cut_off_before_anything_was_said_resumes_from_where_it_began() -> None:
    async with running(PLAIN) as hub, hub.client() as poster:
        await poster.post("/v1/app/a", b"before")
        async with hub.client() as client:
            await client.subscribe("/v1/app/a")
            position = await client.event()
            assert position.startswith(b"id: ") and position.count(b"\n") == 2
        await poster.post("/v1/app/a", b"missed")
        async with hub.client() as client:
            last = position.strip().removeprefix(b"id: ").decode()
            await client.subscribe("/v1/app/a", f"Last-Event-ID: {last}\r\n")
            assert (await heard(client))[1] == b"data: missed"


@pytest.mark.parametrize("junk", ["", "not-ours", "\x80", "a b", "x" * 5000, "../..", "0", "'"])
async def test_an_id_that_is_none_resumes_nothing_and_hinders_nothing(junk: str) -> None:
    async with running(PLAIN) as hub, hub.client() as poster, hub.client() as client:
        await poster.post("/v1/app/a", b"before")
        await client.subscribe("/v1/app/a", f"Last-Event-ID: {junk}\r\n")
        await poster.post("/v1/app/a", b"after")
        assert (await heard(client))[1] == b"data: after"


class Slow:
    """A store that takes its time to look up what was missed: until it is told to go on."""

    def __init__(self) -> None:
        self.asked, self.go_on = trio.Event(), trio.Event()
        self._channels: ChannelStore | None = None

    @asynccontextmanager
    async def stores(self, settings: HubSettings) -> AsyncIterator[Stores]:
        async with open_memory(settings) as opened:
            self._channels = opened.channels
            self.deliver_to, self.publish, self.position = (
                self._channels.deliver_to, self._channels.publish, self._channels.position,
            )  # fmt: skip
            yield replace(opened, channels=self)

    async def since(self, channels: Sequence[str], last: str) -> list[Event]:
        assert self._channels is not None
        self.asked.set()
        await self.go_on.wait()
        return await self._channels.since(channels, last)


async def test_what_is_broadcast_while_the_missed_is_looked_up_comes_once_and_in_order() -> None:
    slow = Slow()
    async with running(PLAIN, stores=slow.stores) as hub, hub.client() as poster, hub.client() as client:
        async with hub.client() as before:
            await before.subscribe("/v1/app/a")
            last = (await before.event()).strip().removeprefix(b"id: ").decode()
        await poster.post("/v1/app/a", b"missed")
        await client.subscribe("/v1/app/a", f"Last-Event-ID: {last}\r\n")
        await slow.asked.wait()
        await poster.post("/v1/app/a", b"meanwhile")
        await poster.post("/v1/app/b", b"another channel")
        slow.go_on.set()
        got = [(await heard(client))[1] for _ in range(2)]
        await poster.post("/v1/app/a", b"after")
        assert [*got, (await heard(client))[1]] == [b"data: missed", b"data: meanwhile", b"data: after"]


async def test_who_could_not_be_told_all_that_was_said_meanwhile_is_told_to_come_back() -> None:
    slow = Slow()
    bounds = replace(PLAIN, max_backlog=10_000)
    async with running(bounds, stores=slow.stores) as hub, hub.client() as poster, hub.client() as client:
        last = await slow.position()
        await client.subscribe("/v1/app/a", f"Last-Event-ID: {last}\r\n")
        await slow.asked.wait()
        for number in range(20):
            await poster.post("/v1/app/a", b"%02d" % number + b"x" * 1000)
        slow.go_on.set()
        assert await client.ended(), "with the same id it misses nothing"
        async with hub.client() as again:
            await again.subscribe("/v1/app/a", f"Last-Event-ID: {last}\r\n")
            assert [(await heard(again))[1][6:8] for _ in range(20)] == [b"%02d" % each for each in range(20)]


async def test_a_subscription_whose_store_goes_away_ends_and_can_be_made_again() -> None:
    away = True

    class Failing:
        def __init__(self, channels: ChannelStore) -> None:
            self.deliver_to, self.publish, self.since = channels.deliver_to, channels.publish, channels.since
            self._position = channels.position

        async def position(self) -> str:
            if away:
                raise StoreAway("Gone.")
            return await self._position()

    @asynccontextmanager
    async def stores(settings: HubSettings) -> AsyncIterator[Stores]:
        async with open_memory(settings) as opened:
            yield replace(opened, channels=Failing(opened.channels))

    async with running(PLAIN, stores=stores) as hub, hub.client() as client, hub.client() as again:
        await client.subscribe("/v1/app/a")
        assert await client.ended()
        away = False
        await again.subscribe("/v1/app/a")
        await again.event()
        assert hub.gauge("subscribers") == 1


async def test_a_quiet_stream_says_that_it_lives() -> None:
    async with running(replace(PLAIN, heartbeat=0.1)) as hub, hub.client() as client:
        await client.subscribe("/v1/app/a")
        await client.event()
        assert [await client.event() for _ in range(3)] == [b":heartbeat\n\n"] * 3


async def test_a_reader_that_is_too_slow_is_cut_off_and_the_others_miss_nothing() -> None:
    bounds = replace(PLAIN, max_backlog=300_000)
    async with running(bounds) as hub, AsyncExitStack() as stack:
        slow = await listening(stack, hub, "/v1/app/a")
        quick = await listening(stack, hub, "/v1/app/a")
        poster = await stack.enter_async_context(hub.client())
        payload, sent = b"x" * 60_000, 0
        while not hub.counts.of["slow_readers"]:
            await poster.post("/v1/app/a", payload)
            sent += 1
            assert len((await heard(quick))[1]) == 6 + len(payload)
            assert sent < 500, "it reads nothing, and what the kernel holds is bounded too"
        await poster.post("/v1/app/a", b"after")
        assert (await heard(quick))[1] == b"data: after"
        assert len(await slow.rest()) < sent * len(payload)
        await hub.until(lambda: hub.gauge("subscribers") == 1)


async def test_a_reader_that_lags_within_its_bounds_gets_everything_in_order() -> None:
    async with running(PLAIN) as hub, hub.client() as poster:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", hub.port))
            slow.settimeout(5)
            slow.sendall(b"GET /v1/app/a HTTP/1.1\r\nHost: hub\r\n\r\n")
            await hub.until(lambda: hub.shared.subscribers.total == 1)
            (stream,) = (each.stream for each in hub.connections if each.stream is not None)
            sent = 0
            while stream.waiting < 100_000:
                await poster.post("/v1/app/a", b"%05d" % sent + b"x" * 1000)
                sent += 1
            got = b""
            while got.count(b"\ndata: ") < sent:
                got += await trio.to_thread.run_sync(slow.recv, 65536)
        numbers = [int(line[6:11]) for line in got.split(b"\n") if line.startswith(b"data: ")]
        assert numbers == list(range(sent))
        assert hub.counts.of["slow_readers"] == 0


async def test_slow_readers_together_take_no_more_memory_than_is_allowed() -> None:
    bounds = replace(PLAIN, max_backlog=1_000_000, max_backlogs=200_000)
    async with running(bounds) as hub, AsyncExitStack() as stack:
        for _ in range(5):
            await listening(stack, hub, "/v1/app/a")
        poster = await stack.enter_async_context(hub.client())
        for _ in range(500):
            await poster.post("/v1/app/a", b"x" * 60_000)
            assert hub.shared.backlogs.used <= 200_000
            if hub.counts.of["slow_readers"] == 5:
                break
        await hub.until(lambda: hub.counts.of["slow_readers"] == 5)
        await hub.until(lambda: hub.shared.backlogs.used == 0)


async def test_one_address_has_so_many_subscriptions() -> None:
    async with running(replace(PLAIN, max_subscribers_each=2)) as hub, AsyncExitStack() as stack:
        two = [await listening(stack, hub, "/v1/app/a") for _ in range(2)]
        async with hub.client() as third:
            assert (await third.get("/v1/app/a")).startswith(b"HTTP/1.1 429 ")
        await two[0].stream.aclose()
        await hub.until(lambda: hub.shared.subscribers.total == 1)
        await listening(stack, hub, "/v1/app/a")


async def test_names_are_bounded_in_length_and_number() -> None:
    async with running(replace(PLAIN, max_name=20, max_names=3)) as hub, hub.client() as client:
        for path in ("/v1/app/" + "a" * 17, "/v1/" + "a" * 19 + "/b"):
            assert (await client.get(path)).startswith(b"HTTP/1.1 414 ")
            assert (await client.post(path, b"")).startswith(b"HTTP/1.1 414 ")
        assert (await client.get("/v1/app/a,b,c,d")).startswith(b"HTTP/1.1 400 ")
        assert (await client.get("/v1/app/,,")).startswith(b"HTTP/1.1 400 ")
        assert (await client.post("/v1/app/a,b", b"")).startswith(b"HTTP/1.1 400 ")
        for path in ("/v1/", "/v1/app", "/v1/app/", "/v1//a"):
            assert (await client.get(path)).startswith(b"HTTP/1.1 404 ")
        assert (await client.post("/v1/app/" + "a" * 16, b"")).startswith(b"HTTP/1.1 200 ")


async def test_whoever_leaves_leaves_nothing_behind() -> None:
    async with running(PLAIN) as hub:
        for _ in range(3):
            async with AsyncExitStack() as stack:
                for number in range(20):
                    await listening(stack, hub, f"/v1/app/{number},x")
            await hub.until(lambda: hub.gauge("channels") == 0)
        assert hub.shared.subscribers.total == 0 and not hub.connections


async def test_a_head_of_a_subscription_subscribes_nobody() -> None:
    async with running(PLAIN) as hub, hub.client() as client:
        await client.send(b"HEAD /v1/app/a HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert b"text/event-stream" in await client.rest()
        assert hub.shared.subscribers.total == 0
