"""Offers to whoever holds them: one token connects, by the first STUN check or by a carried answer."""

import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from aioice import stun

from node.config import DEFAULT_OFFER_LIFE, LONGEST_OFFER_LIFE
from node.errors import ConnectFailed, Unreachable, UsageError
from node.events import InviteEvent, NoticeEvent, PeerEvent, TokenEvent, WordsEvent
from node.node import read_invitation
from signaling.description import Offer
from tests.node.rooms import Person


def by_hand(directory: Path, nick: str) -> Person:
    person = Person(directory, nick)
    person.via = ("paste",)
    return person


@asynccontextmanager
async def inviting(
    directory: Path, *, deaf: bool = False, offer_life: int | None = None
) -> AsyncIterator[tuple[Person, InviteEvent]]:
    ann = await by_hand(directory, "ann").found()
    async with ann.up(offer_life=offer_life):
        if deaf:
            deafen(ann)
        yield ann, await ann.node.invite()


def deafen(person: Person) -> None:
    """As behind a firewall: no check tells its offers from now on anything; answers come from elsewhere."""
    person.node._threshold.pairing.offers.hear = lambda _wish, _ufrag: False  # type: ignore[method-assign]


async def answer_of(person: Person) -> str:
    return (await person.told.wait(TokenEvent, lambda event: event.kind == "answer")).token


async def test_one_token_connects_and_nothing_has_to_be_carried_back(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, invite):
        assert (await ann.told.wait(TokenEvent)).token == invite.token
        async with by_hand(tmp_path, "bob").joining(invite.token) as bob:
            await bob.admitted()
            assert bob.room.via == ("paste",)
            peer = await ann.told.wait(PeerEvent)
            words = (await bob.told.wait(WordsEvent)).words
            assert [m.words for m in await ann.node.who() if m.member == peer.member] == [words]
            assert ann.node._threshold.pairing.events() == []
            assert bob.node._threshold.pairing.events() == []


async def test_where_no_check_arrives_the_answer_is_carried_and_works_as_well(tmp_path: Path) -> None:
    async with (
        inviting(tmp_path, deaf=True) as (ann, invite),
        by_hand(tmp_path, "bob").joining(invite.token) as bob,
    ):
        quoted = f"> {await answer_of(bob)}\nthat is what I got"
        assert await ann.node.carry(quoted) == "answer"
        await bob.admitted()


async def test_a_carried_answer_that_came_by_itself_before_is_no_error_once_and_one_the_second_time(
    tmp_path: Path,
) -> None:
    async with inviting(tmp_path) as (ann, invite), by_hand(tmp_path, "bob").joining(invite.token) as bob:
        answer = await answer_of(bob)
        await bob.admitted()
        assert await ann.node.carry(answer) == "answer"
        with pytest.raises(UsageError, match="used already"):
            await ann.node.carry(answer)


async def test_a_token_lets_one_person_in_and_the_second_hears_it(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, invite), by_hand(tmp_path, "bob").joining(invite.token) as bob:
        await bob.admitted()
        with pytest.raises(Unreachable, match="connected with somebody else"):
            async with by_hand(tmp_path, "cal").joining(invite.token) as cal:
                await cal.admitted()
        assert len(await ann.node.who()) == 2


async def test_two_who_answer_one_offer_are_told_apart(tmp_path: Path) -> None:
    async with (
        inviting(tmp_path, deaf=True) as (ann, invite),
        by_hand(tmp_path, "bob").joining(invite.token) as bob,
    ):
        first = await answer_of(bob)
        with pytest.raises(Unreachable, match="connected with somebody else"):
            async with by_hand(tmp_path, "cal").joining(invite.token) as cal:
                second = await answer_of(cal)
                await ann.node.carry(first)
                with pytest.raises(UsageError, match="Somebody else answered"):
                    await ann.node.carry(second)
                await cal.admitted()
        await bob.admitted()


async def test_each_wrong_token_has_its_own_sentence(tmp_path: Path) -> None:
    async with (
        inviting(tmp_path / "one") as (ann, invite),
        inviting(tmp_path / "two", deaf=True) as (_, other),
    ):
        for token, sentence in (
            (invite.token, "the one that you show"),
            (other.token, "another room.*pigeon join"),
            (invite.token[:-9], "cut"),
            (invite.token[:60] + ("B" if invite.token[60] == "A" else "A") + invite.token[61:], "mistyped"),
            ("hello", "not a pigeon token"),
        ):
            with pytest.raises(UsageError, match=sentence):
                await ann.node.carry(token)
        async with by_hand(tmp_path / "two", "bob").joining(other.token) as bob:
            answer = await answer_of(bob)
            with pytest.raises(UsageError, match="no offer of this node"):
                await ann.node.carry(answer)
            with pytest.raises(UsageError, match="an answer, not an invitation"):
                read_invitation(answer)


async def test_members_that_were_restarted_find_each_other_by_a_token_that_invites_nobody(
    tmp_path: Path,
) -> None:
    async with inviting(tmp_path) as (_, invite), by_hand(tmp_path, "bob").joining(invite.token) as bob:
        await bob.admitted()
    ann = by_hand(tmp_path, "ann")
    [ann.room] = ann.home.rooms()
    async with ann.up(), bob.up():
        token = (await ann.told.wait(TokenEvent, lambda event: event.kind == "offer")).token
        offer = read_invitation(token)
        assert isinstance(offer, Offer) and not offer.invites
        assert await bob.node.carry(token) == "offer"
        await bob.told.wait(PeerEvent, lambda event: event.state == "up")
        with pytest.raises(UsageError, match="invites nobody"):
            async with by_hand(tmp_path, "eve").joining(token):
                pass


async def test_where_there_is_a_place_to_meet_the_invitation_names_it_and_a_token_comes_besides(
    tmp_path: Path,
) -> None:
    ann = Person(tmp_path, "ann")
    ann.via = (*ann.via, "paste")
    await ann.found()
    async with ann.up():
        invitation = read_invitation((await ann.node.invite()).token)
        assert not isinstance(invitation, Offer)
        assert invitation.carriers == ann.via[:1]
        token = (await ann.told.wait(TokenEvent)).token
        async with by_hand(tmp_path, "bob").joining(token) as bob:
            await bob.admitted()


def check(offer: Offer, *, name: str, password: str) -> bytes:
    """A STUN check as the offer's answerer sends it, by `name`."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{offer.transport.ufrag}:{name}"
    request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLED"] = 1
    request.add_message_integrity(password.encode())
    return bytes(request)


async def flood(offer: Offer, *, password: str) -> None:
    """Two thousand checks by as many names, and as many packets that are nothing."""
    [candidate] = offer.candidates
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(2000):
            name = os.urandom(120).hex()[: 200 + number % 40]
            data = check(offer, name=name, password=password)
            sender.sendto(data, (candidate.address, candidate.port))
            sender.sendto(struct.pack(">HH", number, 0), (candidate.address, candidate.port))
            await trio.sleep(0)


async def test_a_flood_of_checks_by_who_never_saw_the_token_changes_nothing(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, invite):
        offer = read_invitation(invite.token)
        assert isinstance(offer, Offer)
        await flood(offer, password="x" * 24)
        async with by_hand(tmp_path, "bob").joining(invite.token) as bob:
            await bob.admitted()
        assert not [fault for fault in ann.node.faults if "in a check" in fault]


async def test_a_flood_by_who_holds_the_token_is_bounded_and_an_answer_can_still_be_carried(
    tmp_path: Path,
) -> None:
    async with inviting(tmp_path) as (ann, invite):
        offer = read_invitation(invite.token)
        assert isinstance(offer, Offer)
        await flood(offer, password=offer.transport.pwd)
        [wish] = ann.node._threshold.pairing.offers._open
        assert len(wish.names) == 64
        async with by_hand(tmp_path, "bob").joining(invite.token) as bob:
            await ann.node.carry(await answer_of(bob))
            await bob.admitted()


async def test_an_offer_that_nobody_answers_ends_and_says_so(tmp_path: Path) -> None:
    async with inviting(tmp_path, offer_life=2) as (ann, invite):
        await ann.told.wait(NoticeEvent, lambda event: "not used in time" in event.message)
        assert ann.node._threshold.pairing.events() == []
        with pytest.raises(UsageError, match="expired"):
            read_invitation(invite.token)


@pytest.mark.parametrize("life", [2, DEFAULT_OFFER_LIFE, LONGEST_OFFER_LIFE])
async def test_an_offer_says_how_long_it_waits_and_the_room_remembers_it(tmp_path: Path, life: int) -> None:
    async with inviting(tmp_path, offer_life=life) as (ann, _):
        pass
    [ann.room] = ann.home.rooms()
    assert ann.room.offer_life == life
    async with ann.up():
        token = (await ann.node.invite()).token
        offer = read_invitation(token)
        assert isinstance(offer, Offer) and offer.expires - offer.issued == life
        async with by_hand(tmp_path, "bob").joining(token, offer_life=LONGEST_OFFER_LIFE) as bob:
            await bob.admitted()
    assert [room.offer_life for room in bob.home.rooms()] == [LONGEST_OFFER_LIFE]


async def test_an_answer_is_shown_for_as_long_as_somebody_knocks_with_it(tmp_path: Path) -> None:
    async with (
        inviting(tmp_path, deaf=True, offer_life=LONGEST_OFFER_LIFE) as (_, invite),
        by_hand(tmp_path, "bob").joining(invite.token, offer_life=90) as bob,
    ):
        answer = await bob.told.wait(TokenEvent, lambda event: event.kind == "answer")
        assert answer.expires / 1000 - time.time() <= 91 < invite.expires / 1000 - time.time()


async def test_without_an_address_an_invitation_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await by_hand(tmp_path, "ann").found()
    async with ann.up():
        monkeypatch.setattr("node.webrtc._addresses", lambda loopback_only: ["203.0.113.77"])
        with pytest.raises(ConnectFailed, match="no address"):
            await ann.node.invite()
