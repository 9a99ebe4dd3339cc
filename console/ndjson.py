"""Events as NDJSON: one JSON object a line on standard output. Notices stay sentences on standard error."""

from typing import TYPE_CHECKING

import msgspec

from console.out import Out
from console.sanitize import json_line
from node.api import MemberView
from node.events import (
    AsksEvent,
    Event,
    FinalEvent,
    InviteEvent,
    RoomEvent,
    StatusEvent,
    TokenEvent,
)

if TYPE_CHECKING:  # it is needed only where tokens are drawn
    from console.pictures import QrFile


class MemberEvent(Event, frozen=True, tag="member"):
    """One line of `who`: a MemberView."""

    member: str
    nick: str
    state: str
    admitted_at: int
    words: str
    convicted: bool
    have: int
    need: int
    rekey: bool
    remark: str


class LoggedEvent(FinalEvent, frozen=True, tag="final"):
    """A final message with the room it was said in: a log can go through several."""

    room: str
    """The fingerprint."""


class IdEvent(Event, frozen=True, tag="id"):
    """The identity of this home."""

    member: str
    """Its public key, which is also its fingerprint."""


class JsonScreen:
    """A Screen for programs."""

    for_people = False

    def __init__(self, out: Out, *, qr_file: "QrFile | None" = None) -> None:
        self._out = out
        self._qr_file = qr_file

    async def know(self, room: RoomEvent) -> None:
        pass

    async def event(self, event: Event) -> None:
        if self._qr_file is not None and isinstance(event, InviteEvent | TokenEvent):
            await self._qr_file.write(event.token)  # first: who reads the event finds the picture
        await self._out.data(json_line(msgspec.json.encode(event)))

    async def members(self, members: list[MemberView]) -> None:
        for each in members:
            await self.event(MemberEvent(**msgspec.structs.asdict(each)))

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
                rekey=view.rekey,
            )
        )

    async def standing(self, status: StatusEvent) -> None:
        pass  # `peer` and `admitted` events said it

    async def notice(self, text: str) -> None:
        await self._out.note(text)

    async def count(self, *, typed: bool) -> None:
        pass  # each token says when it expires

    @property
    def renewable(self) -> str | None:
        return None
