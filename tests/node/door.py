"""The two ends of a channel in memory, and who stands at them, for tests of the door inside it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import cast

import trio
from nacl.signing import SigningKey

from node.errors import ConnectFailed
from node.link import ChannelClosed
from node.reception import Guest, Host, Meeting
from signaling.description import Offer
from signaling.invitation import Invitation
from signaling.password import stretch

ROOM = b"r" * 32
ANN, BOB = (bytes(SigningKey(seed * 32).verify_key) for seed in (b"a", b"b"))  # the host, the guest
RIGHT = stretch("open sesame", room=ROOM)
INVITATION = Invitation(room=ROOM, inviter=ANN, secret=b"s" * 16, expires=1 << 39)


@dataclass(frozen=True)
class BareOffer:
    """As much of one as is looked at here."""

    room: bytes = ROOM


class End:
    """One end of a channel in memory; `alter` sees what comes in."""

    def __init__(
        self,
        out: "trio.MemorySendChannel[bytes]",
        into: "trio.MemoryReceiveChannel[bytes]",
        alter: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.out, self.into, self.alter = out, into, alter
        self.heard: list[bytes] = []

    async def send(self, message: bytes) -> None:
        try:
            await self.out.send(message)
        except trio.BrokenResourceError:
            raise ChannelClosed("hung up") from None

    async def receive(self) -> bytes:
        try:
            message = self.alter(await self.into.receive())
        except trio.EndOfChannel:
            raise ChannelClosed("hung up") from None
        self.heard.append(message)
        return message


def channel() -> tuple[End, End]:
    """The host's end and the guest's."""
    to_guest, from_host = trio.open_memory_channel[bytes](8)
    to_host, from_guest = trio.open_memory_channel[bytes](8)
    return End(to_guest, from_guest), End(to_host, from_host)


def meeting(talk: End, *, session: bytes = b"x" * 32) -> Meeting:
    return Meeting(talk=talk, session=session, guest=BOB, host=ANN, offer=cast(Offer, BareOffer()))


def typing(password: str | None) -> Callable[[], Awaitable[str | None]]:
    async def ask() -> str | None:
        return password

    return ask


async def meet(host: Host, guest: Guest, ends: tuple[End, End] | None = None) -> list[str]:
    """Run both; what each side came to: "" or why it failed, the host's first. Whoever fails hangs up."""
    came_to = ["", ""]
    near, far = ends or channel()

    async def at(place: int, see: Callable[[Meeting], Awaitable[None]], end: End) -> None:
        try:
            await see(meeting(end))
        except ConnectFailed as failed:
            came_to[place] = failed.message
            await end.out.aclose()
        except ChannelClosed as closed:
            came_to[place] = str(closed)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at, 0, host.receive, near)
            nursery.start_soon(at, 1, guest.arrive, far)
    return came_to


async def met(host: Host, guest: Guest, ends: tuple[End, End] | None = None) -> list[str]:
    """As `meet`, with the guest's person."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.run)
        came_to = await meet(host, guest, ends)
        nursery.cancel_scope.cancel()
    return came_to


def knowing(secret: bytes, **more: object) -> Guest:
    """A guest whose person has typed already."""
    guest = Guest(**more)  # type: ignore[arg-type]
    guest._secret = secret
    guest._told.set()
    return guest


def protected(**more: object) -> Host:
    return replace(Host(password=lambda: RIGHT, is_member=lambda _peer: False), **more)  # type: ignore[arg-type]
