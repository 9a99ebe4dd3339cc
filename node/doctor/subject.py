"""What is looked at: a home, one of its rooms if that is clear, and the carriers and servers to use there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from node.config import Home, RoomConfig
from node.create import checked_carriers
from node.doctor.finding import Finding, as_problem, fine
from node.errors import NodeError


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Made by `of`."""

    home: Home
    room: RoomConfig | None
    via: tuple[str, ...]
    """Carriers in full: those that were given, else those that the room remembers."""
    rooms: Finding | None = None
    """What is to be said about the home's rooms, where none of them is looked at."""

    @classmethod
    def of(cls, home: Home, *, wanted: str | None, via: Sequence[str] = ()) -> Self:
        """`wanted`: a room's name or fingerprint; None: the only one, if there is just one.

        UsageError for a carrier that there is not, NodeError where a wanted room cannot be had.
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
        remembered = room.via if room is not None else ()
        return cls(home=home, room=room, via=given or remembered, rooms=rooms)
