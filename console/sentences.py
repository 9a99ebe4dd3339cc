"""What a single event says to people, as text; nothing in it that a peer made up reaches a terminal raw."""

import time
from typing import Final

from console.sanitize import one_line, paragraphs
from console.welcome import safety_words
from node.events import (
    AsksEvent,
    EvidenceEvent,
    FinalEvent,
    ProgressEvent,
    RemovalEvent,
    RemovedEvent,
    StatusEvent,
)

SIGN: Final = 9  # columns of a message's state
_INDENT: Final = " " * (SIGN + 1)


def final_line(event: FinalEvent) -> str:
    """One message at its place: number, claimed time, who, what."""
    clock = time.strftime("%H:%M", time.localtime(event.claimed_time / 1000))
    place = f"■ #{event.index}"
    text = paragraphs(event.text, indent=_INDENT)
    return f"{place:{SIGN}} {clock} {one_line(event.nick)}: {text}"


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
    return f"- {one_line(event.nick)} {how}: {members_in_words(event.n)} now, quorum {event.quorum}"


def members_in_words(n: int) -> str:
    return "1 member" if n == 1 else f"{n} members"
