"""A member at its door: it sees newcomers in, asks for the room's password, and hands out invitations."""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn, assert_never

import trio

from node.errors import ConnectFailed
from node.link import ChannelClosed
from node.meeting import (
    ASK,
    DEADLINE,
    GRANT,
    REFUSED,
    TOO_MANY,
    TYPING,
    WELCOME,
    WRONG,
    YES,
    Meeting,
    Talk,
    password_run,
    within,
)
from node.password import Guesses
from signaling.description import Offer
from signaling.handshake import Send
from signaling.invitation import Invitation, encode_invitation
from signaling.password import Agreed, Broken, Effect, Side, Wrong

_LAST_WORDS: Final = 2.0  # seconds for a refusal to arrive before the channel is closed
_MAX_WAIT: Final = 0xFFFF


async def _no_invitation() -> Invitation:
    raise ConnectFailed("There is no invitation to hand out here.", "Ask another member.")


@dataclass(kw_only=True)
class Host:
    """A member at its door. Without a password everybody is welcome who came as far as here."""

    password: Callable[[], bytes | None] = lambda: None
    """The room's, stretched; None: it has none."""
    is_member: Callable[[bytes], bool] = lambda _peer: True
    """Whether this identity is in the committee."""
    may_come_in: Callable[[bytes], bool] = lambda _peer: True
    """Whether this identity may have a link in a room with a password though it is no guest."""
    may_have_invitation: Callable[[bytes, Offer], bool] = lambda _peer, _offer: False
    """Whether this guest, who has shown the password if there is one, gets an invitation if it wants one."""
    invitation: Callable[[], Awaitable[Invitation]] = _no_invitation
    tell: Callable[[str], None] = lambda _message: None
    faults: Counter[str] = field(default_factory=Counter)
    guesses: Guesses = field(default_factory=Guesses)

    def check_no_guest(self, peer: bytes) -> None:
        """Somebody comes as a member: ConnectFailed for who would go past the password that way."""
        if self.password() is not None and not self.may_come_in(peer):
            self.faults["reception: a stranger came as a member"] += 1
            raise ConnectFailed("The other end is no member that is known here.", "Wait until it is one.")

    async def receive(self, meeting: Meeting) -> None:
        """See a guest in, or ConnectFailed."""
        with within(DEADLINE) as scope:
            # Members, too, if they come as newcomers: they lost what they had, the password perhaps as well,
            # and will guard a door again.
            secret = self.password()
            if secret is not None:
                await self._check_guesses(meeting.talk)
            await meeting.talk.send(WELCOME + bytes((YES if secret is not None else 0,)))
            if secret is not None:
                scope.deadline += TYPING
                await self._ask_password(meeting, secret)
                scope.deadline = trio.current_time() + DEADLINE
            asked = await meeting.talk.receive()
            if len(asked) != 3 or asked[:2] != ASK or asked[2] & ~YES:
                self._fail("asked for nothing in its turn")
            grant = b""
            if asked[2] and self.may_have_invitation(meeting.guest, meeting.offer):
                grant = encode_invitation(await self.invitation())
            await meeting.talk.send(GRANT + grant)

    async def _check_guesses(self, talk: Talk) -> None:
        wait = self.guesses.wait(now=trio.current_time())
        if wait > 0:
            self.faults["reception: too many guesses"] += 1
            await self._refuse(talk, TOO_MANY, seconds=min(int(wait) + 1, _MAX_WAIT))

    async def _ask_password(self, meeting: Meeting, secret: bytes) -> None:
        run = password_run(Side.HOST, secret, meeting)
        run.start()
        element = await meeting.talk.receive()
        await self._do(run.receive(element), meeting.talk)
        proof = await meeting.talk.receive()
        # Now, and not earlier: whoever has many runs open at once gets no more guesses for that.
        await self._check_guesses(meeting.talk)
        await self._do(run.receive(proof), meeting.talk)

    async def _do(self, effects: list[Effect], talk: Talk) -> None:
        for effect in effects:
            match effect:
                case Send(message):
                    await talk.send(message)
                case Agreed():
                    pass
                case Wrong():
                    self._count_wrong()
                    await self._refuse(talk, WRONG, seconds=0)
                case Broken(reason):
                    self._fail(reason)
                case _:
                    assert_never(effect)

    def _count_wrong(self) -> None:
        now = trio.current_time()
        self.guesses.was_wrong(now=now)
        self.faults["reception: wrong password"] += 1
        if wait := self.guesses.wait(now=now):
            closed = f"newcomers are asked again in {wait:.0f} seconds"
            self.tell(f"Ten wrong passwords were tried in a minute; {closed}.")

    async def _refuse(self, talk: Talk, reason: int, *, seconds: int) -> NoReturn:
        with trio.move_on_after(_LAST_WORDS), suppress(ChannelClosed):
            await talk.send(REFUSED + bytes((reason,)) + seconds.to_bytes(2, "big"))
            await talk.receive()  # it closes the channel when it has read that
        raise ConnectFailed("The newcomer was refused.", "")

    def _fail(self, reason: str) -> NoReturn:
        self.faults["reception: a guest broke the rules"] += 1
        raise ConnectFailed(f"A newcomer does not keep to the rules: {reason}.", "")
