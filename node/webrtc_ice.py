"""Addresses that servers give a connection: STUN's of the sockets we offer, TURN's; asked for and kept alive.

aioice 0.13 asks one STUN server, waits five seconds for it, resolves its name once a socket, believes any
address it is told, and never asks again, while a router forgets the way in after ten seconds or so.
"""

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from node.ice_lookup import Reachable
from node.ice_servers import Finding, FindingError, Server, TurnServer
from node.webrtc_turn import Allocation, TurnFailed, allocate
from signaling.candidates import MAX_CANDIDATES, Candidate, is_one_host

logger = logging.getLogger(__name__)

Address = tuple[str, int]

STUN_DEADLINE: Final = 0.6
TURN_DEADLINE: Final = 2.0
KEEP_EVERY: Final = 4.0  # seconds
MAX_MAPPED: Final = 2
"""Candidates of this kind: one for each family, or for two networks."""

_RESEND: Final = (0.15, 0.2, 0.25, 0.5, 0.5, 0.5)
_PROBE_AFTER: Final = 0.2
_RELEASED_AFTER: Final = 30.0  # seconds that nothing came through a relay which is not needed
_DIRECT_FIRST: Final = 0.5  # seconds that a path which needs no relay has for itself
_MAPPED_MOVED: Final = "A router gives this machine another address now"
_RELAY_LOST: Final = "The TURN server is lost"


@dataclass(frozen=True)
class _Mapped:
    protocol: Any
    server: Address
    found: Address


class Outside:
    """What servers say of one connection. `on_moved(why)`: an address we show leads here no more."""

    def __init__(self, ice: Any, *, on_moved: Callable[[str], None], faults: Counter[str]) -> None:
        self.findings: list[Finding] = []
        self._ice = ice
        self._faults = faults
        self._on_moved = on_moved
        self._mapped: list[_Mapped] = []
        self._relay: Allocation | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def ask(self, servers: Reachable) -> None:
        """All at once; what was found is kept alive from now on, until stop()."""
        hosts = [each for each in self._ice._protocols if each.local_candidate.type == "host"]
        asking = [self._ask_stun(hosts, server, places) for server, places in servers.stun]
        if servers.turn is not None:
            asking.append(self._ask_turn(*servers.turn))
        tasks = [asyncio.ensure_future(each) for each in asking]
        try:
            for failed in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(failed, BaseException):
                    self._faults[f"webrtc: {type(failed).__name__} while asking a server"] += 1
                    logger.error("webrtc: asking a server failed", exc_info=failed)
        finally:
            for task in tasks:
                task.cancel()
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def candidates(self) -> list[Candidate]:
        """Beside our own: mapped ones first, then the relayed one."""
        own = {(each.local_candidate.host, each.local_candidate.port) for each in self._ice._protocols}
        mapped = dict.fromkeys(each.found for each in self._mapped if each.found not in own)
        found = [Candidate("srflx", *each) for each in list(mapped)[:MAX_MAPPED]]
        return found + ([] if self._relay is None else [Candidate("relay", *self._relay.relayed)])

    def stop(self) -> None:
        """Keep nothing alive any more; sockets are closed with the connection they belong to."""
        if self._keeping is not None:
            self._keeping.cancel()

    # STUN

    async def _ask_stun(self, hosts: list[Any], server: Server, places: Any) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = [(each, places[family]) for each in hosts if (family := _family(each)) in places]
        asked = [(each, there) for each, there in asked if _is_loopback(_local(each)) == _is_loopback(there)]
        if not asked:
            wrong = Finding(
                kind="stun", server=str(server), error="unroutable", detail="no socket of its family"
            )
            self.findings.append(wrong)
            return
        tasks = {
            loop.create_task(ask_mapped(each, there, deadline=STUN_DEADLINE)): (each, there)
            for each, there in asked
        }
        probes: list[asyncio.Task[FindingError]] = []
        reason: FindingError = "silent"
        try:
            done, waiting = await asyncio.wait(tasks, timeout=_PROBE_AFTER)
            if waiting and not any(task.result() for task in done):
                probe = loop.create_task(_why_silent(asked[0][1], deadline=STUN_DEADLINE - _PROBE_AFTER))
                probes.append(probe)
                while waiting and reason == "silent":
                    some: set[asyncio.Task[Any]] = {*waiting, *(each for each in probes if not each.done())}
                    done, _ = await asyncio.wait(some, return_when=asyncio.FIRST_COMPLETED)
                    waiting -= done
                    reason = probe.result() if probe.done() else reason
            elif waiting:
                await asyncio.wait(waiting)
            took = loop.time() - began
        finally:
            for task in (*tasks, *probes):
                task.cancel()
        for task, (protocol, there) in tasks.items():
            answer = task.result() if task.done() and not task.cancelled() else None
            found, seconds = (None, took) if answer is None else answer
            self.findings.append(
                Finding(
                    kind="stun",
                    server=str(server),
                    local=_local(protocol),
                    found=found,
                    error="" if found is not None else reason if answer is None else "odd",
                    seconds=seconds,
                )
            )
            if found is not None and not any(each.protocol is protocol for each in self._mapped):
                self._mapped.append(_Mapped(protocol, there, found))

    # TURN

    async def _ask_turn(self, server: TurnServer, there: Address) -> None:
        from aioice.candidate import Candidate as AioCandidate
        from aioice.candidate import candidate_foundation, candidate_priority
        from aioice.ice import StunProtocol

        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            relay = await allocate(server, there, deadline=TURN_DEADLINE, faults=self._faults)
        except TurnFailed as failed:
            self.findings.append(
                Finding(
                    kind="turn",
                    server=str(server.server),
                    error=failed.error,
                    detail=failed.detail,
                    seconds=loop.time() - began,
                )
            )
            return
        protocol = StunProtocol(self._ice)
        host, port = relay.relayed
        protocol.local_candidate = AioCandidate(
            foundation=candidate_foundation("relay", "udp", host),
            component=1,
            transport="udp",
            priority=candidate_priority(1, "relay"),
            host=host,
            port=port,
            type="relay",
        )
        protocol.connection_made(relay)  # type: ignore[arg-type]
        relay.receiver = protocol
        relay.on_lost = lambda why: self._on_moved(f"{_RELAY_LOST}: {why.error}")
        self._ice._protocols.append(protocol)
        self._relay = relay
        self.findings.append(
            Finding(
                kind="turn",
                server=str(server.server),
                local=relay.local,
                found=relay.relayed,
                seconds=loop.time() - began,
            )
        )

    # kept alive

    async def _keep(self) -> None:
        """Ask again and again until there is a connection; then give back a relay that it does not use."""
        while not self._ice._nominated:
            await asyncio.sleep(KEEP_EVERY)
            shown = self._mapped[:MAX_CANDIDATES]
            found = await asyncio.gather(
                *(ask_mapped(each.protocol, each.server, deadline=KEEP_EVERY / 2) for each in shown)
            )
            for each, answer in zip(shown, found, strict=True):
                if answer is not None and answer[0] not in (None, each.found):
                    self._on_moved(_MAPPED_MOVED)
        relay = self._relay
        if relay is None:
            return
        relay.calm_down()
        while not relay.is_closing():
            await asyncio.sleep(_RELEASED_AFTER)
            used = any(pair.protocol.transport is relay for pair in self._ice._nominated.values())
            if not used and relay.is_idle(_RELEASED_AFTER):
                relay.close()


def direct_first(ice: Any) -> None:
    """Hold checks through a relay, of ours or of theirs, back a little: the first that succeeds is taken."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _DIRECT_FIRST
    start = ice.check_start_task

    def check_start_task(pair: Any) -> None:
        relayed = "relay" in (pair.local_candidate.type, pair.remote_candidate.type)
        if not relayed or loop.time() >= until:
            start(pair)
        else:  # back behind those which may begin: aioice takes no frozen pair while one waits
            ice.check_state(pair, type(pair).State.FROZEN)

    ice.check_start_task = check_start_task


class _Asked:
    """In the place of an aioice transaction: takes the answer if it comes from who was asked."""

    def __init__(self, server: Address) -> None:
        self.answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._server = server

    def response_received(self, message: Any, addr: Address) -> None:
        if addr == self._server and not self.answered.done():
            self.answered.set_result(message)


async def ask_mapped(
    protocol: Any, server: Address, *, deadline: float
) -> tuple[Address | None, float] | None:
    """How this server sees this socket (None: nonsense), and after how many seconds it said so.

    None when it says nothing.
    """
    from aioice import stun

    loop = asyncio.get_running_loop()
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    asked = _Asked(server)
    protocol.transactions[request.transaction_id] = asked
    began = loop.time()
    try:
        for delay in (*_RESEND, deadline):
            left = began + deadline - loop.time()
            if left <= 0 or protocol.transport.is_closing():
                return None
            protocol.send_stun(request, server)
            done, _ = await asyncio.wait((asked.answered,), timeout=min(delay, left))
            if done:
                found = _mapped_in(asked.answered.result(), family=_family(protocol))
                return found, loop.time() - began
        return None
    finally:
        del protocol.transactions[request.transaction_id]


def _mapped_in(answer: Any, *, family: int) -> Address | None:
    found = answer.attributes.get("XOR-MAPPED-ADDRESS")
    if answer.error_code is not None or found is None or not found[1]:
        return None
    address = ipaddress.ip_address(found[0])
    return (str(address), found[1]) if address.version == family and is_one_host(address) else None


class _Probe(asyncio.DatagramProtocol):
    """A connected socket hears when nobody listens there; one that is not connected does not."""

    def __init__(self) -> None:
        self.refused: asyncio.Future[FindingError] = asyncio.get_running_loop().create_future()

    def error_received(self, exc: Exception) -> None:
        if not self.refused.done():
            self.refused.set_result("refused" if isinstance(exc, ConnectionRefusedError) else "unroutable")


async def _why_silent(server: Address, *, deadline: float) -> FindingError:
    from aioice import stun

    try:
        transport, probe = await asyncio.get_running_loop().create_datagram_endpoint(
            _Probe, remote_addr=server
        )
    except OSError:
        return "unroutable"
    try:
        transport.sendto(bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)))
        done, _ = await asyncio.wait((probe.refused,), timeout=deadline)
        return probe.refused.result() if done else "silent"
    finally:
        transport.close()


def _local(protocol: Any) -> Address:
    return protocol.local_candidate.host, protocol.local_candidate.port


def _family(protocol: Any) -> int:
    return ipaddress.ip_address(protocol.local_candidate.host).version


def _is_loopback(address: Address) -> bool:
    return ipaddress.ip_address(address[0]).is_loopback
