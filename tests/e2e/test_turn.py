"""Through a real TURN server: who can meet no other way, and who shows no address of its own to anybody."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from subprocess import PIPE

import msgspec
import pytest
import trio

from console.children import Child, Event, Family, command, family
from signaling.candidates import Candidate
from signaling.description import decode_offer
from signaling.token import from_token
from tests.e2e.capture import Capture, capture, forms_of
from tests.e2e.nats import internet, stun_server
from tests.e2e.networks import Host, hosts_on_a_switch, needs_hosts
from tests.e2e.turn import PASSWORD, TurnServer, needs_coturn, turn_server

pytestmark = [needs_hosts, needs_coturn]
PATIENCE = 30.0
HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP


def home(place: Path, name: str) -> tuple[str, ...]:
    return "--as", name, "--home", str(place / name), "--json"


async def say(node: Child, text: str, *, to: Child) -> None:
    await node.say(text)
    await to.wait_for("final", within=PATIENCE, where=lambda event: event["text"] == text)


async def test_behind_routers_that_no_guess_gets_through_two_meet_by_one_token(tmp_path: Path) -> None:
    async with internet() as net, turn_server(net.host(), tmp_path / "turn") as turn, family() as children:
        here, there = net.router(symmetric=True).host(), net.router(symmetric=True).host()
        through = ("--turn-file", str(turn.file(tmp_path / "turn.json")), "--stun", turn.where)
        by_hand = ("--via", "paste", *through)
        ann = await here.start(
            children, "ann", "new", "r", "--admit", "auto", *by_hand, *home(tmp_path, "ann")
        )
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        bob = await there.start(children, "bob", "join", token, *by_hand, *home(tmp_path, "bob"))
        await bob.wait_for("admitted", within=PATIENCE)  # and nobody carried an answer back
        await say(ann, "hello from ann", to=bob)
        await say(bob, "hello from bob", to=ann)


async def test_an_offer_is_given_up_when_the_router_in_front_has_another_way_in(tmp_path: Path) -> None:
    async with internet() as net, stun_server(net.host()) as stun, family() as children:
        router = net.router()
        line = ("new", "r", "--via", "paste", "--stun", stun, *home(tmp_path, "ann"))
        ann = await router.host().start(children, "ann", *line)
        first = (await ann.wait_for("invite", within=PATIENCE))["token"]
        router.forget()
        await ann.wait_for("notice", within=PATIENCE, where=speaks_of("leads nowhere"))
        seen = len(ann.events)
        await ann.say("/invite")
        second = (await ann.wait_for("invite", within=PATIENCE, since=seen))["token"]
        former, latter = (mapped_in(token) for token in (first, second))
        assert former.address == latter.address == router.address
        assert former.port != latter.port


async def test_an_answer_that_waits_is_made_anew_when_the_router_has_another_way_in(tmp_path: Path) -> None:
    async with internet() as net, stun_server(net.host()) as stun, family() as children:
        router, open_host = net.router(), net.host()
        open_host.guard()  # nobody comes by the offer alone
        line = ("new", "r", "--admit", "auto", "--via", "paste", *home(tmp_path, "ann"))
        ann = await open_host.start(children, "ann", *line)
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        line = ("join", token, "--via", "paste", "--stun", stun, *home(tmp_path, "bob"))
        bob = await router.host().start(children, "bob", *line)
        former = (await bob.wait_for("token", within=PATIENCE))["token"]
        router.forget()
        over = await bob.wait_for("over", within=PATIENCE)
        assert (over["token"], over["reason"]) == (former, "stale")
        newest = await bob.wait_for("token", within=PATIENCE, where=lambda event: event["token"] != former)
        await ann.say(newest["token"])
        await bob.wait_for("admitted", within=PATIENCE)


def mapped_in(token: str) -> Candidate:
    offer = decode_offer(from_token(token)[1], room=None, me=None, now=int(time.time()))
    (mapped,) = [each for each in offer.candidates if each.type == "srflx"]
    return mapped


@dataclass
class Relayed:
    """Hosts on one switch, where nothing but an option keeps them from talking to one another directly."""

    place: Path
    hosts: dict[str, Host]
    captured: dict[str, Capture]
    turn: TurnServer
    children: Family
    options: tuple[str, ...]

    async def start(self, name: str, *arguments: str) -> Child:
        line = (*arguments, *self.options, "--home", str(self.place / name), "--json", "-vv")
        return await self.hosts[name].start(self.children, name, *line)

    async def found(self, *more: str) -> tuple[Child, str]:
        """Ann's room, and an invitation."""
        ann = await self.start("ann", "new", "r", "--as", "ann", "--admit", "auto", *more)
        return ann, (await ann.wait_for("invite", within=PATIENCE))["token"]

    def assert_only_the_server_was_spoken_to(self) -> None:
        for name, captured in self.captured.items():
            assert captured.hosts() <= {self.hosts[name].address, self.turn.host.address}, name

    def assert_no_address_in(self, text: bytes, *, where: str, of: Collection[str]) -> None:
        for name in of:
            for form, address in forms_of(self.hosts[name].address).items():
                assert address not in text, f"{name}'s address, as {form}, is in {where}"


@asynccontextmanager
async def relayed(place: Path, *names: str) -> AsyncIterator[Relayed]:
    async with hosts_on_a_switch(len(names) + 1) as hosts, AsyncExitStack() as stack:
        turn = await stack.enter_async_context(turn_server(hosts[-1], place / "turn"))
        captured = {
            name: await stack.enter_async_context(capture(host, place / f"{name}.frames"))
            for name, host in zip(names, hosts, strict=False)
        }
        children = await stack.enter_async_context(family())
        only = ("--relay-only", "--turn-file", str(turn.file(place / "turn.json")))
        yield Relayed(place, dict(zip(names, hosts, strict=False)), captured, turn, children, only)


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bytes_in_tokens(events: Iterable[Event]) -> bytes:
    return b"".join(
        from_token(event["token"])[1] for event in events if event["event"] in ("token", "invite")
    )


async def test_with_relay_only_no_address_of_a_host_is_in_anything_and_nothing_goes_directly(
    tmp_path: Path,
) -> None:
    names = ("ann", "bob", "cal")
    async with relayed(tmp_path, *names) as world:
        by_hand = ("--via", "paste")
        ann, token = await world.found(*by_hand)
        nodes = {"ann": ann}
        for n, name in enumerate(names[1:], start=2):
            if n > 2:
                seen = len(ann.events)
                await ann.say("/invite")
                token = (await ann.wait_for("invite", within=PATIENCE, since=seen))["token"]
            nodes[name] = await world.start(name, "join", token, "--as", name, *by_hand)
            await nodes[name].wait_for("admitted", within=PATIENCE)
        # Bob and Cal have never seen a token of each other: Ann introduces them.
        await nodes["cal"].wait_for("peer", within=PATIENCE, where=lambda event: event["nick"] == "bob")
        await say(nodes["bob"], "hello from bob", to=nodes["cal"])
        await say(nodes["cal"], "hello from cal", to=nodes["bob"])
        for host in world.hosts.values():
            places = udp_peers(host)
            assert places, "those to the server"
            assert set(places) == {world.turn.host.address}, "a socket that others could write to"
        code, status, _ = await finished(world, "bob", "status")
        assert code == 0
        for name, node in nodes.items():
            said = msgspec.json.encode(node.events) + bytes_in_tokens(node.events) + node.complaints + status
            world.assert_no_address_in(said, where=f"what {name} said", of=names)
            assert PASSWORD.encode() not in said
    world.assert_only_the_server_was_spoken_to()
    for name, captured in world.captured.items():
        others = [other for other in names if other != name]
        received = b"".join(packet.frame[HEADERS:] for packet in captured.packets())
        assert len(received) > 10_000
        world.assert_no_address_in(received, where=f"what came to {name}", of=others)
        for path, content in files_under(tmp_path / name).items():
            world.assert_no_address_in(content, where=path, of=names)
            assert PASSWORD.encode() not in content
            assert not path.endswith("room.json") or b'"relay_only": true' in content


def udp_peers(host: Host) -> list[str]:
    """Whom each UDP socket there is connected with; 0.0.0.0 where it takes from anybody."""
    tables = [host.do("cat", f"/proc/net/{file}").splitlines()[1:] for file in ("udp", "udp6")]
    others = [line.split()[2].partition(":")[0] for lines in tables for line in lines]
    return [str(ip_address(bytes.fromhex(other)[::-1])) for other in others]


async def finished(world: Relayed, name: str, *arguments: str) -> tuple[int, bytes, str]:
    """Run one short command: exit code, standard output, standard error."""
    line = world.hosts[name].inside(*command(*arguments, "--home", str(world.place / name), "--json"))
    done = await trio.run_process(line, capture_stdout=True, capture_stderr=True, check=False, stdin=b"")
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize(
    ("fault", "code", "why"),
    [
        ("dead", 4, "nobody listens at that port"),
        ("silent", 4, "does not answer"),
        ("password", 4, "does not take this user name and password"),
        ("readable", 2, "others may read it"),
        ("missing", 2, "cannot be read"),
    ],
)
async def test_relay_only_does_nothing_at_all_where_the_relay_does_not_work(
    fault: str, code: int, why: str, tmp_path: Path
) -> None:
    async with relayed(tmp_path, "ann") as world:
        secret = tmp_path / "turn.json"
        match fault:
            case "dead":
                world.turn.stop()
            case "silent":
                world.turn.host.guard()
            case "password":
                world.turn.file(secret, password="another one")
            case "readable":
                secret.chmod(0o644)
            case "missing":
                secret.unlink()
        began = trio.current_time()
        new = await world.start(
            "ann", "new", "r", "--as", "ann", "--via", "paste", "--via", f"dir:{tmp_path}/l"
        )
        error = await new.wait_for("error", within=PATIENCE)
        assert (await new.wait(within=PATIENCE), error["code"]) == (code, code)
        assert trio.current_time() - began < 25, "aioice alone would take a minute"
        assert why in error["message"], error
        assert error["hint"]
        assert [event["event"] for event in new.events] == ["error"], "nothing was shown to anybody"
        assert not (tmp_path / "ann").exists(), "and no room was made"
    world.assert_only_the_server_was_spoken_to()


async def test_a_relay_that_is_lost_in_the_middle_is_never_made_up_for_by_a_direct_path(
    tmp_path: Path,
) -> None:
    async with relayed(tmp_path, "ann", "bob") as world:
        folder = ("--via", f"dir:{tmp_path / 'lobby'}")
        ann, token = await world.found(*folder)
        bob = await world.start("bob", "join", token, "--as", "bob", *folder)
        await bob.wait_for("admitted", within=PATIENCE)
        await say(ann, "hello", to=bob)
        seen = len(ann.events), len(bob.events)
        world.turn.stop()
        await ann.wait_for(
            "peer", within=PATIENCE, since=seen[0], where=lambda event: event["state"] == "down"
        )
        await bob.wait_for("notice", within=PATIENCE, since=seen[1], where=speaks_of("The TURN server"))
        await ann.say("said while nobody could be reached")
        await world.turn.start()
        await bob.wait_for(
            "final",
            within=PATIENCE,
            where=lambda event: event["text"] == "said while nobody could be reached",
        )
        await bob.wait_for("notice", within=PATIENCE, since=seen[1], where=speaks_of("answers again"))
    world.assert_only_the_server_was_spoken_to()


def speaks_of(words: str) -> Callable[[Event], bool]:
    return lambda event: words in event["message"]


async def test_a_pipe_ends_with_its_relay_and_names_no_host_in_its_descriptions(tmp_path: Path) -> None:
    async with relayed(tmp_path, "ann", "bob") as world:
        offer, answer = tmp_path / "offer.json", tmp_path / "answer.json"
        ends = {
            "ann": ("--offer", "--out", str(offer), "--in", str(answer)),
            "bob": ("--answer", "--in", str(offer), "--out", str(answer)),
        }
        pipes = {name: await start_pipe(world, name, *end) for name, end in ends.items()}
        one, other = pipes.values()
        assert one.stdin is not None
        assert other.stdout is not None
        try:
            with trio.fail_after(PATIENCE):
                await one.stdin.send_all(b"through the relay")
                assert await other.stdout.receive_some() == b"through the relay"
                for description in (offer.read_bytes(), answer.read_bytes()):
                    assert description.count(b"typ relay") == description.count(b"candidate:") == 1
                    world.assert_no_address_in(description, where="a description", of=("ann", "bob"))
                world.turn.stop()
                assert [await each.wait() for each in pipes.values()] == [4, 4]
        finally:
            for each in pipes.values():
                each.kill()
    world.assert_only_the_server_was_spoken_to()


async def start_pipe(world: Relayed, name: str, *arguments: str) -> trio.Process:
    line = world.hosts[name].inside(*command("pipe", *arguments, *world.options))
    return await trio.lowlevel.open_process(line, stdin=PIPE, stdout=PIPE)
