"""What a lobby tells anyone who sees it, and the heartbeat that keeps it true."""

from collections.abc import Callable, Iterable
from typing import Annotated, Final, Protocol, runtime_checkable

import msgspec
import trio

from signaling.carrier import Carrier
from signaling.errors import CarrierError

HEARTBEAT: Final = 300.0  # seconds between writes when nothing changes
STALE_AFTER: Final = 600.0
_LOOK_EVERY: Final = 1.0

_Name = Annotated[str, msgspec.Meta(max_length=256)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class LobbySession(msgspec.Struct, frozen=True, kw_only=True):
    """session.json: what anyone who sees the folder may know of the room. `url` is the room's fingerprint."""

    name: _Name
    url: _Name
    last_update: _Count = 0  # milliseconds since 1970, filled in when written
    peers: _Count = 0
    max_peers: _Count = 0
    protected: bool = False

    def is_stale(self, *, now: float) -> bool:
        """Whether nobody has refreshed it for ten minutes; `now` in Unix seconds."""
        return now - self.last_update / 1000 > STALE_AFTER


class LobbyProfile(msgspec.Struct, frozen=True, kw_only=True):
    """profile/<member>.json; `friends` are room fingerprints with carrier hints."""

    name: _Name
    created: _Count = 0
    friends: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=64)] = ()


@runtime_checkable
class Lobby(Protocol):
    """A carrier that is a place as well: it shows a session and its members' profiles."""

    async def publish_session(self, session: LobbySession) -> None:
        """Show this session, stamped with the time of now."""

    async def read_session(self) -> LobbySession | None:
        """The session shown, if there is one that can be read."""

    async def publish_profile(self, member: bytes, profile: LobbyProfile) -> None:
        """Show a member's profile under its identity key."""


async def keep_session(carriers: Iterable[Carrier], describe: Callable[[], LobbySession]) -> None:
    """Show what `describe()` says in each lobby, when it changes and every 5 minutes; for ever."""
    lobbies = [carrier for carrier in carriers if isinstance(carrier, Lobby)]
    shown: LobbySession | None = None
    written = 0.0
    while True:
        session = describe()
        if session != shown or trio.current_time() - written >= HEARTBEAT:
            shown, written = session, trio.current_time()
            for lobby in lobbies:
                try:
                    await lobby.publish_session(session)
                except CarrierError:
                    shown = None  # the folder is away: again at the next look
        await trio.sleep(_LOOK_EVERY)
