"""`dir:PATH`, a lobby of small files in any folder two machines can both see: shared, synced, or on a stick.

Everything in the folder may have been put there by anybody: only regular files with our names and sizes are
read, never through a link; the rest is counted once and left alone.

The layout is one room's: `session.json` and `host.offer.bin` have fixed names. The room that session.json
names has the folder; another one that comes while that is fresh puts its own two, and its profiles, in a
folder named by its fingerprint beside them. Whoever looks for a room looks in both places, so they need not
agree whose turn it is.
"""

import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import msgspec
import trio

from signaling.carrier import CarrierContext, Parcel, ParcelKind
from signaling.directory_scan import PRESENCE, PROFILES, SESSION, Mine, Place, Scan, place_in
from signaling.errors import CarrierError
from signaling.folder import (
    Complaints,
    folder_path,
    in_thread,
    opened,
    opened_inside,
    read_bounded,
    write_whole,
)
from signaling.lobby import MAX_PROFILES, LobbyProfile, LobbySession, read_shown
from signaling.polling import Polling

_MAX_JSON: Final = 64 * 1024
_MAX_NAMES: Final = 4096  # looked at among profiles
_PROFILE: Final = re.compile(r"([0-9a-f]{64})\.json")


class DirectoryCarrier:
    """The folder as a Carrier, and the lobby's JSON files beside it. The folder is made when first needed."""

    bare = False

    def __init__(self, where: str, context: CarrierContext | None = None) -> None:
        context = context or CarrierContext()
        self._path = folder_path(where, carrier="dir")
        self.spec = f"dir:{self._path}"
        self.faults = context.faults
        self._aside: Place = None if context.room is None else context.room.hex()
        self._mine = Mine()
        self._lock = trio.Lock()

    async def send(self, parcel: Parcel) -> None:
        async with self._lock:  # a withdrawal must not overtake
            await in_thread(self._send, parcel)

    def _send(self, parcel: Parcel) -> None:
        name = _file_name(parcel.kind, parcel.key)
        with opened(self._path, make=True) as folder:
            place = None
            if parcel.kind is ParcelKind.PRESENCE:
                place = self._place(folder)
                for former in self._mine.places(name):
                    if former != place:
                        self._mine.take_back(folder, former, name)
            self._mine.leave(folder, place, name, parcel.payload)

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        async with self._lock:
            await in_thread(self._withdraw, _file_name(kind, key), abandon=True)

    def _withdraw(self, name: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError), opened(self._path, make=False) as folder:
            for place in self._mine.places(name) or [None]:
                self._mine.take_back(folder, place, name)

    def parcels(self) -> AsyncIterator[Parcel]:
        complaints = Complaints(self._path, kind="lobby", faults=self.faults)
        scan = Scan(complaints, mine=self._mine, aside=self._aside)
        return Polling(self._path, scan, complaints=complaints)

    async def aclose(self) -> None:
        async with self._lock:
            for _, name in self._mine.names():
                with suppress(CarrierError):  # the folder may be gone already
                    await in_thread(self._withdraw, name, abandon=True)

    # The lobby

    async def publish_session(self, session: LobbySession, *, over: bool = True) -> str | None:
        """See Lobby: refreshed where it is a room's own, else shown beside the other room's."""
        return await in_thread(self._publish_session, session, over)

    def _publish_session(self, session: LobbySession, over: bool) -> str | None:
        now = time.time()
        with opened(self._path, make=True) as folder:
            first = self._read_session(folder, None)
            place = self._place(folder)
            shown = first if place is None else self._read_session(folder, place)
            if over or shown is None or shown.url != session.url or shown.is_due(now=now):
                stamped = msgspec.structs.replace(session, last_update=int(now * 1000))
                with place_in(folder, place, make=True) as inner:
                    write_whole(inner, SESSION, msgspec.json.encode(stamped))
            if place is None or first is None:
                return None
            return f"{self.spec} is the lobby of another room, too: {first.name!r}, {first.url[:12]}."

    async def read_session(self) -> LobbySession | None:
        """Our room's session if we were told a room, else the one that has the folder; None without any."""
        return await in_thread(self._find_session, abandon=True)

    def _find_session(self) -> LobbySession | None:
        with suppress(FileNotFoundError, NotADirectoryError), opened(self._path, make=False) as folder:
            first = self._read_session(folder, None)
            if self._aside is None or (first is not None and first.url == self._aside):
                return first
            return self._read_session(folder, self._aside)
        return None

    def _place(self, folder: int) -> Place:
        """Where this room's fixed names go now."""
        first = self._read_session(folder, None)
        if first is None or self._aside is None or first.url == self._aside:
            return None
        return None if first.is_stale(now=time.time()) else self._aside

    def _read_session(self, folder: int, place: Place) -> LobbySession | None:
        content = None
        with suppress(OSError), place_in(folder, place, make=False) as inner:
            content = read_bounded(inner, SESSION, _MAX_JSON)
        if content is None:
            return None
        session = read_shown(content, LobbySession)
        if session is None:
            self.faults["lobby: unreadable session"] += 1
        return session

    async def publish_profile(self, member: bytes, profile: LobbyProfile) -> None:
        """Write profile/<member>.json."""
        await in_thread(self._publish_profile, f"{member.hex()}.json", msgspec.json.encode(profile))

    def _publish_profile(self, name: str, content: bytes) -> None:
        with (
            opened(self._path, make=True) as folder,
            place_in(folder, self._place(folder), make=True) as inner,
            opened_inside(inner, PROFILES, make=True) as profiles,
        ):
            write_whole(profiles, name, content)

    async def read_profiles(self) -> Mapping[bytes, LobbyProfile]:
        """See Lobby; of our room's place if it has one of its own."""
        return await in_thread(self._read_profiles, abandon=True)

    def _read_profiles(self) -> Mapping[bytes, LobbyProfile]:
        found: dict[bytes, LobbyProfile] = {}
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            opened(self._path, make=False) as folder,
            place_in(folder, self._place(folder), make=False) as inner,
            opened_inside(inner, PROFILES, make=False) as profiles,
            os.scandir(profiles) as entries,
        ):
            for _, entry in zip(range(_MAX_NAMES), entries, strict=False):
                shape = _PROFILE.fullmatch(entry.name)
                if shape is None or len(found) >= MAX_PROFILES:
                    continue
                profile = None
                with suppress(OSError):
                    profile = read_shown(read_bounded(profiles, entry.name, _MAX_JSON) or b"", LobbyProfile)
                if profile is None:
                    self.faults["lobby: unreadable profile"] += 1
                else:
                    found[bytes.fromhex(shape[1])] = profile
        return found


def _file_name(kind: ParcelKind, key: bytes) -> str:
    return PRESENCE if kind is ParcelKind.PRESENCE else f"{key.hex()}.{kind.value}.bin"
