"""The high-water mark: the number of the last committed transaction, in a small file beside the database.

A damaged write-ahead log silently loses its last transactions; the mark outside still knows of them.
"""

import hashlib
import os
from pathlib import Path

from chain.ids import RoomId

_MAGIC = b"pgnmark1"
_SIZE = 64
_LOOK = 2 * _SIZE + 1
_READS = 3


class Mark:
    """Two alternating 64-byte records, so that a torn write leaves the other one whole.

    Synced when it is made and never after: the file is a witness against the database, and a crash that
    loses the mark's last writes only makes it a weaker one. Both records are whole from the start, so a
    mark that is missing or not whole was damaged.
    """

    def __init__(self, descriptor: int) -> None:
        self._fd: int | None = descriptor
        self._seen = os.pread(descriptor, _LOOK, 0)

    @classmethod
    def create(cls, path: Path, *, number: int, room: RoomId) -> "Mark":
        """Make the file, or make it anew; its directory's entry is the caller's to sync. OSError."""
        mark = cls(_open(path, os.O_RDWR | os.O_CREAT))
        mark.reset(number, room)
        return mark

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> "Mark | None":
        """Read the file; None if there is none, OSError if it cannot be read."""
        try:
            return cls(_open(path, os.O_RDONLY if read_only else os.O_RDWR))
        except FileNotFoundError:
            return None

    def seen(self, room: RoomId) -> int:
        """The highest number that stood there when it was opened; 0 without a whole record of this room."""
        return max((number for number in _numbers(self._seen, room) if number is not None), default=0)

    def is_whole(self, room: RoomId) -> bool:
        """Whether both records are of this room; a node that writes meanwhile may be met half-way."""
        assert self._fd is not None
        return any(
            len(content) == 2 * _SIZE and None not in _numbers(content, room)
            for content in (os.pread(self._fd, _LOOK, 0) for _ in range(_READS))
        )

    def write(self, number: int, room: RoomId) -> None:
        if self._fd is not None:
            os.pwrite(self._fd, _record(number, room), _SIZE * (number % 2))

    def reset(self, number: int, room: RoomId) -> None:
        """Nothing but this number stands there any more, also after a power cut."""
        assert self._fd is not None
        os.pwrite(self._fd, 2 * _record(number, room), 0)
        os.ftruncate(self._fd, 2 * _SIZE)
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _record(number: int, room: RoomId) -> bytes:
    head = _MAGIC + number.to_bytes(8, "big") + bytes(16)
    return head + hashlib.sha256(head + room).digest()


def _numbers(content: bytes, room: RoomId) -> list[int | None]:
    """What each record says, None where it is not whole."""
    found: list[int | None] = []
    for record in (content[:_SIZE], content[_SIZE : 2 * _SIZE]):
        number = int.from_bytes(record[8:16], "big")
        found.append(number if record == _record(number, room) else None)
    return found


def mark_path(store: Path) -> Path:
    return store.with_name(store.name + ".mark")
