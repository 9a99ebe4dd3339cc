"""An answer that comes minutes late connects, also where a router forgets in ten seconds whom it let in.

A minute here, five with NIGHTLY=1; all paths at once.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import trio

from console.children import Child, Event, Family, command, environment, family
from node.node import read_invitation
from node.webrtc import CONNECT_DEADLINE as DEADLINE
from signaling.description import Offer
from tests.e2e.nats import MAPPING_TIME, Internet, Router, internet, stun_server
from tests.e2e.networks import Host, needs_hosts
from tests.e2e.turn import needs_coturn, turn_server

pytestmark = [needs_hosts, needs_coturn]
LATE: Final = 300 if os.environ.get("NIGHTLY") == "1" else 60
assert LATE > 3 * MAPPING_TIME
PATIENCE: Final = 40.0
SHORT: Final = 25
"""Seconds of an offer's life, where nobody comes by it."""


class People:
    """Ann on one host and Bob on another, who carry their tokens by hand unless they have another carrier."""

    def __init__(self, children: Family, place: Path) -> None:
        place.mkdir()
        self._children = children
        self.place = place
        self.carrier = "paste"

    async def invites(self, host: Host, *more: str) -> tuple[Child, str]:
        ann = await self._start(host, "ann", "new", "r", "--admit", "auto", *more)
        return ann, (await ann.wait_for("invite", within=PATIENCE))["token"]

    async def joins(self, host: Host, token: str, *more: str) -> Child:
        return await self._start(host, "bob", "join", token, *more)

    async def _start(self, host: Host, who: str, *arguments: str) -> Child:
        options = ("--as", who, "--via", self.carrier, "--json", "--home", str(self.place / who))
        return await host.start(self._children, f"{self.place.name}: {who}", *arguments, *options)


async def answer_of(joiner: Child) -> str:
    return str((await joiner.wait_for("token", within=PATIENCE))["token"])


async def late(*apart: Child) -> None:
    """So much later these have not been linked."""
    await trio.sleep(LATE)
    for each in apart:
        assert not [event for event in each.events if event["event"] in ("words", "admitted", "error")]


async def are_linked(*both: Child) -> None:
    for each in both:
        await each.wait_for("admitted", within=PATIENCE)


async def open_path(net: Internet, place: Path) -> None:
    """Here the answer needs nobody to carry it, unless the program knows of descriptions only."""
    place.mkdir()
    here, there = net.host(), net.host()
    offer, answer, brought = place / "offer.json", place / "answer.json", place / "brought.json"
    said: dict[str, bytes] = {}

    async def pipe(host: Host, data: bytes, *arguments: str) -> None:
        line = host.inside(*command("pipe", *arguments))
        done = await trio.run_process(line, stdin=data, capture_stdout=True, env=environment())
        said[arguments[0]] = done.stdout

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe, here, b"from here", "--offer", "--out", str(offer), "--in", str(brought))
        nursery.start_soon(pipe, there, b"from there", "--answer", "--out", str(answer), "--in", str(offer))
        with trio.fail_after(PATIENCE):
            while not answer.exists():
                await trio.sleep(0.1)
        await trio.sleep(LATE)
        assert not said
        answer.rename(brought)
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
    assert said == {"--offer": b"from there", "--answer": b"from here"}


async def inviter_behind_a_nat(net: Internet, people: People) -> None:
    home = net.router()
    ann, token = await people.invites(home.host())
    bob = await people.joins(net.host(), token)
    answer = await answer_of(bob)
    await late(ann, bob)
    assert not home.mappings(), "nothing went out, and nothing has to"
    await ann.say(answer)
    await are_linked(ann, bob)


async def joiner_behind_a_nat(net: Internet, people: People) -> None:
    """The token comes late, and the answer with the first check."""
    ann, token = await people.invites(net.host())
    await late(ann)
    bob = await people.joins(net.router().host(), token)
    await are_linked(ann, bob)


async def both_behind_nats(net: Internet, people: People) -> None:
    """A STUN server tells both what to show, and asking it keeps that open. Inside they have one address."""
    server, here, there = net.host(), *(net.router(inside="192.168.0") for _ in range(2))
    async with stun_server(server) as stun:
        ann, token = await people.invites(here.host(), "--stun", stun)
        bob = await people.joins(there.host(), token, "--stun", stun)
        answer = await answer_of(bob)
        shown = of(token, here)
        await late(ann, bob)
        assert shown == {port for who, _, port in here.mappings() if who == server.address}
        await ann.say(answer)
        await are_linked(ann, bob)


async def joiner_behind_a_nat_and_inviter_behind_a_firewall(net: Internet, people: People) -> None:
    server, home, office = net.host(), net.router(), net.host()
    office.guard()
    async with stun_server(server) as stun:
        ann, token = await people.invites(office)
        bob = await people.joins(home.host(), token, "--stun", stun)
        answer = await answer_of(bob)
        await late(ann, bob)
        assert office.dropped(), "it knocked all the time"
        await ann.say(answer)
        await are_linked(ann, bob)


async def both_behind_symmetric_routers(net: Internet, people: People) -> None:
    """Two TURN servers, for by one the first check would do: each keeps what it lent, used or not."""
    async with AsyncExitStack() as stack:
        sides = []
        for who in ("ann", "bob"):
            turn = await stack.enter_async_context(turn_server(net.host(), people.place / f"turn of {who}"))
            secrets = str(turn.file(people.place / f"turn of {who}.json"))
            sides.append((net.router(symmetric=True).host(), "--turn-file", secrets, "--relay-only"))
        ann, token = await people.invites(*sides[0])
        host, *only = sides[1]
        bob = await people.joins(host, token, *only)
        answer = await answer_of(bob)
        await late(ann, bob)
        await ann.say(answer)
        await are_linked(ann, bob)


async def inviter_whose_router_was_off(net: Internet, people: People) -> None:
    """A token that shows a port which is no more is called in; the next one is as good as any."""
    server, home = net.host(), net.router()
    async with stun_server(server) as stun:
        ann, token = await people.invites(home.host(), "--stun", stun)
        home.forget()
        told = await ann.wait_for("notice", within=PATIENCE)
        assert "another address" in told["message"], told
        seen = len(ann.events)
        await ann.say("/invite")
        token = (await ann.wait_for("invite", within=PATIENCE, since=seen))["token"]
        bob = await people.joins(net.router().host(), token, "--stun", stun)
        await ann.say(await answer_of(bob))
        await are_linked(ann, bob)


async def members_who_say_nothing_for_long(net: Internet, people: People) -> None:
    """A link keeps its own way open, and is made anew when a router was off."""
    server, home = net.host(), net.router()
    people.carrier = f"dir:{people.place / 'lobby'}"
    async with stun_server(server) as stun:
        ann, token = await people.invites(home.host(), "--stun", stun)
        bob = await people.joins(net.router().host(), token, "--stun", stun)
        await are_linked(ann, bob)
        await trio.sleep(3 * MAPPING_TIME)
        assert not [event for event in ann.events + bob.events if event.get("state") == "down"]
        home.forget()
        await ann.say("still there?")
        await bob.wait_for("final", within=PATIENCE, where=lambda event: event["text"] == "still there?")


async def nothing_passes(net: Internet, people: People) -> None:
    """Then both are told in time, and the next token works once something does."""
    here, home = net.host(), net.router()
    behind = home.host()
    home.block_udp()
    ann, token = await people.invites(here, "--offer-life", str(SHORT))
    bob = await people.joins(behind, token)
    answer = await answer_of(bob)
    seen, began = len(ann.events), trio.current_time()
    await ann.say(answer)
    verdict = await ann.wait_for("notice", within=DEADLINE + 5, since=seen, where=is_verdict)
    assert trio.current_time() - began > DEADLINE - 1
    assert f"nothing came within {DEADLINE:g} s" in verdict["message"]
    assert "a firewall may stand between" in verdict["message"]
    assert "`pigeon doctor`" in verdict["message"]
    error = await bob.wait_for("error", within=SHORT + 5)
    assert error["message"].startswith("No member was reached: ")
    assert "`pigeon doctor`" in error["hint"]
    assert (error["code"], await bob.wait(within=PATIENCE)) == (4, 4)
    home.unblock_udp()
    seen = len(ann.events)
    await ann.say("/invite")
    token = (await ann.wait_for("invite", within=PATIENCE, since=seen))["token"]
    await are_linked(ann, await people.joins(behind, token))


async def nothing_passes_but_a_folder(net: Internet, people: People) -> None:
    """Who waits hears of it, and gets in by itself once something does."""
    here, home = net.host(), net.router()
    home.block_udp()
    people.carrier = f"dir:{people.place / 'lobby'}"
    _, token = await people.invites(here)
    bob = await people.joins(home.host(), token)
    told = await bob.wait_for("notice", within=PATIENCE + DEADLINE, where=is_verdict)
    assert told["message"].startswith("A member answered. "), told
    assert "`pigeon doctor`" in told["message"]
    home.unblock_udp()
    await bob.wait_for("admitted", within=PATIENCE + DEADLINE)
    assert [event for event in bob.events if is_verdict(event)] == [told]


def is_verdict(event: Event) -> bool:
    return event["event"] == "notice" and "The connection was not made" in event["message"]


def of(token: str, router: Router) -> set[int]:
    """The ports of this router that an offer shows."""
    offer = read_invitation(token)
    assert isinstance(offer, Offer)
    return {each.port for each in offer.candidates if each.address == router.address}


PATHS: Final[tuple[Callable[[Internet, People], Awaitable[None]], ...]] = (
    inviter_behind_a_nat,
    joiner_behind_a_nat,
    both_behind_nats,
    joiner_behind_a_nat_and_inviter_behind_a_firewall,
    both_behind_symmetric_routers,
    inviter_whose_router_was_off,
    members_who_say_nothing_for_long,
    nothing_passes,
    nothing_passes_but_a_folder,
)


async def test_what_comes_late_connects_and_who_cannot_connect_is_told(tmp_path: Path) -> None:
    async with internet() as net, family() as children, trio.open_nursery() as nursery:
        nursery.start_soon(open_path, net, tmp_path / "open")
        for path in PATHS:
            nursery.start_soon(path, net, People(children, tmp_path / path.__name__))
