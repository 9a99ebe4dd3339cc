"""From "I want to be linked with X in this room" to an authenticated Link, through any carriers.

One attempt a peer at a time, offering or answering. When both offer, the lower identity's offer stands. A
newer offer of a peer takes the place of the attempt at an older one: it may have been killed and have come
back. Whatever a carrier brings is verified here before anything is done for it, and is never more than a
counted fault.
"""

import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import trio
from nacl.signing import SigningKey

from node.attempt import Attempt, Attempts, Introduce, Introduction, Maker
from node.door import Admits, Door, remember
from node.errors import ConnectFailed
from node.link import ChannelClosed, Link
from node.post import OnCarrier, Post
from node.webrtc import CONNECT_DEADLINE, Rtc
from signaling.carrier import Carrier, Parcel, ParcelKind
from signaling.description import (
    Identity,
    Offer,
    RoomId,
    answer_session,
    decode_answer,
    decode_offer,
)
from signaling.envelope import (
    Envelope,
    open_envelope,
    open_presence,
    parcel_key,
)
from signaling.errors import Expired, NotForUs, SignalError
from signaling.handshake import Role
from signaling.refusal import Reason, decode_refusal, refused_session

logger = logging.getLogger(__name__)

OFFER_LIFE: Final = 600.0
_TICK: Final = 0.25
_MAX_REFUSALS: Final = 16
_MAX_LOGGED: Final = 32
_GLARE_PATIENCE: Final = (
    1.25  # connect deadlines: by then the peer has given up an offer of ours it found dead
)
_RETRY: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after so many failures in a row
_LISTEN_FIRST: Final = 1.0  # before we call ourselves the lobby's host


Wanted = Callable[[], Collection[bytes]]
OnRefused = Callable[[bytes, Reason], None]


async def rendezvous(
    *,
    rtc: Rtc,
    carriers: Sequence[Carrier],
    identity: SigningKey,
    room: bytes,
    wanted: Wanted,
    admits: Admits,
    links: "trio.MemorySendChannel[Link]",
    introduce: Introduce | None = None,
    on_presence: Callable[[bytes], None] | None = None,
    on_refused: OnRefused | None = None,
    on_carrier: OnCarrier = lambda _spec, _error: None,
    host: Callable[[], bool] = lambda: True,
    offer_life: float = OFFER_LIFE,
    connect_deadline: float = CONNECT_DEADLINE,
    faults: Counter[str] | None = None,
) -> None:
    """Run until cancelled; every link made comes out of `links` and lives in here: cancelling cuts them all.

    - wanted(): identities we want a link with and have none; asked every 0.25 s.
    - admits(sender, introduction, offer_hash): may it be answered? While not, asked again every second while
      its offer lives; a Reason means never, and the sender is told so instead. It sees what a stranger wrote:
      it answers False to bad bytes, and must not raise.
    - introduce(offer_hash): a newcomer's introduction; None for members.
    - on_presence(identity): somebody says in the lobby that it may be asked.
    - on_refused(identity, reason): a peer says that it will not answer our offer.
    - on_carrier(spec, error): a carrier took something from us (None), or why it did not.
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
        introduce=introduce,
        on_presence=on_presence,
        on_refused=on_refused,
        on_carrier=on_carrier,
        host=host,
        offer_life=offer_life,
        connect_deadline=connect_deadline,
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
    faults: Counter[str]

    def __post_init__(self) -> None:
        self.me = Identity(bytes(self.key.verify_key))
        self._attempts = Attempts()
        self._live: dict[Identity, set[Link]] = {}
        self._known: OrderedDict[int, None] = OrderedDict()  # parcels looked at
        self._failures: Counter[Identity] = Counter()
        self._not_before: dict[Identity, float] = {}
        self._refusals: dict[Identity, trio.CancelScope] = {}
        self._logged = 0
        self._post = Post(
            self.carriers,
            key=self.key,
            room=self.room,
            host_life=math.ceil(self.offer_life),
            on_carrier=self.on_carrier,
            faults=self.faults,
        )
        self._maker = Maker(
            key=self.key,
            room=self.room,
            post=self._post,
            introduce=self.introduce,
            offer_life=self.offer_life,
            connect_deadline=self.connect_deadline,
            faults=self.faults,
        )
        self._door = Door(
            me=self.me,
            admits=self.admits,
            attempts=self._attempts,
            answer=self._start,
            refuse=self._start_refusal,
            glare_patience=_GLARE_PATIENCE * self.connect_deadline,
            faults=self.faults,
        )

    async def run(self) -> None:
        try:
            # Attempts and the links they became live in this nursery; nothing outlives it.
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for carrier in self.carriers:
                    nursery.start_soon(self._read, carrier)
                nursery.start_soon(self._be_present)
                await self._keep()
        finally:
            await self._post.be_absent()

    async def _keep(self) -> None:
        """Every tick: offers to whom we want, answers that had to wait."""
        while True:
            now = trio.current_time()
            wanted = {Identity(peer) for peer in self.wanted()} - {self.me}
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

    # what comes in

    async def _read(self, carrier: Carrier) -> None:
        async for parcel in carrier.parcels():
            digest = hash((parcel.kind, parcel.key, parcel.payload))
            if digest in self._known:
                self._known.move_to_end(digest)
                continue
            remember(self._known, digest, None)
            try:
                self._take(parcel)
            except NotForUs:  # most of what is in a lobby is for others
                if parcel.kind is ParcelKind.OFFER:
                    self._doubt_host()
            except Expired:
                self.faults["signal: expired"] += 1
            except SignalError as error:
                self.faults[f"signal: {type(error).__name__}"] += 1
                self._logged += 1
                if self._logged <= _MAX_LOGGED:
                    kind, where = parcel.kind.value, parcel.key.hex()[:12]
                    logger.warning("a bad %s in %s, %s: %s", kind, carrier.spec, where, error.message)

    def _doubt_host(self) -> None:
        """Somebody knocks, perhaps at a host that was killed: an idle link would not show it for 30 s."""
        host = self._post.host.identity
        for link in self._live.get(host, ()) if host is not None else ():
            link.probe()

    def _take(self, parcel: Parcel) -> None:
        now = int(time.time())
        if parcel.kind is ParcelKind.PRESENCE:
            presence = open_presence(parcel.payload, room=self.room, now=now)
            self._post.host.saw(presence)
            if presence.sender != self.me and self.on_presence is not None:
                self.on_presence(presence.sender)
            return
        if self._post.is_ours(parcel.key):
            return
        envelope = open_envelope(parcel.payload, key=self.key)
        if parcel.kind is ParcelKind.ANSWER:
            self._take_answer(envelope, now=now)
            return
        offer = decode_offer(envelope.description, room=self.room, me=self.me, now=now)
        place = parcel_key(ParcelKind.OFFER, room=self.room, sender=offer.sender, recipient=self.me)
        if parcel.key != place or offer.recipient is None:
            raise SignalError("An offer lies where it does not belong.")
        introduction = None
        if envelope.grant or envelope.proof:
            introduction = Introduction(grant=envelope.grant, proof=envelope.proof)
        self._door.consider(offer, introduction)

    def _take_answer(self, envelope: Envelope, *, now: int) -> None:
        refused = refused_session(envelope.description)
        session = refused or answer_session(envelope.description)
        for attempt in self._attempts:
            if attempt.offer is None or attempt.offer.session != session:
                continue
            if attempt.role is not Role.OFFERER or attempt.answered.is_set():
                return
            if refused is None:
                attempt.answer = decode_answer(envelope.description, offer=attempt.offer, now=now)
            else:
                reason = decode_refusal(envelope.description, offer=attempt.offer)
                attempt.refused = True
                if self.on_refused is not None:
                    self.on_refused(attempt.peer, reason)
            attempt.answered.set()
            return
        # To an offer of a former life, or one withdrawn since.

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
            logger.info("no link to %s: %s", attempt.peer.hex()[:8], "; ".join(map(str, failed.exceptions)))
        finally:
            if attempt.refused:
                self._failures[attempt.peer] += 1
            await self._post.take_back(attempt)
            self._end(attempt)

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
