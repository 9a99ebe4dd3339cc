"""One member's own log in a `log:` folder: only ever appended to, and never continued where it is unsure.

The head is kept in memory. When the file is not, byte for byte at its end, what we left there (rolled back by
a sync tool, torn, gone), and at every start, a new segment begins: it repeats what is open now and says that
the former ones are over. So a writer never signs two entries for one place. Former segments are removed: what
a reader may still see of them was declared over by the same key. Called from threads.
"""

import os
import secrets
import threading
import time
from contextlib import suppress
from typing import Final

from nacl.signing import SigningKey

from signaling.carrier import ParcelKind
from signaling.errors import CarrierError, SignalError
from signaling.folder import open_plain, read_at, read_bounded, write_all, write_whole
from signaling.log_entry import (
    MIN_ENTRY,
    NO_ENTRY,
    PARCELS,
    SEGMENT_BYTES,
    EntryKind,
    Segment,
    Slot,
    make_entry,
    next_entry,
)
from signaling.log_names import MAX_SEGMENT, segment_of

_ROTATE_AT: Final = 256 * 1024
_MAX_LIVE: Final = 400 * 1024  # twice that and what is between fits into a segment
_MAX_OVER: Final = 64
_MAX_REMOVED: Final = 1024
_MAX_HEADS: Final = 4  # former segments read to find the last entry
_CHECK_EVERY: Final = 2.0


class LogWriter:
    """Puts entries into our log. All methods take a descriptor of the folder and raise OSError."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._me = bytes(key.verify_key)
        self._alone = threading.Lock()
        self._live: dict[Slot, bytes] = {}
        self._segment: Segment | None = None
        self._former: Segment | None = None  # given up, not yet declared over
        self._seq = 0
        self._head = NO_ENTRY
        self._size = 0
        self._tail = b""  # the last entry's bytes
        self._checked_at = 0.0

    def put(self, folder: int, kind: EntryKind, key: bytes, payload: bytes) -> None:
        """Say this in the place of what has the same kind and key; CarrierError when it is too much."""
        slot = (kind, key)
        with self._alone:
            others = sum(MIN_ENTRY + len(each) for at, each in self._live.items() if at != slot)
            if others + MIN_ENTRY + len(payload) > _MAX_LIVE:
                raise CarrierError("There is too much to be carried at once.", "Wait until links are up.")
            if self._live.get(slot) == payload and self._is_sound(folder):
                return
            self._live[slot] = payload
            self._append(folder, kind, key, payload)

    def take_back(self, folder: int, kind: ParcelKind, key: bytes) -> None:
        """Withdraw a parcel, of a former life too."""
        with self._alone:
            slot = (PARCELS[kind], key)
            if self._live.pop(slot, None) is not None:
                self._append(folder, EntryKind.WITHDRAWN, key, bytes((slot[0],)))
            elif self._segment is None and self._former_files(folder):
                self._begin(folder)

    def check(self, folder: int) -> None:
        """Begin anew if our file is not what we left there; at most every two seconds."""
        with self._alone:
            now = time.monotonic()
            if self._segment is None or now - self._checked_at < _CHECK_EVERY:
                return
            self._checked_at = now
            if not self._is_sound(folder):
                self._begin(folder)

    def close(self, folder: int) -> None:
        """Withdraw every parcel; the log stays only if it shows a session or a profile."""
        with self._alone:
            for kind, key in [slot for slot in self._live if slot[0] in PARCELS.values()]:
                del self._live[kind, key]
                self._append(folder, EntryKind.WITHDRAWN, key, bytes((kind,)))
            if not self._live and (self._segment or self._former) is not None:
                self._remove(folder, self._former_files(folder), but=None)
                self._segment = self._former = None

    # Writing; `_live` says what is to be seen, and already has what is being said

    def _append(self, folder: int, kind: EntryKind, key: bytes, payload: bytes) -> None:
        if self._segment is None:
            self._begin(folder)
            return
        entry, hash_ = self._make(self._segment, kind, key, payload, seq=self._seq + 1, prev=self._head)
        live = sum(MIN_ENTRY + len(each) for each in self._live.values())
        if self._size + len(entry) > max(_ROTATE_AT, 2 * live):
            self._begin(folder)
            return
        file = self._open_sound(folder)
        if file is None:
            self._begin(folder)
            return
        segment, self._segment, self._former = self._segment, None, self._segment
        try:
            write_all(file, entry)  # if it fails, nobody knows what is there: a new segment next time
        finally:
            os.close(file)
        self._segment, self._former = segment, None
        self._seq, self._head = self._seq + 1, hash_
        self._size, self._tail = self._size + len(entry), entry

    def _begin(self, folder: int) -> None:
        """A new segment, written whole, with all that is open; then the former ones go."""
        files = self._former_files(folder)
        prev = self._head if self._head != NO_ENTRY else self._last_head(folder, files)
        former = {*files.values(), *(each for each in (self._segment, self._former) if each is not None)}
        segment = Segment(self._me, secrets.token_bytes(SEGMENT_BYTES))
        wanted: list[tuple[EntryKind, bytes, bytes]] = [(EntryKind.BEGIN, NO_ENTRY, b"")]
        wanted += [(kind, key, payload) for (kind, key), payload in self._live.items()]
        for each in sorted(former)[:_MAX_OVER]:
            wanted.append((EntryKind.OVER, each.id.ljust(32, b"\0"), b""))
        parts: list[bytes] = []
        for seq, (kind, key, payload) in enumerate(wanted):
            entry, prev = self._make(segment, kind, key, payload, seq=seq, prev=prev)
            parts.append(entry)
        content = b"".join(parts)
        self._segment, self._former = None, segment
        write_whole(folder, segment.file_name, content)
        self._segment, self._former = segment, None
        self._seq, self._head = len(parts) - 1, prev
        self._size, self._tail = len(content), parts[-1]
        self._remove(folder, files, but=segment)

    def _make(
        self, segment: Segment, kind: EntryKind, key: bytes, payload: bytes, *, seq: int, prev: bytes
    ) -> tuple[bytes, bytes]:
        return make_entry(
            key=self._key,
            segment=segment.id,
            kind=kind,
            seq=seq,
            time=int(time.time() * 1000),
            prev=prev,
            slot_key=key,
            payload=payload,
        )

    def _is_sound(self, folder: int) -> bool:
        file = self._open_sound(folder)
        if file is None:
            return False
        os.close(file)
        return True

    def _open_sound(self, folder: int) -> int | None:
        """Our file to be appended to, if it ends with what we left; else None."""
        if self._segment is None:
            return None
        try:
            plain = open_plain(folder, self._segment.file_name, os.O_RDWR | os.O_APPEND)
        except OSError:
            return None  # gone, or a link, or somebody else's: a new one will show why
        if plain is None:
            return None
        file, status = plain
        sound = False
        try:
            length = len(self._tail)
            sound = status.st_size == self._size and read_at(file, self._size - length, length) == self._tail
        finally:
            if not sound:
                os.close(file)
        return file if sound else None

    # Former segments

    def _former_files(self, folder: int) -> dict[str, Segment]:
        """By name all that bears our key; conflict copies too."""
        found: dict[str, Segment] = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                segment = segment_of(entry.name)
                if segment is not None and segment.writer == self._me and len(found) < _MAX_REMOVED:
                    found[entry.name] = segment
        return found

    def _last_head(self, folder: int, files: dict[str, Segment]) -> bytes:
        """The hash of the last entry of a former life that can be read."""
        latest, head = -1, NO_ENTRY
        for name, segment in list(files.items())[:_MAX_HEADS]:
            with suppress(OSError, SignalError):
                content, at = read_bounded(folder, name, MAX_SEGMENT) or b"", 0
                while (found := next_entry(content, at, segment)) is not None:
                    entry, at = found
                    if entry.time >= latest:
                        latest, head = entry.time, entry.hash
        return head

    def _remove(self, folder: int, files: dict[str, Segment], *, but: Segment | None) -> None:
        for name, segment in files.items():
            if segment != but:
                with suppress(OSError):  # where nothing may be removed it is over all the same
                    os.unlink(name, dir_fd=folder)
