"""Files in a folder anybody may write to: nothing there is trusted, followed through a link, or waited for.

Writing is temporary name, fsync, rename, fsync folder. What takes long runs in a thread, bounded.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import trio

from signaling.errors import CarrierError

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

TEMPORARY: Final = re.compile(r"\.pigeon-[0-9a-f]{16}\.tmp")
_TEMPORARY_LIFE: Final = 3600.0
_MAX_LOGGED: Final = 32
_UNSUPPORTED: Final = (errno.EINVAL, errno.ENOTSUP)


def folder_path(where: str, *, carrier: str) -> Path:
    """What follows "dir:" or the like, or CarrierError: an invitation may name what no system can have."""
    usage = f"Write {carrier}:/path/to/folder."
    if not where:
        raise CarrierError(f"{carrier}: needs a folder.", usage)
    if "\0" in where:
        raise CarrierError("A folder's name cannot hold a zero byte.", usage)
    try:
        return Path(where).expanduser().absolute()
    except RuntimeError:
        raise CarrierError(f"There is no home directory for {where[:40]!r}.", usage) from None


async def in_thread(function: Callable[..., _T], *args: object, abandon: bool = False) -> _T:
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


def digest(content: bytes) -> bytes:
    """What tells whether a file still holds what we wrote."""
    return hashlib.sha256(content).digest()


# Folders, held open by descriptor: what is done in one cannot be led elsewhere by a link put in its place.


@contextlib.contextmanager
def opened(path: Path, *, make: bool) -> Iterator[int]:
    """A descriptor of the folder that the user named, which may well be a link; OSError."""
    if make:
        path.mkdir(parents=True, exist_ok=True)
    with _closing(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
        yield folder


@contextlib.contextmanager
def opened_inside(folder: int, name: str, *, make: bool) -> Iterator[int]:
    """A folder in a folder, which must not be a link; OSError."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
            sync_folder(folder)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with _closing(os.open(name, flags, dir_fd=folder)) as inner:
        yield inner


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# Files


def write_whole(folder: int, name: str, content: bytes) -> None:
    """Put `content` at `name`, over whatever file or link is there, whole or not at all; OSError."""
    temporary = f".pigeon-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(temporary, flags, 0o644, dir_fd=folder)
    try:
        with _closing(file):
            write_all(file, content)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    sync_folder(folder)


def write_all(file: int, content: bytes) -> None:
    """Write all of it and have it on the disk; OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
    os.fsync(file)


def sync_folder(folder: int) -> None:
    """What was done to names in it survives a power cut; OSError."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # some network drives cannot; nothing is lost there
            raise


def open_plain(folder: int, name: str, flags: int = os.O_RDONLY) -> tuple[int, os.stat_result] | None:
    """A descriptor of a regular file and its status, None for something else; never waits on a FIFO."""
    file = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(file)
    except BaseException:
        os.close(file)
        raise
    if stat.S_ISREG(status.st_mode):
        return file, status
    os.close(file)
    return None


def read_bounded(folder: int, name: str, limit: int) -> bytes | None:
    """The content of a regular file of at most `limit` bytes, else None; OSError, ELOOP for a link."""
    plain = open_plain(folder, name)
    if plain is None:
        return None
    file, status = plain
    with _closing(file):
        if status.st_size > limit:
            return None
        content = read_at(file, 0, limit + 1)  # the size may have changed since
    return content if len(content) <= limit else None


def read_at(file: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset` on, fewer only at the end of the file; OSError."""
    parts: list[bytes] = []
    while size > 0 and (part := os.pread(file, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)


def remove_if(folder: int, name: str, *, written: bytes | None, limit: int) -> None:
    """Unlink a plain file unless it holds something else than what has the digest `written`; OSError.

    None stands for any content. What is not there, or no plain file, is left.
    """
    try:
        content = read_bounded(folder, name, limit)
        if content is not None and (written is None or digest(content) == written):
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:  # a symbolic link took its place: not ours
            raise


def remove_abandoned(folder: int, entry: os.DirEntry[str]) -> None:
    """Unlink a temporary file whose writer was killed in between; OSError."""
    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _TEMPORARY_LIFE:
        os.unlink(entry.name, dir_fd=folder)


def version_of(status: os.stat_result) -> int:
    """Another number when a file's content may be another, or when we may read it now."""
    return hash((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))


class Seen:
    """Which version of which name was dealt with, by their hashes: at most `limit`, the oldest forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._versions: dict[int, int] = {}

    def is_new(self, name: str, version: int) -> bool:
        """Whether it was not; from now on it was."""
        key = hash(name)
        if self._versions.get(key) == version:
            return False
        if key not in self._versions and len(self._versions) >= self._limit:
            del self._versions[next(iter(self._versions))]
        self._versions[key] = version
        return True

    def has(self, name: str, version: int) -> bool:
        """Whether it was dealt with."""
        return self._versions.get(hash(name)) == version

    def forget(self, name: str) -> None:
        """Look at it again."""
        self._versions.pop(hash(name), None)


class Complaints:
    """What is wrong in one place: counted as "<kind>: <what>", and logged the first few times."""

    def __init__(self, place: Path, *, kind: str, faults: Counter[str], quiet: bool = False) -> None:
        self._place = place
        self._kind = kind
        self._faults = faults
        self._logged = _MAX_LOGGED + 1 if quiet else 0

    def add(self, what: str, name: str, why: str = "") -> None:
        self._faults[f"{self._kind}: {what}"] += 1
        self._logged += 1
        if self._logged <= _MAX_LOGGED:
            logger.warning("%s %s: ignoring %r: %s %s", self._kind, self._place, name[:80], what, why)
        elif self._logged == _MAX_LOGGED + 1:
            logger.warning("%s %s: more of the kind; counting them from here on", self._kind, self._place)
