"""A small internet of network namespaces: open hosts, and routers that let in only what was asked for.

A router gives each socket behind it one port outside, as most homes' do, and another one when nothing went
out for `mapping_time`; only those whom the socket wrote to get in by it (RFC 4787: endpoint-independent
mapping, address and port-dependent filtering). A `symmetric` one has a port for each destination.
"""

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import trio

from tests.e2e.networks import Host

MAPPING_TIME: Final = 10
"""Seconds; homes' routers have 30 to 300 (RFC 4787 asks for 120)."""

_NET: Final = "203.0.113"  # for documentation (RFC 5737): nobody's
_GATEWAY: Final = 254
_topologies = count()

# The port is any (numgen's number is read in the other byte order); which one does not matter.
_ROUTER = """
table ip router {{
  map ports {{
    type ipv4_addr . inet_service : inet_service
    flags dynamic,timeout
    timeout {mapping_time}s
    size 4096
  }}
  counter unasked {{ }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    iifname "wan" ct state established,related accept
    iifname "wan" counter name unasked drop
    jump udp_out
    iifname "lan" accept
  }}
  chain udp_out {{
    meta l4proto udp update @ports {{ ip saddr . udp sport : numgen random mod 20000 offset 30000 }}
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" counter name unasked drop
  }}
  chain nat {{
    type nat hook postrouting priority srcnat; policy accept;
    {mapping}
    oifname "wan" masquerade random,fully-random
  }}
}}
"""
_ONE_PORT = 'oifname "wan" meta l4proto udp snat to {address} : ip saddr . udp sport map @ports'
_NETLINK_NETFILTER: Final = 12
# All connections there are (IPCTNL_MSG_CT_DELETE, acknowledged): a header of 16 bytes, and 4 that name none.
_FORGET: Final = struct.pack("=IHHII4x", 20, 1 << 8 | 2, 1 | 4, 1, 0)

_BLOCKED = """
table ip blocked {
  chain forward {
    type filter hook forward priority -10; policy accept;
    meta l4proto udp drop
  }
}
"""


class Router(Host):
    """Between the internet, where it has `address`, and its own network."""

    def __init__(self, name: str, address: str, *, inside: str, stack: ExitStack) -> None:
        super().__init__(name, address)
        self._inside = inside
        self._stack = stack
        self._hosts = 0

    def host(self) -> Host:
        """One more behind it; `address` is the one inside."""
        self._hosts += 1
        host = Host(f"{self.name}h{self._hosts}", f"{self._inside}.{self._hosts + 1}")
        _make(host, self._stack)
        _cable(host, "eth0", self, f"port{self._hosts}", bridge="lan")
        _set_up(host, "eth0", f"{host.address}/24", gateway=f"{self._inside}.1")
        return host

    def block_udp(self) -> None:
        """As in some offices: from now on none passes, either way, also none that is awaited."""
        self.do("nft", "-f", "-", text=_BLOCKED)

    def unblock_udp(self) -> None:
        self.do("nft", "delete", "table", "ip", "blocked")

    def forget(self) -> None:
        """As when it was switched off and on again: whatever goes out next has another port."""
        self.do("nft", "flush", "map", "ip", "router", "ports")
        with self.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.send(_FORGET)
            assert kernel.recv(4096)[16:20] == bytes(4), "the kernel says no"

    def mappings(self) -> list[tuple[str, int, int]]:
        """UDP flows it lets answers in for: (who is written to, its port, our port outside)."""
        flow = r"src=\S+ dst=(\S+) sport=\d+ dport=(\d+) .*?src=\S+ dst=\S+ sport=\d+ dport=(\d+)"
        lines = self.do("cat", "/proc/net/nf_conntrack").splitlines()
        found = [re.search(flow, line) for line in lines if " udp " in line]
        return [(match[1], int(match[2]), int(match[3])) for match in found if match is not None]

    def unasked(self) -> int:
        """Packets from the internet that were dropped because nobody inside had asked for them."""
        counted = self.do("nft", "list", "counter", "ip", "router", "unasked")
        return int(counted.split("packets ")[1].split()[0])


class Internet:
    """One public segment; everybody on it reaches everybody, unless a router stands before."""

    def __init__(self, tag: str, stack: ExitStack) -> None:
        self._tag = tag
        self._stack = stack
        self._sky = Host(f"{tag}sky", f"{_NET}.{_GATEWAY}")
        self._open = count(1)
        self._routers = count(1)
        _make(self._sky, stack)
        self._sky.do("ip", "link", "add", "name", "net", "type", "bridge")
        # Whatever goes to an address that nobody has ends here, in silence.
        _set_up(self._sky, "net", f"{self._sky.address}/24", gateway=None)
        self._sky.do("sysctl", "-qw", "net.ipv4.ip_forward=0")

    def host(self) -> Host:
        """One with a public address and nothing before it; a server lives here."""
        number = next(self._open)
        host = Host(f"{self._tag}o{number}", f"{_NET}.{number}")
        _make(host, self._stack)
        self._attach(host, "eth0", f"o{number}")
        return host

    def router(
        self, *, symmetric: bool = False, mapping_time: int = MAPPING_TIME, inside: str | None = None
    ) -> Router:
        """A network of its own behind one public address; put hosts into it with `host()`.

        inside: how all addresses there begin; without it they are none of another router's.
        """
        number = next(self._routers)
        inside = inside or f"192.168.{number}"
        name = f"{self._tag}r{number}"
        router = Router(name, f"{_NET}.{100 + number}", inside=inside, stack=self._stack)
        _make(router, self._stack)
        self._attach(router, "wan", f"r{number}")
        router.do("ip", "link", "add", "name", "lan", "type", "bridge")
        _set_up(router, "lan", f"{inside}.1/24", gateway=None)
        mapping = "" if symmetric else _ONE_PORT.format(address=router.address)
        router.do("nft", "-f", "-", text=_ROUTER.format(mapping=mapping, mapping_time=mapping_time))
        for name in ("udp_timeout", "udp_timeout_stream"):
            router.do("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={mapping_time}")
        router.do("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return router

    def _attach(self, host: Host, interface: str, port: str) -> None:
        _cable(host, interface, self._sky, port, bridge="net")
        _set_up(host, interface, f"{host.address}/24", gateway=self._sky.address)


@asynccontextmanager
async def internet() -> AsyncIterator[Internet]:
    """An empty one; whatever was put into it is gone afterwards."""
    _sweep()
    with ExitStack() as stack:
        yield Internet(f"{_tag()}i{next(_topologies)}", stack)


@asynccontextmanager
async def lonely_host() -> AsyncIterator[Host]:
    """One without any network but loopback; several homes may live on it."""
    _sweep()
    with ExitStack() as stack:
        host = Host(f"{_tag()}l{next(_topologies)}", "127.0.0.1")
        _make(host, stack)
        yield host


@asynccontextmanager
async def stun_server(host: Host, *, port: int = 3478) -> AsyncIterator[str]:
    """A small one there, `address:port`; it listens when this begins."""
    line = host.inside(sys.executable, "-P", "-m", "tests.e2e.stunserver", host.address, str(port))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = await trio.lowlevel.open_process(line, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        with trio.fail_after(20):
            assert await process.stdout.receive_some(1), "it ended"
        yield f"{host.address}:{port}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await trio.aclose_forcefully(process.stdout)


def _tag() -> str:
    return f"pgn{os.getpid()}"


def _sweep() -> None:
    """Take away what a process left that was killed: names hold the id of who made them."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for name, maker in re.findall(r"^(pgn(\d+)[il]\S+)", listed, re.MULTILINE):
        if not Path(f"/proc/{maker}").exists():
            subprocess.run(["ip", "netns", "del", name], check=False)


def _make(host: Host, stack: ExitStack) -> None:
    subprocess.run(["ip", "netns", "add", host.name], check=True)
    stack.callback(subprocess.run, ["ip", "netns", "del", host.name], check=False)
    host.do("ip", "link", "set", "lo", "up")


def _cable(host: Host, interface: str, switch: Host, port: str, *, bridge: str) -> None:
    ends = ["ip", "link", "add", interface, "netns", host.name, "type", "veth"]
    subprocess.run([*ends, "peer", "name", port, "netns", switch.name], check=True)
    switch.do("ip", "link", "set", port, "master", bridge, "up")


def _set_up(host: Host, interface: str, address: str, *, gateway: str | None) -> None:
    host.do("ip", "address", "add", address, "dev", interface)
    host.do("ip", "link", "set", interface, "up")
    if gateway is not None:
        host.do("ip", "route", "add", "default", "via", gateway)
