"""`dir:PATH`, a lobby of small files in any folder two machines can both see: shared, synced, or on a stick.

Everything in the folder may have been put there by anybody: only regular files with our names and sizes are
read, never through a link; the rest is counted once and left alone. Writing is temporary name, fsync,
rename, fsync folder.
"""

import contextlib
import errno
import hashlib
import logging
import math
import os
import re
import secrets
import stat
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.errors import CarrierError
from signaling.lobby import LobbyProfile, LobbySession
from signaling.seal import BUCKET

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

_POLL: Final = 0.25  # no inotify: synced and network drives do not have it
_RESCAN: Final = 2.0  # some drives change a file without touching the folder's time
_MAX_SEEN: Final = 200_000  # about 20 MB when somebody fills the folder
_MAX_READS: Final = 1024  # files opened in one scan
_MAX_LOGGED: Final = 32
_MAX_JSON: Final = 64 * 1024
_TEMPORARY_LIFE: Final = 3600.0

_PARCEL: Final = re.compile(r"([0-9a-f]{64})\.(offer|answer)\.bin")
_TEMPORARY: Final = re.compile(r"\.pigeon-[0-9a-f]{16}\.tmp")
_PRESENCE: Final = "host.offer.bin"
_OURS: Final = frozenset({"session.json", "profile"})


class DirectoryCarrier:
    """The folder as a Carrier, and the lobby's JSON files beside it. The folder is made when first needed."""

    bare = False

    def __init__(self, where: str, context: CarrierContext | None = None) -> None:
        if not where:
            raise CarrierError("dir: needs a folder.", "Write dir:/path/to/folder.")
        self._path = _path_of(where)
        self.spec = f"dir:{self._path}"
        self.faults = (context or CarrierContext()).faults
        self._mine: dict[str, bytes] = {}  # name -> digest of what we wrote there
        self._lock = trio.Lock()

    async def send(self, parcel: Parcel) -> None:
        name = _file_name(parcel.kind, parcel.key)
        async with self._lock:  # a withdrawal must not overtake
            self._mine[name] = _digest(parcel.payload)
            await _in_thread(_write, self._path, name, parcel.payload)

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        name = _file_name(kind, key)
        async with self._lock:
            written = self._mine.pop(name, None)
            await _in_thread(_remove, self._path, name, written, abandon=True)

    def parcels(self) -> AsyncIterator[Parcel]:
        return _Parcels(self._path, self.faults)

    async def aclose(self) -> None:
        async with self._lock:
            mine, self._mine = self._mine, {}
            for name, written in mine.items():
                with contextlib.suppress(CarrierError):  # the folder may be gone already
                    await _in_thread(_remove, self._path, name, written, abandon=True)

    async def publish_session(self, session: LobbySession) -> None:
        """Write session.json with the time of now."""
        stamped = msgspec.structs.replace(session, last_update=int(time.time() * 1000))
        await _in_thread(_write, self._path, "session.json", msgspec.json.encode(stamped))

    async def read_session(self) -> LobbySession | None:
        """What session.json says, or None when there is none that can be read."""
        raw = await _in_thread(_read_if_there, self._path, "session.json", _MAX_JSON)
        try:
            return None if raw is None else msgspec.json.decode(raw, type=LobbySession)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.faults["lobby: unreadable session"] += 1
            return None

    async def publish_profile(self, member: bytes, profile: LobbyProfile) -> None:
        """Write profile/<member>.json."""
        await _in_thread(_write, self._path / "profile", f"{member.hex()}.json", msgspec.json.encode(profile))


def _path_of(where: str) -> Path:
    """An invitation may name any folder, also one that no system can have."""
    if "\0" in where:
        raise CarrierError("A folder's name cannot hold a zero byte.", "Write dir:/path/to/folder.")
    try:
        return Path(where).expanduser().absolute()
    except RuntimeError:
        raise CarrierError(
            f"There is no home directory for {where[:40]!r}.", "Write the whole path: dir:/path/to/folder."
        ) from None


async def _in_thread(function: Callable[..., _T], *args: object, abandon: bool = False) -> _T:
    """Disks, network drives more so, may take long: never on the loop. Errors become CarrierError.

    abandon: leave behind a call that hangs in a dead drive; not for writing, a withdrawal could overtake it.
    """
    try:
        return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=abandon)
    except OSError as error:
        raise CarrierError(
            f"The folder cannot be used: {error.strerror or error}.",
            "Check that it exists, that you may write to it, and that the drive is not full.",
        ) from error


def _file_name(kind: ParcelKind, key: bytes) -> str:
    return _PRESENCE if kind is ParcelKind.PRESENCE else f"{key.hex()}.{kind.value}.bin"


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


@contextlib.contextmanager
def _opened(path: Path, *, make: bool) -> Iterator[int]:
    if make:
        path.mkdir(parents=True, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _write(path: Path, name: str, content: bytes) -> None:
    temporary = f".pigeon-{secrets.token_hex(8)}.tmp"
    with _opened(path, make=True) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o644, dir_fd=folder)
        try:
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        _sync_folder(folder)


def _sync_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # some network drives cannot; nothing is lost there
            raise


def _read(folder: int, name: str, limit: int) -> bytes | None:
    """The content of a regular file of at most `limit` bytes, else None. Never waits on a FIFO."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        content = os.read(file, limit + 1)  # the size may have changed since
    finally:
        os.close(file)
    return content if len(content) <= limit else None


def _read_if_there(path: Path, name: str, limit: int) -> bytes | None:
    try:
        with _opened(path, make=False) as folder:
            return _read(folder, name, limit)
    except OSError:
        return None


def _remove(path: Path, name: str, written: bytes | None) -> None:
    """Unlink `name` unless somebody put something else there since we wrote it."""
    try:
        with _opened(path, make=False) as folder:
            content = _read(folder, name, MAX_PAYLOAD)
            if content is not None and (written is None or _digest(content) == written):
                os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:  # a symbolic link took its place: not ours
            raise


class _Parcels:
    """Polls the folder. Each version of a file comes once, while fewer than _MAX_SEEN files are there."""

    def __init__(self, path: Path, faults: Counter[str]) -> None:
        self._path = path
        self._faults = faults
        self._seen: dict[int, int] = {}  # hash of the name -> hash of its version
        self._ready: deque[Parcel] = deque()
        self._folder_time = 0
        self._next_full_scan = -math.inf
        self._logged = 0

    def __aiter__(self) -> "_Parcels":
        return self

    async def __anext__(self) -> Parcel:
        await trio.lowlevel.checkpoint()
        pause = 0.0
        while not self._ready:
            await trio.sleep(pause)
            began = trio.current_time()
            try:
                self._ready.extend(await trio.to_thread.run_sync(self._scan, began, abandon_on_cancel=True))
            except OSError as error:  # not there yet, or the drive is away for a while
                self._fault("folder away", str(self._path), error.strerror or "")
            # A folder somebody filled must not eat the processor: rest four times as long as it took.
            pause = max(_POLL, 4 * (trio.current_time() - began))
        return self._ready.popleft()

    def _scan(self, now: float) -> list[Parcel]:
        with _opened(self._path, make=True) as folder:
            changed = os.fstat(folder).st_mtime_ns
            settled = time.time_ns() - changed > 2_500_000_000  # FAT counts in steps of 2 s
            if changed == self._folder_time and settled and now < self._next_full_scan:
                return []
            self._folder_time, self._next_full_scan = changed, now + _RESCAN
            found: list[Parcel] = []
            opened = 0
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name in _OURS:
                        continue
                    opened += self._look(folder, entry, found)
                    if opened >= _MAX_READS:
                        self._next_full_scan = now  # the rest next time
                        self._folder_time = 0
                        break
            return found

    def _look(self, folder: int, entry: os.DirEntry[str], found: list[Parcel]) -> bool:
        """Read one entry unless this version of it was seen; True if it cost a read."""
        shape = _PARCEL.fullmatch(entry.name)
        ours = shape is not None or entry.name == _PRESENCE
        key, version = hash(entry.name), 0
        try:
            if ours or _TEMPORARY.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                version = hash((status.st_mtime_ns, status.st_size, status.st_ino))
            if self._seen.get(key) == version:
                return False
            self._remember(key, version)
            if not ours:
                self._foreign(folder, entry)
                return False
            if not stat.S_ISREG(status.st_mode):
                self._fault("not a plain file", entry.name)
                return False
            if not 0 < status.st_size <= MAX_PAYLOAD or (shape is not None and status.st_size % BUCKET):
                self._fault("size of no parcel", entry.name)
                return False
            content = _read(folder, entry.name, MAX_PAYLOAD)
        except FileNotFoundError:
            self._seen.pop(key, None)
            return False  # withdrawn while we looked
        except OSError as error:
            self._fault("unreadable file", entry.name, error.strerror or "")
            return True
        if content is None or len(content) != status.st_size:
            self._seen.pop(key, None)  # it changed while we read: look again
        elif shape is None:
            found.append(Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=content))
        else:
            kind = ParcelKind(shape[2])
            found.append(Parcel(kind=kind, key=bytes.fromhex(shape[1]), payload=content))
        return True

    def _foreign(self, folder: int, entry: os.DirEntry[str]) -> None:
        if not _TEMPORARY.fullmatch(entry.name):
            self._fault("foreign file", entry.name)  # a sync-conflict copy, somebody's holiday pictures
            return
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _TEMPORARY_LIFE:
            os.unlink(entry.name, dir_fd=folder)  # its writer was killed in between

    def _remember(self, key: int, version: int) -> None:
        if key not in self._seen and len(self._seen) >= _MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = version

    def _fault(self, what: str, name: str, why: str = "") -> None:
        self._faults[f"lobby: {what}"] += 1
        self._logged += 1
        if self._logged <= _MAX_LOGGED:
            logger.warning("lobby %s: ignoring %r: %s %s", self._path, name[:80], what, why)
        elif self._logged == _MAX_LOGGED + 1:
            logger.warning("lobby %s: more of the kind; counting them from here on", self._path)
