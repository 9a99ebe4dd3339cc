"""Reading the parcels in a lobby folder, sweeping the dead ones, and putting back ours that vanished."""

import contextlib
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from typing import Final

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, Parcel, ParcelKind
from signaling.description import MAX_LIFE
from signaling.folder import (
    TEMPORARY,
    Complaints,
    Seen,
    digest,
    opened_inside,
    read_bounded,
    remove_abandoned,
    remove_if,
    version_of,
    write_whole,
)
from signaling.seal import BUCKET

PRESENCE: Final = "host.offer.bin"
SESSION: Final = "session.json"
PROFILES: Final = "profile"

_PARCEL: Final = re.compile(r"([0-9a-f]{64})\.(offer|answer)\.bin")
_ROOM: Final = re.compile(r"[0-9a-f]{64}")
_MAX_SEEN: Final = 200_000  # about 20 MB when somebody fills the folder
_MAX_READ: Final = 8 * 1024 * 1024  # bytes of parcels in one scan
_MAX_SECONDS: Final = 0.5  # in one scan after its first file; the rest after a rest
_MAX_SWEPT: Final = 1024  # files removed in one scan
_DEAD_AFTER: Final = MAX_LIFE + 3600.0  # seconds; whatever is sealed in there, it has expired
_TEMPORARY_LOOK: Final = 600  # seconds between looks at one

Place = str | None
"""The folder in the folder where a room puts what has a fixed name, once another room was there first."""


def is_lobby_name(name: str) -> bool:
    """Whether something of ours may have this name."""
    return name in (PRESENCE, SESSION, PROFILES) or bool(_PARCEL.fullmatch(name) or _ROOM.fullmatch(name))


@contextlib.contextmanager
def place_in(folder: int, place: Place, *, make: bool) -> Iterator[int]:
    """The descriptor to use for a place; OSError."""
    if place is None:
        yield folder
    else:
        with opened_inside(folder, place, make=make) as inner:
            yield inner


class Mine:
    """The parcels that we left and have not taken back, by place and name. Called from threads."""

    def __init__(self) -> None:
        self._left: dict[tuple[Place, str], bytes] = {}
        self._alone = threading.Lock()  # putting one back must not cross its withdrawal

    def places(self, name: str) -> list[Place]:
        """Where we left something of this name."""
        return [place for place, each in list(self._left) if each == name]

    def names(self) -> list[tuple[Place, str]]:
        return list(self._left)

    def leave(self, folder: int, place: Place, name: str, content: bytes) -> None:
        """Put it there and remember it, also when that fails; OSError."""
        with self._alone:
            self._left[place, name] = content
            with place_in(folder, place, make=True) as inner:
                write_whole(inner, name, content)

    def take_back(self, folder: int, place: Place, name: str) -> None:
        """Remove it unless somebody put something else there; if we left nothing, whatever it is; OSError."""
        with self._alone:
            content = self._left.pop((place, name), None)
            written = None if content is None else digest(content)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                with place_in(folder, place, make=False) as inner:
                    remove_if(inner, name, written=written, limit=MAX_PAYLOAD)
                if place is not None:
                    with contextlib.suppress(OSError):  # not empty: the room lives on
                        os.rmdir(place, dir_fd=folder)

    def put_back(self, folder: int, found: set[tuple[Place, str]]) -> None:
        """Leave again what is not among what was `found`: the folder was emptied, or is another one now."""
        with self._alone:
            for (place, name), content in self._left.items():
                if (place, name) not in found:
                    with place_in(folder, place, make=True) as inner:
                        write_whole(inner, name, content)


class Scan:
    """One look after another; each version of a file comes once, while fewer than _MAX_SEEN are there.

    aside: our place, if another room should have been first.
    """

    def __init__(self, complaints: Complaints, *, mine: Mine, aside: Place) -> None:
        self._complaints = complaints
        self._mine = mine
        self._aside = aside
        self._seen = Seen(_MAX_SEEN)

    def __call__(self, folder: int) -> tuple[list[Parcel], bool]:
        found: list[Parcel] = []
        read, swept, until = 0, 0, 0.0
        expected = set(self._mine.names())
        there: set[tuple[Place, str]] = set()
        # A file server's clock may be years behind: old is what is old by its clock and by ours.
        dead = min(time.time(), os.fstat(folder).st_mtime) - _DEAD_AFTER
        with os.scandir(folder) as entries:
            for entry in entries:
                shape = _PARCEL.fullmatch(entry.name)
                if shape is None and entry.name != PRESENCE:
                    self._other(folder, entry)
                    continue
                if (None, entry.name) in expected:
                    there.add((None, entry.name))
                status = self._status(folder, entry.name)
                if status is None:
                    continue
                if shape is not None and status.st_mtime < dead and stat.S_ISREG(status.st_mode):
                    swept += _sweep(folder, entry.name, may=swept < _MAX_SWEPT)
                    continue
                if self._look(folder, entry.name, shape, status, found):
                    now, read = time.monotonic(), read + status.st_size
                    until = until or now + _MAX_SECONDS
                    if read >= _MAX_READ or now >= until:
                        return found, False
        if self._aside is not None:
            self._look_aside(folder, self._aside, there, found)
        if expected - there:
            self._mine.put_back(folder, there)
        return found, True

    def _look_aside(
        self, folder: int, aside: str, there: set[tuple[Place, str]], found: list[Parcel]
    ) -> None:
        try:
            with opened_inside(folder, aside, make=False) as inner:
                status = self._status(inner, PRESENCE)
                if status is not None:
                    there.add((aside, PRESENCE))
                    self._look(inner, PRESENCE, None, status, found, known=f"{aside}/{PRESENCE}")
        except FileNotFoundError:
            pass  # no other room was here first
        except OSError as error:
            if self._seen.is_new(aside, 0):
                self._complaints.add("unreadable folder", aside, error.strerror or "")

    def _status(self, folder: int, name: str) -> os.stat_result | None:
        """Of what has this name, a link's own; None when it is gone or may not be looked at."""
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None

    def _look(
        self,
        folder: int,
        name: str,
        shape: re.Match[str] | None,
        status: os.stat_result,
        found: list[Parcel],
        *,
        known: str | None = None,
    ) -> bool:
        """Read one file unless this version of it, `known` by some name, was seen; True if it cost a read."""
        known = known or name
        if not self._seen.is_new(known, version_of(status)):
            return False
        if not stat.S_ISREG(status.st_mode):
            self._complaints.add("not a plain file", name)
            return False
        if not 0 < status.st_size <= MAX_PAYLOAD or (shape is not None and status.st_size % BUCKET):
            self._complaints.add("size of no parcel", name)
            return False
        try:
            content = read_bounded(folder, name, MAX_PAYLOAD)
        except FileNotFoundError:
            self._seen.forget(known)
            return False  # withdrawn while we looked
        except OSError as error:
            self._complaints.add("unreadable file", name, error.strerror or "")
            return True
        if content is None or len(content) != status.st_size:
            self._seen.forget(known)  # it changed while we read: look again
        elif shape is None:
            found.append(Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=content))
        else:
            kind = ParcelKind(shape[2])
            found.append(Parcel(kind=kind, key=bytes.fromhex(shape[1]), payload=content))
        return True

    def _other(self, folder: int, entry: os.DirEntry[str]) -> None:
        if entry.name in (SESSION, PROFILES) or _ROOM.fullmatch(entry.name):
            return
        if TEMPORARY.fullmatch(entry.name):
            if self._seen.is_new(entry.name, int(time.time() // _TEMPORARY_LOOK)):
                with contextlib.suppress(OSError):
                    remove_abandoned(folder, entry)
        elif self._seen.is_new(entry.name, 0):  # a sync-conflict copy, somebody's holiday pictures
            self._complaints.add("foreign file", entry.name)


def _sweep(folder: int, name: str, *, may: bool) -> bool:
    """Remove a parcel that outlived every offer: its writer was killed and never came back."""
    with contextlib.suppress(OSError):  # withdrawn while we looked, or somebody else's to remove
        if may:
            os.unlink(name, dir_fd=folder)
    return may
