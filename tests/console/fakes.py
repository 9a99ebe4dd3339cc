"""A node that does what it is told, and a screen that remembers what it was shown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from console.screen import Screen
from node.api import MemberView
from node.errors import NodeError, UsageError
from node.events import (
    AnyEvent,
    Event,
    FinalEvent,
    InviteEvent,
    PendingEvent,
    RemovalEvent,
    RoomEvent,
    StatusEvent,
)

ROOM = RoomEvent(room="tea", fingerprint="ff", me="aa", nick="ann", n=4, f=1, quorum=3)


def final(index: int, said: str, *, text: str = "", mine: bool = True) -> FinalEvent:
    """A message at its place."""
    return FinalEvent(
        index=index, height=1, id=said, member="aa", nick="ann", text=text, claimed_time=0, mine=mine
    )


class SpokenTo:
    """A node of one room that makes messages final when told to."""

    def __init__(self, *, up: int = 4, finish: bool = True, stopping: bool = False) -> None:
        self.up = up
        self.stopping = stopping
        self.finish = finish
        self.said: list[str] = []
        self.renewed: list[str | None] = []
        self.unordered: dict[str, str] = {}
        self.undecided = 0  # so many times more a status says that others' messages are not final
        self._events, self._source = trio.open_memory_channel[AnyEvent](100)

    async def room(self) -> RoomEvent:
        return ROOM

    async def say(self, text: str) -> str:
        if text == "refused":
            raise UsageError("The message is refused.", "Say another.")
        said = f"id-{len(self.said)}"
        self.said.append(text)
        self.unordered[said] = text
        await self._events.send(PendingEvent(id=said, text=text))
        if self.finish:
            await self.order()
        return said

    async def order(self) -> None:
        for said, text in list(self.unordered.items()):
            del self.unordered[said]
            await self._events.send(final(0, said, text=text))

    async def status(self) -> StatusEvent:
        self.undecided -= self.undecided > 0
        return StatusEvent(
            n=4,
            f=1,
            quorum=3,
            up=self.up,
            height=0,
            index=0,
            pending=len(self.unordered),
            waiting_for=[],
            links=[],
            undecided=self.undecided > 0,
        )

    async def who(self) -> list[MemberView]:
        return [MemberView(member="aa", nick="ann", state="me", admitted_at=0)]

    async def admit(self, who: str) -> MemberView:
        if who != "bob":
            raise NodeError(f"{who} does not ask.", "See /who.")
        return MemberView(member="bb", nick="bob", state="asks", admitted_at=0, have=1, need=1)

    async def remove(self, who: str) -> RemovalEvent:
        return RemovalEvent(
            member="bb", nick=who, by=["ann"], leaves=False, have=1, need=3, then_up=3, then_need=3
        )

    async def leave(self) -> RemovalEvent:
        raise NodeError("You are the only member.", "Stay.")

    async def invite(self) -> InviteEvent:
        return InviteEvent(token="pigeon:X", expires=0)

    async def renew(self, token: str | None = None) -> InviteEvent:
        self.renewed.append(token)
        return InviteEvent(token="pigeon:Y", expires=0)

    async def carry(self, text: str) -> str:
        raise UsageError("This room has no carrier whose tokens people carry.", "Say something else.")

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        await self._events.send(ROOM)
        if self.stopping:
            await self._events.aclose()
        yield self._source


class Noted(Screen):
    """A screen that keeps what it shows, and the names of it."""

    for_people = True

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.events: list[Event] = []
        self.old: str | None = None

    async def know(self, room: RoomEvent) -> None:
        self.known = room

    async def event(self, event: Event) -> None:
        self.events.append(event)
        self.shown.append(event.__struct_config__.tag)  # type: ignore[arg-type]

    async def members(self, members: list[MemberView]) -> None:
        self.shown.append("members")

    async def status(self, status: StatusEvent, *, why: bool) -> None:
        self.shown.append("status")

    async def approved(self, view: MemberView) -> None:
        self.shown.append("approved")

    async def standing(self, status: StatusEvent) -> None:
        self.shown.append("standing")

    async def notice(self, text: str) -> None:
        self.shown.append("notice")

    async def count(self, *, typed: bool) -> None:
        pass

    @property
    def renewable(self) -> str | None:
        return self.old
