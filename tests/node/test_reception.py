"""A member and a newcomer at the door: seen in, asked for the password, given an invitation, or sent away."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest
import trio
from nacl.signing import SigningKey
from trio.testing import MockClock

from node.errors import ConnectFailed, Exit, NodeError, UsageError
from node.link import ChannelClosed
from node.password import Guesses
from node.reception import Guest, Host, Meeting
from signaling.description import Offer
from signaling.invitation import Invitation
from signaling.password import SECRET_SIZE, PasswordRun, Side, stretch

ROOM = b"r" * 32
ANN, BOB = (bytes(SigningKey(seed * 32).verify_key) for seed in (b"a", b"b"))  # the host, the guest
RIGHT = stretch("open sesame", room=ROOM)
INVITATION = Invitation(room=ROOM, inviter=ANN, secret=b"s" * 16, expires=1 << 39)


@dataclass(frozen=True)
class _Offer:
    """As much of one as is looked at here."""

    room: bytes = ROOM


class End:
    """One end of a channel in memory; `alter` sees what comes in."""

    def __init__(
        self,
        out: "trio.MemorySendChannel[bytes]",
        into: "trio.MemoryReceiveChannel[bytes]",
        alter: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.out, self.into, self.alter = out, into, alter
        self.heard: list[bytes] = []

    async def send(self, message: bytes) -> None:
        try:
            await self.out.send(message)
        except trio.BrokenResourceError:
            raise ChannelClosed("hung up") from None

    async def receive(self) -> bytes:
        try:
            message = self.alter(await self.into.receive())
        except trio.EndOfChannel:
            raise ChannelClosed("hung up") from None
        self.heard.append(message)
        return message


def channel() -> tuple[End, End]:
    """The host's end and the guest's."""
    to_guest, from_host = trio.open_memory_channel[bytes](8)
    to_host, from_guest = trio.open_memory_channel[bytes](8)
    return End(to_guest, from_guest), End(to_host, from_host)


def meeting(talk: End, *, session: bytes = b"x" * 32) -> Meeting:
    return Meeting(talk=talk, session=session, guest=BOB, host=ANN, offer=cast(Offer, _Offer()))


def typing(password: str | None) -> Callable[[], Awaitable[str | None]]:
    async def ask() -> str | None:
        return password

    return ask


async def meet(host: Host, guest: Guest, ends: tuple[End, End] | None = None) -> list[str]:
    """Run both; what each side came to: "" or why it failed, the host's first. Whoever fails hangs up."""
    came_to = ["", ""]
    near, far = ends or channel()

    async def at(place: int, see: Callable[[Meeting], Awaitable[None]], end: End) -> None:
        try:
            await see(meeting(end))
        except ConnectFailed as failed:
            came_to[place] = failed.message
            await end.out.aclose()
        except ChannelClosed as closed:
            came_to[place] = str(closed)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at, 0, host.receive, near)
            nursery.start_soon(at, 1, guest.arrive, far)
    return came_to


async def met(host: Host, guest: Guest, ends: tuple[End, End] | None = None) -> list[str]:
    """As `meet`, with the guest's person."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.run)
        came_to = await meet(host, guest, ends)
        nursery.cancel_scope.cancel()
    return came_to


def knowing(secret: bytes, **more: object) -> Guest:
    """A guest whose person has typed already."""
    guest = Guest(**more)  # type: ignore[arg-type]
    guest._secret = secret
    guest._told.set()
    return guest


def protected(**more: object) -> Host:
    return replace(Host(password=lambda: RIGHT, is_member=lambda _peer: False), **more)  # type: ignore[arg-type]


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


async def test_who_joins_by_a_password_believes_nobody_who_does_not_ask_for_it() -> None:
    guest = Guest(has_invitation=lambda: False, granted=lambda _invitation: pytest.fail("granted"))
    guest.remember(RIGHT)
    await guest.ready(ROOM)
    _, why = await meet(Host(may_have_invitation=lambda _peer, _offer: True), guest)
    assert "asks for no password" in why


async def test_who_was_accepted_once_believes_no_member_that_the_password_is_wrong() -> None:
    guest = Guest()
    guest.remember(RIGHT)
    liar = protected(password=lambda: bytes(SECRET_SIZE))
    assert await met(liar, guest) == ["The newcomer was refused.", "The password is wrong."]
    assert not guest.is_over
    assert await met(protected(), guest) == ["", ""]


async def test_a_stranger_does_not_get_past_the_password_by_saying_that_it_is_a_member() -> None:
    host = protected(may_come_in=lambda peer: peer == ANN)
    host.check_no_guest(ANN)
    with pytest.raises(ConnectFailed, match="no member"):
        host.check_no_guest(BOB)
    assert host.faults["reception: a stranger came as a member"] == 1
    Host(may_come_in=lambda _peer: False).check_no_guest(
        BOB
    )  # without a password there is nothing to get past


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
    assert (granted, offers) == ([INVITATION], [(BOB, _Offer())])


async def test_no_invitation_is_handed_to_whom_it_is_not_meant_for() -> None:
    guest = Guest(has_invitation=lambda: False, granted=lambda _invitation: pytest.fail("granted"))
    assert await meet(Host(), guest) == ["", "The member that was reached hands out no invitation."]


@pytest.mark.parametrize("field", [{"room": b"?" * 32}, {"inviter": BOB}, {"expires": 1}])
async def test_an_invitation_to_elsewhere_of_another_or_from_the_past_is_not_taken(
    field: dict[str, object],
) -> None:
    async def invitation() -> Invitation:
        return Invitation(
            **{**{name: getattr(INVITATION, name) for name in INVITATION.__struct_fields__}, **field}
        )

    guest = Guest(has_invitation=lambda: False, granted=lambda _invitation: pytest.fail("granted"))
    host = Host(invitation=invitation, may_have_invitation=lambda _peer, _offer: True)
    _, why = await meet(host, guest)
    assert "invitation" in why


async def test_the_right_password_shown_in_another_session_is_a_wrong_one() -> None:
    """Somebody in between passes the messages on, from one channel to another."""
    near, far = channel()
    came_to: list[str] = []

    async def see(work: Awaitable[None]) -> None:
        try:
            await work
        except ConnectFailed as failed:
            came_to.append(failed.message)

    guest = Guest(ask=typing("open sesame"))
    with pytest.RaisesGroup(pytest.RaisesExc(NodeError, match="password is wrong")), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.run)
            nursery.start_soon(see, protected().receive(meeting(near, session=b"x" * 32)))
            nursery.start_soon(see, guest.arrive(meeting(far, session=b"y" * 32)))
    assert came_to == ["The password is wrong."]


@pytest.mark.parametrize("side", ["host", "guest"])
@pytest.mark.parametrize("message", range(4))
async def test_any_altered_message_ends_the_meeting_and_no_more(side: str, message: int) -> None:
    """One bit of the n-th message that this side hears; the guest hears four in all, the host three."""
    if side == "host" and message == 3:
        return
    for byte in (0, 1, 2, -1):
        ends = channel()
        end = ends[0] if side == "host" else ends[1]

        def alter(data: bytes, byte: int = byte, end: End = end) -> bytes:
            if len(end.heard) != message or not data[byte:]:
                return data
            flipped = bytearray(data)
            flipped[byte] ^= 0x40
            return bytes(flipped)

        end.alter = alter
        guest = knowing(RIGHT, granted=lambda _invitation: pytest.fail("granted"))
        came_to = await meet(protected(), guest, ends)
        harmless = side == "guest" and message == 3 and byte in (2,)  # an empty grant has no third byte
        assert any(came_to) is not harmless, (byte, came_to)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"", "asked for nothing"),
        (b"\xc6\x01\x02", "asked for nothing"),
        (b"\xc6\x02\x00", "asked for nothing"),
        (b"\xc6\x01\x00" + bytes(60_000), "asked for nothing"),
        (b"\x01\x04\x00\x00\x00", "asked for nothing"),
    ],
)
async def test_a_guest_that_breaks_the_order_is_given_up(says: bytes, why: str) -> None:
    near, far = channel()
    await far.send(says)
    with pytest.raises(ConnectFailed, match=why):
        await Host().receive(meeting(near))


@pytest.mark.parametrize(
    "says",
    [
        [b""],
        [b"\xc3\x02\x00"],
        [b"\xc3\x01\x02"],
        [b"\xc8\x01\x09\x00\x00"],
        [b"\xc3\x01\x00", b"\xc7\x02"],
        [b"\xc3\x01\x00", b"\xc7\x01uncalled for"],
        [b"\xc3\x01\x00", b"\xc7\x01" + bytes(60_000)],
    ],
)
async def test_a_member_that_breaks_the_order_is_given_up(says: list[bytes]) -> None:
    near, far = channel()
    for message in says:
        await near.send(message)
    faults: Counter[str] = Counter()
    with pytest.raises(ConnectFailed, match="does not keep to the rules"):
        await Guest(faults=faults).arrive(meeting(far))
    assert faults == {"reception: a member broke the rules": 1}


async def test_a_host_that_does_not_know_the_password_is_no_member(autojump_clock: MockClock) -> None:
    """It says that it agrees; what it cannot do is prove it."""
    near, far = channel()
    guest = knowing(RIGHT)
    liar = PasswordRun(
        side=Side.HOST, secret=bytes(SECRET_SIZE), session=b"x" * 32, guest=BOB, host=ANN, random=b"1" * 64
    )
    liar.start()

    async def lie() -> None:
        await near.send(b"\xc3\x01\x01")
        (element,) = liar.receive(await near.receive())
        await near.send(cast(bytes, element.message))  # type: ignore[union-attr]
        await near.receive()
        await near.send(b"\xc5\x01" + bytes(32))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lie)
        with pytest.raises(ConnectFailed, match="does not know the room's password itself"):
            await guest.arrive(meeting(far))


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


async def test_many_runs_open_at_once_get_no_more_guesses_than_one_after_the_other() -> None:
    host = protected()
    near, far = channel()
    run = PasswordRun(side=Side.GUEST, secret=RIGHT, session=b"x" * 32, guest=BOB, host=ANN, random=b"1" * 64)
    async with trio.open_nursery() as nursery:

        async def see() -> None:
            with pytest.raises(ConnectFailed, match="refused"):
                await host.receive(meeting(near))

        nursery.start_soon(see)
        await far.receive()
        (element,) = run.start()
        await far.send(element.message)  # type: ignore[union-attr]
        (proof,) = run.receive(await far.receive())
        for _ in range(10):
            host.guesses.was_wrong(now=trio.current_time())
        await far.send(proof.message)  # type: ignore[union-attr]
        assert (await far.receive())[:3] == b"\xc8\x01\x02"
        await far.out.aclose()


def test_the_pauses_double_up_to_an_hour_and_begin_anew_after_a_quiet_day() -> None:
    guesses = Guesses()
    now, pauses = 0.0, []
    for _ in range(9):
        for _ in range(10):
            assert guesses.wait(now=now) == 0
            guesses.was_wrong(now=now)
        pauses.append(guesses.wait(now=now))
        now += pauses[-1]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    now += 24 * 3600
    for _ in range(10):
        guesses.was_wrong(now=now)
    assert guesses.wait(now=now) == 60


def test_wrong_guesses_that_come_slowly_close_no_door() -> None:
    guesses = Guesses()
    for turn in range(1000):
        guesses.was_wrong(now=turn * 6.7)
        assert math.isclose(guesses.wait(now=turn * 6.7), 0.0)
