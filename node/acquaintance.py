"""Whom this home has met, in any room: a known nick that comes with another key is told, never silent.

Only members are remembered: anybody may ask to be let in, under any nick.
"""

import fcntl
import logging
import os
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec
import trio

from node.config import Home, make_private_directory, write_whole
from node.errors import NodeError
from node.events import IdentityEvent

logger = logging.getLogger(__name__)

MAX_KNOWN: Final = 1000
_MAX_FILE: Final = 1 << 20
_MAX_TOLD: Final = 64
_SEEN_ANEW: Final = 24 * 3600 * 1000  # ms until it is worth a write that somebody is still there

_Text = Annotated[str, msgspec.Meta(max_length=256)]


class Met(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One identity under one nick; times in ms since 1970, by our clock."""

    member: _Text
    nick: _Text
    room: _Text
    """Where it was met first."""
    first: int
    last: int


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    known: Annotated[list[Met], msgspec.Meta(max_length=2 * MAX_KNOWN)]
    version: int = 1


def surprise(known: Iterable[Met], *, member: str, nick: str) -> IdentityEvent | None:
    """What is odd about this identity (hex) under this nick; None where nothing is, or nothing is known."""
    other_key = other_nick = None
    for met in known:
        same_key, same_nick = met.member == member, _folded(met.nick) == _folded(nick)
        if same_key and same_nick:
            return None
        if same_nick and (other_key is None or met.last > other_key.last):
            other_key = met
        if same_key and (other_nick is None or met.last > other_nick.last):
            other_nick = met
    if other_key is not None:
        message = (
            f"{nick} comes with another key than the {other_key.nick} you met in room {other_key.room} on "
            f"{_day(other_key.first)}: compare the safety words by voice before you trust it."
        )
        return _event("other-key", member, nick, other_key, message)
    if other_nick is not None:
        message = (
            f"{nick} has the key of the {other_nick.nick} you met in room {other_nick.room} on "
            f"{_day(other_nick.first)}: the same person under another nick."
        )
        return _event("other-nick", member, nick, other_nick, message)
    return None


def _event(kind: str, member: str, nick: str, met: Met, message: str) -> IdentityEvent:
    return IdentityEvent(
        kind=kind,
        member=member,
        nick=nick,
        known_member=met.member,
        known_nick=met.nick,
        room=met.room,
        met=met.first,
        message=message,
    )


def _folded(nick: str) -> str:
    """Nicks that look alike to most are one."""
    return unicodedata.normalize("NFKC", nick).casefold()


def _day(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(milliseconds / 1000))


class Acquaintances:
    """One room's view of what the home knows; the file is shared by all its rooms."""

    def __init__(self, home: Home, *, me: str, room: str, tell: Callable[[IdentityEvent], None]) -> None:
        """`me`: our identity (hex); `room`: its name. `tell` hears of members that are surprising."""
        self._path = home.acquaintances_file
        self._me = me
        self._room = room
        self._tell = tell
        self._known: list[Met] = []
        self._new: list[Met] = []
        self._news = trio.Event()
        self.told: list[IdentityEvent] = []
        """For those who listen later."""

    async def prepare(self) -> str:
        """Read what the home knows; a sentence if that cannot be read."""
        try:
            self._known = await trio.to_thread.run_sync(read_book, self._path)
        except BadBook as error:
            return str(error)
        return ""

    def surprise(self, *, member: str, nick: str) -> IdentityEvent | None:
        """What to say about somebody who asks."""
        return None if member == self._me else surprise(self._known, member=member, nick=nick)

    def meet(self, members: Iterable[tuple[str, str]]) -> None:
        """These (identity in hex, nick) are members: what is odd is told once, and they are remembered."""
        now = time.time_ns() // 1_000_000
        for member, nick in members:
            if member == self._me:
                continue
            if odd := surprise(self._known, member=member, nick=nick):
                if len(self.told) < _MAX_TOLD:
                    self.told.append(odd)
                self._tell(odd)
            before = next((met for met in self._known if (met.member, met.nick) == (member, nick)), None)
            if before is None or now - before.last > _SEEN_ANEW:
                first = now if before is None else before.first
                room = self._room if before is None else before.room
                self._new.append(Met(member, nick, room, first, now))
        self._known = merged(self._known, self._new)
        if self._new:
            self._news.set()

    async def run(self) -> None:
        """Keep on disk whom we meet, until cancelled. A disk that refuses costs the memory, nothing else."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            new, self._new = self._new, []
            try:
                self._known = await trio.to_thread.run_sync(add_to_book, self._path, new)
            except (NodeError, OSError) as error:
                logger.warning("whom we met is not remembered: %s", error)


class BadBook(Exception):
    """The file cannot be read, and says so in a sentence."""


def read_book(path: Path) -> list[Met]:
    """Whom the file names, nobody where it is missing; BadBook."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise ValueError("too large")
        return msgspec.json.decode(data, type=_Book).known[:MAX_KNOWN]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadBook(
            f"Whom this home met before cannot be read ({path}: {error}): a known nick that comes with "
            "another key may go unnoticed."
        ) from error


def known_nicks(home: Home) -> dict[str, str]:
    """The last nick of each identity (hex) that this home has met; nobody's where that cannot be read."""
    try:
        return {met.member: met.nick for met in sorted(read_book(home.acquaintances_file), key=_last)}
    except BadBook as error:
        logger.warning("%s", error)
        return {}


def _last(met: Met) -> int:
    return met.last


def add_to_book(path: Path, new: Sequence[Met]) -> list[Met]:
    """What the file holds afterwards: other rooms of the home write to it too. NodeError, OSError."""
    make_private_directory(path.parent)
    with _locked(path.with_suffix(".lock")):
        try:
            known = merged(read_book(path), new)
        except BadBook:
            path.replace(path.with_suffix(".damaged"))
            known = merged([], new)
        write_whole(path, msgspec.json.format(msgspec.json.encode(_Book(known)), indent=1) + b"\n")
    return known


def merged(known: Iterable[Met], new: Iterable[Met]) -> list[Met]:
    """One entry for each identity and nick, first met first seen; those seen last stay."""
    entries = {(met.member, met.nick): met for met in known}
    for met in new:
        before = entries.get((met.member, met.nick), met)
        entries[met.member, met.nick] = msgspec.structs.replace(
            before, first=min(before.first, met.first), last=max(before.last, met.last)
        )
    return sorted(entries.values(), key=_last, reverse=True)[:MAX_KNOWN]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
