"""Tokens when people do not keep to the one good order: both at once, too many, too late, the wrong way."""

import resource
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from chain.ids import MemberId
from node.connect import rendezvous
from node.errors import ConnectFailed, NotAMember, Unreachable, UsageError
from node.events import NoticeEvent, PeerEvent, RemovedEvent, TokenEvent, WordsEvent
from node.node import open_node, read_invitation
from signaling.candidates import Candidate
from signaling.description import MAX_LIFE, SEED_BYTES, Offer, RoomId, make_offer
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import answer_of, by_hand, deafen, inviting


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


async def test_a_token_for_members_that_nobody_brought_is_told_of_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=2)
    async with acquainted(tmp_path) as (_, bob), bob.up():
        await shown_offer(bob)
        await is_told(bob, "/invite makes a new one")


async def test_what_one_shows_oneself_is_told_from_what_belongs_to_others(tmp_path: Path) -> None:
    async with (
        inviting(tmp_path, deaf=True) as (ann, invite),
        by_hand(tmp_path, "bob").joining(invite.token) as bob,
    ):
        with pytest.raises(UsageError, match="This answer is the one that you show"):
            await bob.node.carry(await answer_of(bob))
        with pytest.raises(UsageError, match="This offer is the one that you show"):
            await ann.node.carry(invite.token)


async def test_of_a_copied_conversation_the_token_that_is_of_use_is_taken(tmp_path: Path) -> None:
    async with inviting(tmp_path, deaf=True) as (ann, first):
        second = await ann.node.invite()
        async with by_hand(tmp_path, "bob").joining(second.token) as bob:
            talk = f"ann: {first.token}\nann: sorry, this one:\n{second.token}\nbob: here you are\n"
            with pytest.raises(UsageError, match="This offer is the one that you show"):
                await ann.node.carry(talk)
            assert await ann.node.carry(f"{talk}{await answer_of(bob)}\n") == "answer"
            await bob.admitted()


async def test_nobody_has_us_knock_somewhere_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=1, connect=1)
    offer = make_offer(
        key=SigningKey.generate(),
        room=RoomId(bytes(32)),
        recipient=None,
        seed=bytes(SEED_BYTES),
        issued=int(time.time()),
        life=MAX_LIFE,
        fingerprint=bytes(32),
        candidates=[Candidate("host", "127.0.0.1", 9)],
        invites=True,
    )
    with pytest.raises(Unreachable, match="nothing came"), trio.fail_after(DEADLINE):
        async with open_node(by_hand(tmp_path, "bob").home, offer, nick="bob", loopback_only=True) as node:
            await node.wait_admitted()


async def test_who_waits_to_be_let_in_goes_on_waiting_when_a_further_token_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=2, connect=1)
    ann = await by_hand(tmp_path, "ann").found(rule="ask")
    async with ann.up(), by_hand(tmp_path, "bob").joining((await ann.node.invite()).token) as bob:
        await ann.is_asked_by("bob")
        dead = (await ann.node.invite()).token
        offers = ann.node._threshold.pairing.offers
        for wish in offers:
            offers.withdraw(wish)
        await bob.node.carry(dead)
        await is_told(bob, "The connection was not made")
        await ann.node.admit("bob")
        await bob.admitted()


async def test_who_was_cut_off_before_being_let_in_hears_what_to_do_and_comes_back_by_any_members_token(
    tmp_path: Path,
) -> None:
    ann = await by_hand(tmp_path, "ann").found(rule="ask")
    async with ann.up(), by_hand(tmp_path, "cal").joining((await ann.node.invite()).token) as cal:
        await ann.is_asked_by("cal")
        await ann.node.admit("cal")
        await cal.admitted()
        async with by_hand(tmp_path, "bob").joining((await ann.node.invite()).token) as bob:
            asks = await ann.is_asked_by("bob")
            ann.node._mesh.drop(MemberId(bytes.fromhex(asks.member)))
            await is_told(bob, "ask for a new token and paste it here")
            assert await bob.node.carry((await cal.node.invite()).token) == "offer"
            cal_id = (await cal.node.room()).me
            await bob.told.wait(WordsEvent, lambda event: event.member == cal_id)
            ann.told.events.clear()
            await cal.node.admit("bob")
            await ann.is_asked_by("bob")
            await ann.node.admit("bob")
            await bob.admitted()


async def test_a_token_that_expired_on_the_way_in_ends_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=2)
    async with inviting(tmp_path) as (_, invite):
        offer = read_invitation(invite.token)
        assert isinstance(offer, Offer)
        with trio.fail_after(DEADLINE):
            while offer.expires > time.time():
                await trio.testing.wait_all_tasks_blocked(0.1)
    with pytest.raises(Unreachable, match="expired before it could be used"):
        async with open_node(by_hand(tmp_path, "bob").home, offer, nick="bob", loopback_only=True) as node:
            await node.wait_admitted()


async def test_a_dead_token_ends_the_attempt_also_where_there_is_a_place_nothing_can_be_asked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=2, connect=1)
    async with inviting(tmp_path) as (_, invite):
        offer = read_invitation(invite.token)
        assert isinstance(offer, Offer)
    bob = Person(tmp_path, "bob")
    with pytest.raises(Unreachable, match="No member was reached"), trio.fail_after(DEADLINE):
        async with open_node(
            bob.home, offer, nick="bob", via=(*bob.via, "paste"), loopback_only=True
        ) as node:
            await node.wait_admitted()


async def test_an_answer_that_is_carried_at_the_last_moment_still_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, offer=4, connect=3)
    async with (
        inviting(tmp_path, deaf=True) as (ann, invite),
        by_hand(tmp_path, "bob").joining(invite.token) as bob,
    ):
        answer = await answer_of(bob)
        while invite.expires / 1000 - time.time() > 0.02:
            await trio.testing.wait_all_tasks_blocked(0.005)
        await ann.node.carry(answer)
        await bob.admitted()


async def test_a_token_that_one_came_with_is_used_by_that(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (_, invite), by_hand(tmp_path, "bob").joining(invite.token) as bob:
        await bob.admitted()
        with pytest.raises(UsageError, match="used already"):
            await bob.node.carry(invite.token)


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


async def test_who_left_the_room_invites_nobody_any_more(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (_, invite), by_hand(tmp_path, "bob").joining(invite.token) as bob:
        await bob.admitted()
        await bob.node.leave()
        await bob.told.wait(RemovedEvent)
        with pytest.raises(NotAMember):
            await bob.node.invite()


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


async def test_without_descriptors_there_is_no_invitation_and_the_node_goes_on(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no new one above stderr
        try:
            with pytest.raises(ConnectFailed):
                await ann.node.invite()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await ann.node.invite()).token
