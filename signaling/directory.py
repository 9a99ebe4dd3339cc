"""`dir:PATH`, a lobby of small files in any folder two machines can both see: shared, synced, or on a stick.

Everything in the folder may have been put there by anybody: only regular files with our names and sizes are
read, never through a link; the rest is counted once and left alone. Writing is temporary name, fsync,
rename, fsync folder.
"""

import contextlib
import os
import re
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import trio

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.errors import CarrierError
from signaling.folder import (
    TEMPORARY,
    Complaints,
    Seen,
    digest,
    folder_path,
    in_thread,
    opened,
    opened_inside,
    read_bounded,
    remove_abandoned,
    remove_if,
    version_of,
    write_whole,
)
from signaling.lobby import LobbyProfile, LobbySession
from signaling.polling import Polling
from signaling.seal import BUCKET

_MAX_SEEN: Final = 200_000  # about 20 MB when somebody fills the folder
_MAX_READS: Final = 1024  # files opened in one scan
_MAX_JSON: Final = 64 * 1024
_TEMPORARY_LOOK: Final = 600  # seconds between looks at one

_PARCEL: Final = re.compile(r"([0-9a-f]{64})\.(offer|answer)\.bin")
_PRESENCE: Final = "host.offer.bin"
_OURS: Final = frozenset({"session.json", "profile"})


class DirectoryCarrier:
    """The folder as a Carrier, and the lobby's JSON files beside it. The folder is made when first needed."""

    bare = False

    def __init__(self, where: str, context: CarrierContext | None = None) -> None:
        self._path = folder_path(where, carrier="dir")
        self.spec = f"dir:{self._path}"
        self.faults = (context or CarrierContext()).faults
        self._mine: dict[str, bytes] = {}  # name -> digest of what we wrote there
        self._lock = trio.Lock()

    async def send(self, parcel: Parcel) -> None:
        name = _file_name(parcel.kind, parcel.key)
        async with self._lock:  # a withdrawal must not overtake
            self._mine[name] = digest(parcel.payload)
            await in_thread(_write, self._path, name, parcel.payload)

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        name = _file_name(kind, key)
        async with self._lock:
            written = self._mine.pop(name, None)
            await in_thread(_remove, self._path, name, written, abandon=True)

    def parcels(self) -> AsyncIterator[Parcel]:
        complaints = Complaints(self._path, kind="lobby", faults=self.faults)
        return Polling(self._path, _Scan(complaints), complaints=complaints)

    async def aclose(self) -> None:
        async with self._lock:
            mine, self._mine = self._mine, {}
            for name, written in mine.items():
                with contextlib.suppress(CarrierError):  # the folder may be gone already
                    await in_thread(_remove, self._path, name, written, abandon=True)

    async def publish_session(self, session: LobbySession) -> None:
        """Write session.json with the time of now."""
        stamped = msgspec.structs.replace(session, last_update=int(time.time() * 1000))
        await in_thread(_write, self._path, "session.json", msgspec.json.encode(stamped))

    async def read_session(self) -> LobbySession | None:
        """What session.json says, or None when there is none that can be read."""
        raw = await in_thread(_read_if_there, self._path, "session.json", _MAX_JSON)
        try:
            return None if raw is None else msgspec.json.decode(raw, type=LobbySession)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.faults["lobby: unreadable session"] += 1
            return None

    async def publish_profile(self, member: bytes, profile: LobbyProfile) -> None:
        """Write profile/<member>.json."""
        name, content = f"{member.hex()}.json", msgspec.json.encode(profile)
        await in_thread(_write_profile, self._path, name, content)


def _file_name(kind: ParcelKind, key: bytes) -> str:
    return _PRESENCE if kind is ParcelKind.PRESENCE else f"{key.hex()}.{kind.value}.bin"


def _write(path: Path, name: str, content: bytes) -> None:
    with opened(path, make=True) as folder:
        write_whole(folder, name, content)


def _write_profile(path: Path, name: str, content: bytes) -> None:
    with opened(path, make=True) as folder, opened_inside(folder, "profile", make=True) as profiles:
        write_whole(profiles, name, content)


def _read_if_there(path: Path, name: str, limit: int) -> bytes | None:
    try:
        with opened(path, make=False) as folder:
            return read_bounded(folder, name, limit)
    except OSError:
        return None


def _remove(path: Path, name: str, written: bytes | None) -> None:
    """Unlink `name` unless somebody put something else there since we wrote it."""
    try:
        with opened(path, make=False) as folder:
            remove_if(folder, name, written=written, limit=MAX_PAYLOAD)
    except (FileNotFoundError, NotADirectoryError):
        pass


class _Scan:
    """One look after another; each version of a file comes once, while fewer than _MAX_SEEN are there."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._seen = Seen(_MAX_SEEN)

    def __call__(self, folder: int) -> tuple[list[Parcel], bool]:
        found: list[Parcel] = []
        opened_files = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _OURS:
                    continue
                opened_files += self._look(folder, entry, found)
                if opened_files >= _MAX_READS:
                    return found, False
        return found, True

    def _look(self, folder: int, entry: os.DirEntry[str], found: list[Parcel]) -> bool:
        """Read one entry unless this version of it was seen; True if it cost a read."""
        shape = _PARCEL.fullmatch(entry.name)
        ours = shape is not None or entry.name == _PRESENCE
        try:
            if not ours:
                self._foreign(folder, entry)
                return False
            status = entry.stat(follow_symlinks=False)
            if not self._seen.is_new(entry.name, version_of(status)):
                return False
            if not stat.S_ISREG(status.st_mode):
                self._complaints.add("not a plain file", entry.name)
                return False
            if not 0 < status.st_size <= MAX_PAYLOAD or (shape is not None and status.st_size % BUCKET):
                self._complaints.add("size of no parcel", entry.name)
                return False
            content = read_bounded(folder, entry.name, MAX_PAYLOAD)
        except FileNotFoundError:
            self._seen.forget(entry.name)
            return False  # withdrawn while we looked
        except OSError as error:
            self._complaints.add("unreadable file", entry.name, error.strerror or "")
            return True
        if content is None or len(content) != status.st_size:
            self._seen.forget(entry.name)  # it changed while we read: look again
        elif shape is None:
            found.append(Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=content))
        else:
            kind = ParcelKind(shape[2])
            found.append(Parcel(kind=kind, key=bytes.fromhex(shape[1]), payload=content))
        return True

    def _foreign(self, folder: int, entry: os.DirEntry[str]) -> None:
        if TEMPORARY.fullmatch(entry.name):
            if self._seen.is_new(entry.name, int(time.time() // _TEMPORARY_LOOK)):
                remove_abandoned(folder, entry)
        elif self._seen.is_new(entry.name, 0):  # a sync-conflict copy, somebody's holiday pictures
            self._complaints.add("foreign file", entry.name)
