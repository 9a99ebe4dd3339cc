"""The client of meetings over real sockets: our hub with its own limits, and servers that are none."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
from nacl.signing import SigningKey

from signaling import meet_client
from signaling.hub.hub import serve
from signaling.hub.listening import listen, url_of
from signaling.hub.memory import open_memory
from signaling.hub.settings import HubSettings
from signaling.hub_client import HubAway
from signaling.meet import Answered, Delivered, HubRefused, Nobody, Offered, Party
from signaling.meet_client import MeetClient
from signaling.meet_signals import Namespace

PATIENCE = 10.0
QUICK = HubSettings(meet_hold=0.4, meet_request_every=0.0, meet_connect_every=0.0)
TEA = Party(namespace=Namespace("tea"))


@asynccontextmanager
async def a_hub(settings: HubSettings = QUICK) -> AsyncIterator[str]:
    listeners = listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, listeners, settings)
        with trio.fail_after(3 * PATIENCE):
            yield url_of(listeners[0])
        nursery.cancel_scope.cancel()
    for listener in listeners:
        listener.close()


async def _serve(listeners: list[trio.socket.SocketType], settings: HubSettings) -> None:
    await serve(listeners, settings, stores=open_memory, version="test")


@asynccontextmanager
async def a_server(answer: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that reads a request and then does as it likes."""

    async def serve_one(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await answer(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve_one, 0)
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(3 * PATIENCE):
            yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("signed", [False, True])
async def test_one_round_trip_for_the_first_and_two_for_the_second(signed: bool) -> None:
    keys = [SigningKey(bytes((number,)) * 32) for number in range(2)] if signed else [None, None]
    ann_is, bob_is = (replace(TEA, key=key) for key in keys)
    patient = replace(QUICK, meet_hold=PATIENCE)
    async with a_hub(patient) as url, MeetClient(url, ann_is) as ann, MeetClient(url, bob_is) as bob:
        outcomes: dict[int, list[object]] = {}

        async def meet(client: MeetClient) -> None:
            offered = await client.offer(b"an offer")
            after = [await client.answer(b"an answer")] if isinstance(offered, Offered) else []
            outcomes[client.round_trips] = [offered, *after]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet, ann)
            nursery.start_soon(meet, bob)
        assert outcomes == {1: [Answered(b"an answer")], 2: [Offered(b"an offer"), Delivered()]}


async def test_a_client_that_is_too_fast_waits_as_it_is_told() -> None:
    async with a_hub(replace(QUICK, meet_connect_every=1.0)) as url, MeetClient(url, TEA) as ann:
        began = trio.current_time()
        assert await ann.offer(b"offer") == Nobody(elsewhere=False)
        assert await ann.offer(b"offer") == Nobody(elsewhere=False)
        assert trio.current_time() - began > 1.0
        assert ann.round_trips == 3
        ann.renew()
        assert await ann.offer(b"offer") == Nobody(elsewhere=False)
        assert ann.round_trips == 4, "as somebody new it need not wait"


async def test_who_hangs_up_is_nobodys_match() -> None:
    async with a_hub(replace(QUICK, meet_hold=PATIENCE)) as url, MeetClient(url, TEA) as bob:
        async with MeetClient(url, TEA) as ann:
            with trio.move_on_after(0.5) as scope:
                await ann.offer(b"offer of ann")
            assert scope.cancelled_caught
        with trio.move_on_after(1.0) as scope:
            await bob.offer(b"offer of bob")
        assert scope.cancelled_caught, "it is held, and not handed an offer of nobody"


async def test_a_hub_that_is_not_there_is_said_at_once() -> None:
    with trio.fail_after(PATIENCE):
        async with MeetClient("http://127.0.0.1:1", TEA) as ann:
            with pytest.raises(HubAway):
                await ann.offer(b"offer")


async def test_a_server_that_is_no_hub_is_told_by_what_it_answers() -> None:
    async def not_found(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async def endless(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(1000):
            await stream.send_all(b"x" * 65536)

    async def redirect(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    async def nothing(stream: trio.SocketStream) -> None:
        pass

    for answer, error in (
        (not_found, HubRefused), (endless, HubAway), (redirect, HubRefused), (nothing, HubAway),
    ):  # fmt: skip
        async with a_server(answer) as url, MeetClient(url, TEA) as ann:
            with pytest.raises(error):
                await ann.offer(b"offer")


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 100 Continue\r\n\r\n" * 9, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n"],
)
@pytest.mark.parametrize("more", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X"])
async def test_a_hub_that_goes_on_answering_for_ever_is_given_up(
    monkeypatch: pytest.MonkeyPatch, said: bytes, more: bytes
) -> None:
    async def drip(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(said)
            while True:
                for byte in more:
                    await stream.send_all(bytes((byte,)))
                    await trio.sleep(0.02)

    monkeypatch.setattr(meet_client, "_HELD", 0.6)
    async with a_server(drip) as url, MeetClient(url, TEA) as ann:
        with pytest.raises(HubAway), trio.fail_after(3):
            await ann.offer(b"offer")


async def test_a_hub_that_is_started_anew_while_it_holds_the_first_request_is_asked_again() -> None:
    asked = 0

    async def restarted(stream: trio.SocketStream) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await trio.sleep(1.1)
        else:
            await stream.send_all(b"HTTP/1.1 299 X\r\nContent-Length: 2\r\n\r\n{}")

    async with a_server(restarted) as url, MeetClient(url, TEA) as ann:
        assert await ann.offer(b"offer") == Nobody(elsewhere=False)


async def test_a_hub_that_falls_silent_for_good_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"HTTP/1.1 299 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"]

    async def silent(stream: trio.SocketStream) -> None:
        if not answers:
            await trio.sleep_forever()
        await stream.send_all(answers.pop())

    for name, value in (("_HELD", 1.2), ("PATIENCE", 1.0), ("_BACKOFF", (0.1, 0.5))):
        monkeypatch.setattr(meet_client, name, value)
    async with a_server(silent) as url, MeetClient(url, TEA) as ann:
        assert await ann.offer(b"offer") == Nobody(elsewhere=False)
        with pytest.raises(HubAway), trio.fail_after(5):
            await ann.offer(b"offer")


async def test_a_hub_that_breaks_off_while_it_holds_us_is_asked_again() -> None:
    told: list[str] = []
    answers = [
        b"HTTP/1.1 298 X\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 299 X\r\nContent-Length: 99\r\n\r\n{}",
        b"",
        b"HTTP/1.1 299 X\r\nContent-Length: 2\r\n\r\n{}",
    ]

    async def flaky(stream: trio.SocketStream) -> None:
        await stream.send_all(answers.pop(0))

    async with a_server(flaky) as url, MeetClient(url, TEA, tell=told.append) as ann:
        assert await ann.offer(b"offer") == Nobody(elsewhere=True)
        assert await ann.offer(b"offer") == Nobody(elsewhere=False)
        assert ann.round_trips == 2
    assert len(told) == 1, told
    assert answers == []
