"""Descriptions that travel as files: ours is there whole or not at all, theirs is waited for."""

import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import trio

from node.pipe import Heard, understood, whole
from signaling.folder import opened, version_of, write_whole
from signaling.sdp import MAX_SIGNALS

_LOOK_EVERY: Final = 0.1
_SETTLED_AFTER: Final = 2.0  # seconds without a change, after which half a description is a bad one


async def write_description(path: Path, description: bytes) -> None:
    """Put it there by rename, over whatever file is there, or into a named pipe; OSError."""

    def write() -> None:
        if path.is_fifo() or path.is_char_device():
            path.write_bytes(description)
            return
        with opened(path.parent, make=False) as folder:
            write_whole(folder, path.name, description)

    await trio.to_thread.run_sync(write, abandon_on_cancel=True)


def version_at(path: Path) -> int | None:
    """Which file is there now; None for none, and for what is no plain file; OSError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return version_of(status) if stat.S_ISREG(status.st_mode) else None


async def heard_in(path: Path, *, but: int | None = None) -> AsyncGenerator[Heard, None]:
    """What stands in the file, each time that it has changed; of a named pipe once; OSError, UsageError.

    but: a version of it that is older than what it is to answer, and is passed over.
    """
    seen, since, text = but, trio.current_time(), b""
    while True:
        version = await trio.to_thread.run_sync(version_at, path, abandon_on_cancel=True)
        if version is None and await trio.to_thread.run_sync(path.exists, abandon_on_cancel=True):
            yield understood(await trio.to_thread.run_sync(_content, path, abandon_on_cancel=True))
            return
        if version not in (None, seen):
            seen, since = version, trio.current_time()
            text = await trio.to_thread.run_sync(_content, path, abandon_on_cancel=True)
            signals = whole(text)
            if signals is not None:
                text = b""
                yield signals
        elif text and trio.current_time() - since > _SETTLED_AFTER:
            understood(text)  # which says what is wrong with it
        await trio.sleep(_LOOK_EVERY)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SIGNALS + 1)
