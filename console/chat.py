"""A conversation with one node: events go to the screen, lines go to the node, until somebody quits."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import trio

from console.lines import LineReader
from console.out import stdin_is_terminal
from console.screen import Screen
from console.settling import Settling
from console.talk import Talk
from node.api import NodeApi
from node.errors import NodeError, NotAMember, Unreachable
from node.events import (
    AdmittedEvent,
    AnyEvent,
    ErrorEvent,
    FinalEvent,
    InviteEvent,
    NoticeEvent,
    PeerEvent,
    PendingEvent,
    RemovedEvent,
    RoomEvent,
    TokenEvent,
    WordsEvent,
)
from node.tokens import carried_by_hand

_BACKLOG: Final = 1000  # events; whoever was shown so many was cut off for being slow, not refused
_ANSWERS_AFTER: Final = 5.0  # seconds; mostly a direct link comes up first, and nobody has to carry one
_CHANGES_WHO_IS_UP = RoomEvent | PeerEvent | AdmittedEvent | RemovedEvent


class Chat:
    """One screen on a node, in this process or behind its socket."""

    def __init__(self, node: NodeApi, screen: Screen, *, watching: bool = True) -> None:
        self._node = node
        self._watching = watching
        self._screen = screen
        self._settling = Settling()
        self._room: RoomEvent | None = None
        self._pending: set[str] = set()  # shown as such, and not final
        self._left = self._removed = False  # from the room, of our own will or not
        self._next = 0  # index of the first final message that was not shown
        self._links = 0  # that came up
        self._nursery: trio.Nursery | None = None
        self.heard_words = False
        """Whether a newcomer reached a member."""

    def talk(self, *, admitted: bool = True) -> Talk:
        """For somebody who types into the same conversation."""
        return Talk(self._node, self._screen, self._settling, by_hand=self._by_hand, admitted=admitted)

    def _by_hand(self) -> bool:
        return self._room is not None and carried_by_hand(self._room.via)

    async def show_room(self) -> RoomEvent:
        """Say which room this is, if that was not said yet."""
        room = await self._node.room()
        await self._show_room(room)
        return room

    async def show_invitation(self) -> None:
        await self._screen.event(await self._node.invite())

    async def show(self, events: AsyncIterator[AnyEvent], *, since: int, nursery: trio.Nursery) -> None:
        """Show events, which begin at index `since`, until the node stops, which raises Unreachable.

        When we left the room, the nursery is cancelled; NotAMember when we were removed from it.
        A stream that was cut off, because nobody read what we wrote, is asked for again from where it ended.
        """
        self._nursery = nursery  # of the conversation: answers wait in it a little
        nursery.start_soon(partial(self._screen.count, typed=self._watching and stdin_is_terminal()))
        self._next = since
        cut_off = await self._show_until_cut_off(events)
        while cut_off:
            await self._screen.event(NoticeEvent(message="The reader was slow; all that is final follows."))
            async with self._node.events(since=self._next, watching=self._watching) as again:
                cut_off = await self._show_until_cut_off(again)
        if self._left:
            nursery.cancel_scope.cancel()
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
            case TokenEvent(kind="answer") if self._screen.for_people:
                assert self._nursery is not None
                self._nursery.start_soon(self._show_answer, event, self._links)
            case TokenEvent() | InviteEvent():
                await self._show_token(event)
            case _:
                await self._screen.event(event)
        match event:
            case PendingEvent():
                self._pending.add(event.id)
                self._settling.on_pending(event.id)
            case FinalEvent():
                self._next = event.index + 1
                if event.mine:
                    self._pending.discard(event.id)
                    self._settling.on_final(event.id)
            case WordsEvent():
                self.heard_words = True
                self._links += 1
            case PeerEvent(state="up"):
                self._links += 1
            case RemovedEvent() if self._room is not None and event.member == self._room.me:
                self._left, self._removed = event.left, not event.left
            case _:
                pass
        is_over = self._left or self._removed
        if self._room is not None and isinstance(event, _CHANGES_WHO_IS_UP) and not is_over:
            await self._screen.standing(await self._node.status())

    async def _show_answer(self, answer: TokenEvent, links: int) -> None:
        """Unless somebody was reached meanwhile, since there were so many links."""
        await trio.sleep(_ANSWERS_AFTER)
        if links == self._links:
            await self._show_token(answer)

    async def _show_token(self, event: AnyEvent) -> None:
        try:
            await self._screen.event(event)
        except NodeError as error:  # its picture cannot be written, and the conversation goes on
            await self._screen.event(ErrorEvent(code=error.exit_code, message=error.message, hint=error.hint))

    async def _show_room(self, room: RoomEvent) -> None:
        if room != self._room:
            self._room = room
            await self._screen.event(room)


async def converse(
    node: NodeApi,
    screen: Screen,
    lines: LineReader | None,
    *,
    timeout: float | None,
    since: int | None = None,
    greeting: str = "",
    invite: bool = False,
    how_to_join: str = "",
) -> None:
    """Which room, a greeting, an invitation if wanted, then events and lines. Without lines: for ever.

    With `since`, final messages from that index on are shown too, whenever they were said.
    """
    watching = lines is not None
    chat = Chat(node, screen, watching=watching)
    begins = (await node.status()).index if since is None else since
    async with node.events(since=since, watching=watching) as events, trio.open_nursery() as nursery:
        await chat.show_room()
        if greeting:
            await screen.notice(greeting)
        if invite:
            await chat.show_invitation()  # towards the end: a code should not be scrolled away
        if how_to_join:
            await screen.notice(how_to_join)
        nursery.start_soon(partial(chat.show, events, since=begins, nursery=nursery))
        if lines is None:
            return
        await chat.talk().run(lines, timeout=timeout)
        nursery.cancel_scope.cancel()
