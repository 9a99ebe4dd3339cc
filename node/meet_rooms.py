"""Fresh rooms of meetings on disk: one that nobody came to leaves nothing there, killed or not."""

import os
import secrets
import shutil
import time
from contextlib import suppress
from typing import Final

from chain.control import MAX_NAME, is_plain_name
from node.config import Home, make_private_directory
from node.lock import lock_holder

_MARK: Final = "meeting"  # a room that nobody else is in yet
_ABANDONED: Final = 60.0  # seconds in which a room that was founded is opened
_UNNAMED: Final = "meeting"
_MAX_NUMBER: Final = 100


def name_for(home: Home, namespace: str) -> str:
    """A name for a fresh room; rooms of meetings that were killed are removed first."""
    for mark in (home.data / "rooms").glob(f"*/{_MARK}"):
        with suppress(OSError, ValueError):
            is_old = time.time() - mark.stat().st_mtime > _ABANDONED
            if is_old and lock_holder(home, mark.parent.name) is None:
                remove_room(home, mark.parent.name)
    taken = {room.name for room in home.rooms()}
    name = namespace if is_plain_name(namespace, MAX_NAME - 4) else _UNNAMED
    more = (f"{name} {number}" for number in range(2, _MAX_NUMBER))
    return next((each for each in (name, *more) if each not in taken), f"{_UNNAMED} {secrets.token_hex(8)}")


def is_here(home: Home, fingerprint: str) -> bool:
    """Whether this home has anything of that room."""
    return home.find(fingerprint) is not None or os.path.lexists(home.room_directory(fingerprint))


def mark_alone(home: Home, fingerprint: str) -> None:
    """Nobody else is in this room yet, or we are not: nothing is lost with it."""
    directory = home.room_directory(fingerprint)
    make_private_directory(directory)
    (directory / _MARK).touch(mode=0o600)


def unmark(home: Home, fingerprint: str) -> None:
    """It is a room of two."""
    (home.room_directory(fingerprint) / _MARK).unlink(missing_ok=True)


def remove_room(home: Home, fingerprint: str) -> None:
    """All there is of a room that nobody has open."""
    for each in (
        home.config / "rooms" / fingerprint,
        home.room_directory(fingerprint),
        home.evidence_directory(fingerprint),
    ):
        shutil.rmtree(each, ignore_errors=True)
