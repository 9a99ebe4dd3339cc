"""STUN servers, as they should be, silent, absent, lying and changing their mind: what comes of each."""

import socket
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import trio
from aioice import stun

from node.ice_servers import IceServers, Server, mapping_of
from node.webrtc import open_rtc
from signaling.handshake import Role
from tests.node.ice_peers import Answer, Where, ice_peer, reply, says_nothing, sees
from tests.node.test_webrtc import join

OUTSIDE = ("192.0.2.9", 7777)


async def test_the_address_that_a_server_sees_is_shown_after_our_own() -> None:
    async with ice_peer(sees(*OUTSIDE)) as peer:
        told: list[str] = []
        ice = IceServers(stun=(peer.server,))
        async with (
            open_rtc(loopback_only=True, ice=ice, tell=told.append) as rtc,
            rtc.connection(Role.OFFERER) as connection,
        ):
            own, mapped = connection.local_candidates
            assert (own.type, mapped.type, mapped.address, mapped.port) == ("host", "srflx", *OUTSIDE)
            (finding,) = connection.findings
            assert rtc.findings == (finding,)
        assert (finding.found, finding.error, finding.local) == (OUTSIDE, "", ("127.0.0.1", own.port))
        assert peer.asked[0][1] == finding.local, "it was asked from the very socket that is shown"
        assert told == []


async def test_nobody_is_asked_and_nothing_is_shown_that_is_our_own_address_anyway() -> None:
    async with ice_peer(lambda request, where: [reply(request, XOR_MAPPED_ADDRESS=where)]) as peer:
        async with open_rtc(loopback_only=True) as rtc, rtc.connection(Role.OFFERER) as connection:
            assert connection.findings == ()
        assert peer.asked == []
        ice = IceServers(stun=(peer.server,))
        async with open_rtc(loopback_only=True, ice=ice) as rtc, rtc.connection(Role.OFFERER) as connection:
            assert [each.type for each in connection.local_candidates] == ["host"]
            assert mapping_of(connection.findings) == "open"


async def test_silent_servers_cost_half_a_second_in_all_and_are_told_of_once() -> None:
    told: list[str] = []
    async with (
        ice_peer(says_nothing) as silent,
        ice_peer(says_nothing) as other,
        ice_peer(sees(*OUTSIDE)) as good,
    ):
        servers = IceServers(stun=(silent.server, other.server, good.server))
        async with open_rtc(loopback_only=True, ice=servers, tell=told.append) as rtc:
            for _ in range(2):
                began = trio.current_time()
                async with rtc.connection(Role.OFFERER) as connection:
                    assert 0.5 < trio.current_time() - began < 3
                    assert [each.type for each in connection.local_candidates] == ["host", "srflx"]
                    found = {each.server: each.error for each in connection.findings}
                    assert found == {
                        str(silent.server): "silent",
                        str(other.server): "silent",
                        str(good.server): "",
                    }
            assert len(told) == 2
            assert all("does not answer" in each for each in told)
            assert len(rtc.troubles) == 2
            silent.answer = other.answer = sees(*OUTSIDE)
            async with rtc.connection(Role.OFFERER):
                assert [each.split(" ", 4)[-1] for each in told[2:]] == ["answers again."] * 2
            assert rtc.troubles == []


async def test_a_server_that_answers_every_other_time_is_not_told_of_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.webrtc_ice.STUN_DEADLINE", 0.25)
    told: list[str] = []
    async with ice_peer(sees(*OUTSIDE)) as peer:
        ice = IceServers(stun=(peer.server,))
        async with open_rtc(loopback_only=True, ice=ice, tell=told.append) as rtc:
            for number in range(16):
                peer.answer = sees(*OUTSIDE) if number % 2 else says_nothing
                async with rtc.connection(Role.OFFERER):
                    assert bool(rtc.troubles) is (number % 2 == 0)
    assert len(told) == 8, told


async def test_where_nobody_listens_is_known_before_the_deadline() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    servers = IceServers(stun=(Server("127.0.0.1", port),))
    async with open_rtc(loopback_only=True, ice=servers) as rtc, rtc.connection(Role.OFFERER) as connection:
        assert [each.error for each in connection.findings] == ["refused"]


async def test_a_name_that_is_looked_up_for_ever_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_n: over.wait(20) and [])
    servers = IceServers(stun=(Server("one.invalid"), Server("other.invalid")))
    turned = 0

    async def turn() -> None:
        nonlocal turned
        while True:
            await trio.sleep(0.01)
            turned += 1

    try:
        async with open_rtc(loopback_only=True, ice=servers) as rtc, trio.open_nursery() as nursery:
            nursery.start_soon(turn)
            began = trio.current_time()
            async with rtc.connection(Role.OFFERER) as connection:
                assert trio.current_time() - began < 5
                assert [each.error for each in connection.findings] == ["unresolved"] * 2
                assert [each.type for each in connection.local_candidates] == ["host"]
            nursery.cancel_scope.cancel()
    finally:
        over.set()
    assert turned > 20, "the loop went on meanwhile"


def other_transaction(request: stun.Message, _where: Where) -> list[bytes]:
    stranger = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    return [reply(stranger, XOR_MAPPED_ADDRESS=OUTSIDE)]


def cut(request: stun.Message, _where: Where) -> list[bytes]:
    return [reply(request, XOR_MAPPED_ADDRESS=OUTSIDE)[:-3]]


def malformed(request: stun.Message, _where: Where) -> list[bytes]:
    head = bytes.fromhex("0101 0008 2112a442".replace(" ", "")) + request.transaction_id
    return [
        head + bytes.fromhex("0024 0003 00000000".replace(" ", "")),
        head + bytes.fromhex("00200004000900ff"),
    ]


def large(request: stun.Message, _where: Where) -> list[bytes]:
    return [reply(request, XOR_MAPPED_ADDRESS=OUTSIDE, DATA=bytes(60_000))]


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (sees("224.0.0.1", 1), "odd"),
        (sees("0.0.0.0", 1), "odd"),
        (sees("255.255.255.255", 1), "odd"),
        (sees("192.0.2.9", 0), "odd"),
        (sees("2001:db8::9", 1), "odd"),
        (lambda request, _where: [reply(request)], "odd"),
        (lambda request, _where: [reply(request, error=500, XOR_MAPPED_ADDRESS=OUTSIDE)], "odd"),
        (lambda request, _where: [reply(request, MAPPED_ADDRESS=OUTSIDE)], "odd"),
        (lambda request, _where: [b"", b"\0", b"\x80" * 900], "silent"),
        (other_transaction, "silent"),
        (cut, "silent"),
        (malformed, "silent"),
        (large, "silent"),
    ],
)
async def test_an_answer_that_is_none_gives_no_address_and_harms_nobody(
    lie: Answer, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_ice.STUN_DEADLINE", 0.25)
    faults: Counter[str] = Counter()
    async with ice_peer(lie) as peer:
        ice = IceServers(stun=(peer.server,))
        async with open_rtc(loopback_only=True, ice=ice, faults=faults) as rtc:
            with trio.fail_after(20):
                async with rtc.connection(Role.OFFERER) as one, rtc.connection(Role.ANSWERER) as other:
                    assert [each.type for each in one.local_candidates] == ["host"]
                    assert [(each.found, each.error) for each in one.findings] == [(None, error)]
                    await join(one, other)
    assert not faults["webrtc: exception in a callback"]


async def test_an_answer_from_elsewhere_is_none() -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        await elsewhere.bind(("127.0.0.1", 0))
        asked: list[tuple[stun.Message, Where]] = []

        def pass_on(request: stun.Message, where: Where) -> list[bytes]:
            asked.append((request, where))
            return []

        async def answer() -> None:
            while not asked:
                await trio.sleep(0.005)
            await elsewhere.sendto(reply(asked[0][0], XOR_MAPPED_ADDRESS=OUTSIDE), asked[0][1])

        async with ice_peer(pass_on) as peer, trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            ice = IceServers(stun=(peer.server,))
            async with (
                open_rtc(loopback_only=True, ice=ice) as rtc,
                rtc.connection(Role.OFFERER) as connection,
            ):
                assert [each.error for each in connection.findings] == ["silent"]


async def test_two_servers_that_see_different_ports_tell_what_kind_of_router_there_is() -> None:
    async with ice_peer(sees("192.0.2.9", 1)) as one, ice_peer(sees("192.0.2.9", 2)) as other:
        ice = IceServers(stun=(one.server, other.server))
        async with open_rtc(loopback_only=True, ice=ice) as rtc, rtc.connection(Role.OFFERER) as connection:
            assert mapping_of(connection.findings) == "port for each"
            assert [each.type for each in connection.local_candidates] == ["host", "srflx"]


async def test_the_way_in_is_kept_open_until_there_is_a_connection_and_a_new_one_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.webrtc_ice.KEEP_EVERY", 0.1)
    async with ice_peer(sees(*OUTSIDE)) as peer:
        ice = IceServers(stun=(peer.server,))
        async with open_rtc(loopback_only=True, ice=ice) as rtc, rtc.connection(Role.OFFERER) as offerer:
            await peer.wait_asked(4)
            assert {where for _, where in peer.asked} == {offerer.findings[0].local}
            assert not offerer.moved.is_set()
            peer.answer = says_nothing
            seen = len(peer.asked)
            await peer.wait_asked(seen + 2)
            assert not offerer.moved.is_set(), "a server that is gone says nothing of the way in"
            peer.answer = sees("192.0.2.9", 7778)
            with trio.fail_after(5):
                await offerer.moved.wait()
            async with rtc.connection(Role.ANSWERER) as answerer:
                await join(offerer, answerer)
                before = -1
                with trio.fail_after(5):
                    while len(peer.asked) != before:  # once it is there, the server is left in peace
                        before = len(peer.asked)
                        await trio.sleep(0.5)


async def test_answers_after_the_end_and_floods_from_a_server_are_nothing() -> None:
    flood: Any = lambda request, _where: [reply(request, XOR_MAPPED_ADDRESS=OUTSIDE)] * 200  # noqa: E731
    async with ice_peer(flood) as peer:
        ice = replace(IceServers(), stun=(peer.server,))
        async with open_rtc(loopback_only=True, ice=ice) as rtc:
            async with rtc.connection(Role.OFFERER) as one, rtc.connection(Role.ANSWERER) as other:
                await join(one, other)
                await one.send(b"alive")
                assert await other.receive() == b"alive"
            assert not rtc.faults["webrtc: exception in a callback"]
