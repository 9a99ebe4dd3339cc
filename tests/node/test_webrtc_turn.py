"""TURN servers that refuse, lie, forget and fall silent; a real, good one is in tests/e2e/test_turn.py."""

import errno
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import trio
from aioice import stun

from node.errors import ConnectFailed
from node.turn_packets import HEAD, parse_data, peer_attribute, send_indication
from node.webrtc import Rtc, open_rtc
from signaling.candidates import Candidate
from signaling.description import Setup
from signaling.handshake import Role
from tests.node.ice_peers import (
    KEY,
    Answer,
    Peer,
    Where,
    ice_peer,
    relay_only,
    reply,
    says_nothing,
    turns,
)
from tests.node.test_webrtc import local, open_descriptors

RELAYED = ("127.0.0.9", 49152)


@asynccontextmanager
async def through(answer: Answer, place: Path) -> AsyncIterator[tuple[Rtc, Peer, Counter[str]]]:
    """Connections that may only go through this server."""
    faults: Counter[str] = Counter()
    async with ice_peer(answer) as peer:
        ice = relay_only(peer, place)
        async with open_rtc(ice=ice, faults=faults) as rtc:
            yield rtc, peer, faults
    assert not faults["webrtc: exception in a callback"]


async def test_with_relay_only_there_is_no_other_socket_than_that_to_the_server(tmp_path: Path) -> None:
    async with (
        through(turns(relayed=RELAYED), tmp_path) as (rtc, peer, _),
        rtc.connection(Role.OFFERER) as connection,
    ):
        before = open_descriptors()
        async with rtc.connection(Role.OFFERER):
            assert open_descriptors() == before + 1
        assert connection.local_candidates == (Candidate("relay", *RELAYED),)
        (protocol,) = connection._ice._connection._protocols
        assert protocol.local_candidate.type == "relay"
        assert protocol.transport.get_extra_info("sockname") == RELAYED
        assert connection.findings[0].found == RELAYED
        assert {where[0] for _, where in peer.asked} == {"127.0.0.1"}


async def test_an_allocation_is_given_back_at_the_end_and_no_descriptor_is_left(tmp_path: Path) -> None:
    async with through(turns(), tmp_path) as (rtc, peer, _):
        async with rtc.connection(Role.OFFERER):
            pass
        before = open_descriptors()
        for number in range(20):
            with trio.move_on_after(0.001 * number if number % 4 else 10):
                async with rtc.connection(Role.OFFERER):
                    pass
        assert open_descriptors() == before
        ends = [each for each in peer.requests(stun.Method.REFRESH) if each.attributes["LIFETIME"] == 0]
        assert len(ends) >= 5
        peer.answer = says_nothing
        began = trio.current_time()
        with pytest.raises(ConnectFailed):
            async with rtc.connection(Role.OFFERER):
                pass
        assert trio.current_time() - began < 6
        assert open_descriptors() == before


def fails(code: int) -> Answer:
    return lambda request, _where: [reply(request, error=code, key=KEY)]


def gives(**attributes: object) -> Answer:
    return lambda request, _where: [reply(request, key=KEY, **attributes)]


LATER = {"XOR_MAPPED_ADDRESS": ("127.0.0.1", 1), "LIFETIME": 600}


def unauthenticated(request: stun.Message, _where: Where) -> list[bytes]:
    return [reply(request, XOR_RELAYED_ADDRESS=RELAYED, **LATER)]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (says_nothing, "silent"),
        (lambda _request, _where: [b"", b"\0" * 3, b"\x7f" * 700, bytes(60_000)], "silent"),
        (turns(ALLOCATE=fails(401)), "credentials"),
        (turns(ALLOCATE=fails(441)), "credentials"),
        (turns(ALLOCATE=fails(403)), "forbidden"),
        (turns(ALLOCATE=fails(486)), "full"),
        (turns(ALLOCATE=fails(508)), "full"),
        (turns(ALLOCATE=fails(300)), "odd"),
        (turns(ALLOCATE=gives(**LATER)), "odd"),
        (turns(ALLOCATE=gives(**LATER, XOR_RELAYED_ADDRESS=("224.0.0.1", 5))), "odd"),
        (turns(ALLOCATE=gives(**LATER, XOR_RELAYED_ADDRESS=("192.0.2.1", 0))), "odd"),
        (turns(ALLOCATE=gives(**{**LATER, "LIFETIME": 0}, XOR_RELAYED_ADDRESS=RELAYED)), "odd"),
        (turns(ALLOCATE=unauthenticated), "silent"),
        (turns(ALLOCATE=lambda request, _where: [reply(request, error=438, REALM="r", NONCE=b"n")]), "odd"),
        (lambda request, _where: [reply(request, error=401)], "odd"),
        (lambda request, _where: [reply(request, error=401, REALM="r" * 900, NONCE=b"n")], "odd"),
    ],
)  # fmt: skip
async def test_without_an_allocation_relay_only_fails_and_says_why(
    answer: Answer, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_ice.TURN_DEADLINE", 0.6)
    async with through(answer, tmp_path) as (rtc, peer, _):
        began = trio.current_time()
        with pytest.raises(ConnectFailed) as caught:
            async with rtc.connection(Role.OFFERER):
                pass
        assert trio.current_time() - began < 6
        assert [each.error for each in rtc.findings] == [error]
        assert str(peer.server) in caught.value.message
        assert "no other way" in caught.value.message
        assert len(peer.asked) <= 8


async def test_who_cannot_tell_the_relay_from_this_machine_has_no_connection_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptors(**_which: bool) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    async with through(turns(relayed=RELAYED), tmp_path) as (rtc, _, _):
        with monkeypatch.context() as exhausted:
            exhausted.setattr("aioice.ice.get_host_addresses", no_descriptors)
            with pytest.raises(ConnectFailed, match="Too many open files"):
                async with rtc.connection(Role.OFFERER):
                    pass
        async with rtc.connection(Role.OFFERER) as connection:
            assert connection.local_candidates == (Candidate("relay", *RELAYED),)


async def test_without_it_a_turn_server_that_fails_costs_two_seconds_and_no_connection(
    tmp_path: Path,
) -> None:
    async with ice_peer(says_nothing) as peer:
        ice = replace(relay_only(peer, tmp_path), relay_only=False)
        began = trio.current_time()
        async with open_rtc(loopback_only=True, ice=ice) as rtc, rtc.connection(Role.OFFERER) as connection:
            assert 1.9 < trio.current_time() - began < 6
            assert [each.type for each in connection.local_candidates] == ["host"]


async def test_a_path_through_a_relay_waits_for_the_direct_ones_and_holds_up_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_ice._DIRECT_FIRST", 15.0)
    async with ice_peer(turns(relayed=RELAYED)) as peer:
        ice = replace(relay_only(peer, tmp_path), relay_only=False)
        async with (
            open_rtc(loopback_only=True, ice=ice) as rtc,
            rtc.connection(Role.OFFERER) as offerer,
            rtc.connection(Role.ANSWERER) as answerer,
        ):
            offer, answer = local(offerer), local(answerer, setup=Setup.ACTIVE)
            dead = tuple(Candidate("host", f"127.0.0.{number}", 9) for number in range(20, 25))
            own, relayed = offer.candidates
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(offerer.connect, msgspec.structs.replace(answer, candidates=()))
                nursery.start_soon(
                    answerer.connect, msgspec.structs.replace(offer, candidates=(*dead, relayed, own))
                )
            assert trio.current_time() - began < 10
            assert peer.requests(stun.Method.SEND) == [], "nothing went through the relay"


async def test_a_file_that_vanishes_fails_closed_and_says_so(tmp_path: Path) -> None:
    async with through(turns(), tmp_path) as (rtc, peer, _):
        async with rtc.connection(Role.OFFERER):
            pass
        (tmp_path / "turn.json").unlink()
        with pytest.raises(ConnectFailed, match="cannot be read"):
            async with rtc.connection(Role.OFFERER):
                pass
        relay_only(peer, tmp_path)  # put back, perhaps with other credentials
        async with rtc.connection(Role.OFFERER):
            pass


async def test_an_allocation_is_kept_and_whoever_relays_by_the_same_server_may_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_turn.KEEP_EVERY", 0.05)
    monkeypatch.setattr("node.webrtc_turn._LEAST_PAUSE", 0.0)
    monkeypatch.setattr("node.webrtc_turn._PERMIT_EVERY", 0.05)
    async with (
        through(turns(relayed=RELAYED), tmp_path) as (rtc, peer, _),
        rtc.connection(Role.OFFERER) as connection,
    ):
        await peer.wait_asked(3, method=stun.Method.REFRESH)
        await peer.wait_asked(3, method=stun.Method.CREATE_PERMISSION)
        permitted = {
            each.attributes["XOR-PEER-ADDRESS"] for each in peer.requests(stun.Method.CREATE_PERMISSION)
        }
        assert permitted == {(RELAYED[0], 9)}
        assert not connection.moved.is_set()


@pytest.mark.parametrize(
    "forgets",
    [fails(437), fails(403), gives(LIFETIME=0), gives(), says_nothing],
    ids=["does not know it", "forbids it", "ends it", "says no lifetime", "is silent"],
)
async def test_an_allocation_that_is_lost_ends_the_connection_and_any_offer_with_it(
    forgets: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_turn.KEEP_EVERY", 0.05)
    monkeypatch.setattr("node.webrtc_turn._GIVEN_UP_AFTER", 0.6)
    async with through(turns(), tmp_path) as (rtc, peer, _), rtc.connection(Role.OFFERER) as connection:
        peer.answer = turns(REFRESH=forgets)
        with trio.fail_after(5):
            await connection.moved.wait()
        assert connection.lost.startswith("The TURN server is lost")
        assert connection._ice._connection._protocols[0].transport.is_closing()
        with pytest.raises(ConnectFailed, match="The TURN server is lost"):
            await connection.connect(local(connection))


async def test_what_a_server_relays_from_nowhere_or_in_no_shape_is_dropped(tmp_path: Path) -> None:
    async with (
        through(turns(relayed=RELAYED), tmp_path) as (rtc, peer, faults),
        rtc.connection(Role.OFFERER) as connection,
    ):
        received = connection._ice._connection._queue
        for datagram in hostile_indications():
            await peer.say(datagram)
        await peer.say(data_indication(b"\x80not permitted", ("192.0.2.77", 5)))
        await peer.say(data_indication(b"\x80permitted", (RELAYED[0], 5)))
        with trio.fail_after(5):
            while not received.qsize():
                await trio.sleep(0.01)
        assert received.get_nowait() == (b"\x80permitted", 1)
        assert received.empty()
        assert faults["turn: malformed packet"] == len(hostile_indications())
        flood = data_indication(b"\x80" + bytes(1000), (RELAYED[0], 5))
        for _ in range(600):
            await peer.say(flood)
        with trio.fail_after(5):
            while not faults["webrtc: datagram dropped"]:
                await trio.sleep(0.01)
        assert received.qsize() == 256


async def test_peers_that_may_not_be_reached_are_not_asked_for_again_and_again(tmp_path: Path) -> None:
    async with (
        through(turns(CREATE_PERMISSION=fails(403)), tmp_path) as (rtc, peer, _),
        rtc.connection(Role.OFFERER) as connection,
    ):
        await peer.wait_asked(1, method=stun.Method.CREATE_PERMISSION)
        relay = connection._ice._connection._protocols[0].transport
        for number in range(200):
            relay.sendto(b"x", ("192.0.2.1", 1 + number))
            relay.sendto(b"x" * 3000, ("192.0.2.2", 1))
        await peer.wait_asked(2, method=stun.Method.CREATE_PERMISSION)
        await trio.sleep(0.1)
        relay.sendto(b"x", ("192.0.2.1", 1))
        for number in range(100):
            relay.sendto(b"x", (f"192.0.2.{number + 10}", 1))
        await trio.sleep(0.3)
        assert len(peer.requests(stun.Method.CREATE_PERMISSION)) <= 2 + 25


def data_indication(payload: bytes, peer: Where) -> bytes:
    packet = send_indication(payload, peer=peer_attribute(peer, b"t" * 12), transaction=b"t" * 12)
    return b"\0\x17" + packet[2:]


def hostile_indications() -> list[bytes]:
    good = data_indication(b"payload", ("192.0.2.1", 7))
    head, body = good[: HEAD.size], good[HEAD.size :]
    return [
        good[:-1],
        good + b"\0\0\0\0",
        data_indication(b"x", ("224.0.0.1", 7)),
        data_indication(b"x", ("0.0.0.0", 7)),
        data_indication(b"x", ("192.0.2.1", 0)),
        head[:4] + b"\0\0\0\0" + head[8:] + body,
        head[:2] + struct.pack("!H", 12) + head[4:] + body[:12],
        head[:2] + struct.pack("!H", 0) + head[4:],
        head + struct.pack("!HH", 0x12, 4000) + body[4:],
        head + struct.pack("!HH", 0x12, 7) + body[4:],
        head + body[:5] + b"\x07" + body[6:],
    ]


def test_an_indication_says_who_it_is_from_and_what_it_brings() -> None:
    for peer in (("192.0.2.1", 7), ("2001:db8::1", 65_535)):
        for payload in (b"", b"x", b"xyz", bytes(1200)):
            packet = data_indication(payload, peer)
            assert parse_data(packet) == (peer, payload)
            message = stun.parse_message(packet)
            assert (message.attributes["XOR-PEER-ADDRESS"], message.attributes["DATA"]) == (peer, payload)


def test_no_packet_makes_the_reader_of_indications_fail_otherwise_than_it_says() -> None:
    dice = random.Random(7)
    good = data_indication(b"payload", ("192.0.2.1", 7))
    read = 0
    for _ in range(20_000):
        packet = bytearray(good)
        for _ in range(dice.randrange(1, 6)):
            packet[dice.randrange(len(packet))] = dice.randrange(256)
        cut = bytes(packet[: dice.randrange(HEAD.size, len(packet) + 1)])
        try:
            peer, payload = parse_data(cut)
        except ValueError:
            continue
        assert 0 < peer[1] < 65_536
        assert len(payload) <= len(cut)
        read += 1
    assert read > 100
