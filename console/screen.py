"""Where events go: as lines for people (console/plain.py) or as NDJSON (here).

Data goes to standard output; prompts, progress, states and notices to standard error.
"""

import os
import select
import sys
from typing import Protocol

import msgspec
import trio

from console.sanitize import json_line, one_line
from console.settings import Settings
from node.api import MemberView
from node.events import AsksEvent, ErrorEvent, Event, StatusEvent


class MemberEvent(Event, frozen=True, tag="member"):
    """One line of `who`."""

    member: str
    nick: str
    state: str
    admitted_at: int
    words: str
    have: int
    need: int


class IdEvent(Event, frozen=True, tag="id"):
    """The identity of this home."""

    member: str
    """Its public key, which is also its fingerprint."""


class Screen(Protocol):
    """Shows what happens; all calls wait until it is written."""

    async def event(self, event: Event) -> None:
        """Something that happened in the room."""

    async def members(self, members: list[MemberView]) -> None:
        """The answer to `who`."""

    async def status(self, status: StatusEvent, *, why: bool) -> None:
        """The answer to `status`."""

    async def approved(self, view: MemberView) -> None:
        """We let somebody in; whether a quorum does is another matter."""

    async def standing(self, status: StatusEvent) -> None:
        """The room's state may have changed: the line that always stands."""

    async def notice(self, text: str) -> None:
        """A sentence or a few for people, on standard error; not with --quiet."""


class Out:
    """The two standard streams, written in a thread: a reader that stalls must not stall the node."""

    def __init__(self, settings: Settings) -> None:
        self._quiet = settings.quiet
        self._turn = trio.Lock()

    async def data(self, text: bytes) -> None:
        async with self._turn:
            await trio.to_thread.run_sync(_write_all, sys.stdout.fileno(), text, abandon_on_cancel=True)

    async def note(self, text: str) -> None:
        """A line on standard error; dropped with --quiet."""
        if not self._quiet:
            await self.urgent(text)

    async def urgent(self, text: str) -> None:
        """A line on standard error, also with --quiet: errors and what must be answered."""
        encoded = f"{text}\n".encode(sys.stderr.encoding or "utf-8", "replace")
        async with self._turn:
            await trio.to_thread.run_sync(_write_all, sys.stderr.fileno(), encoded, abandon_on_cancel=True)


def stdin_is_terminal() -> bool:
    """Whether a person types; a closed standard input is none."""
    return sys.stdin is not None and sys.stdin.isatty()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # whoever gave us this pipe made it non-blocking
            select.select([], [descriptor], [])


class JsonScreen:
    """One JSON object a line on standard output. Notices stay sentences on standard error."""

    def __init__(self, out: Out) -> None:
        self._out = out

    async def event(self, event: Event) -> None:
        await self._out.data(json_line(msgspec.json.encode(event)))

    async def members(self, members: list[MemberView]) -> None:
        for each in members:
            await self.event(member_event(each))

    async def status(self, status: StatusEvent, *, why: bool) -> None:
        await self.event(status)

    async def approved(self, view: MemberView) -> None:
        await self.event(
            AsksEvent(
                member=view.member,
                nick=view.nick,
                words=view.words,
                inviter="",
                verified=False,
                have=view.have,
                need=view.need,
            )
        )

    async def standing(self, status: StatusEvent) -> None:
        pass  # `peer` and `admitted` events said it

    async def notice(self, text: str) -> None:
        await self._out.note(text)


def member_event(view: MemberView) -> MemberEvent:
    return MemberEvent(
        member=view.member,
        nick=view.nick,
        state=view.state,
        admitted_at=view.admitted_at,
        words=view.words,
        have=view.have,
        need=view.need,
    )


def make_screen(settings: Settings) -> Screen:
    """The screen that the options ask for."""
    out = Out(settings)
    if settings.json:
        return JsonScreen(out)
    from console.plain import PlainScreen

    return PlainScreen(out, color=settings.color)


async def show_error(settings: Settings, error: ErrorEvent) -> None:
    """The last word of a command that failed: what happened, and what to do."""
    out = Out(settings)
    if settings.json:
        await JsonScreen(out).event(error)
    await out.urgent(error_text(error))


def error_text(error: ErrorEvent) -> str:
    return f"! {one_line(error.message)}\n  {one_line(error.hint)}".rstrip()
