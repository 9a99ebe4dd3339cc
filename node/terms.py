"""On what terms a room is opened: what its settings remember, and what the command says over that."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from chain.control import MAX_NICK
from node.config import DEFAULT_OFFER_LIFE, Home, RoomConfig
from node.create import check_name, checked_carriers
from node.errors import UsageError
from node.ice_servers import IceOptions, IceServers
from node.joining import Way
from signaling.description import Offer
from signaling.invitation import Invitation

if TYPE_CHECKING:
    from chain.control import Genesis

_BY_HAND: Final = ("paste",)  # the carrier of who comes with an offer and names none


@dataclass(frozen=True, kw_only=True)
class Terms:
    """`config`: the settings from now on; None in a room that is new here. `way`: how a newcomer comes in."""

    fingerprint: str
    config: RoomConfig | None
    way: Way | None
    nick: str
    via: tuple[str, ...]
    offer_life: int
    ice: IceServers

    @property
    def room(self) -> bytes:
        return bytes.fromhex(self.fingerprint)

    def for_room(self, genesis: "Genesis") -> RoomConfig:
        """What a newcomer's home is to remember of the room."""
        return RoomConfig(
            name=genesis.name,
            fingerprint=genesis.room_id().hex(),
            nick=self.nick,
            via=self.via,
            rule=genesis.rule.value,
            created=time.time_ns() // 1_000_000,
            offer_life=self.offer_life,
            **self.ice.to_settings(),
        )


def settle(
    home: Home,
    target: RoomConfig | Way,
    *,
    nick: str = "",
    via: Sequence[str] = (),
    offer_life: int | None = None,
    ice: IceOptions | None = None,
) -> Terms:
    """`target`: a room that is here, or how to come into one; the rest as in `open_node`. Blocking.

    UsageError; TurnFileError.
    """
    ice = ice or IceOptions()
    way = None if isinstance(target, RoomConfig) else target
    config = target if isinstance(target, RoomConfig) else home.find(target.room.hex())
    chosen = checked_carriers(via)
    if config is None:
        assert way is not None
        check_name(nick, what="A nick", limit=MAX_NICK)
        if isinstance(way, Offer) and not way.invites:
            raise UsageError(
                "This token is for members of its room, and invites nobody.",
                "Ask a member for an invitation.",
            )
        hints = way.carriers if isinstance(way, Invitation) else _BY_HAND
        return Terms(
            fingerprint=way.room.hex(),
            config=None,
            way=way,
            nick=nick,
            via=chosen or checked_carriers(hints),
            offer_life=DEFAULT_OFFER_LIFE if offer_life is None else offer_life,
            ice=ice.over(IceServers()),
        )
    servers = ice.over(config.ice)
    config = msgspec.structs.replace(
        config,
        via=chosen or config.via,
        offer_life=config.offer_life if offer_life is None else offer_life,
        **(servers.to_settings() if servers != config.ice else {}),
    )
    return Terms(
        fingerprint=config.fingerprint,
        config=config,
        way=way,
        nick=nick or config.nick,
        via=config.via,
        offer_life=config.offer_life,
        ice=servers,
    )
