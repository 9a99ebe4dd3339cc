"""One line of JSON for each request: who, what and how it ended. Neither payloads nor names of channels.

A channel stands in it as a short hash under a key that dies with the hub: enough to tell two apart in one
log, not enough to look a name up. Lines are written in a thread and in batches; a log that takes none costs
its own lines, never an answer.
"""

import hashlib
import secrets
import time
from typing import BinaryIO, Final

import msgspec
import trio

from signaling.hub.counts import Counts
from signaling.hub.http import Request

_EVERY: Final = 0.2
_MAX_LINES: Final = 20_000
_LAST_CHANCE: Final = 1.0


class AccessLog:
    """Writes to `file`, which it does not close; None: keeps no log.

    The file is not buffered: closing a buffer waits for whoever is stuck writing it, and so would the end.
    """

    def __init__(self, file: BinaryIO | None, counts: Counts) -> None:
        self._file = file
        self._counts = counts
        self._key = secrets.token_bytes(16)
        self._lines: list[bytes] = []

    @property
    def wanted(self) -> bool:
        return self._file is not None

    def note(self, request: Request, *, route: str, status: int, sent: int, seconds: float) -> None:
        """Once a request was answered, or a subscription ended."""
        if self._file is None:
            return
        if len(self._lines) >= _MAX_LINES:
            self._counts.of["log_dropped"] += 1
            return
        line = {
            "time": round(time.time(), 3),
            "client": request.client,
            "method": request.method,
            "route": route,
            "path": hashlib.blake2s(request.path.encode(), key=self._key, digest_size=6).hexdigest(),
            "status": status,
            "received": len(request.body),
            "sent": sent,
            "ms": round(seconds * 1000, 1),
        }
        self._lines.append(msgspec.json.encode(line) + b"\n")

    async def run(self) -> None:
        """Write, until cancelled; then what is left, if that goes quickly."""
        if self._file is None:
            return
        try:
            while True:
                await trio.sleep(_EVERY)
                await self._write()
        finally:
            with trio.move_on_after(_LAST_CHANCE, shield=True):
                await self._write()

    async def _write(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            await trio.to_thread.run_sync(_write_all, self._file, b"".join(lines), abandon_on_cancel=True)
        except OSError:
            self._counts.of["log_dropped"] += len(lines)


def _write_all(file: BinaryIO | None, lines: bytes) -> None:
    assert file is not None
    view = memoryview(lines)
    while view:
        written = file.write(view)
        if written:
            view = view[written:]
        else:  # whoever gave us this pipe made it non-blocking
            time.sleep(_EVERY)
