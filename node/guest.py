"""A newcomer at the doors of a room's members: it shows the password, and is handed an invitation."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn, assert_never

import trio

from node.errors import ConnectFailed, Exit, NodeError, UsageError
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
from signaling.errors import SignalError
from signaling.handshake import Send
from signaling.invitation import MAX_INVITATION, Invitation, decode_invitation
from signaling.password import Agreed, Broken, Side, Wrong, stretch

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
        with within(DEADLINE) as scope:
            welcome = await self._next(meeting.talk)
            if len(welcome) != 3 or welcome[:2] != WELCOME or welcome[2] & ~YES:
                self._fail("no welcome")
            if self._insists and not welcome[2]:
                self._fail("it asks for no password, though this room has one")
            if welcome[2]:
                self._expect(meeting.offer.room)
                scope.deadline += TYPING - DEADLINE  # before the member gives us up
                await self._told.wait()
                scope.deadline = trio.current_time() + DEADLINE
                await self._show_password(meeting)
            wants = not self._has_invitation()
            await meeting.talk.send(ASK + bytes((YES if wants else 0,)))
            grant = await self._next(meeting.talk)
            if grant[:2] != GRANT or len(grant) > 2 + MAX_INVITATION:
                self._fail("no grant")
            self._take(grant[2:], meeting, wanted=wants)

    async def _show_password(self, meeting: Meeting) -> None:
        assert self._secret is not None
        run = password_run(Side.GUEST, self._secret, meeting)
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
        if message[:2] != REFUSED or len(message) != 5:
            return message
        seconds = int.from_bytes(message[3:], "big")
        if message[2] == TOO_MANY:
            pause = ConnectFailed(
                "Too many wrong passwords were tried on this member.", f"It asks again in {seconds} seconds."
            )
            if not self._paused:
                self._tell(str(pause))
            self._paused = True
            raise pause
        if message[2] != WRONG:
            self._fail(f"a refusal nobody knows, {message[2]}")
        over = NodeError("The password is wrong.", "Ask a member for it, and join again.", exit_code=Exit.NO)
        if not self._accepted:  # else another member agreed, and this one is wrong or lies
            self._over = over
            self._ended.set()
        raise ConnectFailed(over.message, over.hint)

    def _fail(self, reason: str) -> NoReturn:
        self._faults["reception: a member broke the rules"] += 1
        raise ConnectFailed(f"The other end does not keep to the rules: {reason}.", "Try again.")
