"""The routers that other tests stand behind do what those tests rely on."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from aioice import stun

from tests.e2e.nats import internet, stun_server
from tests.e2e.networks import Host, needs_hosts

pytestmark = needs_hosts
WAIT = 5.0


@contextmanager
def udp_socket(host: Host) -> Iterator[trio.socket.SocketType]:
    with trio.socket.from_stdlib_socket(host.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        yield sock


async def seen_as(sock: trio.socket.SocketType, server: str) -> tuple[str, int]:
    """The address that this server sees us by."""
    host, _, port = server.partition(":")
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    await sock.sendto(bytes(request), (host, int(port)))
    with trio.fail_after(WAIT):
        address: tuple[str, int] = stun.parse_message(await sock.recv(2048)).attributes["XOR-MAPPED-ADDRESS"]
    return address


async def test_a_home_router_keeps_a_port_while_it_is_used_and_forgets_it_soon_after() -> None:
    async with internet() as net:
        one, two, home = net.host(), net.host(), net.router(mapping_time=2)
        async with stun_server(one) as first, stun_server(two) as second:
            with udp_socket(home.host()) as sock:
                seen = await seen_as(sock, first)
                assert seen[0] == home.address
                for _ in range(3):
                    await trio.sleep(1)
                    assert await seen_as(sock, second) == seen
                with trio.fail_after(WAIT):
                    while home.mappings():
                        await trio.sleep(0.1)
                again = await seen_as(sock, first)
                assert again != seen
                home.forget()
                assert not home.mappings()
                assert await seen_as(sock, first) != again


async def test_only_whom_a_socket_wrote_to_gets_in_and_nobody_where_udp_is_blocked() -> None:
    async with internet() as net:
        server, stranger, home = net.host(), net.host(), net.router()
        async with stun_server(server) as url:
            with udp_socket(home.host()) as sock, udp_socket(stranger) as other:
                seen = await seen_as(sock, url)
                await other.sendto(b"unasked", seen)
                with trio.fail_after(WAIT):
                    while not home.unasked():
                        await trio.sleep(0.05)
                await sock.sendto(b"hello", (stranger.address, other.getsockname()[1]))
                assert await other.recvfrom(99) == (b"hello", seen)
                await other.sendto(b"asked for", seen)
                with trio.fail_after(WAIT):
                    assert await sock.recv(99) == b"asked for"
                home.block_udp()
                await sock.sendto(b"lost", (stranger.address, other.getsockname()[1]))
                await other.sendto(b"lost", seen)
                home.unblock_udp()
                assert await seen_as(sock, url) == seen


async def test_a_symmetric_router_has_a_port_for_each_destination() -> None:
    async with internet() as net:
        one, two, office = net.host(), net.host(), net.router(symmetric=True)
        async with stun_server(one) as first, stun_server(two) as second:
            with udp_socket(office.host()) as sock:
                assert len({await seen_as(sock, first), await seen_as(sock, second)}) == 2
                assert len({await seen_as(sock, first), await seen_as(sock, second)}) == 2
