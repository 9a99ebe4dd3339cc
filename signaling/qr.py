"""`qr` and `qr:DIR`: tokens as pictures, shown to a person who scans them, or in a folder as a mailbox.

Whatever lies in the folder with a picture's suffix is read once, under any name and by whomever it was put
there: a photo from a telephone does as well as a file of ours. A picture that takes long costs its second in
a process of its own; a folder full of them costs a few of these a look, and the rest wait.
"""

import heapq
import os
import re
import stat
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import trio

from signaling.carrier import Carrier, CarrierContext, Parcel, ParcelKind
from signaling.description import MAX_LIFE
from signaling.errors import BadPicture, CarrierError, SignalError
from signaling.folder import (
    TEMPORARY,
    Complaints,
    Seen,
    digest,
    folder_path,
    in_thread,
    opened,
    read_bounded,
    remove_abandoned,
    remove_if,
    version_of,
    write_whole,
)
from signaling.hands import HandCarrier, parcel_token, token_parcel
from signaling.pictures import MAX_FILE, draw_png, read_codes
from signaling.polling import Polling

_PICTURE: Final = re.compile(r".+\.(png|jpg|jpeg|jpe|webp)", re.IGNORECASE | re.DOTALL)
_OURS: Final = re.compile(r"(offer|answer)-[0-9a-f]{16}\.png")
_MAX_SWEPT: Final = 64  # files removed in one look
_MAX_SEEN: Final = 200_000  # about 20 MB when somebody fills the folder
_MAX_READS: Final = 4  # pictures in one look: four seconds of processor time at most
_MAX_OURS: Final = 64 * 1024  # bytes of a picture that we drew
_GROWING: Final = 3.0  # seconds after a change in which a picture that cannot be read may not be whole yet
_DEAD_AFTER: Final = MAX_LIFE + 3600.0  # seconds
_TEMPORARY_LOOK: Final = 600  # seconds between looks at one


def qr_carrier(where: str, context: CarrierContext | None = None) -> Carrier:
    """What `qr` or `qr:DIR` names, or CarrierError."""
    return QrFolderCarrier(where, context) if where else HandCarrier("qr")


def is_picture_name(name: str) -> bool:
    """Whether what has this name is read as a picture."""
    return _PICTURE.fullmatch(name) is not None


class QrFolderCarrier:
    """A folder of pictures as a bare Carrier. It is made when first needed."""

    bare = True

    def __init__(self, where: str, context: CarrierContext | None = None) -> None:
        self._path = folder_path(where, carrier="qr")
        self.spec = f"qr:{self._path}"
        self.faults = (context or CarrierContext()).faults
        self._mine: dict[str, tuple[bytes, bytes]] = {}  # name -> the parcel's key, the picture's digest
        self._lock = trio.Lock()

    async def send(self, parcel: Parcel) -> None:
        name = _file_name(parcel.kind, parcel.key)
        token = parcel_token(parcel)
        async with self._lock:  # a withdrawal must not overtake
            await in_thread(self._send, name, token, parcel.key)

    def _send(self, name: str, token: str, key: bytes) -> None:
        picture = draw_png(token)
        self._mine[name] = key, digest(picture)
        with opened(self._path, make=True) as folder:
            write_whole(folder, name, picture)

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        async with self._lock:
            await in_thread(self._withdraw, _file_name(kind, key), abandon=True)

    def _withdraw(self, name: str) -> None:
        _, written = self._mine.pop(name, (b"", None))
        with suppress(FileNotFoundError, NotADirectoryError), opened(self._path, make=False) as folder:
            if written is not None:
                remove_if(folder, name, written=written, limit=_MAX_OURS)

    def parcels(self) -> AsyncIterator[Parcel]:
        complaints = Complaints(self._path, kind="qr", faults=self.faults)
        return Polling(self._path, _Scan(self._mine, complaints), complaints=complaints)

    async def aclose(self) -> None:
        async with self._lock:
            for name in list(self._mine):
                with suppress(CarrierError):  # the folder may be gone already
                    await in_thread(self._withdraw, name, abandon=True)


class _Scan:
    """One look after another, in a thread; each version of a picture is read once, the latest arrival first.

    What arrived before any offer that may be open now is not read: somebody's holidays, ten thousand files.
    With a name of ours it is removed: whoever drew it was killed and never came back.
    """

    def __init__(self, mine: dict[str, tuple[bytes, bytes]], complaints: Complaints) -> None:
        self._mine = mine
        self._complaints = complaints
        self._seen = Seen(_MAX_SEEN)
        self._had: set[str] = set()  # their turn: files that change all the time must not keep others waiting

    def __call__(self, folder: int) -> tuple[list[Parcel], bool]:
        # A file server's clock may be years behind: old is what is old by its clock and by ours.
        dead = min(time.time(), os.fstat(folder).st_mtime) - _DEAD_AFTER
        waiting: list[tuple[float, str]] = []
        swept = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _PICTURE.fullmatch(entry.name):
                    self._other(folder, entry)
                elif (arrived := self._arrived(entry)) is None:
                    continue
                elif arrived > dead:
                    waiting.append((arrived, entry.name))
                elif _OURS.fullmatch(entry.name) and swept < _MAX_SWEPT:
                    swept += 1
                    with suppress(OSError):  # somebody else's to remove
                        os.unlink(entry.name, dir_fd=folder)
        if all(name in self._had for _, name in waiting):
            self._had.clear()
        turn = heapq.nlargest(_MAX_READS, (each for each in waiting if each[1] not in self._had))
        found: list[Parcel] = []
        for _, name in turn:
            self._had.add(name)
            self._look(folder, name, found)
        return found, len(turn) == len(waiting)

    def _arrived(self, entry: os.DirEntry[str]) -> float | None:
        """When this version of it came, if it is a picture that was not read yet."""
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:  # withdrawn while we looked
            return None
        if self._seen.has(entry.name, version_of(status)):
            return None
        if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= MAX_FILE:
            return max(status.st_mtime, status.st_ctime)
        self._seen.is_new(entry.name, version_of(status))
        self._complaints.add("no picture of a size that is read", entry.name)
        return None

    def _look(self, folder: int, name: str, found: list[Parcel]) -> None:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            self._seen.is_new(name, version_of(status))
            content = read_bounded(folder, name, MAX_FILE)
        except FileNotFoundError:
            self._seen.forget(name)
            return  # withdrawn while we looked
        except OSError as error:
            self._complaints.add("unreadable file", name, error.strerror or "")
            return
        if content is None or len(content) != status.st_size:
            self._seen.forget(name)  # it changed while we read: look again
        elif name not in self._mine or self._mine[name][1] != digest(content):
            self._read(name, content, found, fresh=0 <= time.time() - status.st_mtime < _GROWING)

    def _read(self, name: str, content: bytes, found: list[Parcel], *, fresh: bool) -> None:
        ours = {key for key, _ in list(self._mine.values())}
        try:
            tokens = read_codes(content)
        except BadPicture as error:
            if fresh:
                self._seen.forget(name)  # somebody is still copying it, perhaps
            else:
                self._complaints.add("unreadable picture", name, error.message)
            return
        if not tokens:
            self._complaints.add("picture without a token", name)
        for token in tokens:
            try:
                parcel = token_parcel(token)
            except SignalError:
                self._complaints.add("token of another kind", name)
                continue
            if parcel.key not in ours:
                found.append(parcel)

    def _other(self, folder: int, entry: os.DirEntry[str]) -> None:
        if TEMPORARY.fullmatch(entry.name):
            if self._seen.is_new(entry.name, int(time.time() // _TEMPORARY_LOOK)):
                with suppress(OSError):
                    remove_abandoned(folder, entry)
        elif self._seen.is_new(entry.name, 0):
            self._complaints.add("foreign file", entry.name)


def _file_name(kind: ParcelKind, key: bytes) -> str:
    return f"{kind.value}-{key.hex()[:16]}.png"
