"""WebRTC for trio: the one event loop of asyncio, which addresses connections get, and their opening and end.

Five files alone see asyncio and aiortc: this one, webrtc_connection, webrtc_guards, webrtc_ice, webrtc_turn.
"""

import asyncio
import ipaddress
import logging
import socket
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

import trio

from node.errors import ConnectFailed
from node.ice_lookup import Lookup, Reachable
from node.ice_servers import Finding, IceServers, cure, in_words, troubles
from node.webrtc_connection import CONNECT_DEADLINE, Connection
from node.webrtc_guards import aiortc_parts
from node.webrtc_ice import MAX_MAPPED
from signaling.candidates import MAX_CANDIDATES, Candidate
from signaling.handshake import Role

__all__ = ["CONNECT_DEADLINE", "Connection", "Rtc", "open_rtc"]

logger = logging.getLogger(__name__)
_Kind = TypeVar("_Kind", bound=Connection)

_GATHER_DEADLINE: Final = 3.0
_CLOSE_DEADLINE: Final = 3.0
_MAX_TOLD: Final = 8  # sentences about servers
_TOLD_WITHIN: Final = 60.0  # seconds
_LOOPBACK: Final = "127.0.0.1"


@asynccontextmanager
async def open_rtc(
    *,
    loopback_only: bool = False,
    ice: IceServers | None = None,
    tell: Callable[[str], None] = lambda _sentence: None,
    faults: Counter[str] | None = None,
) -> AsyncIterator["Rtc"]:
    """The service that makes connections, one a process.

    loopback_only: gather only 127.0.0.1. ice: servers to ask, by default none. tell: hears of a server that
    does not do what it should, and that it does again.
    """
    import trio_asyncio  # type: ignore[import-untyped]

    aiortc_parts()
    counter: Counter[str] = faults if faults is not None else Counter()

    def on_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # trio-asyncio's default re-raises into its nursery: one bad packet would end the node.
        counter["webrtc: exception in a callback"] += 1
        error = context.get("exception")
        logger.warning("webrtc: %s: %r", context.get("message"), error)
        logger.debug("webrtc: the traceback", exc_info=error)

    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(on_exception)
        yield Rtc(loop, loopback_only=loopback_only, ice=ice or IceServers(), tell=tell, faults=counter)


class Rtc:
    """Makes connections; the tasks that open them own and close them."""

    def __init__(
        self,
        loop: Any,
        *,
        loopback_only: bool,
        ice: IceServers,
        tell: Callable[[str], None],
        faults: Counter[str],
    ) -> None:
        self._loop = loop
        self._loopback_only = loopback_only
        self._ice = ice
        self._lookup = Lookup()
        self._tell = tell
        self._troubles: dict[str, str] = {}
        self._said: dict[str, str] = {}  # of these, to people
        self._told_at: deque[float] = deque(maxlen=_MAX_TOLD)
        self.findings: tuple[Finding, ...] = ()
        """What servers said when they were asked last."""
        self.faults = faults

    @property
    def troubles(self) -> list[str]:
        """A sentence for each server that did not answer when it was asked last."""
        return list(self._troubles.values())

    async def prove(self) -> None:
        """With relay_only: that the TURN server gives an address; ConnectFailed."""
        if self._ice.relay_only:
            async with self.connection(Role.OFFERER):
                pass

    def has_moved(self, shown: Sequence[Candidate]) -> bool:
        """Whether this machine has other addresses now than these. Without any it may get them back."""
        addresses = {each.address for each in shown if each.type == "host"}
        if not addresses:
            return False
        try:
            here = set(_addresses(loopback_only=self._loopback_only))
        except OSError:
            return False
        return here.isdisjoint(addresses) and (self._loopback_only or here != {_LOOPBACK})

    def connection(self, role: Role) -> AbstractAsyncContextManager["Connection"]:
        """One for a link between members; see `open`."""
        return self.open(Connection, role)

    @asynccontextmanager
    async def open(self, kind: "type[_Kind]", role: Role) -> "AsyncIterator[_Kind]":
        """Gather addresses, hold the sockets until the block ends; ConnectFailed without any address."""
        servers = await self._lookup.find(self._ice)
        connection = kind(self._loop, role=role, faults=self.faults)
        connection._relay_only = self._ice.relay_only
        try:
            # Shielded: cancelled half-way, aioice forgets sockets it has bound. It takes a millisecond.
            with trio.move_on_after(_GATHER_DEADLINE, shield=True):
                await self._loop.run_aio_coroutine(connection._open(self._addresses(servers)))
            await self._ask(servers, connection)
            if not connection.local_candidates:
                raise ConnectFailed("This machine has no address to be reached at.", "Check the network.")
            yield connection
        finally:
            # Once, shielded, with a deadline, by the task that opened it: a close cancelled half-way hangs
            # all later ones.
            closing = self._loop.create_task(connection._aclose())
            closed = trio.Event()
            closing.add_done_callback(lambda _task: closed.set())
            with trio.move_on_after(_CLOSE_DEADLINE, shield=True) as scope:
                await closed.wait()
            if scope.cancelled_caught:
                self.faults["webrtc: close took too long"] += 1
                closing.cancel()

    def _tell_changes(self) -> None:
        """What people were told before and is so no more; a server may change its mind with each question."""
        for server in sorted(self._said.keys() | self._troubles.keys()):
            trouble = self._troubles.get(server)
            if trouble == self._said.get(server):
                continue
            now = trio.current_time()
            if len(self._told_at) == _MAX_TOLD and now - self._told_at[0] < _TOLD_WITHIN:
                return
            self._told_at.append(now)
            self._tell(trouble or f"{server} answers again.")
            if trouble is None:
                del self._said[server]
            else:
                self._said[server] = trouble

    def _addresses(self, servers: Reachable) -> list[str]:
        """Those that get a socket of their own; with room for what the servers give."""
        if self._ice.relay_only:
            return []
        found = _read_addresses(loopback_only=self._loopback_only)
        others = (MAX_MAPPED if servers.stun else 0) + (1 if servers.turn is not None else 0)
        return found[: MAX_CANDIDATES - others]

    async def _ask(self, servers: Reachable, connection: "Connection") -> None:
        if servers:
            with trio.move_on_after(_GATHER_DEADLINE):
                await self._loop.run_aio_coroutine(connection._ask(servers))
        findings = self.findings = connection.findings = (*servers.wrong, *connection.findings)
        self._troubles = troubles(findings)
        self._tell_changes()
        if self._ice.relay_only:
            _check_relayed(connection)


def _check_relayed(connection: Connection) -> None:
    """That nothing but a relayed address is known of us; ConnectFailed, which says why there is none."""
    failed = [each for each in connection.findings if each.error]
    hosts = set(_read_addresses(loopback_only=False)) - {_LOOPBACK}
    if any(each.address in hosts for each in connection.local_candidates):
        raise ConnectFailed(
            "The TURN server relays from an address of this very machine, which hides nothing.",
            "Use a server elsewhere, or take --relay-only back with --no-relay-only.",
        )
    if not connection.local_candidates:
        why = in_words(failed[0]) if failed else "The TURN server gave no address in time."
        raise ConnectFailed(
            f"{why} With --relay-only there is no other way.", cure(failed[0] if failed else None)
        )
    assert all(each.type == "relay" for each in connection.local_candidates)


def _read_addresses(*, loopback_only: bool) -> list[str]:
    """As _addresses(); ConnectFailed."""
    try:
        return _addresses(loopback_only=loopback_only)
    except OSError as error:  # no descriptor left to ask with
        raise ConnectFailed(
            f"This machine's addresses could not be read: {error.strerror}.", "Close some programs."
        ) from error


def _addresses(*, loopback_only: bool) -> list[str]:
    """This machine's addresses; loopback only when there is no other, or when asked."""
    from aioice.ice import get_host_addresses

    found = get_host_addresses(use_ipv4=True, use_ipv6=True)
    others = [address for address in found if not ipaddress.ip_address(address).is_loopback]
    if loopback_only or not others:
        return [_LOOPBACK]
    usual = _usual_addresses()
    return sorted(others, key=lambda address: address not in usual)


def _usual_addresses() -> set[str]:
    """Those this machine speaks from to the world: they go first where not all fit. Nothing is sent."""
    found = set()
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((somewhere, 9))
                found.add(probe.getsockname()[0])
        except OSError:
            pass
    return found
