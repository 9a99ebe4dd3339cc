"""`log:PATH`, a lobby where each writer has a file of its own, for folders that a tool copies to and fro.

Nobody ever changes a file that another one writes, and none changes but by growing: so no two copies can
conflict, and whatever part of a file has arrived is good for what it says.
"""

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio
from nacl.signing import SigningKey

from signaling.carrier import CarrierContext, Parcel, ParcelKind
from signaling.errors import CarrierError
from signaling.folder import Complaints, folder_path, in_thread, opened
from signaling.lobby import LobbyProfile, LobbySession, read_shown
from signaling.log_entry import NO_ENTRY, PARCELS, EntryKind
from signaling.log_scan import LogScan
from signaling.log_writer import LogWriter
from signaling.polling import Polling

_MAX_LOOKS: Final = 16  # at what somebody filled, before what was found has to do


class LogCarrier:
    """The folder as a Carrier and a Lobby. Without a writer's key it makes one, good for this process."""

    bare = False

    def __init__(self, where: str, context: CarrierContext | None = None) -> None:
        context = context or CarrierContext()
        self._path = folder_path(where, carrier="log")
        self.spec = f"log:{self._path}"
        self.faults = context.faults
        self._room = None if context.room is None else context.room.hex()
        self._writer = LogWriter(context.writer or SigningKey.generate())
        self._lock = trio.Lock()
        self._lobby = _LogLobby(self._path)

    async def send(self, parcel: Parcel) -> None:
        await self._put(PARCELS[parcel.kind], parcel.key, parcel.payload)

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        async with self._lock:
            await in_thread(self._withdraw, kind, key, abandon=True)

    def parcels(self) -> AsyncIterator[Parcel]:
        complaints = Complaints(self._path, kind="log", faults=self.faults)
        scan = LogScan(complaints)

        def look(folder: int) -> tuple[list[Parcel], bool]:
            self._writer.check(folder)
            return scan(folder)

        return Polling(self._path, look, complaints=complaints, grows=True)

    async def aclose(self) -> None:
        async with self._lock:
            with suppress(CarrierError):  # the folder may be gone already
                await in_thread(self._close, abandon=True)

    async def _put(self, kind: EntryKind, key: bytes, payload: bytes) -> None:
        async with self._lock:  # a withdrawal must not overtake
            await in_thread(self._write, kind, key, payload)

    def _write(self, kind: EntryKind, key: bytes, payload: bytes) -> None:
        with opened(self._path, make=True) as folder:
            self._writer.put(folder, kind, key, payload)

    def _withdraw(self, kind: ParcelKind, key: bytes) -> None:
        with suppress(FileNotFoundError, NotADirectoryError), opened(self._path, make=False) as folder:
            self._writer.take_back(folder, kind, key)

    def _close(self) -> None:
        with suppress(FileNotFoundError, NotADirectoryError), opened(self._path, make=False) as folder:
            self._writer.close(folder)

    # The lobby

    async def publish_session(self, session: LobbySession, *, over: bool = True) -> str | None:
        """See Lobby; each room's stands in its own members' logs, so there is nothing to be told."""
        now = time.time()
        if not over:
            shown = await in_thread(self._lobby.session, session.url, abandon=True)
            if shown is not None and not shown.is_due(now=now):
                return None
        stamped = msgspec.structs.replace(session, last_update=int(now * 1000))
        await self._put(EntryKind.SESSION, NO_ENTRY, msgspec.json.encode(stamped))
        return None

    async def read_session(self) -> LobbySession | None:
        """The one last refreshed: of our room if we were told a room, else of any."""
        return await in_thread(self._lobby.session, self._room, abandon=True)

    async def publish_profile(self, member: bytes, profile: LobbyProfile) -> None:
        """Show it in our log."""
        await self._put(EntryKind.PROFILE, member, msgspec.json.encode(profile))

    async def read_profiles(self) -> Mapping[bytes, LobbyProfile]:
        """See Lobby."""
        return await in_thread(self._lobby.profiles, abandon=True)


class _LogLobby:
    """What the logs show besides parcels. Called from threads; counts no faults, for parcels() does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scan = LogScan(Complaints(path, kind="log", faults=Counter(), quiet=True))
        self._alone = threading.Lock()

    def _look(self) -> None:
        with suppress(FileNotFoundError, NotADirectoryError), opened(self._path, make=False) as folder:
            for _ in range(_MAX_LOOKS):
                _, whole = self._scan(folder)
                if whole:
                    break

    def session(self, room: str | None) -> LobbySession | None:
        with self._alone:
            self._look()
            found = [read_shown(content, LobbySession) for content in self._scan.sessions.values()]
        now = time.time() * 1000
        return min(
            (each for each in found if each is not None and room in (None, each.url)),
            # Clocks differ; one that is ahead must not win for ever.
            key=lambda each: abs(now - each.last_update),
            default=None,
        )

    def profiles(self) -> Mapping[bytes, LobbyProfile]:
        with self._alone:
            self._look()
            found = {key: read_shown(content, LobbyProfile) for key, content in self._scan.profiles.items()}
        return {key: profile for key, profile in found.items() if profile is not None}
