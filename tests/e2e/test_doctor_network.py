"""`pigeon doctor` in networks that fail: no address, firewalls, routers and servers of each kind."""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from tests.e2e.examined import Examined, examine
from tests.e2e.nats import internet, lonely_host, stun_server
from tests.e2e.networks import Host, needs_hosts
from tests.e2e.turn import needs_coturn, turn_server

pytestmark = needs_hosts

_NO_LOCAL_UDP = """
table inet guard {
  chain input { type filter hook input priority 0; policy accept; iif lo meta l4proto udp drop; }
}
"""

_COUNTED = """
table inet leaving {
  counter sent { }
  chain output {
    type filter hook output priority 0; policy accept;
    oif != lo meta l4proto { tcp, udp } counter name sent
  }
}
"""


async def _at(host: Host, *arguments: str, home: Path) -> Examined:
    return await examine("--home", str(home), *arguments, where=host.inside())


async def test_a_machine_without_a_network_is_told_which_part_of_it_is_missing(tmp_path: Path) -> None:
    look = partial(_at, home=tmp_path / "home")
    async with lonely_host() as lonely, lonely_host() as guarded, lonely_host() as down:

        async def lonely_then_not() -> None:
            seen = await look(lonely)
            assert seen.code == 0, "programs on one machine can meet"
            seen.says(
                "addresses", "warning", "127.0.0.1 (loopback)", "has no network", "Connect it to a network"
            )
            seen.says("links", "ok", "linked in")
            assert "has no network" in seen.diagnosis["cause"]

            seen = await look(lonely, "--stun", "203.0.113.9")
            seen.says("stun 203.0.113.9:3478", "problem", "no way there", "Check the network")

            lonely.do("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
            lonely.do("ip", "address", "add", "169.254.7.7/16", "dev", "eth0")
            lonely.do("ip", "link", "set", "eth0", "up")
            lonely.do("ip", "link", "set", "eth1", "up")
            seen = await look(lonely)
            seen.says(
                "addresses", "warning", "169.254.7.7 (link-local)", "no DHCP server", "Check the router"
            )

            lonely.do("ip", "address", "add", "192.168.9.9/24", "dev", "eth0")
            lonely.do("ip", "address", "del", "169.254.7.7/16", "dev", "eth0")
            seen = await look(lonely)
            assert (seen.code, seen.diagnosis["cure"]) == (0, "")
            seen.says("addresses", "ok", "192.168.9.9 (private)", "--stun SERVER")

        async def with_a_firewall() -> None:
            guarded.do("nft", "-f", "-", text=_NO_LOCAL_UDP)
            seen = await look(guarded)
            assert (seen.code, seen.diagnosis["problems"]) == (4, 1)
            seen.says("links", "problem", "could not be linked", "its own firewall", "Permit UDP")
            assert seen.diagnosis["cause"] == seen.one("links")["cause"], "what cuts off comes first"

        async def with_loopback_down() -> None:
            down.do("ip", "link", "set", "lo", "down")
            seen = await look(down)
            assert seen.code == 4
            seen.says(
                "links", "problem", "could not be linked", "loopback device is down", "ip link set lo up"
            )

        async with trio.open_nursery() as nursery:
            for each in (lonely_then_not, with_a_firewall, with_loopback_down):
                nursery.start_soon(each)


async def test_who_names_no_server_has_nothing_sent(tmp_path: Path) -> None:
    async with internet() as net:
        host = net.host()
        host.do("nft", "-f", "-", text=_COUNTED)
        seen = await _at(host, "--via", f"dir:{tmp_path}", home=tmp_path / "home")
        assert (seen.code, seen.troubles()) == (0, [])
        assert "packets 0 " in host.do("nft", "list", "counter", "inet", "leaving", "sent")
        await _at(host, "--stun", "203.0.113.9", home=tmp_path / "home")
        assert "packets 0 " not in host.do("nft", "list", "counter", "inet", "leaving", "sent")


async def test_each_kind_of_router_and_of_silence_is_told_from_the_others(tmp_path: Path) -> None:
    async with internet() as net:
        first, second = net.host(), net.host()
        home, office, deaf = net.router(), net.router(symmetric=True), net.router()
        at_home, at_office, at_deaf, outside = home.host(), office.host(), deaf.host(), net.host()
        nobody = "203.0.113.77:3478"
        async with (
            stun_server(first) as one,
            stun_server(first, port=3479) as beside,
            stun_server(second) as two,
            trio.open_nursery() as nursery,
        ):
            with first.socket(socket.AF_INET, socket.SOCK_STREAM, 0) as listener:
                listener.bind((first.address, 3478))
                listener.listen()
                deaf.block_udp()

                async def look(judge: Callable[[Examined], None], host: Host, *servers: str) -> None:
                    stun = [part for server in servers for part in ("--stun", server)]
                    async with turns:
                        judge(await _at(host, *stun, home=tmp_path / "home"))

                turns = trio.Semaphore(3)  # most of it is waiting
                nursery.start_soon(look, _open, outside, one, two)
                nursery.start_soon(look, _one_port, at_home, one, two)
                nursery.start_soon(look, _seen_once, at_home, one)
                nursery.start_soon(look, _needs_turn, at_office, one, two)
                nursery.start_soon(look, _needs_turn, at_office, one, beside)
                nursery.start_soon(look, _udp_is_blocked, at_deaf, one, two)
                nursery.start_soon(look, _dead_server, at_home, one, nobody)
                nursery.start_soon(look, _nothing_at_all, at_home, nobody)
                nursery.start_soon(look, _nobody_listens, outside, f"{second.address}:9", "stun.invalid")
                while nursery.child_tasks:
                    await trio.sleep(0.05)


def _open(seen: Examined) -> None:
    assert (seen.code, seen.troubles()) == (0, [])
    seen.says("router", "ok", "None changes our addresses", "firewalls permitting")
    assert not seen.diagnosis["needs_turn"]


def _one_port(seen: Examined) -> None:
    assert (seen.code, seen.troubles()) == (0, [])
    seen.says("router", "ok", "the same port to everybody")
    seen.says("addresses", "ok", "192.168.1.2 (private)")


def _seen_once(seen: Examined) -> None:
    assert seen.code == 0
    seen.says("router", "warning", "One server alone cannot show", "Name a second --stun", "you need TURN")


def _needs_turn(seen: Examined) -> None:
    assert seen.code == 1
    seen.says(
        "router",
        "problem",
        "Others cannot reach you directly",
        "gives every destination another port",
        "you need TURN: give --turn-file",
    )
    assert "you need TURN" in seen.diagnosis["cure"]
    assert seen.diagnosis["needs_turn"]


def _udp_is_blocked(seen: Examined) -> None:
    assert seen.code == 1
    seen.says("stun 203.0.113.1:3478", "problem", "though it does over TCP", "drops UDP", "permit UDP")
    seen.says("stun 203.0.113.2:3478", "problem", "does not answer")
    assert seen.of("router") == []


def _dead_server(seen: Examined) -> None:
    seen.says("stun 203.0.113.77:3478", "problem", "while others do", "is down", "leave it out")
    seen.says("stun 203.0.113.1:3478", "ok", "answers in")


def _nothing_at_all(seen: Examined) -> None:
    seen.says("stun", "problem", "neither over UDP nor over TCP", "server is down, or", "use another network")


def _nobody_listens(seen: Examined) -> None:
    seen.says("stun 203.0.113.2:9", "problem", "nobody listens at that port", "Check the port")
    seen.says("stun stun.invalid:3478", "problem", "leads to no address", "Check the name")


@needs_coturn
async def test_a_turn_server_is_proven_by_a_link_through_it_and_each_failure_has_its_cause(
    tmp_path: Path,
) -> None:
    look = partial(_at, home=tmp_path / "home")
    async with internet() as net:
        first, second, office = net.host(), net.host(), net.router(symmetric=True)
        host = office.host()
        async with (
            stun_server(second) as other,
            turn_server(first, tmp_path / "turn") as turn,
            turn_server(
                second, tmp_path / "mean", port=3480, more="denied-peer-ip=0.0.0.0-255.255.255.255"
            ) as mean,
        ):
            good = turn.file(tmp_path / "turn.json")
            wrong = turn.file(tmp_path / "wrong.json", password="guessed")
            asked = ("--stun", turn.where, "--stun", other)

            async def one_that_works() -> None:
                seen = await look(host, *asked, "--turn-file", str(good))
                assert (seen.code, seen.troubles()) == (0, [])
                seen.says("turn", "ok", "a link was made through it", first.address)
                seen.says("router", "ok", "by the TURN server only")

                seen = await look(host, *asked, "--turn-file", str(good), "--relay-only")
                assert (seen.code, seen.troubles()) == (0, [])
                seen.says("turn", "ok", "Others are shown no other address")
                seen.says("stun", "ok", "No STUN server was asked")

            async def others() -> None:
                seen = await look(host, *asked, "--turn-file", str(wrong))
                assert seen.code == 1
                seen.says(
                    "turn", "problem", "does not take this user name and password", "Check the TURN file"
                )
                seen.says("router", "problem", "you need TURN")

                seen = await look(host, "--turn-file", str(mean.file(tmp_path / "mean.json")))
                seen.says(
                    "turn", "problem", "carries nothing", "may not send", "permits its address as a peer"
                )

            async with trio.open_nursery() as nursery:
                nursery.start_soon(one_that_works)
                nursery.start_soon(others)

            wrong.chmod(0o644)
            seen = await look(host, "--turn-file", str(wrong), "--relay-only")
            assert seen.code == 4, "nothing but the relay may be used, so nobody can be reached"
            seen.says("turn", "problem", "others may read it", "chmod 600")

            turn.stop()
            seen = await look(host, "--turn-file", str(good), "--relay-only")
            assert seen.code == 4
            seen.says("turn", "problem", "Check")
            assert seen.seconds < 12
