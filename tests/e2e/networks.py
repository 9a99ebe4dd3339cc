"""Hosts of their own for the tests: network namespaces, a cable between two, a firewall before one."""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from console.children import Child, Family, command


def has_hosts() -> bool:
    """Whether this machine lets us make hosts."""
    return os.geteuid() == 0 and bool(shutil.which("ip")) and bool(shutil.which("nft"))


needs_hosts = pytest.mark.skipif(
    not has_hosts(), reason="network namespaces need root, iproute2 and nftables"
)

# Who asks for something gets the answer; whoever comes unasked is dropped, as at home behind a router.
FIREWALL = """
table inet guard {
  chain input {
    type filter hook input priority 0; policy drop;
    iif lo accept
    meta l4proto ipv6-icmp accept
    ct state established,related accept
    counter name dropped drop
  }
  counter dropped { }
}
"""

CUT = """
table inet cut {{
  chain input {{
    type filter hook input priority -10; policy accept;
    ip saddr {address} drop
  }}
}}
"""

_CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>


class Host:
    """One namespace; `address` is what the other end of its cable reaches it by."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    async def start(self, children: Family, who: str, *arguments: str) -> Child:
        """A pigeon that lives there."""
        return await children.run(who, self.inside(*command(*arguments)))

    def inside(self, *line: str) -> list[str]:
        """The command line that runs this one there."""
        return ["ip", "netns", "exec", self.name, *line]

    def starter(self, children: Family) -> Callable[..., Awaitable[Child]]:
        """As children.start, here."""
        return partial(self.start, children)

    def do(self, *line: str, text: str = "") -> str:
        done = subprocess.run(self.inside(*line), input=text, capture_output=True, text=True, check=True)
        return done.stdout

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """One of ours that lives there: a socket stays where the thread that made it was."""
        made = []

        def make() -> None:
            with Path("/run/netns", self.name).open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) == 0:
                    made.append(socket.socket(family, kind, protocol))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def guard(self) -> None:
        """Put the firewall up."""
        self.do("nft", "-f", "-", text=FIREWALL)

    def cut_off(self, other: "Host") -> None:
        """Have nothing that `other` sends arrive, not even answers; once for each host."""
        self.do("nft", "-f", "-", text=CUT.format(address=other.address))

    def join_up(self) -> None:
        """Take back what cut_off did."""
        self.do("nft", "delete", "table", "inet", "cut")

    def dropped(self) -> int:
        """Packets that came unasked."""
        return int(
            self.do("nft", "list", "counter", "inet", "guard", "dropped").split("packets ")[1].split()[0]
        )


@asynccontextmanager
async def two_hosts() -> AsyncIterator[tuple[Host, Host]]:
    """Two with a cable between them and no way elsewhere; gone afterwards."""
    tag = f"pg{os.getpid()}"
    hosts = Host(f"{tag}a", "10.99.0.1"), Host(f"{tag}b", "10.99.0.2")
    async with AsyncExitStack() as stack:
        for host in hosts:
            subprocess.run(["ip", "netns", "add", host.name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", host.name], check=False)
        first, second = hosts
        cable = ["ip", "link", "add", "eth0", "netns", first.name, "type", "veth", "peer", "name", "eth0"]
        subprocess.run([*cable, "netns", second.name], check=True)
        for host in hosts:
            host.do("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            host.do("ip", "link", "set", "lo", "up")
            host.do("ip", "link", "set", "eth0", "up")
        yield hosts


@asynccontextmanager
async def hosts_on_a_switch(count: int) -> AsyncIterator[list[Host]]:
    """Some that all reach one another, and nothing else; gone afterwards."""
    tag = f"pg{os.getpid()}"
    switch = Host(f"{tag}s", "")
    hosts = [Host(f"{tag}h{number}", f"10.99.1.{number + 1}") for number in range(count)]
    async with AsyncExitStack() as stack:
        for host in (switch, *hosts):
            subprocess.run(["ip", "netns", "add", host.name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", host.name], check=False)
        switch.do("ip", "link", "add", "name", "bridge", "type", "bridge")
        switch.do("ip", "link", "set", "bridge", "up")
        for number, host in enumerate(hosts):
            cable = ["ip", "link", "add", "eth0", "netns", host.name, "type", "veth"]
            subprocess.run([*cable, "peer", "name", f"port{number}", "netns", switch.name], check=True)
            switch.do("ip", "link", "set", f"port{number}", "master", "bridge", "up")
            host.do("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            host.do("ip", "link", "set", "lo", "up")
            host.do("ip", "link", "set", "eth0", "up")
        yield hosts
