"""A conversation with a node that does what it is told, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from console.chat import converse
from console.lines import LineReader
from console.screen import Screen
from node.api import MemberView
from node.errors import NodeError, NoQuorum, TimedOut, Unreachable, UsageError
from node.events import (
    AnyEvent,
    Event,
    FinalEvent,
    InviteEvent,
    PendingEvent,
    RoomEvent,
    StatusEvent,
)

ROOM = RoomEvent(room="tea", fingerprint="ff", me="aa", nick="ann", n=4, f=1, quorum=3)


class SpokenTo:
    """A node of one room that makes messages final when told to."""

    def __init__(self, *, up: int = 4, finish: bool = True, stopping: bool = False) -> None:
        self.up = up
        self.stopping = stopping
        self.finish = finish
        self.said: list[str] = []
        self.unordered: dict[str, str] = {}
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
            final = FinalEvent(
                index=0, height=1, id=said, member="aa", nick="ann", text=text, claimed_time=0, mine=True
            )
            await self._events.send(final)

    async def status(self) -> StatusEvent:
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
        )

    async def who(self) -> list[MemberView]:
        return [MemberView(member="aa", nick="ann", state="me", admitted_at=0)]

    async def admit(self, who: str) -> MemberView:
        if who != "bob":
            raise NodeError(f"{who} does not ask.", "See /who.")
        return MemberView(member="bb", nick="bob", state="asks", admitted_at=0, have=1, need=1)

    async def invite(self) -> InviteEvent:
        return InviteEvent(token="pigeon:X", expires=0)

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        await self._events.send(ROOM)
        if self.stopping:
            await self._events.aclose()
        yield self._source


class Noted(Screen):
    """A screen that keeps the names of what it shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def event(self, event: Event) -> None:
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


def typed(*lines: bytes) -> LineReader:
    rest = [*lines, b""]
    return LineReader(lambda: rest.pop(0))


async def test_the_room_is_shown_once_and_the_end_of_input_waits_for_what_was_said() -> None:
    node, screen = SpokenTo(), Noted()
    await converse(node, screen, typed(b"one\ntwo\n"), timeout=None, invite=True)
    assert node.said == ["one", "two"]
    assert [each for each in screen.shown if each != "standing"] == [
        "room",
        "invite",
        "pending",
        "final",
        "pending",
        "final",
    ]


async def test_commands_are_carried_out_and_never_said() -> None:
    node, screen = SpokenTo(), Noted()
    lines = typed(b"/who\n/status\n/admit bob\n/admit eve\n/invite\n/help\n/fly\n\nrefused\n/quit\nnever\n")
    await converse(node, screen, lines, timeout=None)
    assert node.said == []
    assert [each for each in screen.shown if each not in ("standing", "room")] == [
        "members",
        "status",
        "approved",
        "error",
        "invite",
        "notice",
        "error",
        "error",
    ]


@pytest.mark.parametrize(("up", "error"), [(2, NoQuorum), (3, TimedOut)])
async def test_what_is_not_final_in_time_ends_with_the_reason(
    autojump_clock: MockClock, up: int, error: type[NodeError]
) -> None:
    with pytest.RaisesGroup(error):
        await converse(SpokenTo(up=up, finish=False), Noted(), typed(b"hello\n"), timeout=5)


async def test_a_node_that_stops_ends_the_conversation() -> None:
    with pytest.RaisesGroup(Unreachable):
        await converse(SpokenTo(stopping=True), Noted(), None, timeout=None)
