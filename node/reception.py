"""The door inside the channel: what a member and a proven newcomer say before their link is given out.

    member -> guest   WELCOME   whether the room asks for a password
    [both             ELEMENT, then PROOF, see signaling/password.py]
    guest -> member   ASK       whether an invitation is wanted
    member -> guest   GRANT     the invitation, or nothing
    member -> guest   REFUSED   instead of anything, and the last: why, and after how many seconds again

One message at a time, each bounded in bytes and waited for so long and no longer. Whatever breaks the order
ends this link only. The messages are inside DTLS and bound to it: the handshake came first.
"""

import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn, Protocol, assert_never

import trio

from node.errors import ConnectFailed, Exit, NodeError, UsageError
from node.link import ChannelClosed
from node.password import Guesses
from signaling.description import Offer
from signaling.errors import SignalError
from signaling.handshake import Send
from signaling.invitation import MAX_INVITATION, Invitation, decode_invitation, encode_invitation
from signaling.password import Agreed, Broken, Effect, PasswordRun, Side, Wrong, stretch

VERSION: Final = 1
_WELCOME: Final = 0xC3  # no link message begins with these
_ASK: Final = 0xC6
_GRANT: Final = 0xC7
_REFUSED: Final = 0xC8
_YES: Final = 0x01

_DEADLINE: Final = 10.0
_TYPING: Final = 120.0  # seconds a person may take for the password
_LAST_WORDS: Final = 2.0  # seconds for a refusal to arrive before the channel is closed
_MAX_WAIT: Final = 0xFFFF

_WRONG: Final = 1
_TOO_MANY: Final = 2


class Talk(Protocol):
    """An open channel, see node/webrtc.py."""

    async def send(self, message: bytes) -> None: ...

    async def receive(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Who meets, in which session. `session`: the digest of the handshake's binding."""

    talk: Talk
    session: bytes
    guest: bytes
    host: bytes
    offer: Offer


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
        with _within(_DEADLINE) as scope:
            # Members, too, if they come as newcomers: they lost what they had, the password perhaps as well,
            # and will guard a door again.
            secret = self.password()
            if secret is not None:
                await self._check_guesses(meeting.talk)
            await meeting.talk.send(bytes((_WELCOME, VERSION, _YES if secret is not None else 0)))
            if secret is not None:
                scope.deadline += _TYPING
                await self._ask_password(meeting, secret)
                scope.deadline = trio.current_time() + _DEADLINE
            asked = await meeting.talk.receive()
            if len(asked) != 3 or asked[:2] != bytes((_ASK, VERSION)) or asked[2] & ~_YES:
                self._fail("asked for nothing in its turn")
            grant = b""
            if asked[2] and self.may_have_invitation(meeting.guest, meeting.offer):
                grant = encode_invitation(await self.invitation())
            await meeting.talk.send(bytes((_GRANT, VERSION)) + grant)

    async def _check_guesses(self, talk: Talk) -> None:
        wait = self.guesses.wait(now=trio.current_time())
        if wait > 0:
            self.faults["reception: too many guesses"] += 1
            await self._refuse(talk, _TOO_MANY, seconds=min(int(wait) + 1, _MAX_WAIT))

    async def _ask_password(self, meeting: Meeting, secret: bytes) -> None:
        run = _run(Side.HOST, secret, meeting)
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
                    await self._refuse(talk, _WRONG, seconds=0)
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
            await talk.send(bytes((_REFUSED, VERSION, reason)) + seconds.to_bytes(2, "big"))
            await talk.receive()  # it closes the channel when it has read that
        raise ConnectFailed("The newcomer was refused.", "Nothing has to be done.")

    def _fail(self, reason: str) -> NoReturn:
        self.faults["reception: a guest broke the rules"] += 1
        raise ConnectFailed(f"A newcomer does not keep to the rules: {reason}.", "Nothing has to be done.")


AskPassword = Callable[[], Awaitable[str | None]]
"""The password from a file, or from a person; None: nobody to ask."""


async def nobody_to_ask() -> str | None:
    """For who was given no password and sits at no terminal."""
    return None


async def _keep_nothing(_secret: bytes) -> None:
    pass


class Guest:
    """A newcomer at the doors of the room's members; it is asked for the password once. `run()` must run."""

    def __init__(
        self,
        *,
        ask: AskPassword = nobody_to_ask,
        has_invitation: Callable[[], bool] = lambda: True,
        granted: Callable[[Invitation], None] = lambda _invitation: None,
        keep: Callable[[bytes], Awaitable[None]] = _keep_nothing,
        tell: Callable[[str], None] = lambda _message: None,
        faults: Counter[str] | None = None,
    ) -> None:
        """`granted`: a member handed an invitation over; it is one for this room, and not expired.

        `keep`: is given the stretched password once a member agreed that it is the one, before we are linked.
        """
        self._ask = ask
        self._has_invitation = has_invitation
        self._granted = granted
        self._keep = keep
        self._tell = tell
        self._faults = faults if faults is not None else Counter()
        self._room = b""
        self._asked = trio.Event()
        self._told = trio.Event()
        self._over: NodeError | None = None
        self._ended = trio.Event()
        self._secret: bytes | None = None
        self._accepted = False
        self._paused = False
        self._insists = False

    def remember(self, secret: bytes) -> None:
        """This room's password was shown and accepted before; nobody has to be asked for it again."""
        self._secret = secret
        self._accepted = True
        self._told.set()

    @property
    def is_over(self) -> bool:
        """Whether the password was wrong, so that `run` ends."""
        return self._over is not None

    async def ready(self, room: bytes) -> None:
        """Have the password, be it typed now, before a member of this room asks for it and waits.

        From now on a member that does not ask is none: only by knowing the password does it show that it is
        of the room that was meant, when nothing else that we came with says so.
        """
        self._insists = True
        self._expect(room)
        await self._told.wait()

    def _expect(self, room: bytes) -> None:
        if not self._asked.is_set():
            self._room = room
            self._asked.set()

    async def run(self) -> None:
        """Ask the person when a member asks us, whichever link that was; NodeError when that ends badly."""
        await self._asked.wait()
        if self._secret is None:
            await self._get()
        self._told.set()
        await self._ended.wait()
        assert self._over is not None
        raise self._over

    async def _get(self) -> None:
        password = await self._ask()
        if password is None:
            raise UsageError(
                "This room asks newcomers for a password.",
                "Give it with --password-file F, or at a terminal.",
            )
        try:
            work = partial(stretch, password, room=self._room)
            self._secret = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        except SignalError as error:
            raise UsageError(error.message, error.hint) from error

    async def arrive(self, meeting: Meeting) -> None:
        """Be seen in by a member, or ConnectFailed."""
        with _within(_DEADLINE) as scope:
            welcome = await self._next(meeting.talk)
            if len(welcome) != 3 or welcome[:2] != bytes((_WELCOME, VERSION)) or welcome[2] & ~_YES:
                self._fail("no welcome")
            if self._insists and not welcome[2]:
                self._fail("it asks for no password, though this room has one")
            if welcome[2]:
                self._expect(meeting.offer.room)
                scope.deadline += _TYPING - _DEADLINE  # before the member gives us up
                await self._told.wait()
                scope.deadline = trio.current_time() + _DEADLINE
                await self._show_password(meeting)
            wants = not self._has_invitation()
            await meeting.talk.send(bytes((_ASK, VERSION, _YES if wants else 0)))
            grant = await self._next(meeting.talk)
            if grant[:2] != bytes((_GRANT, VERSION)) or len(grant) > 2 + MAX_INVITATION:
                self._fail("no grant")
            self._take(grant[2:], meeting, wanted=wants)

    async def _show_password(self, meeting: Meeting) -> None:
        assert self._secret is not None
        run = _run(Side.GUEST, self._secret, meeting)
        effects = run.start()
        while True:
            for effect in effects:
                match effect:
                    case Send(message):
                        await meeting.talk.send(message)
                    case Agreed():
                        if not self._accepted:
                            await self._keep(self._secret)
                            self._accepted = True
                        return
                    case Wrong():
                        self._fail("it does not know the room's password itself")
                    case Broken(reason):
                        self._fail(reason)
                    case _:
                        assert_never(effect)
            effects = run.receive(await self._next(meeting.talk))

    def _take(self, grant: bytes, meeting: Meeting, *, wanted: bool) -> None:
        if not wanted:
            if grant:
                self._fail("an invitation that nobody wanted")
            return
        if not grant:
            raise ConnectFailed(
                "The member that was reached hands out no invitation.", "Ask a member for an invitation."
            )
        try:
            invitation = decode_invitation(grant, now=int(time.time()))
        except SignalError as error:
            self._fail(f"its invitation: {error.message}")
        if invitation.room != meeting.offer.room or invitation.inviter != meeting.host:
            self._fail("an invitation of somebody else, or to another room")
        self._granted(invitation)

    async def _next(self, talk: Talk) -> bytes:
        message = await talk.receive()
        if message[:2] != bytes((_REFUSED, VERSION)) or len(message) != 5:
            return message
        seconds = int.from_bytes(message[3:], "big")
        if message[2] == _TOO_MANY:
            pause = ConnectFailed(
                "Too many wrong passwords were tried on this member.", f"It asks again in {seconds} seconds."
            )
            if not self._paused:
                self._tell(str(pause))
            self._paused = True
            raise pause
        if message[2] != _WRONG:
            self._fail(f"a refusal nobody knows, {message[2]}")
        over = NodeError("The password is wrong.", "Ask a member for it, and join again.", exit_code=Exit.NO)
        if not self._accepted:  # else another member agreed, and this one is wrong or lies
            self._over = over
            self._ended.set()
        raise ConnectFailed(over.message, over.hint)

    def _fail(self, reason: str) -> NoReturn:
        self._faults["reception: a member broke the rules"] += 1
        raise ConnectFailed(f"The other end does not keep to the rules: {reason}.", "Try again.")


@dataclass(frozen=True, kw_only=True)
class Reception:
    """What `greet` needs to know of us: whether we come or are at home, and what to do then."""

    is_guest: Callable[[], bool] = lambda: False
    host: Host = field(default_factory=Host)
    guest: Guest = field(default_factory=Guest)


def _run(side: Side, secret: bytes, meeting: Meeting) -> PasswordRun:
    return PasswordRun(
        side=side,
        secret=secret,
        session=meeting.session,
        guest=meeting.guest,
        host=meeting.host,
        random=secrets.token_bytes(64),
    )


@contextmanager
def _within(seconds: float) -> Iterator[trio.CancelScope]:
    """ConnectFailed instead of waiting any longer; the deadline may be moved."""
    with trio.move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise ConnectFailed("The other end stopped answering before it was linked.", "Try again.")
