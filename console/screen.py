"""Where events go: as lines for people (console/plain.py) or as NDJSON (console/ndjson.py)."""

from pathlib import Path
from typing import Protocol

from console.ndjson import JsonScreen
from console.out import Out
from console.settings import Settings
from node.api import MemberView
from node.events import ErrorEvent, Event, RoomEvent, StatusEvent


class Screen(Protocol):
    """Shows what happens; all calls wait until it is written."""

    for_people: bool
    """Whether somebody reads along, who should not be asked to do what is not needed."""

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

    async def count(self, *, typed: bool) -> None:
        """Show how long what was shown to be carried is still good, where somebody looks; until cancelled.

        `typed`: there is a chat line, so that `renewable` is renewed by an empty one."""

    @property
    def renewable(self) -> str | None:
        """The offer, shown to people, that is over or nearly."""


def make_screen(settings: Settings, *, qr_out: Path | None = None, draw: bool = False) -> Screen:
    """The screen that the options ask for. UsageError when `qr_out` could never be written.

    `qr_out`: a file for the picture of each token. `draw`: codes on the terminal, even before a room is
    known that has a carrier of pictures.
    """
    out, file = Out(settings), None
    if qr_out is not None:
        from console.pictures import QrFile

        file = QrFile(qr_out)
    if settings.json:
        return JsonScreen(out, qr_file=file)
    from console.plain import PlainScreen

    return PlainScreen(out, color=settings.color, qr_file=file, draw=draw)


async def show_error(settings: Settings, error: ErrorEvent) -> None:
    """The last word of a command that failed; on standard error even when nobody reads standard output."""
    out = Out(settings)
    try:
        if settings.json:
            await JsonScreen(out).event(error)
    finally:
        await out.error(error)
