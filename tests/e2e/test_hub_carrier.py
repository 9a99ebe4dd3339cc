"""Homes that meet at a hub, ours or npm's signalhub: what it can do for them, and what it never sees."""

import ipaddress
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from aioice.ice import get_host_addresses

from console.children import Event, family
from signaling.hub_box import HubBox
from tests.e2e.homes import PATIENCE, Homes, one_log
from tests.signaling.hub_servers import KINDS, Relay, hub_process, packed

NICKS = ("annabella", "bartholomew", "caledonia")
ROOM = "tea-and-biscuits"
NOWHERE = "hub:http://127.0.0.1:9"


class HubHouse(Homes):
    """Homes with long names, which no random bytes spell, and the room's."""

    async def found(self, *more: str, rule: str = "auto") -> str:
        node = await self.start(NICKS[0], "new", ROOM, "--as", NICKS[0], *self.via, "--admit", rule, *more)
        await node.wait_for("room", within=PATIENCE)
        return str((await node.wait_for("invite", within=PATIENCE))["token"])

    async def join(self, name: str) -> None:
        """With nothing but the invitation."""
        n = len(self.nodes) + 1
        await self.start(name, "join", await self.invite(NICKS[0]), "--as", name)
        await self.all_have(n)


@asynccontextmanager
async def hubs(*kinds: str) -> AsyncIterator[list[Relay]]:
    """A hub of each kind behind a relay that hears everything."""
    with ExitStack() as stack:
        ports = [stack.enter_context(hub_process(kind))[1] for kind in kinds]
        async with trio.open_nursery() as nursery:
            relays = [Relay(port) for port in ports]
            for relay in relays:
                await nursery.start(relay.run)
            yield relays
            nursery.cancel_scope.cancel()


def at(relay: Relay) -> str:
    return f"hub:http://localhost:{relay.port}"


def about(hub: str, words: str) -> Callable[[Event], bool]:
    def says(event: Event) -> bool:
        return str(event["message"]).startswith(hub) and words in str(event["message"])

    return says


@pytest.mark.parametrize("kind", KINDS)
async def test_three_pair_and_come_back_through_a_hub_that_learns_nothing_of_them(
    tmp_path: Path, kind: str
) -> None:
    async with hubs(kind) as (hub,), family() as children:
        homes = HubHouse(children, tmp_path, carrier=at(hub))
        await homes.found()
        for name in NICKS[1:]:
            await homes.join(name)
        for name in NICKS:
            await homes.nodes[name].say(f"{name} speaks")
        await homes.everyone_sees({f"{name} speaks" for name in NICKS})
        for name in NICKS:  # all: nobody is left to introduce anybody
            await homes.kill(name)
        for name in NICKS:
            await homes.start(name, "chat")
        await homes.nodes[NICKS[2]].say("we are back")
        await homes.everyone_sees({"we are back"})
        log = await one_log(homes, NICKS)
        assert log[-1]["text"] == "we are back"
        _, (status,), _ = await homes.run(NICKS[0], "status")
        _, members, _ = await homes.run(NICKS[0], "who")
        wire = packed(hub.heard)
    assert wire.count(b"POST /v1/pigeon/") > 10
    room = bytes.fromhex(str(status["anchor"]).split(":", maxsplit=1)[0])
    assert HubBox(room).channel.encode() in wire, "it is this room's traffic that was heard"
    identities = [bytes.fromhex(str(member["member"])) for member in members]
    assert len(identities) == 3
    secrets = [*map(str.encode, (*NICKS, ROOM, "speaks"))]
    for name in (room, *identities):  # their beginnings are told from one another as well
        secrets += [name[:8], name.hex()[:16].encode()]
    for address in get_host_addresses(use_ipv4=True, use_ipv6=True):
        secrets += [address.encode(), ipaddress.ip_address(address).packed]
    for secret in secrets:
        assert secret not in wire, secret


async def test_a_hub_that_dies_ends_no_chat_and_brings_newcomers_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack, family() as children:
        process, port = stack.enter_context(hub_process("ours"))
        hub = f"hub:http://127.0.0.1:{port}"
        homes = HubHouse(children, tmp_path, carrier=hub)
        await homes.found()
        await homes.join(NICKS[1])
        ann = homes.nodes[NICKS[0]]
        process.kill()
        process.wait()
        await ann.wait_for("notice", within=PATIENCE, where=about(hub, "cannot be reached"))
        await ann.say("still here")
        await homes.everyone_sees({"still here"})
        code, events, said = await homes.run(NICKS[0], "invite")
        assert code == 0
        assert f"{hub}: The hub cannot be reached: Connection refused." in said
        token = next(str(event["token"]) for event in events if event["event"] == "invite")
        code, events, _ = await homes.run(
            NICKS[2], "join", token, "--as", NICKS[2], "--headless", "--timeout", "4"
        )
        assert (code, events[-1]["code"]) == (4, 4)
        assert any(about(hub, "cannot be reached")(each) for each in events if each["event"] == "notice")
        seen = len(ann.events)
        stack.enter_context(hub_process("ours", port=port))
        await ann.wait_for("notice", within=PATIENCE, since=seen, where=about(hub, "works again"))
        await homes.start(NICKS[2], "join", token, "--as", NICKS[2])
        await homes.all_have(3)
        await homes.nodes[NICKS[2]].say("at last")
        await homes.everyone_sees({"at last"})


async def test_of_two_hubs_one_that_lives_is_enough(tmp_path: Path) -> None:
    async with hubs("ours", "ours") as (hub, other), family() as children:
        homes = HubHouse(children, tmp_path, carrier=NOWHERE)
        await homes.found("--via", at(hub), "--via", at(other))
        await homes.join(NICKS[1])
        ann = homes.nodes[NICKS[0]]
        await ann.wait_for("notice", within=PATIENCE, where=about(NOWHERE, "cannot be reached"))
        await ann.say("by either of them")
        await homes.everyone_sees({"by either of them"})
        _, (status,), _ = await homes.run(NICKS[0], "status")
        assert [note for note in status["notes"] if note.startswith("hub:")] == [
            f"{NOWHERE}: The hub cannot be reached: Connection refused. "
            "Check its address and your network; it is tried again by itself."
        ]
        hub.cut()
        await homes.kill(NICKS[1])
        bob = await homes.start(NICKS[1], "chat")
        await bob.wait_for("peer", within=PATIENCE, where=lambda event: event["state"] == "up")


async def test_joining_by_a_hub_without_an_invitation_is_answered_with_what_is_missing(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier=NOWHERE)
        bob = await homes.start("bob", "join", "--as", "bob", *homes.via)
        await bob.end_input()
        assert await bob.wait(within=PATIENCE) == 2
        assert b"joining through one needs an invitation from a member" in bob.complaints


async def test_two_whose_link_was_lost_find_each_other_again_by_the_hub(tmp_path: Path) -> None:
    """One of them stands still, as a machine does that sleeps; nobody else is there to introduce them."""
    async with hubs("ours") as (hub,), family() as children:
        homes = HubHouse(children, tmp_path, carrier=at(hub))
        await homes.found()
        await homes.join(NICKS[1])
        ann, bob = (homes.nodes[name] for name in NICKS[:2])
        seen = len(ann.events)
        bob.process.send_signal(signal.SIGSTOP)
        await ann.wait_for("peer", within=PATIENCE, since=seen, where=lambda event: event["state"] == "down")
        bob.process.send_signal(signal.SIGCONT)
        await ann.wait_for("peer", within=PATIENCE, since=seen, where=lambda event: event["state"] == "up")
        await bob.say("awake")
        await homes.everyone_sees({"awake"})
