"""Offers that are renewed, and what is told of each that is over."""

import time
from pathlib import Path

import pytest
import trio
import trio.testing

from node.control import connect_control
from node.errors import ConnectFailed, Unreachable, UsageError
from node.events import NoticeEvent, OverEvent, TokenEvent
from node.node import read_invitation
from signaling.description import Offer
from tests.node.rooms import DEADLINE, Person, room_of
from tests.node.test_open_offers import answer_of, by_hand, inviting
from tests.node.test_tokens_of_members import acquainted, shown_offer


async def fate_of(person: Person, token: str) -> str:
    return (await person.told.wait(OverEvent, lambda event: event.token == token)).reason


async def test_a_fresh_offer_takes_the_place_of_one_that_is_open(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, first):
        second = await ann.node.renew(first.token)
        assert await fate_of(ann, first.token) == "withdrawn"
        await ann.told.wait(TokenEvent, lambda event: event.token == second.token)
        with trio.fail_after(DEADLINE):
            while len(ann.node._threshold.pairing.events()) > 1:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert [event.token for event in ann.node._threshold.pairing.events()] == [second.token]
        async with by_hand(tmp_path, "bob").joining(second.token) as bob:
            await bob.admitted()
        assert await fate_of(ann, second.token) == "used"


async def test_one_that_expired_is_renewed_for_the_same_kind_of_person(tmp_path: Path) -> None:
    async with inviting(tmp_path, offer_life=2) as (ann, first):
        assert await fate_of(ann, first.token) == "expired"
        await ann.told.wait(NoticeEvent, lambda event: "not used in time" in event.message)
        renewed = await ann.node.renew(first.token)
        assert renewed.expires > first.expires
        again = read_invitation(renewed.token)
        assert isinstance(again, Offer) and again.invites


async def test_one_for_a_member_is_renewed_as_such_also_through_the_socket(tmp_path: Path) -> None:
    async with acquainted(tmp_path) as (_, bob), bob.up():
        token = await shown_offer(bob)
        remote = await connect_control(bob.home, bob.room)
        assert remote is not None
        offer = read_invitation((await remote.renew(token)).token)
        assert isinstance(offer, Offer) and not offer.invites
        assert await fate_of(bob, token) == "withdrawn"


async def test_without_a_token_the_newest_is_renewed(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (ann, first):
        second = await ann.node.invite()
        third = await ann.node.renew()
        assert await fate_of(ann, second.token) == "withdrawn"
        await ann.told.wait(TokenEvent, lambda event: event.token == third.token)
        open_now = {event.token for event in ann.node._threshold.pairing.events()}
        assert {first.token, third.token} <= open_now


async def test_what_cannot_be_renewed_is_told_from_each_other(tmp_path: Path) -> None:
    ann = await by_hand(tmp_path, "ann").found()
    async with ann.up():
        with pytest.raises(UsageError, match="no offer that could be renewed"):
            await ann.node.renew()
        token = (await ann.node.invite()).token
        async with by_hand(tmp_path, "bob").joining(token) as bob:
            await bob.admitted()
            for used in (token, None):
                with pytest.raises(UsageError, match="Somebody has answered"):
                    await ann.node.renew(used)
            for wrong, sentence in (
                (await answer_of(bob), "answer, not an offer"),
                ("hello", "not a pigeon"),
            ):
                with pytest.raises(UsageError, match=sentence):
                    await ann.node.renew(wrong)


async def test_who_renews_without_an_address_hears_what_is_missing_and_may_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inviting(tmp_path) as (ann, first):
        with monkeypatch.context() as unplugged:
            unplugged.setattr("node.webrtc._addresses", lambda loopback_only: ["203.0.113.77"])
            with pytest.raises(ConnectFailed, match="no address"):
                await ann.node.renew(first.token)
        again = await ann.node.renew(first.token)
        assert again.token != first.token


async def test_an_answer_is_over_once_it_was_used_and_good_only_while_somebody_knocks(tmp_path: Path) -> None:
    async with acquainted(tmp_path) as (ann, bob):
        async with ann.up():
            dead = await shown_offer(ann)
        async with ann.up(), bob.up(offer_life=2):
            await bob.node.carry(await shown_offer(ann))
            answer = await answer_of(bob)
            assert await fate_of(bob, answer) == "used"
        async with bob.up(offer_life=2):
            began = time.time()
            await bob.node.carry(dead)
            answer = await answer_of(bob)
            shown = await bob.told.wait(TokenEvent, lambda event: event.token == answer)
            assert shown.expires / 1000 - began < 4, "not as long as the offer is good"


async def test_one_of_a_machine_that_moved_is_stale_and_the_next_names_where_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inviting(tmp_path) as (ann, first):
        monkeypatch.setattr("node.webrtc._addresses", lambda loopback_only: ["127.0.0.2"])
        assert await fate_of(ann, first.token) == "stale"
        offer = read_invitation((await ann.node.renew(first.token)).token)
        assert isinstance(offer, Offer) and offer.invites
        assert [each.address for each in offer.candidates] == ["127.0.0.2"]


def after_a_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was asleep, and the clock of timeouts with it."""
    awake = time.time
    monkeypatch.setattr(time, "time", lambda: awake() + 8 * 3600)


async def test_what_expired_while_the_machine_slept_is_over_when_it_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="its time is over"):
        async with (
            inviting(tmp_path, deaf=True) as (ann, first),
            by_hand(tmp_path, "bob").joining(first.token) as bob,
        ):
            await answer_of(bob)
            after_a_night(monkeypatch)
            assert await fate_of(ann, first.token) == "expired"
            await bob.admitted()


async def test_an_offer_to_somebody_by_name_is_made_anew_after_a_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, _):
        pass

    def offers() -> list[bytes]:
        return [path.read_bytes() for path in (tmp_path / "lobby").glob("*[0-9a-f].offer.bin")]

    async with ann.up():
        with trio.fail_after(DEADLINE):
            while not (former := offers()):
                await trio.testing.wait_all_tasks_blocked(0.02)
            after_a_night(monkeypatch)
            while (now := offers()) == former or not now:
                await trio.testing.wait_all_tasks_blocked(0.02)


async def test_who_brings_an_answer_to_an_offer_that_was_renewed_hears_what_to_send_instead(
    tmp_path: Path,
) -> None:
    async with (
        inviting(tmp_path, deaf=True) as (ann, first),
        by_hand(tmp_path, "bob").joining(first.token) as bob,
    ):
        answer = await answer_of(bob)
        await ann.node.renew(first.token)
        with pytest.raises(UsageError, match="is over") as caught:
            await ann.node.carry(answer)
        assert caught.value.hint == "Send them the token that is shown now."


async def test_an_offer_to_somebody_by_name_is_made_anew_where_the_machine_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a folder may wait for a day, for a drive that is seldom synced."""
    async with room_of(tmp_path, "ann", "bob") as (ann, _):
        pass

    def offers() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "lobby").glob("*[0-9a-f].offer.bin")}

    async def only_offer() -> tuple[str, bytes]:
        with trio.fail_after(DEADLINE):
            while len(lying := offers()) != 1 or lying == former:
                await trio.testing.wait_all_tasks_blocked(0.02)
        return next(iter(lying.items()))

    async with ann.up(offer_life=24 * 3600):
        former: dict[str, bytes] = {}
        former = dict([await only_offer()])
        monkeypatch.setattr("node.webrtc._addresses", lambda loopback_only: ["127.0.0.2"])
        name, _content = await only_offer()
        assert [name] == list(former), "in the same place"
