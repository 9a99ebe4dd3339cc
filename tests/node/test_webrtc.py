"""Real WebRTC on loopback, and the packets that used to end the node."""

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import trio

from node.errors import ConnectFailed
from node.link import ChannelClosed, Link
from node.webrtc import Connection, Rtc, _addresses, open_rtc
from signaling.candidates import Candidate
from signaling.description import Setup, Transport
from signaling.handshake import Role

WORDS = ("abandon", "ability", "able", "about")


@asynccontextmanager
async def connected(rtc: Rtc) -> AsyncIterator[tuple[Connection, Connection]]:
    with trio.fail_after(20):
        async with rtc.connection(Role.OFFERER) as offerer, rtc.connection(Role.ANSWERER) as answerer:
            await join(offerer, answerer)
            yield offerer, answerer


def local(connection: Connection, *, setup: Setup = Setup.ACTPASS) -> Transport:
    """What the connection is known by from now on, to show to the other end."""
    transport = Transport(
        ufrag=os.urandom(4).hex(),
        pwd=os.urandom(12).hex(),
        fingerprint=connection.fingerprint,
        setup=setup,
        candidates=connection.local_candidates,
    )
    connection.identify(transport)
    return transport


async def join(offerer: Connection, answerer: Connection) -> None:
    offer, answer = local(offerer), local(answerer, setup=Setup.ACTIVE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offerer.connect, answer)
        nursery.start_soon(answerer.connect, offer)


def port_of(connection: Connection) -> int:
    return connection.local_candidates[0].port


async def test_two_ends_connect_share_an_exporter_and_pass_messages() -> None:
    async with open_rtc(loopback_only=True) as rtc, connected(rtc) as (offerer, answerer):
        assert offerer.exporter() == answerer.exporter()
        assert len(offerer.exporter()) == 32
        await offerer.send(b"to the answerer")
        await answerer.send(b"")
        assert (await answerer.receive(), await offerer.receive()) == (b"to the answerer", b"")


async def test_each_session_has_its_own_exporter_and_certificate() -> None:
    async with open_rtc(loopback_only=True) as rtc:
        seen = set()
        for _ in range(2):
            async with connected(rtc) as (offerer, answerer):
                seen |= {
                    offerer.exporter(),
                    offerer.fingerprint,
                    answerer.fingerprint,
                }
        assert len(seen) == 6


async def test_only_loopback_is_gathered_when_asked_and_no_server_is_known() -> None:
    async with open_rtc(loopback_only=True) as rtc, rtc.connection(Role.OFFERER) as connection:
        assert [(c.type, c.address) for c in connection.local_candidates] == [("host", "127.0.0.1")]
        ice = connection._ice._connection
        assert (ice.stun_server, ice.turn_server) == (None, None)


def test_loopback_is_gathered_when_there_is_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifaddr.get_adapters", list)
    assert _addresses(loopback_only=False) == ["127.0.0.1"]


async def test_two_links_pass_a_megabyte_and_what_was_queued_when_one_leaves() -> None:
    async with open_rtc(loopback_only=True) as rtc, connected(rtc) as (offerer, answerer):
        one = Link(offerer, peer=b"b" * 32, words=WORDS, initiator=True)
        other = Link(answerer, peer=b"a" * 32, words=WORDS, initiator=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            nursery.start_soon(other.run)
            await one.send(bytes(range(256)) * 4096)
            for number in range(1000):
                await one.send(number.to_bytes(200, "big"))
            nursery.start_soon(partial(one.aclose, deadline=15))
            assert await other.receive() == bytes(range(256)) * 4096
            for number in range(1000):
                assert await other.receive() == number.to_bytes(200, "big")


async def test_the_other_end_sees_a_close_at_once() -> None:
    async with open_rtc(loopback_only=True) as rtc, rtc.connection(Role.ANSWERER) as answerer:
        async with rtc.connection(Role.OFFERER) as offerer:
            await join(offerer, answerer)
        with trio.fail_after(1):
            with pytest.raises(ChannelClosed):
                await answerer.receive()
            with pytest.raises(ChannelClosed):
                await answerer.send(b"x")


def malformed_stun() -> bytes:
    """A binding request whose PRIORITY attribute has three bytes instead of four."""
    attribute = struct.pack(">HH", 0x0024, 3) + b"\0\0\0\0"
    return struct.pack(">HHI12s", 0x0001, len(attribute), 0x2112A442, b"t" * 12) + attribute


async def test_a_malformed_stun_packet_is_counted_and_nothing_more() -> None:
    from aioice import stun

    with pytest.raises(struct.error):  # the reason for the guard; when this fails, the guard may go
        stun.parse_message(malformed_stun())
    faults: Counter[str] = Counter()
    async with (
        open_rtc(loopback_only=True, faults=faults) as rtc,
        rtc.connection(Role.OFFERER) as offerer,
        rtc.connection(Role.ANSWERER) as answerer,
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            for packet in (malformed_stun(), b"", b"\0", malformed_stun()[:22]):
                attacker.sendto(packet, ("127.0.0.1", port_of(offerer)))
        with trio.fail_after(5):
            while not faults["webrtc: malformed packet"]:
                await trio.lowlevel.checkpoint()
        with trio.fail_after(20):
            await join(offerer, answerer)
            await answerer.send(b"alive")
            assert await offerer.receive() == b"alive"


async def test_an_exception_in_an_asyncio_callback_is_counted_and_the_node_lives() -> None:
    faults: Counter[str] = Counter()

    def broken() -> None:
        raise RuntimeError("a bug in a library")

    async with open_rtc(loopback_only=True, faults=faults) as rtc:
        rtc._loop.call_soon(broken)
        async with connected(rtc) as (offerer, answerer):
            await offerer.send(b"alive")
            assert await answerer.receive() == b"alive"
    assert faults == {"webrtc: exception in a callback": 1}


async def test_a_flood_on_an_open_offer_is_dropped_beyond_a_few_hundred_datagrams() -> None:
    faults: Counter[str] = Counter()
    async with (
        open_rtc(loopback_only=True, faults=faults) as rtc,
        rtc.connection(Role.OFFERER) as offerer,
        rtc.connection(Role.ANSWERER) as answerer,
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker, trio.fail_after(10):
            while faults["webrtc: datagram dropped"] < 100:
                for _ in range(20):
                    attacker.sendto(b"\x80" + bytes(1000), ("127.0.0.1", port_of(offerer)))
                await trio.sleep(0)
        assert offerer._ice._connection._queue.qsize() == 256
        with trio.fail_after(20):
            await join(offerer, answerer)


async def test_text_on_a_link_closes_that_connection_and_no_other() -> None:
    faults: Counter[str] = Counter()
    async with (
        open_rtc(loopback_only=True, faults=faults) as rtc,
        connected(rtc) as (offerer, answerer),
        connected(rtc) as (bystander, other),
    ):
        rtc._loop.call_soon(offerer._channel.send, "text")
        with pytest.raises(ChannelClosed, match="text or another channel"):
            await answerer.receive()
        await other.send(b"unharmed")
        assert await bystander.receive() == b"unharmed"
    assert faults == {"webrtc: text or another channel on a link": 1}


async def test_a_second_channel_opened_by_the_peer_closes_the_connection() -> None:
    from aiortc import RTCDataChannel, RTCDataChannelParameters

    async with open_rtc(loopback_only=True) as rtc, connected(rtc) as (offerer, answerer):
        more = RTCDataChannelParameters(label="more", id=2)
        rtc._loop.call_soon(RTCDataChannel, offerer._sctp, more)
        with pytest.raises(ChannelClosed, match="text or another channel"):
            await answerer.receive()


async def test_whole_messages_out_of_order_without_end_close_the_connection() -> None:
    from aiortc.rtcsctptransport import WEBRTC_BINARY, DataChunk

    async with open_rtc(loopback_only=True) as rtc, connected(rtc) as (offerer, answerer):
        sctp = offerer._sctp

        async def attack() -> None:
            number = 1  # the first is left out
            while not answerer.lost:
                number += 1
                chunk = DataChunk(flags=3)
                chunk.tsn, chunk.stream_seq = (sctp._local_tsn + number) % 2**32, (number - 2) % 2**16
                chunk.stream_id, chunk.protocol, chunk.user_data = 0, WEBRTC_BINARY, b"x"
                await sctp._send_chunk(chunk)
                if number % 16 == 0:
                    await asyncio.sleep(0)

        with trio.fail_after(30):
            await rtc._loop.run_aio_coroutine(attack())
        assert answerer.lost == "too many packets out of order"


async def test_a_message_skipped_by_the_peer_closes_the_connection() -> None:
    from aiortc.rtcsctptransport import ForwardTsnChunk

    async with open_rtc(loopback_only=True) as rtc, connected(rtc) as (offerer, answerer):
        chunk = ForwardTsnChunk()
        chunk.cumulative_tsn = (offerer._sctp._local_tsn + 10) % 2**32
        chunk.streams = [(stream, 1) for stream in range(250)]
        await rtc._loop.run_aio_coroutine(offerer._sctp._send_chunk(chunk))
        with pytest.raises(ChannelClosed, match="skipped"):
            await answerer.receive()
        assert len(answerer._sctp._inbound_streams) <= 1


async def test_checks_from_ever_more_addresses_are_not_all_followed() -> None:
    async with (
        open_rtc(loopback_only=True) as rtc,
        rtc.connection(Role.OFFERER) as offerer,
        rtc.connection(Role.ANSWERER) as answerer,
    ):
        await join(offerer, answerer)
        near, far = offerer._ice._connection, answerer._ice._connection
        (pair,) = far._nominated.values()
        sources = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(60)]
        try:
            for source in sources:
                request = far.build_request(pair, nominate=False)
                request.add_message_integrity(far.remote_password.encode())
                source.sendto(bytes(request), ("127.0.0.1", port_of(offerer)))
                await trio.sleep(0)
            with trio.fail_after(5):
                while not rtc.faults["webrtc: check from too many addresses"]:
                    await trio.lowlevel.checkpoint()
            assert len(near._remote_candidates) == 24
            await answerer.send(b"alive")
            assert await offerer.receive() == b"alive"
        finally:
            for source in sources:
                source.close()


async def test_an_sctp_parameter_without_length_does_not_loop_for_ever() -> None:
    from aiortc import rtcsctptransport

    async with open_rtc(loopback_only=True):
        with pytest.raises(ValueError, match="shorter than its header"):
            rtcsctptransport.decode_params(b"\0\x01\0\0\0\0\0\0")
        assert rtcsctptransport.decode_params(b"\0\x01\0\x05x\0\0\0") == [(1, b"x")]


async def test_a_swapped_fingerprint_never_gives_two_connected_ends() -> None:
    async with (
        open_rtc(loopback_only=True) as rtc,
        rtc.connection(Role.OFFERER) as offerer,
        rtc.connection(Role.ANSWERER) as answerer,
    ):
        offer = local(offerer)
        answer = msgspec.structs.replace(local(answerer, setup=Setup.ACTIVE), fingerprint=bytes(32))
        failed: list[Connection] = []

        async def attempt(connection: Connection, remote: Transport) -> None:
            try:
                await connection.connect(remote, deadline=1)
            except ConnectFailed:
                failed.append(connection)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, offerer, answer)
            nursery.start_soon(attempt, answerer, offer)
        assert offerer in failed


async def test_connecting_to_nobody_fails_at_our_own_deadline() -> None:
    async with open_rtc(loopback_only=True) as rtc, rtc.connection(Role.OFFERER) as offerer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            nobody = msgspec.structs.replace(
                local(offerer, setup=Setup.ACTIVE),
                candidates=(Candidate("host", "127.0.0.1", silent.getsockname()[1]),),
            )
            with trio.fail_after(2), pytest.raises(ConnectFailed, match=r"within 0\.3 s"):
                await offerer.connect(nobody, deadline=0.3)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- Path.iterdir keeps one more open while counting


async def test_fifty_connections_opened_connected_cancelled_and_closed_leave_no_descriptor() -> None:
    async with open_rtc(loopback_only=True) as rtc:
        async with connected(rtc):
            pass
        before = open_descriptors()
        for round_number in range(50):
            with trio.move_on_after(0.002 * round_number if round_number % 5 else 10):
                if round_number % 10:
                    async with rtc.connection(Role.OFFERER) as one, rtc.connection(Role.ANSWERER) as other:
                        with trio.move_on_after(0.001 * round_number):
                            await join(one, other)
                else:
                    async with connected(rtc):
                        pass
        assert open_descriptors() == before
        assert not rtc.faults
