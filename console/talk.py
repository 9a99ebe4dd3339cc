"""What somebody types, carried out: messages, commands, and tokens, which are used and never said."""

from collections.abc import Callable
from typing import Final, NoReturn, assert_never

import trio

from console.commands import (
    HELP,
    Admit,
    Help,
    Invite,
    Nothing,
    Quit,
    Remove,
    Renew,
    Say,
    Scan,
    Status,
    Who,
    Wrong,
    parse,
)
from console.lines import BadLine, Line, LineReader
from console.out import stdin_is_terminal
from console.pasted import PasteReader, Read
from console.pictures import token_in_picture
from console.screen import Screen
from console.settling import Settling
from console.welcome import REST_OF_TOKEN, taken
from node.api import NodeApi
from node.errors import Exit, NodeError, NoQuorum, TimedOut, Unreachable
from node.events import ErrorEvent, NoticeEvent
from node.tokens import NoToken, Token

_MAX_HELD: Final = 256  # lines for a room that we are not in yet; beyond that nothing more is read
_SILENCE: Final = 5.0  # seconds until who waits for the end is told for what
_COURTESY: Final = 2.0  # seconds that others' messages have to become final before we leave too few behind
_LOOK: Final = 0.05


class Talk:
    """One source of lines on a node, in this process or behind its socket."""

    def __init__(
        self,
        node: NodeApi,
        screen: Screen,
        settling: Settling,
        *,
        by_hand: Callable[[], bool],
        admitted: bool = True,
    ) -> None:
        """`by_hand`: whether people carry this room's tokens, so that a line with one is no message."""
        self._node = node
        self._screen = screen
        self._settling = settling
        self._by_hand = by_hand
        self._held: list[str] = []  # for when we are in
        self._admitted = trio.Event()
        if admitted:
            self._admitted.set()
        self._turn = trio.Lock()
        self._secret: trio.MemorySendChannel[str] | None = None

    async def secret(self) -> str:
        """The next line that is typed, which is not said and not kept; `run` has to be running."""
        give, take = trio.open_memory_channel[str](1)
        self._secret = give
        try:
            return await take.receive()
        finally:
            self._secret = None

    async def run(self, lines: LineReader, *, timeout: float | None) -> None:
        """Carry out every line until /quit or the end of input; at the end of a pipe wait until all is final.

        Raises NoQuorum or TimedOut when that takes longer than `timeout` seconds.
        """
        reader = PasteReader(lines, watch=self._takes_tokens, on_wait=self._wait_for_the_rest)
        while (read := await reader.next()) is not None:
            async with self._turn:
                if await self._take(read):
                    return
            if len(self._held) >= _MAX_HELD:
                await self._admitted.wait()
        if stdin_is_terminal():
            return
        await self._admitted.wait()
        async with self._turn:
            pass  # what was held is being said
        await self._wait_until_final(timeout)
        await self._see_others_through()

    async def on_admitted(self) -> None:
        """We are in: what was typed before is carried out now."""
        async with self._turn:
            self._admitted.set()
            for line in self._held:
                await self._carry_out(line)
            self._held.clear()

    def _takes_tokens(self) -> bool:
        return not self._admitted.is_set() or self._by_hand()

    async def _take(self, read: Read) -> bool:
        """True when that was the last one."""
        match read:
            case BadLine(reason=reason, hint=hint):
                await self._error(reason, hint)
            case Line(text=text) if self._secret is not None:
                if text:
                    self._secret.send_nowait(text)
                    self._secret = None
            case NoToken(message=message, hint=hint):
                await self._error(message, hint)
            case Token():
                await self._carry(read.lines)
            case Line(text=text):
                return await (self._carry_out(text) if self._admitted.is_set() else self._hold(text))
            case _:
                assert_never(read)
        return False

    async def _hold(self, line: str) -> bool:
        """A line of somebody who is not in yet."""
        command = parse(line)
        match command:
            case Help() | Quit() | Scan() | Nothing() | Wrong():
                return await self._carry_out(line)
            case _:
                self._held.append(line)
                if len(self._held) == 1:
                    await self._notice("You are not in yet: this is kept, and carried out once you are.")
        return False

    async def _carry_out(self, line: str) -> bool:
        """True when that was the last one."""
        command = parse(line)
        try:
            match command:
                case Say(text=text):
                    await self._say(text)
                case Who():
                    await self._screen.members(await self._node.who())
                case Status():
                    await self._screen.status(await self._node.status(), why=True)
                case Admit(who=who):
                    await self._screen.approved(await self._node.admit(who))
                case Remove(who=who):
                    await self._screen.event(await self._node.remove(who))
                case Invite():
                    await self._screen.event(await self._node.invite())
                case Renew():
                    await self._screen.event(await self._node.renew(self._screen.renewable))
                case Scan(file=file):
                    await self._carry((await token_in_picture(file, wanted=self._wanted())).text)
                case Help():
                    await self._screen.notice(HELP)
                case Quit():
                    return True
                case Nothing():
                    if self._screen.renewable is not None and stdin_is_terminal():
                        await self._screen.event(await self._node.renew(self._screen.renewable))
                case Wrong(message=message, hint=hint):
                    await self._error(message, hint)
                case _:
                    assert_never(command)
        except Unreachable:
            raise
        except NodeError as error:
            await self._error(error.message, error.hint, code=error.exit_code)
        return False

    async def _say(self, text: str) -> None:
        with self._settling.saying():
            said = await self._node.say(text)
        self._settling.said(said)

    async def _carry(self, token: str) -> None:
        try:
            kind = await self._node.carry(token)
        except Unreachable:
            raise
        except NodeError as error:
            await self._error(error.message, error.hint, code=error.exit_code)
        else:
            await self._notice(taken(kind))

    def _wanted(self) -> tuple[str, ...]:
        """Kinds of tokens that may come in a picture; a member would rather have the answer to its offer."""
        return ("answer", "offer") if self._admitted.is_set() else ("offer",)

    async def _wait_for_the_rest(self) -> None:
        await self._notice(REST_OF_TOKEN)

    async def _wait_until_final(self, timeout: float | None) -> None:
        with trio.move_on_after(timeout if timeout is not None else float("inf")) as scope:
            with trio.move_on_after(_SILENCE) as silence:
                await self._settled()
            if silence.cancelled_caught:
                status = await self._node.status()
                await self._notice(
                    f"Not all that was said is final yet: {status.up} of {status.n} members are up, it takes "
                    f"{status.quorum}. It is waited for; Ctrl-C ends, and what is queued stays so."
                )
                await self._settled()
        if scope.cancelled_caught:
            status = await self._node.status()
            raise_not_reached("final", up=status.up, quorum=status.quorum)

    async def _settled(self) -> None:
        """Until all that we said is final."""
        while True:
            changed = self._settling.changed
            status = await self._node.status()
            if not self._settling and not status.pending:
                return
            await changed.wait()

    async def _see_others_through(self) -> None:
        """What others just said may need our vote, if without us there are too few: stay a moment for it."""
        with trio.move_on_after(_COURTESY):
            while (status := await self._node.status()).undecided and status.up == status.quorum:
                await trio.sleep(_LOOK)

    async def _notice(self, message: str) -> None:
        await self._screen.event(NoticeEvent(message=message))

    async def _error(self, message: str, hint: str, *, code: Exit = Exit.USAGE) -> None:
        await self._screen.event(ErrorEvent(code=code, message=message, hint=hint))


def raise_not_reached(state: str, *, up: int, quorum: int) -> NoReturn:
    """It was not `state` (delivered, final) in time: NoQuorum if too few members are up, else TimedOut."""
    hint = "It is safe on this disk and stays queued: do not send it again."
    if up < quorum:
        raise NoQuorum(f"Only {up} of the {quorum} members that are needed are up.", hint)
    raise TimedOut(f"It was not {state} in time.", hint)
