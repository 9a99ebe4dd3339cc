"""A place seen by somebody without an invitation: which room it shows, and what lets one in.

A session is signed by nobody: whoever writes to the folder may name another room. Who joins by a password
is safe from that, for a member that does not know the password cannot prove that it does.
"""

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from node.create import checked_carriers
from signaling.carrier import shows_by_itself
from signaling.carriers import carrier_from_spec
from signaling.description import Offer, decode_offer
from signaling.errors import SignalError
from signaling.invitation import Invitation
from signaling.lobby import Lobby, LobbySession

_FOLDER: Final = re.compile(r"(dir|log|qr):.")
_PATIENCE: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class OpenLobby:
    """What a lobby says of its room. `room`: its id, 32 bytes."""

    room: bytes
    name: str
    protected: bool
    """A password is asked, and an invitation is handed to who knows it."""
    full: bool


async def look_into(via: Sequence[str]) -> OpenLobby | None:
    """The room of the first of these carriers that is a lobby with somebody in it; protected ones first.

    UsageError for a carrier that there is not.
    """
    shown = [found for spec in checked_carriers(via) if (found := await _session(spec)) is not None]
    shown.sort(key=lambda found: not found.protected)
    return shown[0] if shown else None


def shows_offers(via: Sequence[str]) -> bool:
    """Whether one of these carriers may show, by itself, an offer that invites. UsageError as look_into."""
    return any(map(shows_by_itself, map(carrier_from_spec, checked_carriers(via))))


def shows_nothing(via: Sequence[str]) -> bool:
    """Whether there is nothing to be found by these without an invitation. UsageError as look_into."""
    carriers = [carrier_from_spec(spec) for spec in checked_carriers(via)]
    return bool(carriers) and all(not each.bare and not isinstance(each, Lobby) for each in carriers)


async def missing_folders(specs: Sequence[str], *, fresh: bool = False) -> list[Path]:
    """Folders that carry and are not there yet: a typo perhaps, or a drive that is away; each is made soon.

    fresh: for a new room; its folder may well be new, but hardly the one around it. UsageError as look_into.
    """
    folders = [Path(spec.partition(":")[2]) for spec in checked_carriers(specs) if _FOLDER.match(spec)]
    wanted = [folder.parent if fresh else folder for folder in folders]
    with trio.move_on_after(_PATIENCE):  # of a drive that does not answer the node tells
        return await trio.to_thread.run_sync(_missing, wanted, abandon_on_cancel=True)
    return []


def places_of(way: object, via: Sequence[str]) -> Sequence[str]:
    """Where a newcomer looks: what it was told, else what its invitation names."""
    return via or (way.carriers if isinstance(way, Invitation) else ())


def _missing(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if not os.path.lexists(folder)]


async def await_offer(via: Sequence[str]) -> Offer:
    """The first offer that one of these carriers shows and that invites newcomers; may take for ever."""
    found: list[Offer] = []
    async with trio.open_nursery() as nursery:

        async def look(spec: str) -> None:
            carrier = carrier_from_spec(spec)
            if not shows_by_itself(carrier):
                return
            async for parcel in carrier.parcels():
                with suppress(SignalError):  # an old one, or somebody's holiday pictures
                    offer = decode_offer(parcel.payload, room=None, me=None, now=int(time.time()))
                    if offer.invites:
                        found.append(offer)
                        nursery.cancel_scope.cancel()
                        return

        for spec in checked_carriers(via):
            nursery.start_soon(look, spec)
    return found[0]


async def _session(spec: str) -> OpenLobby | None:
    session: LobbySession | None = None
    with suppress(SignalError):  # the folder may be away
        carrier = carrier_from_spec(spec)
        if isinstance(carrier, Lobby):
            session = await carrier.read_session()
        await carrier.aclose()
    if session is None or session.is_stale(now=time.time()):
        return None
    try:
        room = bytes.fromhex(session.url)
    except ValueError:
        return None
    if len(room) != 32:
        return None
    return OpenLobby(room=room, name=session.name, protected=session.protected, full=session.is_full)
