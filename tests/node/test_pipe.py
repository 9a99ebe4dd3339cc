"""One in-band channel over real WebRTC on loopback: what is taken or refused, and how each end is told."""

import struct
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from node.errors import ConnectFailed, NodeError, Unreachable, UsageError
from node.link import ChannelClosed
from node.pipe import END, _description, _Joint, _ours, pipe
from node.webrtc import Rtc, open_rtc
from node.webrtc_inband import InBandConnection
from signaling.handshake import Role
from signaling.sdp import Session, Signals, parse_signals, write_signal
from tests.node.ice_peers import Peer, ice_peer, relay_only, says_nothing, turns

_DCEP, _STRING, _BINARY = 50, 51, 53


@asynccontextmanager
async def connected(rtc: Rtc) -> AsyncIterator[tuple[InBandConnection, InBandConnection]]:
    with trio.fail_after(30):
        async with (
            rtc.open(InBandConnection, Role.OFFERER) as offerer,
            rtc.open(InBandConnection, Role.ANSWERER) as answerer,
        ):
            offer = parse_signals(write_signal(_ours(offerer))).session
            assert offer is not None
            answer = parse_signals(write_signal(_ours(answerer, offer=offer))).session
            assert answer is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(offerer.meet, answer)
                nursery.start_soon(answerer.meet, offer)
            yield offerer, answerer


@asynccontextmanager
async def two_ends(
    faults: Counter[str] | None = None,
) -> AsyncIterator[tuple[InBandConnection, InBandConnection]]:
    async with open_rtc(loopback_only=True, faults=faults) as rtc, connected(rtc) as ends:
        yield ends


async def say(connection: InBandConnection, kind: int, data: bytes, *, stream: int | None = None) -> None:
    """One message as no honest program of ours would send it."""
    where = connection._channel.id if stream is None else stream
    await connection._loop.run_aio_coroutine(connection._sctp._send(where, kind, data))


def opening(*, kind: int = 0, label: bytes = b"more") -> bytes:
    return struct.pack("!BBHLHH", 3, kind, 0, 0, len(label), 0) + label


class Memory:
    """Streams of a test: what is to be read, and what was written."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._ends = ends
        self.written = bytearray()
        self.ended = False

    async def read(self) -> bytes:
        if not self._pieces and not self._ends:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data

    async def end(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ended = True


async def test_the_offerer_opens_a_channel_called_pipe_and_the_answerer_takes_it() -> None:
    async with two_ends() as (offerer, answerer):
        assert {each._channel.label for each in (offerer, answerer)} == {"pipe"}
        assert offerer._channel.id == answerer._channel.id
        await answerer.send_all(bytes(range(256)) * 200)
        received = b""
        while len(received) < 51_200:
            received += await offerer.receive()
        assert received == bytes(range(256)) * 200


async def test_both_directions_end_by_themselves_and_then_the_channel_is_closed() -> None:
    one, other = Memory(b"a" * 70_000, b"b"), Memory(b"c")
    async with two_ends() as (offerer, answerer), trio.open_nursery() as nursery:
        nursery.start_soon(_Joint(offerer, one).run)
        nursery.start_soon(_Joint(answerer, other).run)
    assert (one.written, other.written) == (b"c", b"a" * 70_000 + b"b")
    assert one.ended
    assert other.ended


async def test_what_is_said_and_closed_in_the_moment_of_opening_is_not_lost() -> None:
    async with (
        open_rtc(loopback_only=True) as rtc,
        rtc.open(InBandConnection, Role.OFFERER) as offerer,
        rtc.open(InBandConnection, Role.ANSWERER) as answerer,
    ):

        def say_and_close() -> None:
            offerer._channel.send(b"that was all")
            offerer._channel.close()

        offerer._channel.on("open", say_and_close)
        offer = _ours(offerer)
        answer = _ours(answerer, offer=offer)
        with trio.fail_after(30):
            # As where it all comes in one burst: who waits for the opening wakes after the end.
            late: Any = SimpleNamespace(set=lambda: None, wait=answerer.gone.wait)
            answerer._opened = late
            async with trio.open_nursery() as nursery:
                nursery.start_soon(offerer.meet, answer)
                nursery.start_soon(answerer.meet, offer)
            assert await answerer.receive() == b"that was all"
            with pytest.raises(ChannelClosed):
                await answerer.receive()
        assert answerer.finished


class NeverAnswered:
    """An exchange whose other side takes its time, and whose relay is lost meanwhile."""

    def __init__(self, relay: Peer) -> None:
        self._relay = relay

    async def show(self, description: bytes) -> None:
        assert description.count(b"candidate:") == description.count(b"typ relay") == 1
        self._relay.answer = says_nothing
        await trio.lowlevel.checkpoint()

    async def heard(self) -> AsyncGenerator[Signals, None]:
        await trio.sleep_forever()
        yield Signals(session=None, candidates=())


async def test_an_offer_whose_only_address_is_gone_is_waited_with_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_turn.KEEP_EVERY", 0.1)
    monkeypatch.setattr("node.webrtc_turn._GIVEN_UP_AFTER", 0.5)
    async with ice_peer(turns()) as peer:
        exchange, ice = NeverAnswered(peer), relay_only(peer, tmp_path)
        with trio.fail_after(20), pytest.raises(ConnectFailed, match="TURN server is lost"):
            await pipe(
                "offer", exchange=exchange, streams=Memory(), on_open=trio.lowlevel.checkpoint, ice=ice
            )


async def test_an_answer_to_another_offer_is_passed_over_and_a_foreign_one_is_believed() -> None:
    async with open_rtc(loopback_only=True) as rtc, rtc.open(InBandConnection, Role.OFFERER) as connection:
        offer, other = _ours(connection), _ours(connection)
        ours, theirs = _ours(connection, offer=offer), _ours(connection, offer=other)
        foreign = msgspec.structs.replace(theirs, answers="")

        async def heard(*sessions: Session) -> AsyncGenerator[Signals, None]:
            for session in sessions:
                await trio.lowlevel.checkpoint()
                yield parse_signals(write_signal(session))

        async def chosen(*sessions: Session) -> Session:
            async with aclosing(heard(*sessions)) as said:
                return (await _description(said, kind="answer", to=offer))[0]

        assert await chosen(theirs, ours) == ours
        assert await chosen(ours, theirs) == ours
        assert await chosen(theirs, foreign, ours) == foreign
        with pytest.raises(UsageError, match="to another offer"):
            await chosen(theirs)
        with pytest.raises(UsageError, match="an offer, and an answer is wanted"):
            await chosen(offer)


async def test_text_comes_as_its_bytes_and_an_empty_text_is_no_end() -> None:
    async with two_ends() as (offerer, answerer):
        for text in ("grüß dich", "", "🕊"):
            answerer._loop.call_soon(answerer._channel.send, text)
        assert [await offerer.receive() for _ in range(2)] == ["grüß dich".encode(), "🕊".encode()]
        await say(answerer, _STRING, b"\xff not UTF-8")
        assert await offerer.receive() == b"\xff not UTF-8"


@pytest.mark.parametrize(
    ("kind", "data", "stream", "why"),
    [
        (_DCEP, opening(), 7, "another channel"),
        (_DCEP, opening(), None, "the same channel twice"),
        (_DCEP, opening(kind=0x80), None, "lose messages"),
        (_DCEP, opening(label=b"\xff"), None, "malformed channel"),
        (_DCEP, opening()[:-1], None, "malformed channel"),
        (_DCEP, b"\x07", None, "malformed channel"),
        (_BINARY, b"data", 9, "another channel"),
        (52, b"part of a text, as nobody sends it any more", None, "unknown kind"),
    ],
)  # fmt: skip
async def test_whatever_is_not_the_one_channel_ends_the_connection(
    kind: int, data: bytes, stream: int | None, why: str
) -> None:
    faults: Counter[str] = Counter()
    async with two_ends(faults) as (offerer, answerer):
        await say(offerer, kind, data, stream=stream)
        with pytest.raises(ChannelClosed, match=why):
            await answerer.receive()
        assert not answerer.finished
        assert sum(faults.values()) == 1


async def test_an_answerer_that_opens_one_of_its_own_is_refused() -> None:
    async with two_ends() as (offerer, answerer):
        await say(answerer, _DCEP, opening(), stream=4)
        with pytest.raises(ChannelClosed, match="another channel"):
            await offerer.receive()


async def test_who_ignores_the_window_makes_us_keep_no_more_than_it_and_loses_nothing() -> None:
    """Two megabytes for a reader that sleeps: what is beyond the window is dropped, and comes again."""
    async with two_ends() as (offerer, answerer):
        sctp, piece = offerer._sctp, b"x" * 16_000

        async def flood() -> None:
            plain: Any = type(sctp).__mro__[2]  # the association as aiortc has it
            sctp._transmit = lambda: plain._transmit(sctp)
            for _ in range(130):
                await sctp._send(offerer._channel.id, _BINARY, piece)

        await offerer._loop.run_aio_coroutine(flood())
        while answerer._sctp._advertised_rwnd > 0:
            await trio.sleep(0.01)
        assert answerer._inbox_size <= 1 << 20
        received = 0
        while received < 130 * len(piece):
            received += len(await answerer.receive())
        assert answerer._inbox_size == 0


async def test_tiny_messages_fill_the_window_by_what_they_cost() -> None:
    async with two_ends() as (offerer, answerer):
        before = answerer._sctp._advertised_rwnd
        for _ in range(100):
            await offerer.send(b"x")
        while len(answerer._inbox) < 100:
            await trio.sleep(0.01)
        assert before - answerer._sctp._advertised_rwnd >= 100 * 64
        for _ in range(100):
            await answerer.receive()
        while answerer._sctp._advertised_rwnd != before:
            await trio.sleep(0.01)


async def test_one_endless_message_ends_the_connection() -> None:
    async with two_ends() as (offerer, answerer):
        offerer._loop.create_task(offerer._sctp._send(offerer._channel.id, _BINARY, bytes(8 << 20)))
        with pytest.raises(ChannelClosed, match="window"):
            await answerer.receive()


async def test_a_channel_closed_in_good_order_is_an_end_of_both_directions() -> None:
    streams = Memory(b"so far", ends=False)
    async with two_ends() as (offerer, answerer), trio.open_nursery() as nursery:
        nursery.start_soon(_Joint(offerer, streams).run)
        assert await answerer.receive() == b"so far"
        await answerer.send(b"and that is all")
        answerer.hang_up()
        await answerer.gone.wait()
    assert streams.written == b"and that is all"
    assert streams.ended


async def test_a_connection_that_is_merely_gone_is_a_failure_even_with_nothing_to_send() -> None:
    streams = Memory()
    async with two_ends() as (offerer, answerer):
        await answerer.send(b"half")

        async def leave() -> None:
            while streams.written != b"half":
                await trio.sleep(0.01)
            await answerer._loop.run_aio_coroutine(answerer._aclose())

        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave)
                await _Joint(offerer, streams).run()
        assert caught.group_contains(Unreachable, match="ended before the data did")
    assert streams.written == b"half"


async def test_data_after_its_end_is_a_failure_and_is_not_written() -> None:
    streams = Memory(ends=False)
    async with two_ends() as (offerer, answerer):
        for message in (b"all", END, b"or not"):
            await answerer.send(message)
        with pytest.raises(ExceptionGroup) as caught:
            await _Joint(offerer, streams).run()
        assert caught.group_contains(NodeError, match="after it had said")
    assert streams.written == b"all"
