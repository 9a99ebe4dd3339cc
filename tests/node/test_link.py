"""A link carries whole messages in order, waits for a slow reader, and dies alone of what a peer sends."""

import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from node.errors import LinkClosed, LinkFault
from node.link import MAX_CHANNEL_MESSAGE, MAX_MESSAGE, WINDOW, ChannelClosed, Link

WORDS = ("abandon", "ability", "able", "about")
PIECE, LAST, CREDIT, PING, PONG, BYE, BYE_ACK = range(1, 8)


class MemoryChannel:
    """A channel of a few messages in memory; counts what goes through."""

    def __init__(self, outgoing: trio.MemorySendChannel[bytes], incoming: trio.MemoryReceiveChannel[bytes]):
        self._outgoing, self._incoming = outgoing, incoming
        self.sent: list[int] = []

    async def send(self, message: bytes) -> None:
        assert len(message) <= MAX_CHANNEL_MESSAGE
        self.sent.append(len(message))
        try:
            await self._outgoing.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelClosed("cut") from None

    async def receive(self) -> bytes:
        try:
            return await self._incoming.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise ChannelClosed("cut") from None

    async def inject(self, message: bytes) -> None:
        """What a hostile peer sends: no rule is kept."""
        await self._outgoing.send(message)

    def cut(self) -> None:
        self._outgoing.close()
        self._incoming.close()


def channels() -> tuple[MemoryChannel, MemoryChannel]:
    left_out, right_in = trio.open_memory_channel[bytes](4)
    right_out, left_in = trio.open_memory_channel[bytes](4)
    return MemoryChannel(left_out, left_in), MemoryChannel(right_out, right_in)


def link(channel: MemoryChannel, faults: Counter[str] | None = None) -> Link:
    return Link(channel, peer=b"p" * 32, words=WORDS, initiator=True, faults=faults)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Link, Link, MemoryChannel, MemoryChannel]]:
    left, right = channels()
    one, other = link(left), link(right)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            nursery.start_soon(other.run)
            yield one, other, left, right
            nursery.cancel_scope.cancel()


def frames(*parts: tuple[int, bytes], version: int = 1, stream: int = 0) -> bytes:
    packed = (struct.pack(">BBH", kind, stream, len(payload)) + payload for kind, payload in parts)
    return bytes((version,)) + b"".join(packed)


async def test_messages_of_every_size_arrive_whole_and_in_order() -> None:
    sizes = [0, 1, 200, 16_379, 16_380, 16_384, 100_000, MAX_MESSAGE, 3]
    async with pair() as (one, other, _left, _right), trio.open_nursery() as nursery:

        async def speak(link: Link) -> None:
            for size in sizes:
                await link.send(bytes([size % 251]) * size)

        nursery.start_soon(speak, one)
        nursery.start_soon(speak, other)
        for link in (one, other):
            for size in sizes:
                assert await link.receive() == bytes([size % 251]) * size


async def test_many_small_messages_share_few_channel_messages() -> None:
    async with pair() as (one, other, left, _right):
        for number in range(1000):
            await one.send(number.to_bytes(200, "big"))
        assert [await other.receive() for _ in range(1000)] == [n.to_bytes(200, "big") for n in range(1000)]
    assert len(left.sent) < 40


async def test_an_idle_link_is_silent() -> None:
    async with pair() as (one, other, left, right):
        await one.send(b"hello")
        assert await other.receive() == b"hello"
        await wait_all_tasks_blocked()
        assert (len(left.sent), len(right.sent)) == (1, 0)


async def test_a_sender_waits_for_a_receiver_that_does_not_take() -> None:
    async with pair() as (one, other, _left, _right), trio.open_nursery() as nursery:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(64):
                await one.send(bytes(100_000))
                sent += 1

        nursery.start_soon(flood)
        await wait_all_tasks_blocked()
        assert sent * 100_000 <= WINDOW + MAX_MESSAGE + 200_000
        for _ in range(64):
            await other.receive()
        assert sent == 64


async def test_closing_flushes_what_was_queued_to_a_peer_that_lives() -> None:
    async with pair() as (one, other, _left, _right), trio.open_nursery() as nursery:
        for number in range(2000):
            await one.send(number.to_bytes(300, "big"))
        nursery.start_soon(one.aclose)
        got = [int.from_bytes(await other.receive(), "big") for _ in range(2000)]
        assert got == list(range(2000))
        with pytest.raises(LinkClosed, match="closed by the peer"):
            await other.receive()
        with pytest.raises(LinkClosed):
            await one.send(b"more")


async def test_both_may_leave_at_once_without_waiting_for_each_other() -> None:
    async with pair() as (one, other, _left, _right):
        await one.send(b"last words")
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.aclose)
                nursery.start_soon(other.aclose)
        assert await other.receive() == b"last words"


async def test_closing_towards_a_dead_peer_ends_at_the_deadline(autojump_clock: MockClock) -> None:
    left, _right = channels()
    dead = link(left)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dead.run)
        for _ in range(10):
            await dead.send(bytes(100_000))
        began = trio.current_time()
        await dead.aclose(deadline=3)
        assert trio.current_time() - began == 3


async def test_a_watched_link_calls_a_silent_peer_dead_after_8_seconds(autojump_clock: MockClock) -> None:
    left, right = channels()
    watched = link(left)
    pings: list[float] = []

    async def deaf() -> None:
        while True:
            await right.receive()
            pings.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deaf)
        began = trio.current_time()
        watched.watch(True)
        await watched.run()
        assert trio.current_time() - began == 8
        nursery.cancel_scope.cancel()
    assert len(pings) == 4
    assert "silent" in watched.reason


async def test_an_idle_link_that_is_probed_pings_once_and_is_silent_again(
    autojump_clock: MockClock,
) -> None:
    async with pair() as (one, _other, left, right):
        await trio.sleep(5)
        one.probe()
        one.probe()
        await trio.sleep(10)
        assert not one.closed.is_set()
        assert (len(left.sent), len(right.sent)) == (1, 1)


async def test_a_probed_link_calls_a_silent_peer_dead_after_8_seconds(autojump_clock: MockClock) -> None:
    left, right = channels()
    probed = link(left)

    async def deaf() -> None:
        while True:
            await right.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deaf)
        probed.probe()
        await probed.run()
        assert trio.current_time() == 8
        nursery.cancel_scope.cancel()


async def test_a_watched_link_to_a_peer_that_answers_lives_and_knows_its_round_trip(
    autojump_clock: MockClock,
) -> None:
    async with pair() as (one, _other, left, _right):
        one.watch(True)
        await trio.sleep(15)
        assert not one.closed.is_set()
        assert one.rtt is not None
        one.watch(False)
        await trio.sleep(3)
        before = len(left.sent)
        assert before <= 9
        await trio.sleep(1)
        assert len(left.sent) == before


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (b"", "oversize or empty channel message"),
        (frames((LAST, b"x" * MAX_CHANNEL_MESSAGE)), "oversize or empty channel message"),
        (frames((LAST, b"x"), version=2), "unknown version"),
        (frames((LAST, b"x"))[:-1], "truncated frame"),
        (b"\x01\x02\x00", "truncated frame"),
        (frames((LAST, b"x"), stream=7), "unknown stream"),
        (frames((99, b"")), "unknown frame"),
        (frames((PIECE, b"")), "empty piece"),
        (frames((PING, b"x")), "malformed control frame"),
        (frames((CREDIT, b"x")), "malformed credit"),
        (frames((CREDIT, struct.pack(">Q", 1 << 40))), "impossible credit"),
        (frames((BYE_ACK, b"")), "farewell nobody asked for"),
    ],
)
async def test_a_broken_rule_is_a_counted_fault_that_closes_this_link_only(
    message: bytes, fault: str
) -> None:
    faults: Counter[str] = Counter()
    (left, right), (other_left, other_right) = channels(), channels()
    victim, bystander, peer = link(left, faults), link(other_left, faults), link(other_right)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for each in (victim, bystander, peer):
                nursery.start_soon(each.run)
            await right.inject(frames((LAST, b"before")))
            await right.inject(message)
            assert await victim.receive() == b"before"
            with pytest.raises(LinkFault, match=fault):
                await victim.receive()
            with pytest.raises(LinkFault):
                await victim.send(b"x")
            await peer.send(b"unharmed")
            assert await bystander.receive() == b"unharmed"
            nursery.cancel_scope.cancel()
    assert faults == {f"link: {fault}": 1}


@pytest.mark.parametrize("endless", [True, False])
async def test_who_ignores_the_window_or_the_size_of_a_message_is_cut(endless: bool) -> None:
    left, right = channels()
    victim = link(left)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(victim.run)
            flood = frames((PIECE if endless else LAST, bytes(16_000)))
            with pytest.raises(ChannelClosed):
                while True:
                    if victim.closed.is_set():
                        left.cut()
                    await right.send(flood)
    assert victim.reason == ("oversize message" if endless else "more than the window")


async def test_a_cut_channel_ends_both_waiting_sides_with_link_closed() -> None:
    async with pair() as (one, other, left, _right), trio.open_nursery() as nursery:

        async def expect_end(link: Link) -> None:
            with pytest.raises(LinkClosed):
                await link.receive()

        nursery.start_soon(expect_end, one)
        nursery.start_soon(expect_end, other)
        await wait_all_tasks_blocked()
        left.cut()


async def test_a_message_longer_than_a_megabyte_is_our_own_mistake() -> None:
    left, _right = channels()
    with pytest.raises(ValueError, match="too long"):
        await link(left).send(bytes(MAX_MESSAGE + 1))


@given(st.lists(st.binary(max_size=80) | st.binary(max_size=40).map(lambda junk: b"\x01" + junk), max_size=4))
def test_no_bytes_of_a_peer_raise_anything_but_a_fault_of_this_link(messages: list[bytes]) -> None:
    async def main() -> None:
        left, right = channels()
        victim = link(left)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(victim.run)
            for message in messages:
                await right.send(message)
            await wait_all_tasks_blocked()
            left.cut()

    trio.run(main)
