"""Every frame that passes a host's cables, into a file: a program of its own, `python -m tests.e2e.capture`.

The file is frames, each after its length in four bytes.
"""

import ipaddress
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import trio

from tests.e2e.networks import Host

_EVERYTHING: Final = 0x0003  # ETH_P_ALL
_MAX_FRAME: Final = 65_536
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_ICMPV6: Final = 58
_IGMP: Final = 2


class Packet(NamedTuple):
    """One of IP; what systems say by themselves about a cable (ARP, ICMPv6, IGMP) is none."""

    source: str
    destination: str
    frame: bytes


@dataclass
class Capture:
    path: Path

    def packets(self) -> list[Packet]:
        data, at, found = self.path.read_bytes(), 0, []
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            frame = data[at + 4 : at + 4 + size]
            at += 4 + size
            if len(frame) == size and (packet := _packet(frame)) is not None:
                found.append(packet)
        return found

    def hosts(self) -> set[str]:
        """Everybody that a packet was from or to."""
        return {each for packet in self.packets() for each in (packet.source, packet.destination)}


def forms_of(address: str) -> dict[str, bytes]:
    """How an address may stand in a packet or a file: text, bytes, and as STUN hides it from routers."""
    packed = ipaddress.ip_address(address).packed
    masked = bytes(a ^ b for a, b in zip(packed, struct.pack("!I", 0x2112A442), strict=False))
    return {"text": address.encode(), "bytes": packed, "masked": masked, "hex": packed.hex().encode()}


@asynccontextmanager
async def capture(host: Host, path: Path) -> AsyncIterator[Capture]:
    """What this host sends and receives from now on, except to itself; the file is whole afterwards."""
    line = host.inside(sys.executable, "-P", "-m", "tests.e2e.capture", str(path))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = await trio.lowlevel.open_process(line, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        with trio.fail_after(20):
            assert await process.stdout.receive_some(1), "it ended"
        yield Capture(path)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await trio.aclose_forcefully(process.stdout)


def _packet(frame: bytes) -> Packet | None:
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV4 and frame[23] != _IGMP:
        source, destination = frame[26:30], frame[30:34]
    elif kind == _IPV6 and frame[20] != _ICMPV6 and frame[54:55] != bytes((_ICMPV6,)):
        source, destination = frame[22:38], frame[38:54]
    else:
        assert kind in (_ARP, _IPV4, _IPV6), f"something else than IP: {kind:#06x}"
        return None
    return Packet(*(str(ipaddress.ip_address(each)) for each in (source, destination)), frame)


def _main(path: str) -> None:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    with Path(path).open("wb", buffering=0) as file:
        sys.stdout.write("1")
        sys.stdout.flush()
        while True:
            frame, where = tap.recvfrom(_MAX_FRAME)
            if where[0] != "lo":
                file.write(len(frame).to_bytes(4, "big") + frame)


if __name__ == "__main__":
    _main(sys.argv[1])
