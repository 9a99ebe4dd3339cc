"""One process and one lock per room: two that sign with one vote key would look like a liar."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from node.config import Home, make_private_directory
from node.errors import Exit, NodeError


class RoomLocked(NodeError):
    """Another process holds the room's lock; `pid` is 0 where it could not be told."""

    exit_code = Exit.USAGE

    def __init__(self, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"This room is already open in {who}.",
            "Use that one (`pigeon chat` and `send` reach it), end it, or give --home another directory.",
        )
        self.pid = pid


@contextmanager
def room_lock(home: Home, fingerprint: str) -> Iterator[None]:
    """Hold the room's lock, or raise RoomLocked at once. It goes with the process, however that ends."""
    path = home.lock_file(fingerprint)
    make_private_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NodeError(
            f"The lock {path} cannot be opened: {error.strerror or error}.",
            "Check its permissions and that the disk is not full or read-only.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RoomLocked(_holder(descriptor)) from None
        with suppress(OSError):  # only to tell others: the lock is held on a full disk, too
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        # The file stays: were it removed, two processes could hold locks on two files of that name.
        yield
    finally:
        os.close(descriptor)


def lock_holder(home: Home, fingerprint: str) -> int | None:
    """The process that has the room open (0: one that could not be told), or None when nobody has."""
    try:
        descriptor = os.open(home.lock_file(fingerprint), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _holder(descriptor: int) -> int:
    written = os.pread(descriptor, 32, 0).strip()
    return int(written) if written.isdigit() else 0
