"""Looking into a folder again and again with rests between: synced and network drives have no inotify."""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import trio

from signaling.folder import Complaints, opened

_POLL: Final = 0.25
_REST: Final = 4  # times as long as a look took: a folder somebody filled must not eat the processor
_RESCAN: Final = 2.0  # some drives change a file without touching the folder's time
_SETTLED: Final = 2_500_000_000  # FAT counts in steps of 2 s

_Found = TypeVar("_Found")


class Polling(Generic[_Found]):
    """Whatever `scan` finds, one by one, for ever.

    scan(folder): looks once, in a thread, at a descriptor of the folder, which is made when missing; returns
    what is new, and whether it looked at everything (else it is called again after a rest). It bounds its own
    work. An OSError that it raises is counted, and it is tried again: the drive is away for a while.

    grows: files may change without the folder's own time, so every look is a whole one.
    """

    def __init__(
        self,
        path: Path,
        scan: Callable[[int], tuple[list[_Found], bool]],
        *,
        complaints: Complaints,
        grows: bool = False,
    ) -> None:
        self._path = path
        self._scan = scan
        self._complaints = complaints
        self._grows = grows
        self._ready: deque[_Found] = deque()
        self._alone = threading.Lock()  # a look whose waiter was cancelled may still be under way
        self._folder_time = 0
        self._next_full_look = -math.inf

    def __aiter__(self) -> "Polling[_Found]":
        return self

    async def __anext__(self) -> _Found:
        await trio.lowlevel.checkpoint()
        pause = 0.0
        while not self._ready:
            await trio.sleep(pause)
            began = trio.current_time()
            try:
                await trio.to_thread.run_sync(self._look, began, abandon_on_cancel=True)
            except OSError as error:
                self._complaints.add("folder away", str(self._path), error.strerror or "")
            pause = max(_POLL, _REST * (trio.current_time() - began))
        return self._ready.popleft()

    def _look(self, now: float) -> None:
        with self._alone, opened(self._path, make=True) as folder:
            changed = os.fstat(folder).st_mtime_ns
            settled = time.time_ns() - changed > _SETTLED
            if changed == self._folder_time and settled and now < self._next_full_look:
                return
            found, whole = self._scan(folder)
            self._ready.extend(found)
            self._folder_time = changed if whole and not self._grows else 0
            self._next_full_look = now + _RESCAN if whole else now
