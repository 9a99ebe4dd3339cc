"""Fresh rooms of meetings on disk: one that nobody came to leaves nothing there, killed or not."""

import secrets
import shutil
import time
from contextlib import suppress
from typing import Final

from chain.control import MAX_NAME, is_plain_name
from node.config import Home
from node.lock import lock_holder

_MARK: Final = "meeting"  # a room that nobody else is in yet
_ABANDONED: Final = 60.0  # seconds in which a room that was founded is opened
_UNNAMED: Final = "meeting"
_MAX_NUMBER: Final = 100


def name_for(home: Home, namespace: str) -> str:
    """A name for a fresh room; rooms of meetings that were killed are removed first."""
    for room in home.rooms():
        with suppress(OSError):
            mark = home.room_directory(room.fingerprint) / _MARK
            is_old = time.time() - mark.stat().st_mtime > _ABANDONED
            if is_old and lock_holder(home, room.fingerprint) is None:
                remove_room(home, room.fingerprint)
    taken = {room.name for room in home.rooms()}
    name = namespace if is_plain_name(namespace, MAX_NAME - 4) else _UNNAMED
    more = (f"{name} {number}" for number in range(2, _MAX_NUMBER))
    return next((each for each in (name, *more) if each not in taken), f"{_UNNAMED} {secrets.token_hex(8)}")


def mark_alone(home: Home, fingerprint: str) -> None:
    """Nobody else is in this room yet."""
    (home.room_directory(fingerprint) / _MARK).touch(mode=0o600)


def unmark(home: Home, fingerprint: str) -> None:
    """Somebody is."""
    (home.room_directory(fingerprint) / _MARK).unlink(missing_ok=True)


def remove_room(home: Home, fingerprint: str) -> None:
    """All there is of a room that nobody has open."""
    for each in (
        home.config / "rooms" / fingerprint,
        home.room_directory(fingerprint),
        home.evidence_directory(fingerprint),
    ):
        shutil.rmtree(each, ignore_errors=True)
