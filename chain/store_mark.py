"""The high-water mark: the number of the last committed transaction, in a small file beside the database.

A damaged write-ahead log silently loses its last transactions; the mark outside still knows of them.
"""

import hashlib
import os
from pathlib import Path

from chain.ids import RoomId

_MAGIC = b"pgnmark1"
_SIZE = 64


class Mark:
    """Two alternating 64-byte records, so that a torn write leaves the other one whole.

    No fsync: the file is a witness against the database, and a crash that loses the mark's last writes
    only makes it a weaker one.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Read the file, and make it if it is not there unless `read_only`; OSError when that fails."""
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self._fd: int | None = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._seen = os.pread(self._fd, 2 * _SIZE, 0)

    def seen(self, room: RoomId) -> int:
        """The highest number that stood there when it was opened; 0 without a whole record of this room."""
        numbers = [0]
        for record in (self._seen[:_SIZE], self._seen[_SIZE:]):
            number = int.from_bytes(record[8:16], "big")
            if record == _record(number, room):
                numbers.append(number)
        return max(numbers)

    def write(self, number: int, room: RoomId) -> None:
        if self._fd is not None:
            os.pwrite(self._fd, _record(number, room), _SIZE * (number % 2))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _record(number: int, room: RoomId) -> bytes:
    head = _MAGIC + number.to_bytes(8, "big") + bytes(16)
    return head + hashlib.sha256(head + room).digest()


def mark_path(store: Path) -> Path:
    return store.with_name(store.name + ".mark")
