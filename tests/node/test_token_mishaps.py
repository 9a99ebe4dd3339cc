"""Tokens when people do not keep to the one good order: too many, too late, the wrong way, alone."""

import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from chain.ids import MemberId
from node.connect import rendezvous
from node.errors import ConnectFailed, NotAMember, Unreachable, UsageError
from node.events import NoticeEvent, OverEvent, RemovedEvent, TokenEvent, WordsEvent
from node.node import open_node, read_invitation
from signaling.candidates import Candidate
from signaling.description import MAX_LIFE, SEED_BYTES, Offer, RoomId, make_offer
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import answer_of, by_hand, inviting


def lives(monkeypatch: pytest.MonkeyPatch, *, offer: float, connect: float = 20.0) -> None:
    """How many seconds offers live and connecting may take, for the nodes that come up from now on."""

    async def brief(**named: Any) -> None:
        await rendezvous(**{**named, "offer_life": offer, "connect_deadline": connect})

    monkeypatch.setattr("node.threshold.rendezvous", brief)


async def is_told(person: Person, words: str) -> None:
    await person.told.wait(NoticeEvent, lambda event: words in event.message)


def is_of(token: str, event: TokenEvent) -> bool:
    return event.token == token


async def test_of_five_tokens_the_first_is_no_good_any_more_and_that_is_said(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, _):
        for _more in range(4):
            token = (await ann.node.invite()).token
            await ann.told.wait(TokenEvent, partial(is_of, token))
        await is_told(ann, "the oldest does not any more")
        assert len(ann.node._threshold.pairing.events()) == 4


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


async def test_nobody_has_us_knock_somewhere_for_a_day_and_who_means_to_is_told_how(
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
    with pytest.raises(Unreachable, match="nothing came") as told, trio.fail_after(DEADLINE):
        async with open_node(by_hand(tmp_path, "bob").home, offer, nick="bob", loopback_only=True) as node:
            await node.wait_admitted()
    assert "join with it again, with --offer-life" in told.value.hint


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


async def test_who_left_the_room_invites_nobody_any_more(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (_, invite), by_hand(tmp_path, "bob").joining(invite.token) as bob:
        await bob.admitted()
        await bob.node.leave()
        await bob.told.wait(RemovedEvent)
        with pytest.raises(NotAMember):
            await bob.node.invite()


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


async def test_who_joins_with_a_copied_conversation_takes_the_invitation_that_is_of_use(
    tmp_path: Path,
) -> None:
    async with inviting(tmp_path, deaf=True, offer_life=2) as (ann, old):
        async with by_hand(tmp_path, "bob").joining(old.token) as bob:
            answer = await answer_of(bob)
        await ann.told.wait(OverEvent, lambda event: event.token == old.token)
        fresh = await ann.node.renew(old.token)
        found = read_invitation(f"ann: {old.token}\nbob: {answer}\nann: {fresh.token}")
        assert isinstance(found, Offer)
        assert found.expires * 1000 == fresh.expires
        with pytest.raises(UsageError, match="an answer, not an invitation"):
            read_invitation(answer)
        with pytest.raises(UsageError, match="expired"):
            read_invitation(f"ann: {old.token}\nbob: {answer}")
