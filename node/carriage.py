"""The carriers of one node: opened, shown where they are places too, and told of when they do not work."""

import hmac
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
from nacl.signing import SigningKey

from node.bus import Bus
from node.config import Home, RoomConfig
from node.errors import NodeError
from node.events import AnyEvent, NoticeEvent
from signaling.carrier import Active, Carrier, CarrierContext
from signaling.carriers import carrier_from_spec
from signaling.errors import SignalError
from signaling.lobby import MAX_FRIENDS, Lobby, LobbyFriend, LobbyProfile, LobbySession, keep_session

_CLOSE: Final = 2.0  # seconds a carrier may take to clean up
_LOOK: Final = 5.0  # seconds to look around in a lobby
_MAX_TOLD: Final = 8  # friends of others, who may write what they like
_MAX_NAME: Final = 40
_PATIENCE: Final = 20.0  # seconds in which something has to work
_WATCH: Final = 1.0


def writer_key(identity: SigningKey, room: bytes) -> SigningKey:
    """What this member's own log in this room is signed with; it says neither who nor which room."""
    return SigningKey(hmac.digest(bytes(identity), b"pigeon/log-writer/v1\0" + room, "sha256"))


def friends_of(home: Home, here: RoomConfig) -> tuple[LobbyFriend, ...]:
    """The other rooms that this home's user chose to show in lobbies; blocking."""
    listed: list[RoomConfig] = []
    with suppress(NodeError):  # the settings of another room cannot be read: not this one's business
        listed = [room for room in home.rooms() if room.listed and room.fingerprint != here.fingerprint]
    return tuple(LobbyFriend(room=room.fingerprint, carriers=room.via) for room in listed[:MAX_FRIENDS])


class Carriage:
    """`via`: carrier specs, checked. `identity` and `room`: whose they are, for those that sign and share.

    `beside`: carriers that are opened already, for this time only.
    """

    def __init__(
        self,
        via: Sequence[str],
        *,
        bus: Bus,
        faults: Counter[str],
        identity: SigningKey | None = None,
        room: bytes | None = None,
        beside: Sequence[Carrier] = (),
    ) -> None:
        writer = writer_key(identity, room) if identity is not None and room is not None else None
        context = CarrierContext(faults=faults, writer=writer, room=room, tell=self.on_carrier)
        self.carriers: list[Carrier] = [*beside, *(carrier_from_spec(spec, context) for spec in via)]
        self._room = None if room is None else room.hex()
        self._me = None if identity is None else bytes(identity.verify_key)
        self._bus = bus
        self._troubles: dict[str, SignalError] = {}
        self._worked: set[str] = set()

    @property
    def places(self) -> list[str]:
        """Where a newcomer may find us, by an invitation that says so."""
        return [carrier.spec for carrier in self.carriers if not carrier.bare]

    @property
    def troubles(self) -> list[str]:
        """A sentence for each carrier that does not work now."""
        return [f"{spec}: {error}" for spec, error in self._troubles.items()]

    def events(self) -> list[AnyEvent]:
        """What a subscriber that comes later has to know."""
        return [NoticeEvent(message=trouble) for trouble in self.troubles]

    def on_carrier(self, spec: str, error: SignalError | None) -> None:
        """Say once that a carrier does not work, so that nobody can be reached by it, or works again."""
        if error is None:
            self._worked |= {carrier.spec for carrier in self.carriers if carrier.spec == spec}
            if self._troubles.pop(spec, None) is not None:
                self._bus.publish(NoticeEvent(message=f"{spec} works again."))
        elif spec not in self._troubles:
            self._troubles[spec] = error
            self._bus.publish(NoticeEvent(message=f"{spec}: {error}"))

    async def hopeless(self) -> str:
        """Wait until it is clear that no carrier works, and say why; for ever where one might.

        That is when all of them find out by themselves, and none worked in its first time.
        """
        if not self.carriers or not all(isinstance(carrier, Active) for carrier in self.carriers):
            await trio.sleep_forever()
        await trio.sleep(_PATIENCE)
        while len(self._troubles) < len(self.carriers) and not self._worked:
            await trio.sleep(_WATCH)
        if self._worked:
            await trio.sleep_forever()
        spec, error = next(iter(self._troubles.items()))
        return f"{spec}: {error.message}"

    async def look(self, *, newcomer: bool) -> None:
        """Tell what the lobbies show that one should know; anybody may have written it: it decides nothing.

        newcomer: whether we still have to be let in.
        """
        told: set[str] = set()
        for lobby in [carrier for carrier in self.carriers if isinstance(carrier, Lobby)]:
            with suppress(SignalError), trio.move_on_after(_LOOK):
                session = await lobby.read_session()
                if newcomer and session is not None:
                    self._say_if_full(session)
                for member, profile in (await lobby.read_profiles()).items():
                    for friend in profile.friends:
                        if member == self._me or friend.room in told or len(told) >= _MAX_TOLD:
                            continue
                        told.add(friend.room)
                        self._bus.publish(NoticeEvent(message=_friend(profile.name, friend)))

    def _say_if_full(self, session: LobbySession) -> None:
        if session.is_full and session.url == self._room and not session.is_stale(now=time.time()):
            full = f"It says there that this room is full: {session.peers} of {session.max_peers} members."
            self._bus.publish(NoticeEvent(message=f"{full} Nobody is let in before somebody leaves."))

    async def show(
        self,
        me: bytes,
        config: RoomConfig,
        *,
        members: Callable[[], int],
        protected: bool = False,
        friends: tuple[LobbyFriend, ...] = (),
    ) -> None:
        """Where a carrier is a place too: that we are of the room, and, until cancelled, that it lives."""
        profile = LobbyProfile(name=config.nick, created=config.created, friends=friends)
        for carrier in self.carriers:
            if isinstance(carrier, Lobby):
                with suppress(SignalError):  # not worth more: the parcels show whether it works
                    await carrier.publish_profile(me, profile)

        def session() -> LobbySession:
            return LobbySession(
                name=config.name,
                url=config.fingerprint,
                peers=members(),
                max_peers=config.max_peers,
                protected=protected,
            )

        def tell(note: str) -> None:
            self._bus.publish(NoticeEvent(message=note))

        await keep_session(self.carriers, session, tell=tell)

    async def aclose(self) -> None:
        with trio.move_on_after(_CLOSE, shield=True):
            for carrier in self.carriers:
                with suppress(SignalError):  # the folder may be gone
                    await carrier.aclose()


def _friend(name: str, friend: LobbyFriend) -> str:
    """Quoted: a stranger's words."""
    where = "".join(f", at {each[:_MAX_NAME]!r}" for each in friend.carriers[:2])
    room = f"{friend.room[:12]}{where}"
    return f"{name[:_MAX_NAME]!r} is in another room as well, {room}: ask there for an invitation."
