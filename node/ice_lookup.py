"""Where the configured servers are: names resolved in threads, with a deadline, remembered for minutes."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from node.ice_servers import (
    MAX_STUN,
    Finding,
    IceServers,
    Kind,
    Server,
    TurnFileError,
    TurnServer,
    read_turn_file,
)
from signaling.candidates import is_one_host

_DEADLINE: Final = 1.0
_REMEMBERED: Final = 300.0  # seconds
_MAX_REMEMBERED: Final = 16
_THREADS: Final = MAX_STUN + 1  # a dead resolver keeps each busy for half a minute; the disk needs them too

Family = int  # 4 or 6
Places = Mapping[Family, tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class Reachable:
    """Servers that can be asked now, and what is wrong with the others."""

    stun: tuple[tuple[Server, Places], ...] = ()
    turn: tuple[TurnServer, tuple[str, int]] | None = None
    wrong: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.stun) or self.turn is not None


@dataclass
class Lookup:
    """Of one process."""

    _known: dict[Server, tuple[float, Places]] = field(default_factory=dict)
    _threads: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_THREADS))

    async def find(self, ice: IceServers) -> Reachable:
        """All at once, each within a second. The TURN file is read anew; relay_only: it alone counts."""
        places: dict[Server, Places] = {}
        wrong: list[Finding] = []
        turn: TurnServer | None = None
        if ice.turn_file is not None:
            try:
                turn = await trio.to_thread.run_sync(read_turn_file, ice.turn_file)
            except TurnFileError as error:
                wrong.append(_wrong("turn", str(ice.turn_file), "file", error.message))
        stun = () if ice.relay_only else ice.stun
        wanted = {*stun, *([turn.server] if turn is not None else [])}
        async with trio.open_nursery() as nursery:
            for server in wanted:
                nursery.start_soon(self._find, server, places)
        found = tuple((server, places[server]) for server in stun if server in places)
        wrong += [_wrong("stun", str(each), "unresolved") for each in stun if each not in places]
        if turn is None:
            return Reachable(stun=found, wrong=tuple(wrong))
        there = places.get(turn.server)
        if there is None:
            wrong.append(_wrong("turn", str(turn.server), "unresolved"))
            return Reachable(stun=found, wrong=tuple(wrong))
        # The relayed address is of the family that it is asked for by, and most peers have IPv4.
        return Reachable(stun=found, turn=(turn, there.get(4) or there[6]), wrong=tuple(wrong))

    async def _find(self, server: Server, places: dict[Server, Places]) -> None:
        now = trio.current_time()
        since, known = self._known.get(server, (0.0, {}))
        if not known or now - since > _REMEMBERED:
            found: Places = {}
            with trio.move_on_after(_DEADLINE):
                # A thread that is left behind ends by itself, when the resolver gives up.
                found = await trio.to_thread.run_sync(
                    partial(_resolve, server), abandon_on_cancel=True, limiter=self._threads
                )
            if found:
                while len(self._known) >= _MAX_REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[server] = (now, found)
            known = found or known
        if known:
            places[server] = known


def _resolve(server: Server) -> Places:
    """The first address of each family; none at all when the name leads nowhere."""
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return {}
    places: dict[Family, tuple[str, int]] = {}
    for *_, where in found:
        try:
            address = ipaddress.ip_address(where[0])
        except ValueError:
            continue
        if is_one_host(address):
            places.setdefault(address.version, (str(address), server.port))
    return places


def _wrong(kind: Kind, server: str, error: str, detail: str = "") -> Finding:
    return Finding(kind=kind, server=server, error="file" if error == "file" else "unresolved", detail=detail)
