"""The chat as lines of text: what was said on standard output, everything about it on standard error.

`…` pending (safe on this disk) · `✓ k/n` delivered, which is not final · `■ #N` final · `!` failed.
"""

import sys
import time
from typing import TYPE_CHECKING, assert_never

from console.carrying import Carrying
from console.out import Out
from console.sanitize import one_line, paragraphs
from console.tables import members_table, status_table
from console.welcome import continues_text, numbers, safety_words
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
from node.tokens import drawn_as_pictures, kind_of

if TYPE_CHECKING:  # it is needed only where tokens are drawn
    from console.pictures import QrFile

LEGEND = "… pending (safe on your disk)   ✓ k/n delivered   ■ #N final (its place can no longer change)"
_SIGN = 9  # columns of a message's state
_INDENT = " " * (_SIGN + 1)
_EXCERPT = 48  # characters of a message that stand beside its state


class PlainScreen:
    """Lines for people, whether on a terminal or not."""

    answers_after = 5.0

    def __init__(self, out: Out, *, color: bool, qr_file: "QrFile | None" = None, draw: bool = False) -> None:
        self._out = out
        self._carrying = Carrying(out, color=color, qr_file=qr_file, draw=draw)
        self._color = color
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
        self._n, self._me, self._nick = room.n, room.me, room.nick

    async def event(self, event: Event) -> None:
        assert isinstance(event, AnyEvent), event
        match event:
            case FinalEvent():
                self._texts.pop(event.id, None)
                await self._data(final_line(event))
            case InviteEvent():
                # Where people carry tokens it is an offer.
                await self._carrying.show(kind_of(event.token), event.token, expires=event.expires)
            case TokenEvent():
                await self._carrying.show(event.kind, event.token, expires=event.expires)
            case StatusEvent():
                await self.status(event, why=False)
            case ErrorEvent():
                await self._out.error(event)
            case PendingEvent():
                excerpt = one_line(event.text)
                excerpt = excerpt if len(excerpt) <= _EXCERPT else excerpt[: _EXCERPT - 1] + "…"
                self._texts[event.id] = excerpt
                await self._out.note(f"{'… pending':{_SIGN}} {excerpt}")
            case DeliveredEvent():
                sign = f"✓ {event.acks}/{self._n}"
                await self._out.note(
                    f"{sign:{_SIGN}} {self._texts.get(event.id, event.id)}  (delivered, not final)"
                )
            case RoomEvent():
                await self.know(event)
                if self._fingerprint == event.fingerprint:
                    return  # a change of its committee, which was told already
                self._fingerprint = event.fingerprint
                await self._out.note(
                    f"Room {one_line(event.room)} · you are {one_line(event.nick)} · {_members(event.n)}, "
                    f"quorum {event.quorum}\nFingerprint {event.fingerprint}"
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
                await self._out.note(f"+ {who} in: {_members(event.n)} now, quorum {event.quorum}")
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

    async def _data(self, text: str) -> None:
        await self._out.data(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "replace"))


def final_line(event: FinalEvent) -> str:
    """One message at its place: number, claimed time, who, what."""
    clock = time.strftime("%H:%M", time.localtime(event.claimed_time / 1000))
    place = f"■ #{event.index}"
    text = paragraphs(event.text, indent=_INDENT)
    return f"{place:{_SIGN}} {clock} {one_line(event.nick)}: {text}"


def quorum_state(status: StatusEvent) -> str:
    """Whether the room can go on, in words."""
    if status.up >= status.quorum:
        return "quorum ok"
    return f"no quorum: {status.quorum - status.up} more needed"


def asks_text(event: AsksEvent) -> str:
    nick = one_line(event.nick)
    lines = [f"? {nick} asks to be let in ({event.have} of {event.need} approvals)."]
    if event.rekey:
        lines[0] = (
            f"? {nick}, a member, lost its vote key and asks for a new one to count: "
            f"{event.have} of {event.need} approvals."
        )
    if event.inviter:
        known = "" if event.verified else " (not verified)"
        lines[0] = (
            f"? {nick} asks to be let in, invited by {one_line(event.inviter)}{known}: "
            f"{event.have} of {event.need} approvals."
        )
    if event.words:
        lines.append(f"  {safety_words(event.words, between=f'{nick} and you')}")
        lines.append(f"  If {nick} sees the same words, type: /admit {nick}")
    else:
        lines.append(f"  If you want {nick} in, type: /admit {nick}")
    return "\n".join(lines)


def asks_again_text(event: AsksEvent) -> str:
    """Only what is new since the words were shown."""
    return f"? {one_line(event.nick)} has {event.have} of {event.need} approvals now."


def progress_text(event: ProgressEvent) -> str:
    """How many blocks are here, of how many."""
    if event.height >= event.target:
        what = "everything said before is here" if event.past else "caught up"
        return f"{what}: {event.target:,} blocks."
    what = "fetching what was said before" if event.past else "catching up"
    return f"{what}: {event.height:,} of {event.target:,} blocks"


def evidence_text(event: EvidenceEvent) -> str:
    """What a key signed, never who lied; and where the proof is."""
    what = (
        f"A key of {one_line(event.nick)} signed twice" if event.nick else "More lied than the room can bear"
    )
    lines = [f"! {what} ({one_line(event.kind)})."]
    if event.file:
        lines.append(f"  The proof was kept: {one_line(event.file)}")
        lines.append("  Anybody can check it: pigeon verify FILE --room FINGERPRINT")
    return "\n".join(lines)


def removal_text(event: RemovalEvent, *, me: str, nick: str) -> str:
    """How far a removal has come, and what one can do; `me` and `nick` are ours."""
    who, count = one_line(event.nick), f"{event.have} of {event.need} members are for it"
    by = ", ".join(map(one_line, event.by))
    if event.member == me:
        return f"- You asked to leave: {count}." if event.leaves else f"- You are to go: {count} ({by})."
    if event.leaves:
        return f"- {who} wants to leave: {count}."
    lines = [f"- {who} is to be removed: {count} ({by})."]
    if nick not in event.by:
        lines[0] += f" If you are for it, type: /remove {who}"
    if event.then_up < event.then_need:
        lines.append(f"  Without {who} {event.then_need} are needed, and {event.then_up} are up now.")
    return "\n".join(lines)


def removed_text(event: RemovedEvent, *, me: str) -> str:
    if event.member == me:
        how = "You left" if event.left else "You were removed from"
        return f"- {how} the room. Its record stays readable: pigeon log"
    how = "left" if event.left else "was removed"
    return f"- {one_line(event.nick)} {how}: {_members(event.n)} now, quorum {event.quorum}"


def _members(n: int) -> str:
    return "1 member" if n == 1 else f"{n} members"
