"""Nodes that meet at a real hub: somebody no link comes up to, oneself, a room that is here already."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey

from node import meet as node_meet
from node.config import Home
from node.meet import open_meeting
from node.meet_offer import Shown, decode_shown, encode_shown, nick_beside
from node.node import Node
from signaling.candidates import Candidate
from signaling.description import RoomId, decode_offer, encode, make_answer, make_offer
from signaling.hub.hub import serve
from signaling.hub.listening import listen, url_of
from signaling.hub.memory import open_memory
from signaling.hub.settings import HubSettings
from signaling.hub.store import Stores
from signaling.meet import Answered, Nobody, Offered, Outcome, Party
from signaling.meet_carrier import MeetCarrier
from signaling.meet_client import MeetClient
from signaling.meet_signals import Namespace

PATIENCE = 30.0
TEA = Party(namespace=Namespace("tea"))
QUICK = HubSettings(meet_hold=3.0, meet_request_every=0.0, meet_connect_every=0.0)
STRANGER = SigningKey(b"s" * 32)
NOWHERE = [Candidate("host", "192.0.2.1", 9)]  # TEST-NET-1: nobody answers


class Hub:
    """One in this process, of which it can be told whether somebody waits."""

    def __init__(self) -> None:
        self.url = ""
        self._stores: Stores | None = None

    @asynccontextmanager
    async def open(self, settings: HubSettings) -> AsyncIterator[Stores]:
        async with open_memory(settings) as self._stores:
            yield self._stores

    async def somebody_waits(self) -> None:
        while self._stores is None or not await self._stores.meet.elsewhere(""):
            await trio.sleep(0.02)


@asynccontextmanager
async def a_hub() -> AsyncIterator[Hub]:
    hub, listeners = Hub(), listen("127.0.0.1", 0)
    hub.url = url_of(listeners[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, listeners, QUICK, stores=hub.open, version="test"))
        with trio.fail_after(2 * PATIENCE):
            yield hub
        nursery.cancel_scope.cancel()
    for listener in listeners:
        listener.close()


@dataclass
class Seeker:
    """Somebody who looks for somebody."""

    home: Home
    url: str
    nick: str
    told: list[str] = field(default_factory=list)
    met: trio.Event = field(default_factory=trio.Event)
    nicks: list[str] = field(default_factory=list)

    async def run(self) -> None:
        async with open_meeting(
            self.home, hub=self.url, party=TEA, nick=self.nick, tell=self.told.append
        ) as node:
            self.nicks = await _nicks(node)
            self.met.set()
            await trio.sleep_forever()

    @property
    def leftovers(self) -> list[str]:
        rooms = self.home.data / "rooms"
        return [path.name for path in rooms.iterdir()] if rooms.exists() else []


async def _nicks(node: Node) -> list[str]:
    return sorted(member.nick for member in await node.who())


def an_offer(room: bytes = b"r" * 32, *, invites: bool = True, key: SigningKey = STRANGER) -> bytes:
    offer = make_offer(
        key=key, room=RoomId(room), recipient=None, seed=b"x" * 16, issued=int(time.time()), life=600,
        fingerprint=b"f" * 32, candidates=NOWHERE, invites=invites,
    )  # fmt: skip
    return encode_shown(Shown(encode(offer), "eve"))


def an_answer(offer: bytes) -> bytes:
    now = int(time.time())
    decoded = decode_offer(offer, room=None, me=None, now=now)
    return encode(
        make_answer(key=STRANGER, offer=decoded, issued=now, fingerprint=b"f" * 32, candidates=NOWHERE)
    )


async def until_somebody(client: MeetClient, offer: bytes) -> Outcome:
    while isinstance(outcome := await client.offer(offer), Nobody):
        pass
    return outcome


@pytest.mark.parametrize("role", ["offerer", "answerer"])
async def test_somebody_no_link_comes_up_to_is_given_up_and_another_one_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr(node_meet, "LINK_PATIENCE", 2.0)
    async with a_hub() as hub, AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        client = await stack.enter_async_context(MeetClient(hub.url, TEA))
        ann = Seeker(Home.at(tmp_path / "ann"), hub.url, "ann")
        if role == "answerer":  # the stranger waits, and we answer its offer
            came = trio.Event()

            async def wait() -> None:
                assert isinstance(await until_somebody(client, an_offer()), Answered)
                came.set()

            nursery.start_soon(wait)
            await hub.somebody_waits()
            nursery.start_soon(ann.run)
            await came.wait()
        else:
            nursery.start_soon(ann.run)
            await hub.somebody_waits()
            theirs = await client.offer(an_offer())
            assert isinstance(theirs, Offered)
            await client.answer(an_answer(decode_shown(theirs.payload).description))
        bob = Seeker(Home.at(tmp_path / "bob"), hub.url, "bob")
        nursery.start_soon(bob.run)
        for each in (ann, bob):
            await each.met.wait()
            assert each.nicks == ["ann", "bob"]
        assert any("no connection" in message for message in ann.told), ann.told
        assert [len(each.leftovers) for each in (ann, bob)] == [1, 1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("what", ["a room that is here", "for members", "no offer at all", "no name"])
async def test_an_offer_of_no_use_is_bounced_and_the_next_one_is_met(tmp_path: Path, what: str) -> None:
    async with a_hub() as hub, AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        client = await stack.enter_async_context(MeetClient(hub.url, TEA))
        ann = Seeker(Home.at(tmp_path / "ann"), hub.url, "ann")
        here = ann.home.room_directory((b"k" * 32).hex())
        here.mkdir(parents=True)
        (here / "kept").touch()
        junk = {
            "a room that is here": an_offer(b"k" * 32),
            "for members": an_offer(invites=False),
            "no offer at all": b"hello",
            "no name": encode_shown(Shown(decode_shown(an_offer()).description, "two\nlines")),
        }
        nursery.start_soon(until_somebody, client, junk[what])
        await hub.somebody_waits()
        nursery.start_soon(ann.run)
        while not ann.told:
            await trio.sleep(0.05)
        bob = Seeker(Home.at(tmp_path / "bob"), hub.url, "bob")
        if what == "a room that is here":
            bob.home.room_directory(here.name).mkdir(parents=True)
        nursery.start_soon(bob.run)
        for each in (ann, bob):
            await each.met.wait()
            assert each.nicks == ["ann", "bob"]
        assert (here / "kept").exists(), "nothing that was here is touched"
        nursery.cancel_scope.cancel()


async def test_a_home_does_not_meet_itself(tmp_path: Path) -> None:
    async with a_hub() as hub, trio.open_nursery() as nursery:
        home = Home.at(tmp_path / "ann")
        twice = [Seeker(home, hub.url, "ann") for _ in range(2)]
        for each in twice:
            nursery.start_soon(each.run)
        with trio.fail_after(PATIENCE):
            while not any("met itself" in message for each in twice for message in each.told):
                await trio.sleep(0.05)
        assert not any(each.met.is_set() for each in twice)
        nursery.cancel_scope.cancel()
    assert twice[0].leftovers == []


async def test_a_hub_that_holds_nobody_is_not_asked_more_than_once_a_second(tmp_path: Path) -> None:
    asked = list[float]()

    async def nobody(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some(65536):
                if data.endswith(b"}"):
                    asked.append(trio.current_time())
                    await stream.send_all(b"HTTP/1.1 299 Nobody\r\nContent-Length: 2\r\n\r\n{}")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, nobody, 0)
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(Seeker(Home.at(tmp_path / "ann"), f"http://127.0.0.1:{port}", "ann").run)
        with trio.fail_after(PATIENCE):
            while len(asked) < 3:
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert asked[2] - asked[0] > 1.9


async def test_who_waits_shows_another_offer_once_the_machine_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    new_offer = node_meet._new_offer

    async def noted(node: Node, carrier: MeetCarrier) -> bytes:
        made.append(await new_offer(node, carrier))
        return made[-1]

    monkeypatch.setattr(node_meet, "_new_offer", noted)
    async with a_hub() as hub, trio.open_nursery() as nursery:
        nursery.start_soon(Seeker(Home.at(tmp_path / "ann"), hub.url, "ann").run)
        await hub.somebody_waits()
        monkeypatch.setattr("node.webrtc._addresses", lambda loopback_only: ["127.0.0.2"])
        with trio.fail_after(PATIENCE):
            while len(made) < 2:
                await trio.sleep(0.05)
        shown = decode_offer(made[1], room=None, me=None, now=int(time.time()))
        assert [each.address for each in shown.candidates] == ["127.0.0.2"]
        nursery.cancel_scope.cancel()


async def test_two_who_go_by_one_name_meet(tmp_path: Path) -> None:
    async with a_hub() as hub, trio.open_nursery() as nursery:
        both = [
            Seeker(Home.at(tmp_path / str(number)), hub.url, nick)
            for number, nick in enumerate(("Zoë", "ZOË"))
        ]
        for each in both:
            nursery.start_soon(each.run)
        for each in both:
            await each.met.wait()
        assert both[0].nicks == both[1].nicks
        assert both[0].nicks in (["ZOË 2", "Zoë"], ["ZOË", "Zoë 2"])
        assert sum("much the same name" in message for each in both for message in each.told) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("mine", "other", "called"),
    [
        ("ann", "bob", "ann"),
        ("ann", "ANN", "ann 2"),
        ("a" * 32, "a" * 32, "a" * 30 + " 2"),
        ("ann 2", "ann", "ann 2"),
    ],
)
def test_a_name_beside_another_one(mine: str, other: str, called: str) -> None:
    assert nick_beside(other, mine=mine) == called
