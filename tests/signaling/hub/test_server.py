"""The hub's connections over real sockets: request after request, within every bound, to a clean end."""

import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import trio

from signaling.hub.http import Request, Response
from signaling.hub.memory import open_memory
from signaling.hub.settings import HubSettings
from signaling.hub.store import StoreAway, Stores
from tests.signaling.hub.hubs import ECHO, GET, PATIENCE, PLAIN, Hub, echo, route, running


async def test_one_connection_takes_request_after_request() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        for number in range(5):
            assert (await client.post(f"/echo?{number}", b"say ")).endswith(b"say %d127.0.0.1" % number)


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        post = b"POST /echo?%d HTTP/1.1\r\nHost: hub\r\nContent-Length: 1\r\n\r\nx"
        await client.send(b"".join(post % number for number in range(50)))
        for number in range(50):
            assert (await client.answer()).endswith(b"\r\n\r\nx%d127.0.0.1" % number)


async def test_who_asks_to_close_is_answered_and_the_connection_ends() -> None:
    async with running(PLAIN, ECHO) as hub:
        for said in (
            b"GET / HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            async with hub.client() as client:
                await client.send(said)
                answer = await client.answer()
                assert b"HTTP/1.1 404 Not Found\r\n" in answer and b"\r\nConnection: close\r\n" in answer
                assert await client.ended()


async def test_a_head_asks_for_the_head_alone() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        await client.send(b"HEAD /none HTTP/1.1\r\nHost: hub\r\n\r\n" + GET)
        first = await client.until(b"\r\n\r\n")
        assert b" 404 " in first and b"Content-Length: 60\r\n" in first
        assert (await client.answer()).startswith(b"HTTP/1.1 404 ")


async def test_a_client_that_waits_to_be_told_is_told_to_go_on() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: hub\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hi")
        assert (await client.answer()).endswith(b"hi127.0.0.1")


async def test_what_cannot_be_read_is_told_so_once_and_the_connection_ends() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        await client.send(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\n" + GET)
        answer = await client.answer()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b"There is no header Host.\n")
        assert await client.ended()
        assert hub.counts.of["refused"] == 1


async def test_too_large_a_body_is_refused_before_it_comes_and_the_refusal_arrives() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: hub\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
        )
        assert (await client.answer()).startswith(b"HTTP/1.1 413 ")
        assert await client.ended()


async def test_methods_and_paths_that_are_not_there() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        assert (await client.get("/nothing")).startswith(b"HTTP/1.1 404 ")
        answer = await client.get("/echo")
        assert answer.startswith(b"HTTP/1.1 405 ") and b"\r\nAllow: POST, OPTIONS\r\n" in answer


async def test_a_page_of_any_site_may_ask() -> None:
    async with running(PLAIN, ECHO) as hub, hub.client() as client:
        await client.send(b"OPTIONS /v1/a/b HTTP/1.1\r\nHost: hub\r\nOrigin: https://a.example\r\n\r\n")
        answer = await client.answer()
        assert (
            answer.startswith(b"HTTP/1.1 200 ") and b"\r\nAccess-Control-Allow-Methods: GET, POST" in answer
        )
        assert b"Last-Event-ID" in answer
        assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in await client.post("/v1/a/b", b"{}")


# Handlers.


class Poll:
    """A long poll that says what became of it."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.answer = trio.Event()
        self.cancelled = trio.Event()

    async def __call__(self, request: Request) -> Response:
        self.asked.set()
        try:
            await self.answer.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return Response(299, request.body)


async def within(event: trio.Event) -> None:
    with trio.fail_after(PATIENCE):
        await event.wait()


async def test_a_held_request_is_answered_when_its_handler_is_done_and_the_next_one_follows() -> None:
    poll = Poll()
    async with (
        running(PLAIN, route("poll", poll, held=True, method="POST"), ECHO) as hub,
        hub.client() as client,
    ):
        post = b"POST /%b HTTP/1.1\r\nHost: hub\r\nContent-Length: 4\r\n\r\nbody"
        await client.send(post % b"poll")
        await within(poll.asked)
        await client.send(post % b"echo")  # while the first one is held
        poll.answer.set()
        answer = await client.answer()
        assert answer.startswith(b"HTTP/1.1 299 Success\r\nDate: ") and answer.endswith(b"\r\n\r\nbody")
        assert (await client.answer()).endswith(b"body127.0.0.1")


@pytest.mark.parametrize("how", ["closed", "half closed", "reset"])
async def test_the_handler_of_a_client_that_left_is_cancelled(how: str) -> None:
    poll = Poll()
    async with running(PLAIN, route("poll", poll, held=True)) as hub, hub.client() as client:
        await client.send(b"GET /poll HTTP/1.1\r\nHost: hub\r\n\r\n")
        await within(poll.asked)
        match how:
            case "closed":
                await client.stream.aclose()
            case "half closed":
                await client.stream.send_eof()
            case "reset":
                client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                await client.stream.aclose()
        await within(poll.cancelled)
        await hub.until(lambda: hub.gauge("open_connections") == 0)


async def test_nobody_is_held_longer_than_the_hub_allows() -> None:
    poll = Poll()
    async with (
        running(replace(PLAIN, held_patience=0.1), route("poll", poll, held=True)) as hub,
        hub.client() as client,
    ):
        assert (await client.get("/poll")).startswith(b"HTTP/1.1 503 ")
        assert (await client.get("/none")).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("held", [True, False])
async def test_a_handler_that_fails_is_a_500_and_nobody_elses_trouble(held: bool) -> None:
    async def broken(_request: Request) -> Response:
        raise ZeroDivisionError

    async with running(PLAIN, route("broken", broken, held=held)) as hub, hub.client() as client:
        assert (await client.get("/broken")).startswith(b"HTTP/1.1 500 ")
        assert (await client.get("/none")).startswith(b"HTTP/1.1 404 ")
        assert hub.counts.of["faults"] == 1


@pytest.mark.parametrize("held", [True, False])
async def test_a_store_that_is_away_is_a_503_with_its_sentence(held: bool) -> None:
    async def away(_request: Request) -> Response:
        raise StoreAway("The memory is on holiday.")

    async with running(PLAIN, route("away", away, held=held)) as hub, hub.client() as client:
        answer = await client.get("/away")
        assert answer.startswith(b"HTTP/1.1 503 ") and answer.endswith(b"The memory is on holiday.\n")


async def test_while_the_store_cannot_count_only_what_needs_it_is_refused() -> None:
    class Away:
        async def take(self, key: str, *, rate: float, burst: float) -> float:
            raise StoreAway("The memory is on holiday.")

    @asynccontextmanager
    async def stores(settings: HubSettings) -> AsyncIterator[Stores]:
        async with open_memory(settings) as opened:
            yield replace(opened, rates=Away())

    alone = replace(route("alone", echo), shared=False)
    async with running(PLAIN, ECHO, alone, stores=stores) as hub, hub.client() as client:
        for _ in range(3):
            assert (await client.post("/echo", b"")).endswith(b"The memory is on holiday.\n")
            assert (await client.get("/alone")).startswith(b"HTTP/1.1 200 ")
            assert (await client.get("/none")).startswith(b"HTTP/1.1 404 ")


# The end.


async def stopped(hub: Hub) -> None:
    hub.stop.set()
    await within(hub.stopped)


async def test_a_hub_that_stops_answers_what_it_was_asked_and_ends_everything_else() -> None:
    poll, slow_asked, go_on = Poll(), trio.Event(), trio.Event()

    async def slow(_request: Request) -> Response:
        slow_asked.set()
        await go_on.wait()
        return Response(200, b"late but there")

    table = (route("poll", poll, held=True), route("slow", slow))
    async with running(PLAIN, *table) as hub, AsyncExitStack() as stack:
        idle, held, busy, listening = [await stack.enter_async_context(hub.client()) for _ in range(4)]
        await idle.get("/none")
        await listening.subscribe("/v1/a/b")
        await listening.event()
        await held.send(b"GET /poll HTTP/1.1\r\nHost: hub\r\n\r\n")
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: hub\r\n\r\n")
        await within(poll.asked)
        await within(slow_asked)
        hub.stop.set()
        assert await idle.ended() and await listening.ended()
        assert (await held.rest()).startswith(b"HTTP/1.1 503 ")
        go_on.set()
        last = await busy.rest()
        assert last.endswith(b"late but there") and b"\r\nConnection: close\r\n" in last
        await within(hub.stopped)
        with pytest.raises(OSError):
            await trio.open_tcp_stream("127.0.0.1", hub.port)


async def test_a_hub_that_stops_waits_no_longer_than_its_grace() -> None:
    async def never(_request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with running(replace(PLAIN, grace=0.2), route("never", never)) as hub, hub.client() as client:
        await client.send(b"GET /never HTTP/1.1\r\nHost: hub\r\n\r\nGET /")
        await hub.until(lambda: any(each.busy for each in hub.connections))
        await stopped(hub)
        assert await client.ended()


async def test_the_log_has_a_line_for_each_request_and_neither_payload_nor_name() -> None:
    file = io.BytesIO()
    async with running(PLAIN, log_to=file) as hub, hub.client() as client, hub.client() as listening:
        await listening.subscribe("/v1/secretapp/secretchannel")
        await client.post("/v1/secretapp/secretchannel", b"secretpayload")
        await client.get("/v1/none")
        await listening.stream.aclose()
        await hub.until(lambda: file.getvalue().count(b"\n") == 3)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("broadcast", 200),
        ("none", 404),
        ("subscribe", 200),
    ]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert lines[0]["path"] == lines[2]["path"] != lines[1]["path"]
    assert lines[0]["received"] == 13
    assert b"secret" not in file.getvalue()
