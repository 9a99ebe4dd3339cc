"""A fresh room of two with whoever else asks a hub for the same namespace.

Everybody founds a room and shows an open offer to it. Who is demoted throws its own away, of which nothing
stays on disk, and joins the other one's. The founder lets in who comes by that offer, and nobody else.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, assert_never

import trio

from node.config import Home
from node.create import create_room
from node.errors import Exit, NodeError, TimedOut, Unreachable, UsageError
from node.events import AsksEvent, RoomEvent
from node.failure import one_error
from node.ice_servers import IceOptions, IceServers
from node.meet_offer import Shown, decode_shown, encode_shown, nick_beside
from node.meet_rooms import is_here, mark_alone, name_for, remove_room, unmark
from node.node import Node, open_node
from signaling.carrier import ParcelKind
from signaling.description import Answer, Offer, decode_answer, decode_offer
from signaling.errors import NotForUs, SignalError
from signaling.hub_client import HubAway, hub_url
from signaling.meet import Answered, Delivered, Later, Nobody, Offered, Outcome, Party, Unfit
from signaling.meet_carrier import MeetCarrier
from signaling.meet_client import MeetClient

LINK_PATIENCE: Final = 25.0
"""Seconds from an answer to a room of two."""
_LAST_WORDS: Final = 3.0  # seconds for the hub to say what we know: that the other one is there
_RENEW: Final = 300.0  # seconds, of the ten minutes that an offer lives
_PAUSE: Final = 1.0  # after somebody of no use
_DIRECT: Final = 1.0
_TRY_AGAIN: Final = "Check its address and your network, and run it again."
_OF_NO_USE: Final = (Exit.UNREACHABLE, Exit.NO)  # what the other one may have done to us

Tell = Callable[[str], None]
Post = Callable[[bytes], Awaitable[Outcome]]


def hub_address(hub: str) -> str:
    """What --hub says, in one form; UsageError."""
    try:
        return hub_url(hub.removeprefix("hub:"))
    except SignalError as error:
        raise UsageError(error.message, "Write --hub https://host or --hub http://host:port.") from None


@dataclass(frozen=True)
class Found:
    """Somebody else's offer, fit to be answered, and who that is."""

    offer: Offer
    nick: str


@asynccontextmanager
async def open_meeting(
    home: Home,
    *,
    hub: str,
    party: Party,
    nick: str,
    ice: IceOptions | None = None,
    timeout: float | None = None,
    tell: Tell = lambda _message: None,
) -> AsyncIterator[Node]:
    """Meet somebody, and run the room of two while the block lasts. `tell`: sentences for people meanwhile.

    `timeout`: seconds until there is somebody. UsageError, TimedOut, Unreachable for the hub, NodeError.
    """
    url = hub_address(hub)
    with trio.move_on_after(float("inf") if timeout is None else timeout) as waiting, one_error():
        async with MeetClient(url, party, tell=tell) as client:
            meeter = _Meeter(home, url, party, client, nick=nick, ice=ice or IceOptions(), tell=tell)
            offer: Found | None = None
            while True:
                met = False
                try:
                    async with AsyncExitStack() as stack:
                        found = await (meeter.show(stack) if offer is None else meeter.join(stack, offer))
                        if isinstance(found, Node):
                            met, waiting.deadline = True, float("inf")
                            yield found
                            return
                        offer = found
                except HubAway as error:
                    raise Unreachable(error.message, _TRY_AGAIN) from None
                except SignalError as error:
                    raise Unreachable(error.message, error.hint) from None
                except NodeError as error:
                    if met or offer is None or error.exit_code not in _OF_NO_USE:
                        raise
                    meeter.failed(error.message)
                    offer = None
                await trio.lowlevel.checkpoint()
    if waiting.cancelled_caught:
        raise TimedOut(
            "Nobody came in time.", "Check that the other one gives the same hub and the same namespace."
        )


@dataclass
class _Meeter:
    home: Home
    url: str
    party: Party
    client: MeetClient
    nick: str = field(kw_only=True)
    ice: IceOptions = field(kw_only=True)
    tell: Tell = field(kw_only=True)

    def __post_init__(self) -> None:
        self._me = b""
        self._said: set[str] = set()
        self._in_vain = False
        self._forget: str | None = None  # the room that came of nothing so far

    @asynccontextmanager
    async def _keeping(self, node: Node) -> AsyncIterator[None]:
        """However this block ends: a room of two stays."""
        try:
            yield
        finally:
            with suppress(NodeError):  # we are not in
                if (await node.room()).n > 1 and self._forget is not None:
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(unmark, self.home, self._forget)
                    self._forget = None

    def failed(self, why: str) -> None:
        """There was somebody, and no link. Others come first now, but nobody is left out for that."""
        self.tell(f"{why} Looking for somebody again.")
        self._in_vain = True

    # as the offerer

    async def show(self, stack: AsyncExitStack) -> Node | Found:
        """Found a room and wait in it: the node once somebody is in; or the offer to answer instead."""
        ice = self.ice.over(IceServers())
        name = await trio.to_thread.run_sync(name_for, self.home, self.party.namespace.name)
        room = await create_room(
            self.home, name=name, nick=self.nick, via=(f"hub:{self.url}",), max_peers=2, ice=ice
        )
        self._forget = room.fingerprint
        stack.push_async_callback(self._clean_up)
        await trio.to_thread.run_sync(mark_alone, self.home, room.fingerprint)
        carrier = MeetCarrier()
        node = await stack.enter_async_context(open_node(self.home, room, ice=self.ice, beside=[carrier]))
        found: Node | Found | None = None
        is_there = trio.Event()
        async with self._keeping(node), trio.open_nursery() as nursery:

            async def let_in() -> None:
                nonlocal found
                await _let_one_in(node)
                found = node
                is_there.set()
                await trio.sleep(_LAST_WORDS)
                nursery.cancel_scope.cancel()

            async def ask() -> None:
                nonlocal found
                offer = await self._ask(node, carrier, is_there)
                if offer is not None and not is_there.is_set():
                    found = offer
                if found is not None:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(let_in)
            nursery.start_soon(ask)
        assert found is not None, "one of both ended the other"
        return found

    async def _ask(self, node: Node, carrier: MeetCarrier, is_there: trio.Event) -> Found | None:
        """Show offers until one was answered (None), or there is another one to be answered."""
        self._me = bytes.fromhex((await node.room()).me)
        offer, made = await _new_offer(node, carrier), trio.current_time()
        post: Post = self.client.offer
        while not is_there.is_set():
            if trio.current_time() - made > _RENEW or carrier.is_over(ParcelKind.OFFER, offer):
                offer, made = await _new_offer(node, carrier), trio.current_time()
            asked = trio.current_time()
            outcome = await post(encode_shown(Shown(offer, self.nick)))
            post = self.client.offer
            match outcome:
                case Offered(payload=payload):
                    try:
                        return self._check_offer(payload)
                    except SignalError as error:
                        self._tell_once(error.message)
                        await trio.sleep(_PAUSE)
                        post = self.client.bounce
                case Answered(payload=payload):
                    try:
                        _check_answer(payload, offer)
                    except SignalError as error:
                        self._tell_once(error.message)
                        await trio.sleep(_PAUSE)
                        continue
                    carrier.bring(ParcelKind.ANSWER, payload)
                    with trio.move_on_after(LINK_PATIENCE):
                        await is_there.wait()
                        return None
                    self.failed("Somebody came, but no connection to them came up.")
                    offer, made = await _new_offer(node, carrier), trio.current_time()
                case _:
                    post = await self._go_on(outcome, asked=asked)
        return None

    async def _go_on(self, outcome: Outcome, *, asked: float) -> Post:
        """After a request that brought nobody: how to ask the next time. `asked`: when that was (trio's)."""
        match outcome:
            case Nobody(elsewhere=elsewhere):
                await trio.sleep_until(asked + _PAUSE)  # there may be a hub that holds nobody
                if elsewhere:
                    self._tell_once("Nobody is here yet, but in another namespace: is yours right?")
                if self._in_vain:
                    self.client.renew()
                    self._in_vain = False
            case Unfit(error=error, offered=offered):
                self._tell_once(error.message)
                await trio.sleep(_PAUSE)
                if offered:
                    return self.client.bounce
            case Offered() | Answered() | Delivered() | Later():
                raise AssertionError(outcome)
            case _:
                assert_never(outcome)
        return self.client.offer

    # as the answerer

    async def join(self, stack: AsyncExitStack, other: Found) -> Node | Found | None:
        """Answer it: the node once we are in; or another offer, to be answered instead; or None."""
        offer, nick = other.offer, nick_beside(other.nick, mine=self.nick)
        if nick != self.nick:
            self.tell(f"The other one goes by much the same name: in this room you are {nick}.")
        self._forget = offer.room.hex()
        stack.push_async_callback(self._clean_up)
        await trio.to_thread.run_sync(mark_alone, self.home, offer.room.hex())
        carrier, via = MeetCarrier(), (f"hub:{self.url}",)
        node = await stack.enter_async_context(
            open_node(self.home, offer, nick=nick, via=via, ice=self.ice, beside=[carrier])
        )
        found: Node | Found | None = None
        said = trio.Event()
        async with self._keeping(node), trio.open_nursery() as nursery:

            async def answer() -> None:
                nonlocal found
                outcome = await self.client.answer(await carrier.taken(ParcelKind.ANSWER))
                said.set()
                if isinstance(outcome, Delivered):
                    return
                with trio.move_on_after(_DIRECT):  # whom we answered is gone, or linked with us already
                    await node.wait_admitted()
                    return
                if isinstance(outcome, Offered):
                    try:
                        found = self._check_offer(outcome.payload)
                    except SignalError as error:
                        self._tell_once(error.message)
                nursery.cancel_scope.cancel()

            async def arrive() -> None:
                nonlocal found
                with trio.move_on_after(LINK_PATIENCE):
                    await node.wait_admitted()
                    found = node
                    with trio.move_on_after(_LAST_WORDS):
                        await said.wait()
                if found is None:
                    self.failed("Somebody was here, but no connection to them came up.")
                nursery.cancel_scope.cancel()

            nursery.start_soon(answer)
            nursery.start_soon(arrive)
        return found

    # both

    def _check_offer(self, payload: bytes) -> Found:
        """One that leads to a room that is new to us, or SignalError."""
        shown = decode_shown(payload)
        offer = decode_offer(shown.description, room=None, me=None, now=int(time.time()))
        if offer.sender == self._me:
            raise NotForUs("This home met itself: it asks twice.", "Use another --home for the other one.")
        if not offer.invites or offer.protected or is_here(self.home, offer.room.hex()):
            raise NotForUs("What the other one offers is no fresh room.", "Ask again.")
        return Found(offer, shown.nick)

    def _tell_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.tell(message)

    async def _clean_up(self) -> None:
        """Unless it became a room of two, nothing of it stays."""
        if self._forget is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(remove_room, self.home, self._forget)
            self._forget = None


async def _new_offer(node: Node, carrier: MeetCarrier) -> bytes:
    """An open offer of this node, ready to be answered; ConnectFailed without any address."""
    await node.invite()
    return await carrier.taken(ParcelKind.OFFER)


def _check_answer(payload: bytes, offer: bytes) -> Answer:
    """That it is one, to this very offer; SignalError."""
    now = int(time.time())
    return decode_answer(payload, offer=decode_offer(offer, room=None, me=None, now=now), now=now)


async def _let_one_in(node: Node) -> None:
    """Until somebody came by our offer and is a member."""
    async with node.events() as events:
        async for event in events:
            match event:
                case RoomEvent(n=n) if n > 1:
                    return
                case AsksEvent(verified=True, member=member):
                    with suppress(NodeError):  # it went away again
                        await node.admit(member)
                case _:
                    pass
