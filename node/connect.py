"""From "I want to be linked with X in this room" to an authenticated Link, through any carriers.

One attempt a peer at a time, offering or answering. When both offer, the lower identity's offer stands. A
newer offer of a peer takes the place of the attempt at an older one: it may have been killed and have come
back. Whatever a carrier brings is verified here before anything is done for it, and is never more than a
counted fault.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import trio
from nacl.signing import SigningKey

from node.arrivals import Arrivals, OnRefused
from node.attempt import Attempt, Attempts, Introduce, Maker, first_of
from node.door import Admits, Door
from node.errors import ConnectFailed
from node.introduce import InBand
from node.link import ChannelClosed, Link
from node.offering import Offering
from node.open_offers import OpenOffers
from node.post import OnCarrier, Post
from node.reception import Reception
from node.webrtc import CONNECT_DEADLINE, Rtc
from signaling.carrier import Active, Carrier
from signaling.description import Identity, Offer, RoomId
from signaling.errors import SignalError
from signaling.handshake import Role
from signaling.refusal import Reason

logger = logging.getLogger(__name__)

OFFER_LIFE: Final = 600.0
_HOST_LIFE: Final = 600  # of a host's entry, however long its offers live: a dead one is replaced after that
_TICK: Final = 0.25
_MAX_REFUSALS: Final = 16
_GLARE_PATIENCE: Final = (
    1.25  # connect deadlines: by then the peer has given up an offer of ours it found dead
)
_RETRY: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after so many failures in a row
_LISTEN_FIRST: Final = 1.0  # before we call ourselves the lobby's host


Wanted = Callable[[], Collection[bytes]]
OnFailed = Callable[[bytes | None, Offer, ConnectFailed], None]


async def rendezvous(
    *,
    rtc: Rtc,
    carriers: Sequence[Carrier],
    identity: SigningKey,
    room: bytes,
    wanted: Wanted,
    admits: Admits,
    links: "trio.MemorySendChannel[Link]",
    in_band: InBand | None = None,
    open_offers: OpenOffers | None = None,
    first: Offer | None = None,
    introduce: Introduce | None = None,
    on_presence: Callable[[bytes], None] | None = None,
    on_failed: OnFailed = lambda _peer, _offer, _error: None,
    on_refused: OnRefused | None = None,
    on_carrier: OnCarrier = lambda _spec, _error: None,
    host: Callable[[], bool] = lambda: True,
    offer_life: float = OFFER_LIFE,
    connect_deadline: float = CONNECT_DEADLINE,
    reception: Reception | None = None,
    faults: Counter[str] | None = None,
) -> None:
    """Run until cancelled; every link made comes out of `links` and lives in here: cancelling cuts them all.

    - wanted(): identities we want a link with and have none; asked every 0.25 s.
    - admits(sender, introduction, offer_hash): may it be answered? While not, asked again every second while
      its offer lives; a Reason means never, and the sender is told so instead. It sees what a stranger wrote:
      it answers False to bad bytes, and must not raise.
    - in_band: carries between members besides the carriers, over the links there are.
    - open_offers: those to whoever holds them, made when it is asked; without it there are none.
    - first: an offer that somebody brought, to be answered first of all.
    - introduce(offer_hash): a newcomer's introduction; None for members.
    - on_failed(peer, offer, error): no link came of an offer to whoever holds it, ours or theirs, nor of one
      of ours to a peer who answered.
    - on_presence(identity): somebody says in the lobby that it may be asked.
    - on_refused(identity, reason): a peer says that it will not answer our offer.
    - on_carrier(spec, error): a carrier took something from us (None), or why it did not.
    - reception: what happens when one of two that are linked is a newcomer, inside the channel.
    - host(): whether we may be that somebody (a member may, a newcomer may not).

    A link may come out for a peer that is linked already: the peer was restarted and this one is proven, so
    the new one replaces the old (`await old.aclose(deadline=0)`). To leave without loss: let wanted() be
    empty, `await link.aclose()` each, cancel this, then `await carrier.aclose()`.
    """
    self = _Rendezvous(
        rtc=rtc,
        carriers=carriers,
        key=identity,
        room=RoomId(room),
        wanted=wanted,
        admits=admits,
        links=links,
        in_band=in_band,
        open_offers=open_offers,
        first=first,
        introduce=introduce,
        on_presence=on_presence,
        on_failed=on_failed,
        on_refused=on_refused,
        on_carrier=on_carrier,
        host=host,
        offer_life=offer_life,
        connect_deadline=connect_deadline,
        reception=reception if reception is not None else Reception(),
        faults=faults if faults is not None else Counter(),
    )
    await self.run()


@dataclass(kw_only=True)
class _Rendezvous:
    rtc: Rtc
    carriers: Sequence[Carrier]
    key: SigningKey
    room: RoomId
    wanted: Wanted
    admits: Admits
    links: "trio.MemorySendChannel[Link]"
    introduce: Introduce | None
    on_presence: Callable[[bytes], None] | None
    on_refused: OnRefused | None
    on_carrier: OnCarrier
    host: Callable[[], bool]
    offer_life: float
    connect_deadline: float
    reception: Reception
    faults: Counter[str]
    in_band: InBand | None = None
    open_offers: OpenOffers | None = None
    first: Offer | None = None
    on_failed: OnFailed = lambda _peer, _offer, _error: None

    def __post_init__(self) -> None:
        self.me = Identity(bytes(self.key.verify_key))
        self._attempts = Attempts()
        self._live: dict[Identity, set[Link]] = {}
        self._failures: Counter[Identity] = Counter()
        self._not_before: dict[Identity, float] = {}
        self._refusals: dict[Identity, trio.CancelScope] = {}
        self._post = Post(
            self.carriers,
            key=self.key,
            room=self.room,
            host_life=_HOST_LIFE,
            on_carrier=self.on_carrier,
            faults=self.faults,
            in_band=self.in_band,
        )
        self._maker = Maker(
            key=self.key,
            room=self.room,
            post=self._post,
            introduce=self.introduce,
            offer_life=self.offer_life,
            connect_deadline=self.connect_deadline,
            reception=self.reception,
            faults=self.faults,
        )
        self._door = Door(
            me=self.me,
            admits=self.admits,
            is_member=self.reception.host.is_member,
            attempts=self._attempts,
            answer=self._start,
            refuse=self._start_refusal,
            glare_patience=_GLARE_PATIENCE * self.connect_deadline,
            faults=self.faults,
        )

        self._arrivals = Arrivals(
            key=self.key,
            room=self.room,
            post=self._post,
            attempts=self._attempts,
            open_offers=self.open_offers,
            door=self._door,
            on_presence=self.on_presence,
            on_refused=self.on_refused,
            on_knock=self._doubt_host,
            faults=self.faults,
        )

    async def run(self) -> None:
        try:
            # Attempts and the links they became live in this nursery; nothing outlives it.
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for carrier in self.carriers:
                    nursery.start_soon(self._arrivals.read, carrier)
                    if isinstance(carrier, Active):
                        nursery.start_soon(carrier.run)
                if self.in_band is not None:
                    nursery.start_soon(self._arrivals.read, self.in_band)
                nursery.start_soon(self._be_present)
                if self.open_offers is not None:
                    nursery.start_soon(self._offering(self.open_offers).run)
                if self.first is not None:
                    self._door.consider(self.first, None)
                await self._keep()
        finally:
            await self._post.be_absent()

    async def _keep(self) -> None:
        """Every tick: offers to whom we want, answers that had to wait."""
        in_places = not all(carrier.bare for carrier in self.carriers)
        while True:
            now = trio.current_time()
            by_name = in_places or (self.in_band is not None and self.in_band.reaches)
            wanted = {Identity(peer) for peer in self.wanted()} - {self.me} if by_name else set()
            for peer in sorted(wanted):
                busy = self._is_up(peer) or self._attempts.of(peer) is not None
                if not busy and self._not_before.get(peer, 0.0) <= now:
                    self._start(Attempt(peer, Role.OFFERER, now))
            for attempt in self._attempts:
                waiting = attempt.role is Role.OFFERER and not attempt.answered.is_set()
                if waiting and attempt.peer not in wanted:
                    attempt.scope.cancel()
            self._door.look_again()
            await trio.sleep(_TICK)

    async def _be_present(self) -> None:
        """Be the lobby's host when nobody is; in a task of its own, for a drive may be slow."""
        await trio.sleep(_LISTEN_FIRST)
        while True:
            if self.host():
                before = sum(self._is_up(peer) for peer in self._live if peer < self.me)
                await self._post.be_present(is_up=self._is_up, before=before)
            await trio.sleep(_LISTEN_FIRST)

    def _is_up(self, peer: Identity) -> bool:
        return any(not link.closed.is_set() for link in self._live.get(peer, ()))

    def _doubt_host(self) -> None:
        """Somebody knocks, perhaps at a host that was killed: an idle link would not show it for 30 s."""
        host = self._post.host.identity
        for link in self._live.get(host, ()) if host is not None else ():
            link.probe()

    # refusals

    def _start_refusal(self, offer: Offer, reason: Reason) -> bool:
        """Say no: it shows no address and takes no guest's place."""
        former = self._refusals.pop(offer.sender, None)
        if former is not None:
            former.cancel()
        if len(self._refusals) >= _MAX_REFUSALS:
            return False
        self._refusals[offer.sender] = scope = trio.CancelScope()
        self._nursery.start_soon(self._leave_refusal, offer, reason, scope)
        return True

    async def _leave_refusal(self, offer: Offer, reason: Reason, scope: trio.CancelScope) -> None:
        with scope:
            await self._maker.refuse(offer, reason)
        if self._refusals.get(offer.sender) is scope:
            del self._refusals[offer.sender]

    # attempts

    def _start(self, attempt: Attempt) -> None:
        if self._attempts.has_room():
            self._attempts.put(attempt)
            self._nursery.start_soon(self._run_attempt, attempt)

    async def _run_attempt(self, attempt: Attempt) -> None:
        try:
            with attempt.scope:
                async with self.rtc.connection(attempt.role) as connection:
                    attempt.moved = connection.moved.is_set
                    if attempt.role is Role.OFFERER:
                        link = await self._maker.offer(attempt, connection)
                    else:
                        link = await self._maker.answer(attempt, connection)
                    await self._post.take_back(attempt)
                    if link is not None:
                        await self._host_link(link, attempt)
        except* (ConnectFailed, ChannelClosed, SignalError) as failed:
            self._failures[attempt.peer] += 1
            self.faults["connect: failed"] += 1
            error = first_of(failed)
            logger.info("no link to %s: %s", attempt.peer.hex()[:8], error)
            offer = attempt.offer
            if offer is not None and (offer.recipient is None or attempt.answer is not None):
                self.on_failed(attempt.peer, offer, error)
        finally:
            if attempt.refused:
                self._failures[attempt.peer] += 1
            await self._post.take_back(attempt)
            self._end(attempt)

    def _offering(self, open_offers: OpenOffers) -> Offering:
        return Offering(
            rtc=self.rtc,
            carriers=self.carriers,
            me=self.me,
            maker=self._maker,
            post=self._post,
            offers=open_offers,
            in_band=self.in_band,
            attempts=self._attempts,
            wanted=self.wanted,
            host=self.host,
            is_up=self._is_up,
            host_link=self._host_link,
            end=self._end,
            answer_again=self._door.consider_again,
            on_failed=self.on_failed,
            faults=self.faults,
        )

    async def _host_link(self, link: Link, attempt: Attempt) -> None:
        self._failures.pop(attempt.peer, None)
        self._not_before.pop(attempt.peer, None)
        self._door.forget(attempt.peer)
        self._attempts.drop(attempt)  # from here on a newer offer does not cancel it
        living = self._live.setdefault(attempt.peer, set())
        living.add(link)
        logger.info("linked to %s", attempt.peer.hex()[:8])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                await self.links.send(link)
        except* trio.BrokenResourceError:
            logger.info("nobody takes new links any more")
        finally:
            living.discard(link)
            if not living:
                self._live.pop(attempt.peer, None)
            logger.info("link to %s ended: %s", attempt.peer.hex()[:8], link.reason)

    def _end(self, attempt: Attempt) -> None:
        if self._attempts.drop(attempt):
            wait = _RETRY[min(self._failures[attempt.peer], len(_RETRY) - 1)]
            _forget_past(self._not_before)
            self._not_before[attempt.peer] = trio.current_time() + wait


def _forget_past(times: dict[Identity, float]) -> None:
    now = trio.current_time()
    for peer in [peer for peer, when in times.items() if when <= now]:
        del times[peer]
