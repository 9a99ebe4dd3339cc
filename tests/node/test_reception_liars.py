"""At the door: whoever alters a message, breaks the order or pretends ends this meeting, and no more."""

from collections import Counter
from collections.abc import Awaitable
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from node.errors import ConnectFailed, NodeError
from node.reception import Guest, Host
from signaling.invitation import Invitation
from signaling.password import SECRET_SIZE, PasswordRun, Side
from tests.node.door import (
    ANN,
    BOB,
    INVITATION,
    RIGHT,
    ROOM,
    End,
    channel,
    knowing,
    meet,
    meeting,
    met,
    protected,
    typing,
)


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
