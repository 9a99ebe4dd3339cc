"""Is what a file says true? Judged offline, with the file and what one knows of the room from elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from chain.case import FORK, MAX_CASE, Case, OtherVersionError, check_case, parse_reference
from chain.control import Anchor
from chain.crypto import ed25519_verify
from chain.errors import InvalidBlockError, MalformedError
from chain.ids import RoomId
from node.errors import Exit, NodeError, UsageError


class _Head(msgspec.Struct, frozen=True):
    """Enough of a file to see that it is ours."""

    pigeon: Literal["evidence"]
    v: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found, and the exit code for it; the rest as far as it is known."""

    exit: Exit
    reason: str
    room: str = ""
    kind: str = ""
    member: str = ""
    nick: str = ""

    @property
    def ok(self) -> bool:
        return self.exit is Exit.DONE


def read_file(path: Path) -> bytes:
    """A file's content, or the beginning of one that is too large to be anything of ours. NodeError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_CASE + 1)
    except OSError as error:
        raise NodeError(
            f"{path} cannot be read: {error.strerror}.", "Name a file that pigeon made."
        ) from error


def judge(data: bytes, *, room: str | None) -> Verdict:
    """`room`: a fingerprint, or an anchor (FINGERPRINT:HEIGHT:BLOCK), got from anywhere but the file.

    UsageError when it is neither.
    """
    wanted, anchor = _reference(room) if room is not None else (None, None)
    try:
        case = check_case(data, verify=ed25519_verify)
    except OtherVersionError as error:
        return Verdict(
            exit=Exit.COULD_NOT_CHECK, reason=f"This file was made by another version of pigeon: {error}."
        )
    except MalformedError as error:
        if len(data) <= MAX_CASE and _is_ours(data):
            return Verdict(exit=Exit.NO, reason=f"This file was altered: {error}.")
        return Verdict(exit=Exit.COULD_NOT_CHECK, reason=f"This file cannot be read: {error}.")
    except InvalidBlockError as error:
        return Verdict(exit=Exit.NO, reason=f"This file was altered, or never was true: {error}.")
    if wanted is None:
        return _about(
            case,
            exit=Exit.COULD_NOT_CHECK,
            reason=f"The file agrees with itself, and says: {_shown(case)} Whether it is about the room you "
            "mean cannot be told without --room FINGERPRINT.",
        )
    if case.room != wanted:
        return _about(
            case,
            exit=Exit.MISMATCH,
            reason=f"This file is about room {case.room.hex()[:16]}…, not {wanted.hex()[:16]}….",
        )
    if anchor is not None:
        try:
            case = check_case(data, verify=ed25519_verify, anchor=anchor)
        except InvalidBlockError as error:
            return _about(
                case, exit=Exit.MISMATCH, reason=f"This file and that anchor do not go together: {error}."
            )
    return _about(case, exit=Exit.DONE, reason=f"{_shown(case)} {_rests_on(case, anchor)}")


def _is_ours(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _reference(text: str) -> tuple[RoomId, Anchor | None]:
    try:
        return parse_reference(text)
    except ValueError:
        raise UsageError(
            f"{text[:80]!r} is no fingerprint of a room, and no anchor.",
            "Give --room 64 hex digits, or FINGERPRINT:HEIGHT:BLOCK; a name says nothing to a file.",
        ) from None


def _about(case: Case, *, exit: Exit, reason: str) -> Verdict:
    first = case.accused[0] if case.accused else None
    return Verdict(
        exit=exit,
        reason=reason,
        room=case.room.hex(),
        kind=case.kind,
        member=first.member if first is not None else "",
        nick=first.nick if first is not None else "",
    )


def _shown(case: Case) -> str:
    """What the signatures in it show: a key and never a person, for a restored backup looks the same."""
    keys = [f"{each.nick} ({each.member[:16]})" for each in case.accused]
    if case.kind == FORK:
        named = (
            f"made possible by the keys of {', '.join(keys)}" if keys else "and no single key is shown by it"
        )
        return f"Two certified blocks contradict each other ({case.where}), {named}."
    did = "signed twice" if "two" in case.kind.split() else "signed what contradicts it"
    return (
        f"The key of {keys[0]} {did}: {case.kind} ({case.where}). It shows what that key signed, "
        "not who lied: a restored backup looks the same."
    )


def _rests_on(case: Case, anchor: Anchor | None) -> str:
    if anchor is not None:
        return f"The room's members are those that the anchor leads to, through at least {_keys(case)}."
    return (
        f"Who the members were rests on {_keys(case)}, as always without an anchor "
        "(--room FINGERPRINT:HEIGHT:BLOCK)."
    )


def _keys(case: Case) -> str:
    return "one key" if case.smallest_quorum == 1 else f"{case.smallest_quorum} keys"
