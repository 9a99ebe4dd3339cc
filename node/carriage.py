"""The carriers of one node: opened, shown where they are places too, and told of when they do not work."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio

from node.bus import Bus
from node.config import RoomConfig
from node.events import NoticeEvent
from signaling.carrier import Carrier, CarrierContext
from signaling.carriers import carrier_from_spec
from signaling.errors import SignalError
from signaling.lobby import Lobby, LobbyProfile, LobbySession, keep_session

_CLOSE: Final = 2.0  # seconds a carrier may take to clean up


class Carriage:
    """`via`: carrier specs, checked."""

    def __init__(self, via: Sequence[str], *, bus: Bus, faults: Counter[str]) -> None:
        self.carriers: list[Carrier] = [
            carrier_from_spec(spec, CarrierContext(faults=faults)) for spec in via
        ]
        self._bus = bus
        self._troubles: dict[str, str] = {}

    @property
    def places(self) -> list[str]:
        """Where a newcomer may find us, by an invitation that says so."""
        return [carrier.spec for carrier in self.carriers if not carrier.bare]

    @property
    def troubles(self) -> list[str]:
        """A sentence for each carrier that does not work now."""
        return list(self._troubles.values())

    def on_carrier(self, spec: str, error: SignalError | None) -> None:
        """Say once that a carrier does not work, so that nobody can be reached by it, or works again."""
        if error is None:
            if self._troubles.pop(spec, None) is not None:
                self._bus.publish(NoticeEvent(message=f"{spec} works again."))
        elif spec not in self._troubles:
            self._troubles[spec] = f"{spec}: {error}"
            self._bus.publish(NoticeEvent(message=self._troubles[spec]))

    async def show(
        self, me: bytes, config: RoomConfig, *, up: Callable[[], int], protected: bool = False
    ) -> None:
        """Where a carrier is a place too: that we are of the room, and, until cancelled, that it lives."""
        profile = LobbyProfile(name=config.nick, created=config.created)
        for carrier in self.carriers:
            if isinstance(carrier, Lobby):
                with suppress(SignalError):  # not worth more: the parcels show whether it works
                    await carrier.publish_profile(me, profile)

        def session() -> LobbySession:
            return LobbySession(
                name=config.name,
                url=config.fingerprint,
                peers=up(),
                max_peers=config.max_peers,
                protected=protected,
            )

        await keep_session(self.carriers, session)

    async def aclose(self) -> None:
        with trio.move_on_after(_CLOSE, shield=True):
            for carrier in self.carriers:
                with suppress(SignalError):  # the folder may be gone
                    await carrier.aclose()
