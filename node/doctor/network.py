"""The network without any server: which addresses others are told, and whether two ends here link at all."""

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Collection
from typing import Final

import trio

from node.doctor.finding import Finding, fine, problem, warning
from node.errors import ConnectFailed
from node.link import ChannelClosed
from node.webrtc import Connection, Rtc, open_rtc
from node.webrtc_guards import aiortc_parts
from signaling.candidates import Candidate
from signaling.description import Setup, Transport
from signaling.handshake import Role

_LINK_WITHIN: Final = 3.0
_PRIVATE: Final = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598
_SIOCGIFFLAGS: Final = 0x8913  # netdevice(7)
_IFF_UP: Final = 1
_LO_UP: Final = "Put it up: ip link set lo up"
_BLOCKED: Final = "Something on this machine, mostly its own firewall, keeps UDP from its own addresses."
_FIREWALL: Final = "Permit UDP to this program (Python) in this machine's firewall, also to itself."


async def check_network(*, asks_servers: bool) -> list[Finding]:
    """Nothing leaves this machine. asks_servers: how others see it is found out elsewhere."""
    try:
        await trio.to_thread.run_sync(aiortc_parts, abandon_on_cancel=True)
        async with open_rtc() as rtc, rtc.connection(Role.OFFERER) as connection:
            addresses = _addresses(connection.local_candidates, asks_servers=asks_servers)
            return [addresses, await _link(rtc)]
    except ImportError as error:
        return [
            problem(
                "network",
                "The library that makes connections cannot be loaded.",
                cause=f"{type(error).__name__}: {error}",
                cure="Install pigeon anew in an environment of its own: pipx install pigeon",
                cuts_off=True,
            )
        ]
    except ConnectFailed as error:
        return [
            problem(
                "addresses",
                "This machine has none that a program could use, not even for itself.",
                cause=error.message,
                cure="Connect it to a network.",
                cuts_off=True,
            )
        ]


def _addresses(candidates: Collection[Candidate], *, asks_servers: bool) -> Finding:
    kinds = {each.address: _kind(each.address) for each in candidates if each.type == "host"}
    found = ", ".join(f"{address} ({kind})" for address, kind in kinds.items()) + "."
    reach = set(kinds.values())
    if reach <= {"loopback"}:
        return warning(
            "addresses",
            found,
            cause="This machine has no network, so only programs on itself can be met.",
            cure="Connect it to a network, if you want to meet others.",
        )
    if reach <= {"loopback", "link-local"}:
        return warning(
            "addresses",
            found,
            cause="Nothing in the network gave this machine an address (no DHCP server answered).",
            cure="Only machines on the same cable or radio can be met. Check the router, or set an address.",
        )
    if reach <= {"loopback", "link-local", "private", "shared"} and not asks_servers:
        return fine(
            "addresses",
            found,
            cure="They are good in this network and its VPNs. To meet others beyond it: --stun SERVER.",
            only_near=True,
        )
    return fine("addresses", found)


def is_private(text: str) -> bool:
    """Whether it leads nowhere from another network."""
    return _kind(text) != "public"


def _kind(text: str) -> str:
    address = ipaddress.ip_address(text)
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if any(address.version == each.version and address in each for each in _PRIVATE):
        return "private"
    if address.version == 4 and address in _SHARED:
        return "shared"  # by the customers of a provider, or by a VPN
    return "public"


async def _link(rtc: Rtc) -> Finding:
    began = trio.current_time()
    failure = await link_to_itself(rtc, within=_LINK_WITHIN)
    if failure is None:
        return fine("links", f"Two ends on this machine were linked in {trio.current_time() - began:.2f} s.")
    cause, cure = _BLOCKED, _FIREWALL
    if _loopback_is_down():
        cause, cure = "The loopback device is down, which all that a machine says to itself passes.", _LO_UP
    return problem(
        "links",
        f"Two ends on this machine could not be linked: {failure}",
        cause=cause,
        cure=cure,
        cuts_off=True,
    )


def _loopback_is_down() -> bool:
    request = struct.pack("16sH14x", b"lo", 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
    except OSError:  # another system, or another name
        return False
    return not struct.unpack_from("16sH", answer)[1] & _IFF_UP


async def link_to_itself(rtc: Rtc, *, within: float) -> str | None:
    """Link two connections and say something each way; what went wrong, or None."""
    failures: list[str] = []
    with trio.move_on_after(within) as patience:
        try:
            async with rtc.connection(Role.OFFERER) as one, rtc.connection(Role.ANSWERER) as other:
                offer, answer = one.describe(Setup.ACTPASS), other.describe(Setup.ACTIVE)

                async def connect(end: Connection, remote: Transport) -> None:
                    try:
                        await end.connect(remote, deadline=within)
                    except ConnectFailed as error:
                        failures.append(error.message)
                        nursery.cancel_scope.cancel()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connect, one, answer)
                    nursery.start_soon(connect, other, offer)
                if failures:
                    return failures[0]
                for there, here in ((one, other), (other, one)):
                    await there.send(b"anybody here?")
                    await here.receive()
                return None
        except (ConnectFailed, ChannelClosed) as error:
            return str(error)
    assert patience.cancelled_caught
    return f"nothing came within {within:g} s."
