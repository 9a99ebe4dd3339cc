"""The paths of the table: where the two stand, what stands between them, and which servers they may ask."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.nats import Internet, internet, lonely_host, stun_server
from tests.e2e.networks import Host
from tests.e2e.turn import turn_server


@dataclass(frozen=True, kw_only=True)
class Place:
    """The inviter's host, the joiner's, one that both reach, and the hub's."""

    inviter: Host
    joiner: Host
    common: Host
    hub: Host
    options: tuple[str, ...] = ()
    """Of the inviter and of the joiner; the common one needs none."""


Build = Callable[[Path], AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def _open_lan(_: Path) -> AsyncIterator[Place]:
    async with internet() as net:
        home = net.router()
        yield Place(inviter=home.host(), joiner=home.host(), common=home.host(), hub=net.host())


@asynccontextmanager
async def _loopback_only(_: Path) -> AsyncIterator[Place]:
    async with lonely_host() as host:
        yield Place(inviter=host, joiner=host, common=host, hub=host)


@asynccontextmanager
async def _inviter_behind_nat(_: Path) -> AsyncIterator[Place]:
    async with internet() as net:
        yield Place(inviter=net.router().host(), joiner=net.host(), common=net.host(), hub=net.host())


@asynccontextmanager
async def _joiner_behind_nat(_: Path) -> AsyncIterator[Place]:
    async with internet() as net:
        yield Place(inviter=net.host(), joiner=net.router().host(), common=net.host(), hub=net.host())


def _apart(net: Internet, options: tuple[str, ...], *, symmetric: bool = False) -> Place:
    one, other = (net.router(symmetric=symmetric).host() for _ in range(2))
    return Place(inviter=one, joiner=other, common=net.host(), hub=net.host(), options=options)


@asynccontextmanager
async def _both_behind_nats(_: Path) -> AsyncIterator[Place]:
    async with internet() as net, stun_server(net.host()) as stun:
        yield _apart(net, ("--stun", stun))


@asynccontextmanager
async def _symmetric_without_turn(_: Path) -> AsyncIterator[Place]:
    async with internet() as net, stun_server(net.host()) as stun:
        yield _apart(net, ("--stun", stun), symmetric=True)


@asynccontextmanager
async def _turn(scratch: Path) -> AsyncIterator[Place]:
    async with internet() as net, turn_server(net.host(), scratch / "turn") as turn:
        yield _apart(net, ("--turn-file", str(turn.file(scratch / "turn.json"))), symmetric=True)


@asynccontextmanager
async def _relay_only(scratch: Path) -> AsyncIterator[Place]:
    async with internet() as net, turn_server(net.host(), scratch / "turn") as turn:
        yield _apart(
            net, ("--turn-file", str(turn.file(scratch / "turn.json")), "--relay-only"), symmetric=True
        )


INVITER_BEHIND_NAT: Final = "NAT, inviter's side"
BOTH_BEHIND_NATS: Final = "NAT, both sides, --stun"
SYMMETRIC: Final = "symmetric NAT, both, --stun"
RELAY_ONLY: Final = "the same, --relay-only"
PLACES: Final[dict[str, Build]] = {
    "open LAN": _open_lan,
    "loopback only": _loopback_only,
    INVITER_BEHIND_NAT: _inviter_behind_nat,
    "NAT, joiner's side": _joiner_behind_nat,
    BOTH_BEHIND_NATS: _both_behind_nats,
    SYMMETRIC: _symmetric_without_turn,
    "symmetric NAT, both, TURN": _turn,
    RELAY_ONLY: _relay_only,
}
