"""Members who look for one another by tokens: both at once, when an address came or went, by pictures."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from node.events import NoticeEvent, PeerEvent, TokenEvent
from node.node import open_node, read_invitation
from signaling.description import Offer
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import by_hand, deafen, inviting
from tests.node.test_token_mishaps import is_told, lives


async def shown_offer(person: Person) -> str:
    return (await person.told.wait(TokenEvent, lambda event: event.kind == "offer")).token


async def links(person: Person) -> None:
    await person.told.wait(PeerEvent, lambda event: event.state == "up")


@asynccontextmanager
async def acquainted(directory: Path) -> AsyncIterator[tuple[Person, Person]]:
    """Two members whose nodes are down, in a room where only people carry."""
    async with inviting(directory) as (_, invite), by_hand(directory, "bob").joining(invite.token) as bob:
        await bob.admitted()
    ann = by_hand(directory, "ann")
    [ann.room] = ann.home.rooms()
    yield ann, bob


@pytest.mark.parametrize("hears", [("ann", "bob"), ("ann",), ("bob",), ()], ids="+".join)
async def test_two_who_bring_each_others_token_at_once_are_linked_whoever_can_be_reached(
    tmp_path: Path, hears: tuple[str, ...]
) -> None:
    async with acquainted(tmp_path) as (ann, bob), ann.up(), bob.up():
        for person in (ann, bob):
            if person.nick not in hears:
                deafen(person)
        tokens = await shown_offer(ann), await shown_offer(bob)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.node.carry, tokens[1])
            nursery.start_soon(bob.node.carry, tokens[0])
        if not hears:
            for one, other in ((ann, bob), (bob, ann)):
                answer = await one.told.wait(TokenEvent, lambda event: event.kind == "answer")
                await other.node.carry(answer.token)
        await links(ann)
        await links(bob)


async def test_once_nobody_lacks_a_token_for_members_is_not_shown_any_more(tmp_path: Path) -> None:
    async with acquainted(tmp_path) as (ann, bob), ann.up(), bob.up():
        await shown_offer(bob)
        await bob.node.carry(await shown_offer(ann))
        await links(bob)
        with trio.fail_after(DEADLINE):
            while bob.node._threshold.pairing.events():
                await trio.testing.wait_all_tasks_blocked(0.02)


async def test_a_token_for_members_is_shown_once_there_is_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with acquainted(tmp_path) as (_, bob):
        with monkeypatch.context() as unplugged:
            looked = trio.Event()

            def no_address(*, loopback_only: bool) -> list[str]:
                looked.set()
                return ["203.0.113.77"]

            unplugged.setattr("node.webrtc._addresses", no_address)
            async with bob.up():
                await looked.wait()
                unplugged.undo()
                await shown_offer(bob)


async def test_a_token_for_members_that_nobody_brought_is_told_of_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=2)
    async with acquainted(tmp_path) as (_, bob), bob.up():
        await shown_offer(bob)
        await is_told(bob, "/invite makes a new one")


async def test_what_machines_try_among_pictures_is_no_news_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    people = [Person(tmp_path, nick) for nick in ("ann", "bob", "cal")]
    for person in people:
        person.via = (f"qr:{tmp_path / 'pictures'}",)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context((await people[0].found()).up())
        for person in people[1:]:
            way = read_invitation((await people[0].node.invite()).token)
            node = await stack.enter_async_context(
                open_node(person.home, way, nick=person.nick, via=person.via, loopback_only=True)
            )
            person.room = await node.wait_admitted()
    async with AsyncExitStack() as stack:  # two find the first one's offer, and one of them is turned away
        for person in people:
            await stack.enter_async_context(person.up())
        with trio.fail_after(DEADLINE):
            while any(len(person.node._mesh.linked()) < 2 for person in people):
                await trio.testing.wait_all_tasks_blocked(0.02)
        told = [event for person in people for event in person.told.events]
        assert not [event.message for event in told if isinstance(event, NoticeEvent)]


async def test_tokens_of_a_machine_that_moved_are_given_up_and_those_for_members_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with acquainted(tmp_path) as (_, bob), bob.up():
        reconnect, invite = await shown_offer(bob), await bob.node.invite()
        monkeypatch.setattr("node.webrtc._addresses", lambda loopback_only: ["127.0.0.2"])
        await is_told(bob, "another address now")
        token = await bob.told.wait(
            TokenEvent, lambda event: event.kind == "offer" and event.token not in (reconnect, invite.token)
        )
        offer = read_invitation(token.token)
        assert isinstance(offer, Offer)
        assert [each.address for each in offer.candidates] == ["127.0.0.2"]
        assert bob.node._threshold.pairing.events() == [token]
