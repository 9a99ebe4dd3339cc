"""A member and a newcomer at the door: seen in, asked for the password, given an invitation, or sent away."""

from typing import cast

import pytest
import trio
from trio.testing import MockClock

from node.errors import ConnectFailed, Exit, NodeError, UsageError
from node.reception import Guest, Host
from signaling.invitation import Invitation
from signaling.password import SECRET_SIZE, stretch
from tests.node.door import (
    BOB,
    INVITATION,
    RIGHT,
    ROOM,
    BareOffer,
    channel,
    knowing,
    meet,
    meeting,
    met,
    protected,
    typing,
)


async def test_in_a_room_without_a_password_a_guest_with_an_invitation_is_just_seen_in() -> None:
    host, guest = channel()
    assert await meet(Host(), Guest(), (host, guest)) == ["", ""]
    assert (host.heard, guest.heard) == ([b"\xc6\x01\x00"], [b"\xc3\x01\x00", b"\xc7\x01"])


async def test_who_knows_the_password_is_seen_in_and_keeps_it() -> None:
    kept: list[bytes] = []

    async def keep(secret: bytes) -> None:
        kept.append(secret)

    guest = Guest(ask=typing("open sesame"), keep=keep)
    assert await met(protected(), guest) == ["", ""]
    assert kept == [RIGHT]


async def test_neither_the_password_nor_what_stands_for_it_is_ever_sent() -> None:
    near, far = channel()
    assert await met(protected(), Guest(ask=typing("open sesame")), (near, far)) == ["", ""]
    said = b"".join(near.heard + far.heard)
    assert len(said) > 100
    assert b"sesame" not in said
    assert not any(RIGHT[at : at + 4] in said for at in range(SECRET_SIZE - 3))


async def test_the_password_is_asked_for_once_however_many_members_are_met() -> None:
    asked = 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        return "open sesame"

    guest = Guest(ask=ask)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.run)
        for _ in range(3):
            nursery.start_soon(meet, protected(), guest)
        while asked == 0:
            await trio.sleep(0)
        await meet(protected(), guest)
        nursery.cancel_scope.cancel()
    assert asked == 1


async def test_a_wrong_password_is_said_to_be_wrong_and_counted() -> None:
    host, guest = protected(), Guest(ask=typing("open barley"))
    with pytest.RaisesGroup(pytest.RaisesExc(NodeError, match=r"^The password is wrong\.")) as raised:
        await met(host, guest)
    assert cast(NodeError, raised.value.exceptions[0]).exit_code is Exit.NO
    assert host.faults == {"reception: wrong password": 1}


async def test_a_guest_learns_that_it_guessed_wrong_and_hears_nothing_of_the_right_one() -> None:
    host, guest = channel()
    came_to = await meet(protected(), knowing(stretch("open barley", room=ROOM)), (host, guest))
    assert came_to == ["The newcomer was refused.", "The password is wrong."]
    assert [(message[0], len(message)) for message in guest.heard] == [(0xC3, 3), (0xC4, 34), (0xC8, 5)]


async def test_with_nobody_to_ask_it_says_how_to_give_the_password() -> None:
    guest = Guest(ask=typing(None))
    with pytest.RaisesGroup(pytest.RaisesExc(UsageError, match="--password-file")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.run)
            nursery.start_soon(guest.ready, ROOM)


async def test_a_member_that_comes_as_a_newcomer_is_asked_as_well_and_from_memory_if_it_can() -> None:
    """It lost its room; if it lost the password too, its door would stand open."""
    guest = Guest(ask=lambda: pytest.fail("asked"))
    guest.remember(RIGHT)
    assert await met(protected(is_member=lambda peer: peer == BOB), guest) == ["", ""]


async def test_who_is_welcome_and_has_no_invitation_is_handed_one_inside() -> None:
    granted: list[Invitation] = []
    offers: list[tuple[bytes, object]] = []

    async def invitation() -> Invitation:
        return INVITATION

    def may(peer: bytes, offer: object) -> bool:
        offers.append((peer, offer))
        return True

    host = protected(invitation=invitation, may_have_invitation=may)
    guest = knowing(RIGHT, has_invitation=lambda: False, granted=granted.append)
    assert await meet(host, guest) == ["", ""]
    assert (granted, offers) == ([INVITATION], [(BOB, BareOffer())])


async def test_no_invitation_is_handed_to_whom_it_is_not_meant_for() -> None:
    guest = Guest(has_invitation=lambda: False, granted=lambda _invitation: pytest.fail("granted"))
    assert await meet(Host(), guest) == ["", "The member that was reached hands out no invitation."]


@pytest.mark.parametrize(("host", "seconds"), [(Host(), 10), (protected(), 130)])
async def test_a_silent_guest_is_waited_for_so_long(
    host: Host, seconds: float, autojump_clock: MockClock
) -> None:
    near, _far = channel()
    began = trio.current_time()
    with pytest.raises(ConnectFailed, match="stopped answering"):
        await host.receive(meeting(near))
    assert trio.current_time() - began == pytest.approx(seconds)


async def test_a_person_who_types_slowly_loses_the_link_and_not_what_was_typed(
    autojump_clock: MockClock,
) -> None:
    near, far = channel()
    await near.send(b"\xc3\x01\x01")
    asked = 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        await trio.sleep(300)
        return "open sesame"

    guest = Guest(ask=ask)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.run)
        began = trio.current_time()
        with pytest.raises(ConnectFailed, match="stopped answering"):
            await guest.arrive(meeting(far))
        assert trio.current_time() - began == pytest.approx(120)
        await trio.sleep(200)
        await guest._told.wait()
        nursery.cancel_scope.cancel()
    assert asked == 1


async def test_after_ten_wrong_guesses_nobody_may_guess_for_a_while_not_even_rightly(
    autojump_clock: MockClock,
) -> None:
    host = protected()
    told: list[str] = []
    host.tell = told.append
    for _ in range(10):
        await meet(host, knowing(bytes(32)))
    assert told == ["Ten wrong passwords were tried in a minute; newcomers are asked again in 60 seconds."]
    guest = knowing(RIGHT, tell=told.append)
    for _ in range(2):
        _, why = await meet(host, guest)
        assert why == "Too many wrong passwords were tried on this member."
    assert told[1:] == ["Too many wrong passwords were tried on this member. It asks again in 61 seconds."]
    await trio.sleep(60)
    assert await meet(host, guest) == ["", ""]
