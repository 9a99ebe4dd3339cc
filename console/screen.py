"""Where events go: as lines for people (console/plain.py) or as NDJSON (console/ndjson.py)."""

from typing import Protocol

from console.ndjson import JsonScreen
from console.out import Out
from console.settings import Settings
from node.api import MemberView
from node.events import ErrorEvent, Event, RoomEvent, StatusEvent


class Screen(Protocol):
    """Shows what happens; all calls wait until it is written."""

    async def know(self, room: RoomEvent) -> None:
        """Which room what follows is about; that itself is not shown."""

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


def make_screen(settings: Settings) -> Screen:
    """The screen that the options ask for."""
    out = Out(settings)
    if settings.json:
        return JsonScreen(out)
    from console.plain import PlainScreen

    return PlainScreen(out, color=settings.color)


async def show_error(settings: Settings, error: ErrorEvent) -> None:
    """The last word of a command that failed; on standard error even when nobody reads standard output."""
    out = Out(settings)
    try:
        if settings.json:
            await JsonScreen(out).event(error)
    finally:
        await out.error(error)
