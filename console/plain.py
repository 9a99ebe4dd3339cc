"""The chat as lines of text: what was said on standard output, everything about it on standard error.

`…` pending (safe on this disk) · `✓ k/n` delivered, which is not final · `■ #N` final · `!` failed.
"""

import sys
from typing import TYPE_CHECKING, assert_never

from console.carrying import Carrying
from console.out import Out
from console.sanitize import one_line
from console.sentences import (
    SIGN,
    asks_again_text,
    asks_text,
    evidence_text,
    final_line,
    members_in_words,
    progress_text,
    quorum_state,
    removal_text,
    removed_text,
)
from console.tables import members_table, status_table
from console.welcome import OFFER_BESIDES, continues_text, numbers, safety_words
from node.api import MemberView
from node.events import (
    AdmittedEvent,
    AnyEvent,
    AsksEvent,
    DeliveredEvent,
    ErrorEvent,
    Event,
    EvidenceEvent,
    FinalEvent,
    IdentityEvent,
    InviteEvent,
    NoticeEvent,
    OverEvent,
    PeerEvent,
    PendingEvent,
    ProgressEvent,
    RemovalEvent,
    RemovedEvent,
    RoomEvent,
    StatusEvent,
    TokenEvent,
    WordsEvent,
)
from node.tokens import carried_by_hand, drawn_as_pictures, kind_of

if TYPE_CHECKING:  # it is needed only where tokens are drawn
    from console.pictures import QrFile

LEGEND = "… pending (safe on your disk)   ✓ k/n delivered   ■ #N final (its place can no longer change)"
_EXCERPT = 48  # characters of a message that stand beside its state


class PlainScreen:
    """Lines for people, whether on a terminal or not."""

    for_people = True

    def __init__(self, out: Out, *, color: bool, qr_file: "QrFile | None" = None, draw: bool = False) -> None:
        self._out = out
        self._carrying = Carrying(out, color=color, qr_file=qr_file, draw=draw)
        self._color = color
        self._by_hand = False
        self._n = 1
        self._me = self._nick = ""
        self._texts: dict[str, str] = {}  # own messages that are not final
        self._asking: dict[str, str] = {}  # who asks to be let in, with the safety words that were shown
        self._removals: dict[str, RemovalEvent] = {}  # as they were shown
        self._fetching: set[bool] = set()  # what was told to have begun: the past, what we missed
        self._standing = ""
        self._fingerprint = ""

    async def know(self, room: RoomEvent) -> None:
        if drawn_as_pictures(room.via):
            self._carrying.draw()
        self._by_hand = carried_by_hand(room.via)
        self._n, self._me, self._nick = room.n, room.me, room.nick

    async def event(self, event: Event) -> None:
        assert isinstance(event, AnyEvent), event
        match event:
            case FinalEvent():
                self._texts.pop(event.id, None)
                await self._data(final_line(event))
            case InviteEvent():
                kind = kind_of(event.token)  # where people carry all tokens it is an offer
                await self._carrying.show(kind, event.token, expires=event.expires)
                if kind == "invitation" and self._by_hand:
                    await self._out.note(OFFER_BESIDES)
            case TokenEvent():
                await self._carrying.show(event.kind, event.token, expires=event.expires)
            case OverEvent():
                self._carrying.countdown.over(event.token, reason=event.reason)
            case StatusEvent():
                await self.status(event, why=False)
            case ErrorEvent():
                await self._out.error(event)
            case PendingEvent():
                excerpt = one_line(event.text)
                excerpt = excerpt if len(excerpt) <= _EXCERPT else excerpt[: _EXCERPT - 1] + "…"
                self._texts[event.id] = excerpt
                await self._out.note(f"{'… pending':{SIGN}} {excerpt}")
            case DeliveredEvent():
                sign = f"✓ {event.acks}/{self._n}"
                await self._out.note(
                    f"{sign:{SIGN}} {self._texts.get(event.id, event.id)}  (delivered, not final)"
                )
            case RoomEvent():
                await self.know(event)
                if self._fingerprint == event.fingerprint:
                    return  # a change of its committee, which was told already
                self._fingerprint = event.fingerprint
                await self._out.note(
                    f"Room {one_line(event.room)} · you are {one_line(event.nick)} · "
                    f"{members_in_words(event.n)}, quorum {event.quorum}\nFingerprint {event.fingerprint}"
                )
                if event.parent:
                    await self._out.note(continues_text(event))
            case AsksEvent():
                known = self._asking.get(event.member) == event.words
                self._asking[event.member] = event.words
                await self._out.note(asks_again_text(event) if known else asks_text(event))
            case AdmittedEvent():
                self._n = event.n
                self._asking.pop(event.member, None)
                who = "You are" if event.member == self._me else f"{one_line(event.nick)} is"
                await self._out.note(f"+ {who} in: {members_in_words(event.n)} now, quorum {event.quorum}")
                if event.n in (2, 4):  # where it begins to mean something else
                    await self._out.note(numbers(event.n))
            case RemovalEvent():
                if self._removals.get(event.member) != event:
                    self._removals[event.member] = event
                    await self._out.note(removal_text(event, me=self._me, nick=self._nick))
            case RemovedEvent():
                self._n = event.n
                self._removals.pop(event.member, None)
                await self._out.note(removed_text(event, me=self._me))
            case PeerEvent():
                if event.state == "up":
                    self._carrying.countdown.linked()
                await self._out.note(f"· {one_line(event.nick) or event.member[:12]} is {event.state}")
            case EvidenceEvent():
                await self._out.note(evidence_text(event))
            case ProgressEvent():
                await self._progress(event)
            case WordsEvent():
                who = f"you and {event.member[:8]}"
                who += f" (whom you have met as {one_line(event.known)})" if event.known else ""
                await self._out.note(safety_words(event.words, between=who))
            case IdentityEvent():
                await self._out.urgent(f"! {one_line(event.message)}")
            case NoticeEvent():
                await self._out.note(f"· {one_line(event.message)}")
            case _:
                assert_never(event)

    async def _progress(self, event: ProgressEvent) -> None:
        text, done = progress_text(event), event.height >= event.target
        if done or (not await self._out.progress(f"· {text}") and event.past not in self._fetching):
            await self._out.note(f"· {text}")
        if done:
            self._fetching.discard(event.past)
        else:
            self._fetching.add(event.past)

    async def members(self, members: list[MemberView]) -> None:
        await self._data(members_table(members, color=self._color and sys.stdout.isatty()))

    async def status(self, status: StatusEvent, *, why: bool) -> None:
        await self._data(status_table(status, why=why, color=self._color and sys.stdout.isatty()))

    async def approved(self, view: MemberView) -> None:
        nick, so_far = one_line(view.nick), f"{view.have} of {view.need} approvals"
        what = f"You are for the new vote key of {nick}" if view.rekey else f"You let {nick} in"
        await self._out.note(f"{what}: {so_far}.")

    async def standing(self, status: StatusEvent) -> None:
        state = f"{status.up}/{status.n} up · {quorum_state(status)}"
        if state != self._standing:
            self._standing = state
            await self._out.note(f"{state} · #{status.index}")

    async def notice(self, text: str) -> None:
        await self._out.note(text)

    async def count(self, *, typed: bool) -> None:
        await self._carrying.countdown.run(typed=typed)

    @property
    def renewable(self) -> str | None:
        return self._carrying.countdown.renewable

    async def _data(self, text: str) -> None:
        await self._out.data(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "replace"))
