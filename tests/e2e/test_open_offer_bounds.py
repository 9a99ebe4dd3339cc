"""What open offers cost who keeps them: their sockets go with them, and a flood adds little memory."""

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio
from aioice import stun

from console.children import Child, family
from node.node import read_invitation
from signaling.description import Offer
from tests.e2e.networks import Host, needs_hosts, two_hosts

pytestmark = needs_hosts
PATIENCE: Final = 30.0
FLOOD: Final = 6.0  # seconds
MAX_GROWTH: Final = 30 << 20
OFFERS: Final = 60
NAMES: Final = 500


def by_hand(place: Path, who: str, *arguments: str) -> tuple[str, ...]:
    return who, *arguments, "--as", who, "--via", "paste", "--json", "--home", str(place / who)


def udp_sockets(host: Host) -> int:
    return len(host.do("cat", "/proc/net/udp").splitlines()) - 1


def descriptors(child: Child) -> int:
    return len(list(Path(f"/proc/{child.process.pid}/fd").iterdir()))


def resident(child: Child) -> int:
    """Bytes."""
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


async def no_socket_left(host: Host) -> None:
    with trio.fail_after(PATIENCE):
        while udp_sockets(host):
            await trio.sleep(0.1)


async def test_offers_that_were_withdrawn_or_ran_out_leave_nothing_open(tmp_path: Path) -> None:
    async with two_hosts() as (here, _), family() as children:
        ann = await here.start(children, *by_hand(tmp_path, "ann", "new", "r", "--offer-life", "5"))
        await ann.wait_for("invite", within=PATIENCE)
        assert udp_sockets(here)
        await no_socket_left(here)
        before = descriptors(ann)
        for _ in range(OFFERS):
            seen = len(ann.events)
            await ann.say("/invite")
            await ann.wait_for("invite", within=PATIENCE, since=seen)
        assert 0 < udp_sockets(here) <= 16, "those that had to give way are gone already"
        await no_socket_left(here)
        with trio.fail_after(PATIENCE):
            while descriptors(ann) != before:
                await trio.sleep(0.1)


def check(offer: Offer, *, name: str) -> stun.Message:
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{offer.transport.ufrag}:{name}"
    request.attributes["PRIORITY"] = 1
    return request


def junk(offer: Offer) -> Iterator[bytes]:
    """What a stranger can send."""
    dice = random.Random(7)
    while True:
        yield dice.randbytes(1200)
        yield bytes((22, 254, 253)) + dice.randbytes(200)  # as DTLS begins
        yield bytes(check(offer, name=dice.randbytes(8).hex()))


def flood(sock: socket.socket, offer: Offer) -> int:
    """As fast as it goes; how many packets."""
    sent, end = 0, time.monotonic() + FLOOD
    for packet in junk(offer):
        sock.sendto(packet, address_of(offer))
        sent += 1
        if time.monotonic() > end:
            break
    return sent


def address_of(offer: Offer) -> tuple[str, int]:
    [candidate] = offer.candidates
    return candidate.address, candidate.port


def of(token: str) -> Offer:
    offer = read_invitation(token)
    assert isinstance(offer, Offer)
    return offer


async def test_a_flood_at_an_open_offer_takes_little_memory_and_who_was_meant_gets_in(tmp_path: Path) -> None:
    async with two_hosts() as (here, there), family() as children:
        ann = await here.start(children, *by_hand(tmp_path, "ann", "new", "r", "--admit", "auto"))
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        before = resident(ann)
        with there.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sent = await trio.to_thread.run_sync(flood, sock, of(token))
        assert sent > 1000 * FLOOD
        assert resident(ann) - before < MAX_GROWTH
        bob = await there.start(children, *by_hand(tmp_path, "bob", "join", token))
        await bob.wait_for("admitted", within=PATIENCE)


async def test_who_was_shown_the_token_can_at_most_make_the_answer_be_carried(tmp_path: Path) -> None:
    async with two_hosts() as (here, there), family() as children:
        ann = await here.start(children, *by_hand(tmp_path, "ann", "new", "r", "--admit", "auto"))
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        offer = of(token)
        with there.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(NAMES):
                request = check(offer, name=f"somebody{number}")
                request.add_message_integrity(offer.transport.pwd.encode())
                sock.sendto(bytes(request), address_of(offer))
                await trio.sleep(0.001)  # too many at once would be lost
        bob = await there.start(children, *by_hand(tmp_path, "bob", "join", token))
        await ann.say((await bob.wait_for("token", within=PATIENCE))["token"])
        await bob.wait_for("admitted", within=PATIENCE)
