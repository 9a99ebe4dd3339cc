"""Rooms of several: coming in by either rule, agreeing, leaving and coming back, and who is kept out."""

from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from chain.block import Slot
from chain.codec import encode
from chain.control import make_voucher
from chain.crypto import Ed25519Signer
from chain.ids import Hash, RoomId
from chain.message import UNSIGNED, JoinRequest, SlotMessage, pack, signed
from node.admission import introduction
from node.content import text_body
from node.disk import identity_of, vote_key_of
from node.errors import Exit, NodeError, Unreachable, UsageError
from node.events import (
    AdmittedEvent,
    AsksEvent,
    DeliveredEvent,
    EvidenceEvent,
    FinalEvent,
    NoticeEvent,
    PeerEvent,
    PendingEvent,
    RoomEvent,
    WordsEvent,
)
from node.joining import Newcomer, _make_request
from node.node import Node, open_node, read_invitation
from node.offline import check_store, read_log
from node.terms import settle
from signaling.invitation import invitation_key
from signaling.refusal import Reason
from tests.node.rooms import DEADLINE, Person, room_of


async def test_three_who_came_in_one_by_one_see_one_order_from_the_beginning(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal") as people:
        for number in range(3):
            async with trio.open_nursery() as nursery:
                for person in people:
                    nursery.start_soon(person.says, f"{number} {person.nick}")
        for person in people:
            for other in people:
                await person.hears(f"2 {other.nick}")
        logs = [person.told.finals() for person in people]
        assert logs[0] == logs[1] == logs[2]
        assert [index for index, _, _ in logs[0]] == sorted(index for index, _, _ in logs[0])
        assert len(logs[0]) == 9
    for person in people:
        assert [(e.index, e.nick, e.text) for e in read_log(person.home, person.room)] == logs[0]
        assert check_store(person.home, person.room) == []
    assert not list((tmp_path / "lobby").glob("*.bin"))


async def test_a_newcomer_gets_what_was_said_before_it_came(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="auto")
    async with ann.up():
        for number in range(30):
            await ann.says(f"early {number}")
        async with Person(tmp_path, "bob").joining((await ann.node.invite()).token) as bob:
            await bob.admitted()
            await ann.says("late")
            await bob.hears("late")
            assert bob.told.finals() == ann.told.finals()
            assert [type(e) for e in bob.told.events if isinstance(e, RoomEvent | AdmittedEvent)] == [
                RoomEvent,
                AdmittedEvent,
            ]
            assert next(e for e in bob.told.events if isinstance(e, RoomEvent)).n == 2


async def test_a_message_is_pending_then_delivered_then_final(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, _):
        final = await ann.says("hello")
        states = [
            type(event)
            for event in ann.told.events
            if isinstance(event, PendingEvent | DeliveredEvent | type(final)) and event.id == final.id
        ]
        assert states == [PendingEvent, DeliveredEvent, type(final)]


async def test_by_the_ask_rule_everyone_of_two_must_approve_a_third(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="ask")
    async with ann.up(), Person(tmp_path, "bob").joining((await ann.node.invite()).token) as bob:
        asks = await ann.is_asked_by("bob")
        words = await bob.told.wait(WordsEvent)
        assert (asks.words, asks.verified, asks.have, asks.need) == (words.words, True, 0, 1)
        with pytest.raises(Unreachable):
            await bob.node.say("too early")
        await ann.node.admit("BOB")
        await bob.admitted()
        async with Person(tmp_path, "cal").joining((await bob.node.invite()).token) as cal:
            # ann has no link to cal and may be first all the same: bob tells her who asks.
            asks = await ann.is_asked_by("cal")
            assert (asks.have, asks.need, asks.inviter, asks.words) == (0, 2, "bob", "")
            view = next(member for member in await ann.node.who() if member.nick == "cal")
            assert (view.state, view.have) == ("asks", 0)
            await ann.node.admit("cal")
            asks = await bob.is_asked_by("cal")
            assert (await bob.node.admit(asks.member[:8])).have == 1
            await cal.admitted()
            await cal.says("here")
            await ann.hears("here")
            heights = {member.nick: member.admitted_at for member in await cal.node.who()}
            assert heights["ann"] == 0 < heights["bob"] < heights["cal"]


async def test_a_folder_that_cannot_be_used_is_said_once_and_when_it_works_again(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    lobby = tmp_path / "lobby"
    lobby.write_text("a file where the folder should be")
    async with ann.up():
        trouble = await ann.told.wait(NoticeEvent)
        assert trouble.message.startswith(f"dir:{lobby}: The folder cannot be used")
        assert trouble.message in (await ann.node.status()).notes
        lobby.unlink()
        await ann.told.wait(NoticeEvent, lambda event: event.message == f"dir:{lobby} works again.")
        assert trouble.message not in (await ann.node.status()).notes
        assert sum(isinstance(event, NoticeEvent) for event in ann.told.events) == 2


async def test_admitting_somebody_who_does_not_ask_says_who_does(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="ask")
    async with ann.up():
        with pytest.raises(NodeError, match="Nobody asks to come in"):
            await ann.node.admit("bob")
        async with Person(tmp_path, "bob").joining((await ann.node.invite()).token):
            await ann.is_asked_by("bob")
            with pytest.raises(NodeError, match="bob"):
                await ann.node.admit("cal")


async def test_a_newcomer_that_changes_its_request_without_end_is_shown_a_few_times_only(
    tmp_path: Path,
) -> None:
    ann = await Person(tmp_path, "ann").found(rule="ask")
    async with ann.up():
        token = (await ann.node.invite()).token
        async with Person(tmp_path, "bob").joining(token) as bob:
            await ann.is_asked_by("bob")
            assert ann.node._seat is not None
            for number in range(50):
                request = _make_request(
                    read_invitation(token),
                    nick=f"bob {number}",
                    identity=identity_of(bob.home),
                    vote=vote_key_of(bob.home, ann.room.fingerprint),
                )
                bob.node._mesh.send(ann.node._seat.me, *pack([JoinRequest(request)]))
            with trio.fail_after(DEADLINE):
                while ann.node.faults["admission: request changed too often"] < 42:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            asked = [event.nick for event in ann.told.events if isinstance(event, AsksEvent)]
            assert asked == ["bob", *(f"bob {number}" for number in range(8))]
            await ann.node.admit("bob 7")
            await bob.admitted()


async def test_a_newcomer_that_left_is_no_longer_asked_for(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="ask")
    async with ann.up():
        async with Person(tmp_path, "bob").joining((await ann.node.invite()).token):
            await ann.is_asked_by("bob")
        with trio.fail_after(DEADLINE):
            while any(member.state == "asks" for member in await ann.node.who()):
                await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(NodeError):
            await ann.node.admit("bob")


async def test_a_taken_nick_is_refused_with_what_to_do(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        token = (await ann.node.invite()).token
        twin = Person(tmp_path, "Ann")
        with pytest.raises(NodeError, match="this nick") as caught:
            async with twin.joining(token):
                await twin.admitted()
        assert caught.value.exit_code is Exit.NO
        assert twin.home.rooms() == []
        async with Person(tmp_path, "bob").joining(token) as bob:
            await bob.admitted()


async def test_an_invitation_works_once(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        token = (await ann.node.invite()).token
        async with Person(tmp_path, "bob").joining(token) as bob:
            await bob.admitted()
            with pytest.raises(NodeError, match="used already") as caught:
                async with Person(tmp_path, "cal").joining(token) as cal:
                    await cal.admitted()
            assert caught.value.exit_code is Exit.NO
            assert (await ann.node.room()).n == 2
            assert ann.node._mesh.linked() == {bob.node._seat.me}  # type: ignore[union-attr]


async def test_who_holds_an_invitation_that_is_over_hears_so_and_gets_no_address(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        token = (await ann.node.invite()).token
        assert ann.node._seat is not None
        invitation = read_invitation(token)
        past = Ed25519Signer(bytes(identity_of(ann.home)))
        voucher = make_voucher(
            room=RoomId(invitation.room),
            key=Hash(bytes(invitation_key(invitation.secret).verify_key)),
            expires=1,
            inviter=past,
        )
        shown = introduction(msgspec.structs.replace(invitation, grant=encode(voucher)), bytes(32))
        admits = ann.node._seat.admits
        assert admits(b"b" * 32, shown, bytes(32)) is Reason.EXPIRED
        assert admits(b"b" * 32, shown, b"q" * 32) is False  # it has the grant, not the secret
        assert admits(b"b" * 32, introduction(invitation, bytes(32)), bytes(32)) is True


async def test_a_newcomer_that_reaches_several_members_is_told_once_that_it_waits(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="ask")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ann.up())
        await ann.is_host()
        token = (await ann.node.invite()).token
        bob = await stack.enter_async_context(Person(tmp_path, "bob").joining(token))
        await ann.is_asked_by("bob")
        await ann.node.admit("bob")
        await bob.admitted()
        # bob invites, ann is the host of the lobby: both are asked
        async with Person(tmp_path, "cal").joining((await bob.node.invite()).token) as cal:
            await ann.is_asked_by("cal")
            await bob.is_asked_by("cal")
            told = [event.message for event in cal.told.events if isinstance(event, NoticeEvent)]
            assert told == [
                "Looking for a member to connect to.",
                "Connected; waiting for the members to let us in.",
            ]


async def test_a_full_room_admits_nobody(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="auto", max_peers=1)
    async with ann.up(), Person(tmp_path, "bob").joining((await ann.node.invite()).token):
        await ann.is_asked_by("bob")
        with pytest.raises(UsageError, match="full"):
            await ann.node.admit("bob")
        assert (await ann.node.room()).n == 1


async def test_an_expired_or_damaged_invitation_is_refused_at_once(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        token = (await ann.node.invite()).token
    with pytest.raises(UsageError):
        read_invitation(token[:-5])
    with pytest.raises(UsageError):
        read_invitation("hello")


async def test_an_invitation_to_a_room_that_is_here_opens_that_room(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        await ann.says("one")
        token = (await ann.node.invite()).token
    async with ann.joining(token):
        await ann.admitted()
        await ann.hears("one")


async def test_a_member_that_stops_is_seen_to_be_gone_and_two_of_two_wait_for_it(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann") as (ann,):
        bob = Person(tmp_path, "bob")
        async with bob.joining((await ann.node.invite()).token):
            await bob.admitted()
            await ann.told.wait(PeerEvent, lambda event: event.state == "up")
        await ann.told.wait(PeerEvent, lambda event: event.state == "down")
        said = await ann.node.say("are you there?")
        status = await ann.node.status()
        assert (status.up, status.quorum, status.waiting_for, status.pending) == (1, 2, ["bob"], 1)
        async with bob.up():
            final = await ann.hears("are you there?")
            assert final.id == said
            await bob.hears("are you there?")
            assert (await ann.node.status()).waiting_for == []


async def test_when_all_were_away_the_room_goes_on_where_it_was(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal") as people:
        await people[0].says("before")
        for person in people:
            await person.hears("before")
    ann, bob, cal = people
    async with ann.up(), bob.up(), cal.up():
        await bob.says("after")
        for person in people:
            await person.hears("after")
            assert person.told.finals() == ann.told.finals()


async def test_a_member_that_signs_two_slots_for_one_place_is_shown_with_evidence(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal", "dee") as people:
        ann, bob = people[0], people[1]
        await bob.says("honest so far")
        for person in people:
            await person.hears("honest so far")
        seat = bob.node._seat
        assert seat is not None
        tip, me = seat.tip, seat.me
        place = tip.committee.place(me)
        assert place is not None
        head = tip.cut[place]
        key = Ed25519Signer(bytes(vote_key_of(bob.home, bob.room.fingerprint)))
        for text in ("yes", "no"):
            body = text_body(text)
            slot = Slot(
                epoch=tip.epoch,
                lane=place,
                seq=head.seq + 1,
                prev=head.id,
                deps=(),
                control=(),
                commitments=(body.commitment(room=tip.room, author=me),),
                claimed_time=0,
                signature=UNSIGNED,
            )
            message = SlotMessage(signed(slot, room=tip.room, key=key), (body,))
            (envelope,) = pack([message])
            bob.node._mesh.send(ann.node._seat.me, envelope)  # type: ignore[union-attr]
        for person in (ann, *people[2:]):
            shown = await person.told.wait(EvidenceEvent)
            assert (shown.nick, Path(shown.file).exists()) == ("bob", True)
            await person.says(f"{person.nick} goes on")


async def test_garbage_from_a_member_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob):
        assert ann.node._seat is not None
        for junk in (b"", b"\x92\x07\x90", b"\xff" * 1000, bytes(100_000)):
            bob.node._mesh.send(ann.node._seat.me, junk)
        await bob.says("and on it goes")
        await ann.hears("and on it goes")
        assert ann.node.faults["peer: malformed"] == 4


async def test_asks_are_shown_to_a_subscriber_that_comes_later(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found(rule="ask")
    async with ann.up(), Person(tmp_path, "bob").joining((await ann.node.invite()).token):
        asks = await ann.is_asked_by("bob")
        async with ann.node.events() as events:
            first = [await anext(events), await anext(events)]
        assert isinstance(first[0], RoomEvent)
        assert first[1] == asks
        assert isinstance(first[1], AsksEvent)


async def test_an_invitation_works_when_the_inviter_and_host_of_the_lobby_has_just_left(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal", "dee") as people:
        token = (await people[0].node.invite()).token
    ann, *others = people
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        leave, left = trio.Event(), trio.Event()

        async def be_there_first() -> None:
            async with ann.up():
                await leave.wait()
            left.set()

        nursery.start_soon(be_there_first)
        await ann.is_host()
        for person in others:
            await stack.enter_async_context(person.up())
        await ann.says("see you")
        for person in others:
            await person.hears("see you")
        leave.set()
        await left.wait()
        eve = await stack.enter_async_context(Person(tmp_path, "eve").joining(token))
        await eve.admitted()
        await eve.says("ann did not see me come")
        for person in others:
            await person.hears("ann did not see me come")
        asks = [event for person in others for event in person.told.events]
        assert {asked.inviter for asked in asks if isinstance(asked, AsksEvent)} == {"ann"}
    assert not list((tmp_path / "lobby").glob("*.bin"))


async def test_who_leaves_makes_no_new_links_while_it_says_goodbye(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob):
        assert ann.node._seat is not None
        assert bob.node._seat is not None
        ann.node._mesh.drop(bob.node._seat.me)
        assert ann.node._threshold.admits(bob.node._seat.me, None, b"") is True
        ann.node._stop.set()
        assert ann.node._threshold.wanted() == set()
        assert ann.node._threshold.admits(bob.node._seat.me, None, b"") is False


async def test_idle_links_are_silent_unless_somebody_looks(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob):
        await ann.says("hello")
    async with (
        ann.up(),
        open_node(bob.home, bob.room, loopback_only=True) as node,
        node.events(watching=False) as headless,
    ):
        await ann.says("are you there?")
        async for event in headless:
            if isinstance(event, FinalEvent):
                break
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert node._mesh._watched is False
        async with node.events():
            assert node._mesh._watched is True
        assert node._mesh._watched is False


async def test_a_member_restarted_right_after_it_let_somebody_in_is_answered_by_the_newcomer(
    tmp_path: Path,
) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        token = (await ann.node.invite()).token
    home = Person(tmp_path, "bob").home
    node = Node(home, settle(home, read_invitation(token), nick="bob"), loopback_only=True)
    node._newcomer = newcomer = Newcomer(
        known={},
        way=read_invitation(token),
        nick="bob",
        identity=SigningKey.generate(),
        vote=SigningKey.generate(),
        mesh=node._mesh,
        bus=node._bus,
        inbox=node._inbox[1],
        faults=node.faults,
    )
    newcomer.on_presence(b"h" * 32)
    asked = (read_invitation(token).inviter, b"h" * 32, b"s" * 32)
    assert [node._threshold.admits(who, None, bytes(32)) for who in asked] == [True, True, False]
