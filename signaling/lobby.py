"""What a lobby tells anyone who sees it, and the heartbeat that keeps it true."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final, Protocol, TypeVar, runtime_checkable

import msgspec
import trio

from signaling.carrier import Carrier
from signaling.errors import CarrierError

HEARTBEAT: Final = 300.0  # seconds between writes when nothing changes
STALE_AFTER: Final = 600.0
MAX_PROFILES: Final = 64
MAX_FRIENDS: Final = 16
_LOOK_EVERY: Final = 1.0
_CONFIRM_EVERY: Final = 10.0  # the folder may have been emptied, or taken by another room

_Name = Annotated[str, msgspec.Meta(max_length=256)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Fingerprint = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class LobbySession(msgspec.Struct, frozen=True, kw_only=True):
    """session.json: what anyone who sees the folder may know of the room. `url` is the room's fingerprint.

    `peers` are its members, up or not: that is what `max_peers` bounds (0: no bound). `protected`: newcomers
    are asked a password. Nobody signs it: it is for orientation and decides nothing.
    """

    name: _Name
    url: _Name
    last_update: _Count = 0  # milliseconds since 1970, filled in when written
    peers: _Count = 0
    max_peers: _Count = 0
    protected: bool = False

    @property
    def is_full(self) -> bool:
        """Whether nobody else would be let in."""
        return 0 < self.max_peers <= self.peers

    def is_stale(self, *, now: float) -> bool:
        """Whether nobody has refreshed it for ten minutes; `now` in Unix seconds."""
        return now - self.last_update / 1000 > STALE_AFTER

    def is_due(self, *, now: float) -> bool:
        """Whether to refresh it; a time that has not come yet was written by a wrong clock."""
        return abs(now - self.last_update / 1000) > HEARTBEAT


class LobbyFriend(msgspec.Struct, frozen=True, kw_only=True):
    """Another room that a member's home is in, and where its lobby may be."""

    room: _Fingerprint
    carriers: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=8)] = ()


class LobbyProfile(msgspec.Struct, frozen=True, kw_only=True):
    """profile/<member>.json; `friends` are the rooms that the member chose to show, to be joined."""

    name: _Name
    created: _Count = 0  # milliseconds since 1970
    friends: Annotated[tuple[LobbyFriend, ...], msgspec.Meta(max_length=MAX_FRIENDS)] = ()


_Shown = TypeVar("_Shown", LobbySession, LobbyProfile)


def read_shown(content: bytes, shape: type[_Shown]) -> _Shown | None:
    """What a stranger wrote, or None when it is nothing of ours; fields we do not know are ignored."""
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


@runtime_checkable
class Lobby(Protocol):
    """A carrier that is a place as well: it shows a session and its members' profiles. CarrierError."""

    async def publish_session(self, session: LobbySession, *, over: bool = True) -> str | None:
        """Show this session, stamped with the time of now.

        over: also where this room's session is shown already; else only where none is, or it has to be
        refreshed. Returns a sentence when people should hear of something.
        """

    async def read_session(self) -> LobbySession | None:
        """The session shown, if there is one that can be read; our room's if we were told a room."""

    async def publish_profile(self, member: bytes, profile: LobbyProfile) -> None:
        """Show a member's profile under its identity key."""

    async def read_profiles(self) -> Mapping[bytes, LobbyProfile]:
        """By identity key the profiles shown, at most MAX_PROFILES; whoever writes there wrote them."""


async def keep_session(
    carriers: Iterable[Carrier],
    describe: Callable[[], LobbySession],
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Show what `describe()` says in each lobby, when it changes and every 5 minutes; for ever.

    Several members do so in one place: whoever finds it fresh lets it be. tell(sentence): for people.
    """
    lobbies = [carrier for carrier in carriers if isinstance(carrier, Lobby)]
    shown: LobbySession | None = None
    told: set[str] = set()
    confirm_at = -math.inf
    while True:
        session, now = describe(), trio.current_time()
        if session != shown or now >= confirm_at:
            over = shown is not None and session != shown
            shown, confirm_at = session, now + _CONFIRM_EVERY
            for lobby in lobbies:
                try:
                    note = await lobby.publish_session(session, over=over)
                except CarrierError:
                    confirm_at = now  # the folder is away: again at the next look
                    continue
                if note is not None and note not in told and len(told) < 8:
                    told.add(note)
                    tell(note)
        await trio.sleep(_LOOK_EVERY)
