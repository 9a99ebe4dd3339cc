"""A conversation with one node: events go to the screen, lines go to the node, until somebody quits."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final, NoReturn, assert_never

import trio

from console.commands import HELP, Admit, Help, Invite, Nothing, Quit, Remove, Say, Status, Who, Wrong, parse
from console.lines import BadLine, LineReader
from console.out import stdin_is_terminal
from console.screen import Screen
from node.api import NodeApi
from node.errors import Exit, NodeError, NoQuorum, NotAMember, TimedOut, Unreachable
from node.events import (
    AdmittedEvent,
    AnyEvent,
    ErrorEvent,
    FinalEvent,
    NoticeEvent,
    PeerEvent,
    PendingEvent,
    RemovedEvent,
    RoomEvent,
    WordsEvent,
)

_BACKLOG: Final = 1000  # events; whoever was shown so many was cut off for being slow, not refused
_CHANGES_WHO_IS_UP = RoomEvent | PeerEvent | AdmittedEvent | RemovedEvent


class Chat:
    """One screen and one source of lines on a node, in this process or behind its socket."""

    def __init__(self, node: NodeApi, screen: Screen, *, watching: bool = True) -> None:
        self._node = node
        self._watching = watching
        self._screen = screen
        self._unsettled: set[str] = set()  # ours and not final
        self._early: set[str] = set()  # final before `say` told us their ids
        self._saying = False
        self._changed = trio.Event()  # replaced each time something of ours becomes final
        self._room: RoomEvent | None = None
        self._pending: set[str] = set()  # shown as such, and not final
        self._left = self._removed = False  # from the room, of our own will or not
        self._next = 0  # index of the first final message that was not shown
        self.heard_words = False
        """Whether a newcomer reached a member."""

    async def show_room(self) -> RoomEvent:
        """Say which room this is, if that was not said yet."""
        room = await self._node.room()
        await self._show_room(room)
        return room

    async def show_invitation(self) -> None:
        await self._screen.event(await self._node.invite())

    async def show(self, events: AsyncIterator[AnyEvent], *, since: int, talk: trio.CancelScope) -> None:
        """Show events, which begin at index `since`, until the node stops, which raises Unreachable.

        When we left the room, `talk` is cancelled; NotAMember when we were removed from it.
        A stream that was cut off, because nobody read what we wrote, is asked for again from where it ended.
        """
        self._next = since
        cut_off = await self._show_until_cut_off(events)
        while cut_off:
            await self._screen.event(NoticeEvent(message="The reader was slow; all that is final follows."))
            async with self._node.events(since=self._next, watching=self._watching) as again:
                cut_off = await self._show_until_cut_off(again)
        if self._left:
            talk.cancel()
            return
        if self._removed:
            raise NotAMember(self._room.room if self._room is not None else "")
        raise Unreachable("The node stopped.", "Start it again with `pigeon chat` or `pigeon up`.")

    async def _show_until_cut_off(self, events: AsyncIterator[AnyEvent]) -> bool:
        """True when the stream was cut off, False when the node stopped."""
        shown = 0
        try:
            async for event in events:
                await self._show_one(event)
                shown += 1
        except Unreachable:
            if not (self._left or self._removed):  # the node may be gone before all of that was read
                raise
        except NodeError:
            if shown < _BACKLOG:
                raise
            return True
        return False

    async def _show_one(self, event: AnyEvent) -> None:
        match event:
            case RoomEvent():
                await self._show_room(event)
            case PendingEvent() if event.id in self._pending:
                pass  # the beginning of a stream repeats it
            case _:
                await self._screen.event(event)
        match event:
            case PendingEvent():
                self._pending.add(event.id)
                self._unsettled.add(event.id)
            case FinalEvent():
                self._next = event.index + 1
                if event.mine:
                    self._pending.discard(event.id)
                    self._settle(event.id)
            case WordsEvent():
                self.heard_words = True
            case RemovedEvent() if self._room is not None and event.member == self._room.me:
                self._left, self._removed = event.left, not event.left
            case _:
                pass
        is_over = self._left or self._removed
        if self._room is not None and isinstance(event, _CHANGES_WHO_IS_UP) and not is_over:
            await self._screen.standing(await self._node.status())

    async def talk(self, lines: LineReader, *, timeout: float | None) -> None:
        """Carry out every line until /quit or the end of input; at the end of a pipe wait until all is final.

        Raises NoQuorum or TimedOut when that takes longer than `timeout` seconds.
        """
        while (line := await lines.next()) is not None:
            if isinstance(line, BadLine):
                await self._error(line.reason, line.hint)
            elif await self._carry_out(line.text):
                return
        if stdin_is_terminal():
            return
        with trio.move_on_after(timeout if timeout is not None else float("inf")) as scope:
            while True:
                changed = self._changed
                status = await self._node.status()
                if not self._unsettled and not status.pending:
                    break
                await changed.wait()
        if scope.cancelled_caught:
            status = await self._node.status()
            raise_not_reached("final", up=status.up, quorum=status.quorum)

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
                    await self.show_invitation()
                case Help():
                    await self._screen.notice(HELP)
                case Quit():
                    return True
                case Nothing():
                    pass
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
        self._saying = True
        try:
            said = await self._node.say(text)
        finally:
            self._saying = False
        if said not in self._early:
            self._unsettled.add(said)
        self._early.clear()

    def _settle(self, said: str) -> None:
        self._unsettled.discard(said)
        self._changed.set()
        self._changed = trio.Event()
        if self._saying:
            self._early.add(said)

    async def _show_room(self, room: RoomEvent) -> None:
        if room != self._room:
            self._room = room
            await self._screen.event(room)

    async def _error(self, message: str, hint: str, *, code: Exit = Exit.USAGE) -> None:
        await self._screen.event(ErrorEvent(code=code, message=message, hint=hint))


def raise_not_reached(state: str, *, up: int, quorum: int) -> NoReturn:
    """It was not `state` (delivered, final) in time: NoQuorum if too few members are up, else TimedOut."""
    hint = "It is safe on this disk and stays queued: do not send it again."
    if up < quorum:
        raise NoQuorum(f"Only {up} of the {quorum} members that are needed are up.", hint)
    raise TimedOut(f"It was not {state} in time.", hint)


async def converse(
    node: NodeApi,
    screen: Screen,
    lines: LineReader | None,
    *,
    timeout: float | None,
    since: int | None = None,
    invite: bool = False,
    greeting: str = "",
) -> None:
    """Which room, an invitation if wanted, a greeting, then events and lines. Without lines: for ever.

    With `since`, final messages from that index on are shown too, whenever they were said.
    """
    watching = lines is not None
    chat = Chat(node, screen, watching=watching)
    begins = (await node.status()).index if since is None else since
    async with node.events(since=since, watching=watching) as events, trio.open_nursery() as nursery:
        await chat.show_room()
        if invite:
            await chat.show_invitation()
        if greeting:
            await screen.notice(greeting)
        nursery.start_soon(partial(chat.show, events, since=begins, talk=nursery.cancel_scope))
        if lines is None:
            return
        await chat.talk(lines, timeout=timeout)
        nursery.cancel_scope.cancel()
