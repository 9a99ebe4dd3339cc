"""What is looked at: a home, one of its rooms if that is clear, and the carriers and servers to use there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from node.config import Home, RoomConfig
from node.create import checked_carriers
from node.doctor.finding import Finding, as_problem, fine
from node.errors import NodeError
from node.ice_servers import NONE, IceOptions, IceServers, TurnFileError

_NO_OPTIONS: Final = IceOptions()
_NO_SERVERS: Final = IceServers()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Made by `of`."""

    home: Home
    room: RoomConfig | None
    via: tuple[str, ...]
    """Carriers in full: those that were given, else those that the room remembers."""
    ice: IceServers = _NO_SERVERS
    """The servers to ask, by the same rule."""
    turn_trouble: TurnFileError | None = None
    """Why the TURN file cannot be used."""
    rooms: Finding | None = None
    """What is to be said about the home's rooms, where none of them is looked at."""

    @classmethod
    def of(
        cls, home: Home, *, wanted: str | None, via: Sequence[str] = (), ice: IceOptions = _NO_OPTIONS
    ) -> Self:
        """`wanted`: a room's name or fingerprint; None: the only one, if there is just one. Blocking.

        UsageError for a carrier or server that there cannot be, NodeError where a wanted room cannot be had.
        """
        given = checked_carriers(via)
        room: RoomConfig | None = None
        rooms: Finding | None = None
        if wanted is not None:
            room = home.room(wanted)
        else:
            try:
                known = home.rooms()
            except NodeError as error:
                known, rooms = [], as_problem("rooms", error, found="A room's settings cannot be used.")
            if len(known) == 1:
                room = known[0]
            elif known:
                names = ", ".join(each.name for each in known[:8]) + (", ..." if len(known) > 8 else "")
                rooms = fine(
                    "rooms",
                    f"There are {len(known)} rooms here, and none was looked at: {names}.",
                    cure="Give --room NAME to look at one.",
                )
        remembered = _NO_SERVERS
        try:
            remembered = remembered if room is None else room.ice
        except NodeError as error:
            rooms = as_problem("rooms", error, found="A room's servers cannot be used.")
        trouble: TurnFileError | None = None
        try:
            servers = ice.over(remembered)
        except TurnFileError as error:
            trouble = error
            servers = replace(ice, turn_file=Path(NONE), relay_only=False).over(remembered)
            servers = replace(servers, relay_only=bool(ice.relay_only or remembered.relay_only))
        return cls(
            home=home,
            room=room,
            via=given or (() if room is None else room.via),
            ice=servers,
            turn_trouble=trouble,
            rooms=rooms,
        )
