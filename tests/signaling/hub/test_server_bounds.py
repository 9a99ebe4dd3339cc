"""What the hub's connections hold and how long they wait, over sockets: bounded, and clients are told."""

import io
import tracemalloc
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trio

from signaling.hub.http import Request, Response
from tests.signaling.hub.hubs import ECHO, GET, PATIENCE, PLAIN, route, running

# Deadlines.

HASTY = replace(PLAIN, head_patience=0.3, body_patience=0.3, idle_patience=0.3)


async def test_a_head_that_comes_byte_by_byte_has_one_deadline_for_all_of_it() -> None:
    async with running(HASTY, ECHO) as hub, hub.client() as client:
        began = trio.current_time()
        with trio.move_on_after(PATIENCE), pytest.raises(trio.BrokenResourceError):
            for byte in b"GET / HTTP/1.1\r\nHost: hub\r\nX: " + b"x" * 10_000:
                await client.send(bytes([byte]))
                await trio.sleep(0.02)
        assert trio.current_time() - began < 3
        assert hub.counts.of["expired"] == 1


async def test_who_stops_in_the_middle_is_told_that_it_took_too_long() -> None:
    async with running(HASTY, ECHO) as hub:
        for piece in (b"GET / HTT", b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 9\r\n\r\nxxx"):
            async with hub.client() as client:
                await client.send(piece)
                assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_body_has_its_own_time() -> None:
    bounds = replace(PLAIN, head_patience=0.3, body_patience=PATIENCE)
    async with running(bounds, ECHO) as hub, hub.client() as client:
        await client.send(b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            await trio.sleep(0.2)
            await client.send(b"x")
        assert (await client.answer()).endswith(b"xxxx127.0.0.1")
    async with running(replace(bounds, body_patience=0.3), ECHO) as hub, hub.client() as client:
        await client.send(b"POST /echo HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n")
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for _ in range(500):
                await client.send(b"1\r\nx\r\n")
                await trio.sleep(0.02)
        assert trio.current_time() - began < 3


async def test_who_asks_nothing_any_more_is_let_go_without_a_word() -> None:
    async with running(HASTY, ECHO) as hub, hub.client() as client, hub.client() as silent:
        await client.get("/none")
        assert await client.ended() and await silent.ended()
        assert hub.counts.of["expired"] == 0


async def test_an_answer_that_nobody_reads_does_not_stay_for_ever() -> None:
    async def much(_request: Request) -> Response:
        return Response(200, b"x" * 30_000_000)

    async with (
        running(replace(PLAIN, write_patience=0.3), route("much", much)) as hub,
        hub.client() as client,
    ):
        await client.send(b"GET /much HTTP/1.1\r\nHost: hub\r\n\r\n")
        await hub.until(lambda: hub.counts.of["connections"] == 1)
        await hub.until(lambda: hub.gauge("open_connections") == 0)


# How many.


async def test_one_address_has_so_many_connections_and_hears_of_it() -> None:
    async with running(replace(PLAIN, max_connections_each=3)) as hub, AsyncExitStack() as stack:
        some = [await stack.enter_async_context(hub.client()) for _ in range(3)]
        for client in some:
            await client.get("/")
        async with hub.client() as another:
            await another.send(GET)
            assert (await another.rest()).startswith(b"HTTP/1.1 429 ")
        await some[0].stream.aclose()
        await hub.until(lambda: hub.gauge("open_connections") == 2)
        async with hub.client() as another:
            assert (await another.get("/")).startswith(b"HTTP/1.1 404 ")


async def test_a_full_hub_says_so() -> None:
    async with running(replace(PLAIN, max_connections=2)) as hub, hub.client() as one, hub.client() as two:
        await one.get("/")
        await two.get("/")
        async with hub.client() as three:
            assert (await three.rest()).startswith(b"HTTP/1.1 503 ")
        assert (await one.get("/")).startswith(b"HTTP/1.1 404 ")


async def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    async with running(replace(PLAIN, rate=0.5, burst=3), ECHO) as hub, hub.client() as client:
        statuses = [(await client.get("/"))[9:12] for _ in range(5)]
        assert statuses == [b"404", b"404", b"404", b"429", b"429"]
        assert b"\r\nRetry-After: 2\r\n" in await client.get("/")


async def test_behind_a_proxy_clients_are_told_apart_by_what_the_proxy_says() -> None:
    bounds = replace(PLAIN, rate=0.001, burst=1, trust_proxy=True, max_connections_each=1)
    async with running(bounds, ECHO) as hub, hub.client() as proxy, hub.client() as same_proxy:
        for client in (proxy, same_proxy):
            one = f"X-Forwarded-For: 192.0.2.1, 198.51.100.{hub.counts.of['published']}\r\n"
            assert (await client.post("/echo", b"", one)).startswith(b"HTTP/1.1 200 ") is (client is proxy)
        answer = await proxy.post("/echo", b"", "X-Forwarded-For: 198.51.100.9\r\n")
        assert answer.endswith(b"198.51.100.9")
        assert (await proxy.post("/echo", b"", "X-Forwarded-For: junk\r\n")).endswith(b"127.0.0.1")
        assert b" 429 " in await proxy.post("/echo", b"", "X-Forwarded-For: 192.0.2.7, 198.51.100.9\r\n")


async def test_what_a_client_says_about_itself_is_not_believed_without_a_proxy() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        answer = await client.post("/echo", b"", "X-Forwarded-For: 192.0.2.1\r\n")
        assert answer.endswith(b"127.0.0.1")


async def test_what_waits_in_memory_is_bounded_for_all_together_and_given_back() -> None:
    async with running(replace(PLAIN, max_unfinished=100_000), ECHO) as hub, AsyncExitStack() as stack:
        begun = b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 60000\r\n\r\n".ljust(50_000, b"x")
        one, two = [await stack.enter_async_context(hub.client()) for _ in range(2)]
        await one.send(begun)
        await hub.until(lambda: hub.shared.unfinished.used == 50_000)
        await two.send(begun + b"x" * 5_000)
        assert (await two.rest()).startswith(b"HTTP/1.1 503 ")
        await one.send(b"x" * (60_000 + begun.index(b"x") - 50_000))
        assert (await one.answer()).startswith(b"HTTP/1.1 200 ")
        await hub.until(lambda: hub.shared.unfinished.used == 0)
        three = await stack.enter_async_context(hub.client())
        await three.send(begun)
        await hub.until(lambda: hub.shared.unfinished.used == 50_000)
        await three.stream.aclose()
        await hub.until(lambda: hub.shared.unfinished.used == 0)


async def test_one_address_has_a_share_of_what_waits_and_no_more() -> None:
    begun = b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 60000\r\n\r\n".ljust(50_000, b"x")
    settings = replace(PLAIN, max_unfinished=1_000_000, max_unfinished_each=80_000)
    async with running(settings, ECHO) as hub, AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(hub.client()) for _ in range(2)]
        await one.send(begun)
        await hub.until(lambda: hub.shared.unfinished.used == 50_000)
        await two.send(begun)
        assert (await two.rest()).startswith(b"HTTP/1.1 503 ")
        await hub.until(lambda: hub.shared.unfinished.used == 50_000)
        assert hub.shared.unfinished.take(50_000, who="192.0.2.1")


async def test_behind_a_proxy_nobody_is_counted_as_the_proxy() -> None:
    begun = b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 60000\r\n\r\n".ljust(50_000, b"x")
    settings = replace(PLAIN, max_unfinished=1_000_000, max_unfinished_each=80_000, trust_proxy=True)
    async with running(settings, ECHO) as hub, AsyncExitStack() as stack:
        for _ in range(2):
            await (await stack.enter_async_context(hub.client())).send(begun)
        await hub.until(lambda: hub.shared.unfinished.used == 100_000)


async def test_a_subscriber_holds_nothing_of_what_it_sent_besides() -> None:
    async with running(PLAIN, log_to=io.BytesIO()) as hub, AsyncExitStack() as stack:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(30):
                client = await stack.enter_async_context(hub.client())
                much = b"X: %b\r\nContent-Length: 60000\r\n\r\n" % (b"x" * 10_000) + b"x" * 70_000
                await client.send(b"GET /v1/app/a HTTP/1.1\r\nHost: hub\r\n" + much)
                await client.until(b"id: ")
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert hub.shared.subscribers.total == 30
        assert hub.shared.unfinished.used == 0
        assert held < 30 * 40_000


async def test_who_sends_many_requests_at_once_keeps_nobody_waiting() -> None:
    turns = list[bytes]()

    async def noted(request: Request) -> Response:
        turns.append(request.body)
        return Response(200)

    post = b"POST /noted HTTP/1.1\r\nHost: hub\r\nContent-Length: 1\r\n\r\n%b"
    async with (
        running(PLAIN, route("noted", noted, method="POST")) as hub,
        hub.client() as many,
        hub.client() as other,
    ):
        await other.get("/none")
        await many.send(post % b"m" * 200)
        await other.send(post % b"o")
        await hub.until(lambda: len(turns) == 201)
        assert turns.index(b"o") < 150
