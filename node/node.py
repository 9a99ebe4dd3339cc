"""The running node: opens a room or joins one, serves it until the block ends, and leaves nothing behind."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from nacl.signing import SigningKey

from chain.committee import LARGEST_UNANIMOUS
from chain.effects import Arrived, Input
from chain.ids import MemberId
from node.acquaintance import Acquaintances, known_nicks
from node.api import MemberView
from node.bus import Bus
from node.carriage import Carriage, friends_of
from node.config import Home, RoomConfig
from node.control import serve_control
from node.create import create_room, read_invitation
from node.errors import NotAMember, Unreachable
from node.events import (
    AdmittedEvent,
    AnyEvent,
    InviteEvent,
    NoticeEvent,
    RemovalEvent,
    RoomEvent,
    StatusEvent,
)
from node.failure import one_error
from node.ice_servers import IceOptions
from node.introduce import InBand
from node.joining import Newcomer, Way
from node.lock import room_lock
from node.mesh import Line, Mesh
from node.opening import GONE, Belongings, begin_store, find_belongings, renew_vote_key
from node.password import keep_password, kept_password
from node.reception import AskPassword, nobody_to_ask
from node.seat import Seat
from node.succession import predecessor
from node.terms import Terms, settle
from node.threshold import Threshold
from node.webrtc import Rtc, open_rtc
from signaling.carrier import Carrier
from signaling.description import Identity, Offer, RoomId
from signaling.invitation import Invitation

if TYPE_CHECKING:
    from chain.store import Store

__all__ = ["Node", "Way", "create_room", "open_node", "read_invitation"]

logger = logging.getLogger(__name__)

_INBOX: Final = 64  # inputs; a link that brings more waits
_FAREWELL: Final = 2.0  # seconds to hand peers what is queued for them
_LAST_CALL: Final = 10.0  # seconds a former member gives those who may not know that it is one


@asynccontextmanager
async def open_node(
    home: Home,
    target: RoomConfig | Way,
    *,
    nick: str = "",
    via: Sequence[str] = (),
    password: AskPassword = nobody_to_ask,
    offer_life: int | None = None,
    ice: IceOptions | None = None,
    beside: Sequence[Carrier] = (),
    loopback_only: bool = False,
) -> AsyncIterator["Node"]:
    """Run a node while the block lasts: of a room that is here, or as a newcomer with an invitation,
    with an offer, or with the password of a lobby's room.

    A newcomer's node is yielded at once: `wait_admitted()` says when it is a member, and it goes on as one
    over the same links. An invitation to a room that is here already opens that room. `nick` is for
    newcomers; `via` (carrier specs) replaces what the room remembers, or the invitation's hints; `password`
    is called when a newcomer is asked for the room's; `offer_life`: seconds, in place of what the room
    remembers; `ice`: servers to ask for addresses, over those that it remembers; `beside`: more carriers,
    which it does not remember.

    Raises RoomLocked when another process has the room open, Mismatch for another's store, NodeError for what
    else stands in the way. When the node fails later, the block is cancelled and the error raised from here.
    """
    terms = settle(home, target, nick=nick, via=via, offer_life=offer_life, ice=ice)
    node = Node(home, terms, password=password, beside=beside, loopback_only=loopback_only)
    with one_error():
        async with trio.open_nursery() as nursery:
            await nursery.start(node._serve)
            try:
                yield node
            finally:
                node._stop.set()


class Node:
    """NodeApi, in this process; made by `open_node`."""

    def __init__(
        self,
        home: Home,
        terms: Terms,
        *,
        password: AskPassword = nobody_to_ask,
        beside: Sequence[Carrier] = (),
        loopback_only: bool = False,
    ) -> None:
        self.faults: Counter[str] = Counter()
        """What peers, carriers and packets did wrong, counted."""
        self._home = home
        self._terms = terms
        self._config = terms.config
        self._loopback_only = loopback_only
        self._beside = beside
        self._rtc: Rtc | None = None
        self._bus = Bus()
        self._inbox = trio.open_memory_channel[Input](_INBOX)
        self._mesh = Mesh(
            inbox=self._inbox[0],
            is_member=self._is_member,
            on_change=self._on_change,
            faults=self.faults,
        )
        self._opened: Seat | None = None
        self._seat: Seat | None = None
        self._newcomer: Newcomer | None = None
        self._admitted = trio.Event()
        self._stop = trio.Event()
        self._out = trio.Event()  # a member no more
        self._links_changed = trio.lowlevel.ParkingLot()
        self._carriage: Carriage | None = None
        self._threshold = Threshold(
            seat=lambda: self._seat,
            newcomer=lambda: self._newcomer,
            is_leaving=self._stop.is_set,
            room=RoomId(terms.room),
            mesh=self._mesh,
            bus=self._bus,
            invitation=self._invitation,
            password=password,
            keep_secret=partial(keep_password, home, terms.fingerprint),
            faults=self.faults,
        )

    # NodeApi

    async def wait_admitted(self) -> RoomConfig:
        """Until this node is a member (at once when it was one); the room's settings."""
        await self._admitted.wait()
        assert self._config is not None
        return self._config

    async def room(self) -> RoomEvent:
        return self._seated().room()

    async def say(self, text: str) -> str:
        return await self._still_seated().say(text)

    async def status(self) -> StatusEvent:
        seat = self._seated()
        anchor, status = await seat.anchor(), seat.status()
        troubles = [
            *(self._carriage.troubles if self._carriage is not None else ()),
            *(self._rtc.troubles if self._rtc is not None else ()),
        ]
        notes = [*status.notes, *troubles]
        return msgspec.structs.replace(status, notes=notes, troubles=troubles, anchor=anchor)

    async def who(self) -> list[MemberView]:
        return await self._seated().who()

    async def admit(self, who: str) -> MemberView:
        return self._seated().admit(who)

    async def remove(self, who: str) -> RemovalEvent:
        return self._seated().remove(who)

    async def leave(self) -> RemovalEvent:
        return self._seated().leave()

    async def invite(self) -> InviteEvent:
        self._still_seated()
        if self._threshold.pairing.by_offer:
            return await self._threshold.pairing.invite()
        if self._threshold.pairing.shows_offers:
            await self._threshold.pairing.invite()  # told of as a token, besides
        invitation = await self._invitation()
        return InviteEvent(token=invitation.to_token(), expires=invitation.expires * 1000)

    async def renew(self, token: str | None = None) -> InviteEvent:
        self._still_seated()
        return await self._threshold.pairing.renew(token)

    async def _invitation(self) -> Invitation:
        return await self._seated().invite(self._carriage.places if self._carriage is not None else ())

    async def carry(self, text: str) -> str:
        return self._threshold.pairing.carry(text)

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        if self._seat is not None:
            more = [*self._threshold.pairing.events(), *self._troubles()]
            async with self._seat.events(since=since, watching=watching, more=more) as events:
                yield events
            return
        # A newcomer's subscriber gets all of the history as it arrives, after the `room` event.
        with self._bus.subscribe(watching=watching) as subscription:
            newcomer = self._newcomer.events() if self._newcomer is not None else []
            for event in (*newcomer, *self._threshold.pairing.events(), *self._troubles()):
                subscription.put(event)
            yield subscription

    def _troubles(self) -> list[AnyEvent]:
        carriers = self._carriage.events() if self._carriage is not None else []
        servers = self._rtc.troubles if self._rtc is not None else []
        return [*carriers, *(NoticeEvent(message=each) for each in servers)]

    def _seat_for_good(self) -> Seat:
        assert self._seat is not None, "only members get here"
        return self._seat

    def _seated(self) -> Seat:
        if self._seat is None:
            raise Unreachable(
                "This node has not been let into the room yet.", "Wait until the members have admitted it."
            )
        return self._seat

    def _still_seated(self) -> Seat:
        if self._out.is_set():
            raise NotAMember(self._seated().room().room)
        return self._seated()

    # what the parts ask

    def _is_member(self, peer: MemberId) -> bool:
        # A newcomer cannot tell yet: whoever it reached is worth a link.
        return self._seat is None or self._seat.is_member(peer)

    def _members(self) -> frozenset[bytes]:
        seat = self._seat
        return frozenset(() if seat is None else (each.identity for each in seat.committee.members))

    def _on_change(self, peer: MemberId, up: bool) -> None:
        self._links_changed.unpark_all()
        if self._seat is not None:
            self._seat.on_link(peer, up)

    # life

    async def _serve(self, *, task_status: "trio.TaskStatus[None]") -> None:
        """Everything that runs. Once started it is ended by `_stop` only, so that it can say goodbye."""
        terms = self._terms
        with trio.CancelScope() as scope:
            async with AsyncExitStack() as stack:
                stack.enter_context(room_lock(self._home, terms.fingerprint))
                stack.push_async_callback(self._close_seat)
                mine = await self._find_belongings()
                identity, vote = mine.identity, mine.vote
                if mine.store is not None:
                    await self._sit_down(mine.store, identity, vote, restarted=not mine.fresh, lost=mine.lost)
                self._carriage = carriage = Carriage(
                    terms.via,
                    bus=self._bus,
                    faults=self.faults,
                    identity=identity,
                    room=terms.room,
                    beside=self._beside,
                )
                stack.push_async_callback(carriage.aclose)
                in_band = InBand(
                    me=bytes(identity.verify_key),
                    room=terms.room,
                    members=self._members,
                    mesh=self._mesh,
                    faults=self.faults,
                )
                self._mesh.carry_beside(in_band)
                self._threshold.pairing.start(carriage.carriers, me=Identity(bytes(identity.verify_key)))
                rtc = self._rtc = await stack.enter_async_context(
                    open_rtc(
                        loopback_only=self._loopback_only, ice=terms.ice, tell=self._tell, faults=self.faults
                    )
                )
                await rtc.prove()
                links: tuple[trio.MemorySendChannel[Line], trio.MemoryReceiveChannel[Line]]
                links = trio.open_memory_channel(0)
                if self._seat is None:
                    assert terms.way is not None
                    self._newcomer = Newcomer(
                        way=terms.way,
                        nick=terms.nick,
                        identity=identity,
                        vote=vote,
                        mesh=self._mesh,
                        bus=self._bus,
                        inbox=self._inbox[1],
                        known=await trio.to_thread.run_sync(known_nicks, self._home),
                        faults=self.faults,
                    )
                async with trio.open_nursery() as nursery:
                    await nursery.start(serve_control, self, self._home.socket_file(terms.fingerprint))
                    nursery.start_soon(self._live, identity, vote, not mine.fresh)
                    nursery.start_soon(self._mesh.run, links[1])
                    first = terms.way if isinstance(terms.way, Offer) else None
                    meet = partial(self._threshold.meet, rtc=rtc, carriage=carriage, first=first)
                    meet = partial(meet, offer_life=terms.offer_life)
                    nursery.start_soon(partial(meet, identity=identity, links=links[0], in_band=in_band))
                    nursery.start_soon(self._show, carriage, identity)
                    nursery.start_soon(self._threshold.despair, carriage)
                    nursery.start_soon(self._go)
                    if self._newcomer is not None:
                        nursery.start_soon(self._threshold.reception.guest.run)
                    if mine.removed:
                        self._seat_for_good().go(left=False, why=GONE)
                    scope.shield = True
                    task_status.started()
                    await self._stop.wait()
                    await self._mesh.drain(deadline=_FAREWELL)
                    await self._tell_the_rest()
                    nursery.cancel_scope.cancel()
        if self.faults:
            logger.info("what others did wrong: %s", dict(self.faults))
        if self._seat is not None and self._seat.out is not None:
            raise self._seat.out

    def _tell(self, message: str) -> None:
        self._bus.publish(NoticeEvent(message=message))

    async def _tell_the_rest(self) -> None:
        """Who is a member no more still hears all that is final, and that it is out."""
        with trio.move_on_after(_FAREWELL):
            if self._out.is_set() and self._seat is not None:
                await self._seat.wait_told()
        self._bus.end()
        with trio.move_on_after(_FAREWELL):
            if self._out.is_set():
                await self._bus.wait_unread()

    async def _go(self) -> None:
        """Once we are a member no more: end, when those who could not be without our vote know it too.

        In a small room the quorum is everybody. Who lacks but our vote, the one that let us go, would wait
        for it for ever: so whoever stays and is away is waited for a little.
        """
        await self._out.wait()
        committee = self._seat_for_good().committee
        stay = {member.identity for member in committee.members}
        if committee.n < LARGEST_UNANIMOUS and not stay <= self._mesh.linked():
            with trio.move_on_after(_LAST_CALL):
                while not stay <= self._mesh.linked():
                    await self._links_changed.park()
                await trio.sleep(_FAREWELL)  # to be asked for what they lack
        self._stop.set()

    async def _live(self, identity: SigningKey, vote: SigningKey, used_before: bool) -> None:
        """First as a newcomer, if that is what we are, then as a member."""
        heard: tuple[Arrived, ...] = ()
        if self._newcomer is not None:
            admitted = await self._newcomer.run()
            me = MemberId(bytes(identity.verify_key))
            self._config = self._terms.for_room(admitted.genesis)
            store = await trio.to_thread.run_sync(partial(begin_store, self._home, admitted, me=me))
            await self._sit_down(store, identity, vote, restarted=used_before)
            self._arrive()
            heard = admitted.heard
        assert self._seat is not None
        await self._seat.run(heard)

    async def _show(self, carriage: Carriage, identity: SigningKey) -> None:
        await carriage.look(newcomer=self._newcomer is not None)
        config = await self.wait_admitted()
        seat = self._seat_for_good()
        await carriage.show(
            bytes(identity.verify_key),
            config,
            members=lambda: seat.committee.n,
            protected=self._threshold.secret is not None,
            friends=await trio.to_thread.run_sync(friends_of, self._home, config),
        )

    # keys and store

    async def _find_belongings(self) -> Belongings:
        found = await trio.to_thread.run_sync(
            partial(
                find_belongings,
                self._home,
                self._terms.fingerprint,
                config=self._config,
                invited=self._terms.way is not None,
            )
        )
        kept = partial(kept_password, self._home, self._terms.fingerprint)
        self._threshold.remember(await trio.to_thread.run_sync(kept))
        if found.store is not None and self._config is None:
            self._config = self._terms.for_room(found.store.genesis)
        return found

    async def _sit_down(
        self, store: "Store", identity: SigningKey, vote: SigningKey, *, restarted: bool, lost: bool = False
    ) -> None:
        assert self._config is not None
        seat = Seat(
            config=self._config,
            identity=identity,
            vote=vote,
            store=store,
            before=predecessor(self._home, store.genesis),
            restarted=restarted,
            lost=lost,
            renew=partial(renew_vote_key, self._home, self._terms.fingerprint),
            evidence=self._home.evidence_directory(self._terms.fingerprint),
            acquaintances=Acquaintances(
                self._home,
                me=bytes(identity.verify_key).hex(),
                room=self._config.name,
                tell=self._bus.publish,
            ),
            mesh=self._mesh,
            bus=self._bus,
            inbox=self._inbox,
            on_out=self._out.set,
            faults=self.faults,
        )
        self._opened = seat
        await seat.prepare()
        if self._home.find(self._terms.fingerprint) != self._config:  # a full disk need not keep a room shut
            self._home.save(self._config)
        self._seat = seat
        self._admitted.set()

    def _arrive(self) -> None:
        """Tell those who listened while we waited."""
        assert self._seat is not None
        room = self._seat.room()
        self._bus.publish(room)
        self._bus.publish(
            AdmittedEvent(member=room.me, nick=room.nick, n=room.n, f=room.f, quorum=room.quorum)
        )
        for peer in sorted(self._mesh.linked()):
            self._seat.on_link(peer, up=True)

    async def _close_seat(self) -> None:
        if self._opened is not None:
            with trio.CancelScope(shield=True):
                await self._opened.aclose()
