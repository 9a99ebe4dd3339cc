"""Tokens when people do not keep to the one good order: both at once, too many, too late, the wrong way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from node.connect import rendezvous
from node.events import NoticeEvent, PeerEvent, TokenEvent
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import by_hand, deafen, inviting


def lives(monkeypatch: pytest.MonkeyPatch, *, offer: float, connect: float = 20.0) -> None:
    """How many seconds offers live and connecting may take, for the nodes that come up from now on."""
    brief = partial(rendezvous, offer_life=offer, connect_deadline=connect)
    monkeypatch.setattr("node.threshold.rendezvous", brief)


async def is_told(person: Person, words: str) -> None:
    await person.told.wait(NoticeEvent, lambda event: words in event.message)


def is_of(token: str, event: TokenEvent) -> bool:
    return event.token == token


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


async def test_of_five_tokens_the_first_is_no_good_any_more_and_that_is_said(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, _):
        for _more in range(4):
            token = (await ann.node.invite()).token
            await ann.told.wait(TokenEvent, partial(is_of, token))
        await is_told(ann, "the oldest does not any more")
        assert len(ann.node._threshold.pairing.events()) == 4
