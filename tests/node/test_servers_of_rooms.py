"""A room that knows servers: what its offers name, what becomes of them, and what its members are told."""

from pathlib import Path

import pytest
import trio

from node.config import Home
from node.create import create_room
from node.errors import ConnectFailed
from node.events import NoticeEvent, TokenEvent
from node.ice_servers import IceOptions, TurnFileError
from node.node import open_node, read_invitation
from signaling.candidates import Candidate
from signaling.description import Offer
from tests.node.ice_peers import Peer, ice_peer, relay_only, says_nothing, sees, turns
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import answer_of, by_hand, inviting
from tests.node.test_renewal import fate_of
from tests.node.test_token_mishaps import is_told
from tests.node.test_tokens_of_members import acquainted, shown_offer

OUTSIDE = ("192.0.2.9", 7777)
RELAYED = ("127.0.0.9", 49152)


def candidates_in(token: str) -> tuple[Candidate, ...]:
    offer = read_invitation(token)
    assert isinstance(offer, Offer)
    return offer.candidates


def options(peer: Peer) -> IceOptions:
    return IceOptions(stun=(str(peer.server),))


async def test_tokens_name_what_a_server_sees_and_are_made_anew_when_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_ice.KEEP_EVERY", 0.1)
    async with ice_peer(sees(*OUTSIDE)) as peer, acquainted(tmp_path) as (_, bob):
        async with bob.up(ice=options(peer)):
            former = await shown_offer(bob)
            assert [each.type for each in candidates_in(former)] == ["host", "srflx"]
            peer.answer = sees("192.0.2.9", 8888)
            await is_told(bob, "another address now")
            token = await bob.told.wait(TokenEvent, lambda e: e.kind == "offer" and e.token != former)
            assert candidates_in(token.token)[1] == Candidate("srflx", "192.0.2.9", 8888)
        [bob.room] = bob.home.rooms()
        async with bob.up():
            assert candidates_in(await shown_offer(bob))[1].type == "srflx", "the room remembers the server"


async def test_an_answer_that_waits_to_be_carried_is_made_anew_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_ice.KEEP_EVERY", 0.1)
    async with (
        ice_peer(sees(*OUTSIDE)) as peer,
        inviting(tmp_path, deaf=True) as (ann, invite),
        by_hand(tmp_path, "bob").joining(invite.token, ice=options(peer)) as bob,
    ):
        former = await answer_of(bob)
        peer.answer = sees("192.0.2.9", 8888)
        assert await fate_of(bob, former) == "stale"
        await is_told(bob, "Send back the newest one")
        new = await bob.told.wait(TokenEvent, lambda e: e.kind == "answer" and e.token != former)
        assert await ann.node.carry(new.token) == "answer"
        await bob.admitted()


async def test_offers_to_members_are_made_anew_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_ice.KEEP_EVERY", 0.1)
    ann, bob = Person(tmp_path, "ann"), Person(tmp_path, "bob")
    async with (await ann.found()).up(), bob.joining((await ann.node.invite()).token):
        await bob.admitted()
    async with ice_peer(sees(*OUTSIDE)) as peer, bob.up(ice=options(peer)):  # ann's node is down
        await peer.wait_asked(8)
        former = {where for _, where in peer.asked}
        assert len(former) == 1, "one offer, whose way in is kept open"
        peer.answer = sees("192.0.2.9", 8888)
        with trio.fail_after(DEADLINE):
            while {where for _, where in peer.asked} == former:
                await trio.sleep(0.05)


async def test_a_server_that_fails_is_told_of_and_stands_in_the_status(tmp_path: Path) -> None:
    async with ice_peer(says_nothing) as peer, acquainted(tmp_path) as (_, bob), bob.up(ice=options(peer)):
        await shown_offer(bob)
        notice = await bob.told.wait(NoticeEvent, lambda event: "STUN server" in event.message)
        assert str(peer.server) in notice.message
        assert notice.message in (await bob.node.status()).notes
        async with bob.node.events() as events:  # who comes later hears of it, too
            async for event in events:
                if event == notice:
                    break


async def test_a_room_that_is_met_through_a_relay_only_shows_that_relay_and_dies_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.webrtc_turn.KEEP_EVERY", 0.1)
    monkeypatch.setattr("node.webrtc_turn._GIVEN_UP_AFTER", 0.5)
    monkeypatch.setattr("node.webrtc_ice.TURN_DEADLINE", 0.5)
    async with ice_peer(turns(relayed=RELAYED)) as peer, acquainted(tmp_path) as (_, bob):
        ice = relay_only(peer, tmp_path)
        given = IceOptions(turn_file=ice.turn_file, relay_only=True)
        async with bob.up(ice=given):
            token = await shown_offer(bob)
            assert candidates_in(token) == (Candidate("relay", *RELAYED),)
            assert candidates_in((await bob.node.invite()).token) == (Candidate("relay", *RELAYED),)
            peer.answer = says_nothing
            await is_told(bob, "another address now")
            with pytest.raises(ConnectFailed, match="no other way"):
                await bob.node.invite()
            peer.answer = turns(relayed=RELAYED)
            again = await bob.told.wait(TokenEvent, lambda e: e.kind == "offer" and e.token != token)
            assert candidates_in(again.token) == (Candidate("relay", *RELAYED),)
        peer.answer = says_nothing
        [bob.room] = bob.home.rooms()
        with pytest.raises(ConnectFailed, match="no other way"):
            async with bob.up():
                pass
        assert ice.turn_file is not None
        ice.turn_file.unlink()
        with pytest.raises(TurnFileError):
            async with bob.up():
                pass


async def test_no_room_is_made_that_could_not_be_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.webrtc_ice.TURN_DEADLINE", 0.5)
    async with ice_peer(says_nothing) as peer:
        home, ice = Home.at(tmp_path / "ann"), relay_only(peer, tmp_path)
        with pytest.raises(ConnectFailed):
            await create_room(home, name="tea", nick="ann", via=("paste",), ice=ice)
        assert home.rooms() == []
        peer.answer = turns()
        room = await create_room(home, name="tea", nick="ann", via=("paste",), ice=ice)
        assert room.relay_only
        async with open_node(home, room) as node:
            assert [each.type for each in candidates_in((await node.invite()).token)] == ["relay"]
