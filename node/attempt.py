"""One try at one peer: its descriptions out, the other end's in, and a Link if both prove who they are."""

import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio
from nacl.signing import SigningKey

from node.errors import ConnectFailed, GaveUpFirst
from node.greet import greet
from node.link import Link
from node.open_offers import OpenOffer
from node.post import Post
from node.reception import Reception
from node.webrtc import Connection
from signaling.carrier import ParcelKind
from signaling.description import (
    SEED_BYTES,
    Answer,
    Identity,
    Offer,
    RoomId,
    encode,
    make_answer,
    make_offer,
)
from signaling.envelope import Envelope
from signaling.handshake import Role
from signaling.refusal import Reason, make_refusal

_RENEW_AT: Final = 0.8  # of an offer's life
_REFUSED_FOR: Final = 600.0  # seconds that a refusal lies there at most
_SOON: Final = 60.0  # seconds
_LOOK_AT_CLOCK: Final = 2.0
_MAX_ATTEMPTS: Final = 64
_MAX_GUEST_ATTEMPTS: Final = 24
_MAX_STRANGERS: Final = 12  # who are asked for a password, and may take minutes to type it


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What a newcomer shows with its offer: the grant, and the offer's hash signed with the secret's key."""

    grant: bytes
    proof: bytes


Introduce = Callable[[bytes], Introduction | None]


@dataclass(eq=False)
class Attempt:
    """`answer` is there once the peer accepted our offer; `answered` is set also when it refused."""

    peer: Identity
    role: Role
    began: float
    offer: Offer | None = None
    answer: Answer | None = None
    refused: bool = False
    answered: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    moved: Callable[[], bool] = lambda: False
    """Whether an address in our description leads here no more."""
    carried: Answer | None = None
    """Ours, while somebody may have to carry it."""


class Attempts:
    """Those under way, one a peer."""

    def __init__(self) -> None:
        self._by_peer: dict[Identity, Attempt] = {}

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._by_peer.values()))

    def of(self, peer: Identity) -> Attempt | None:
        return self._by_peer.get(peer)

    def has_room(self, *, guest: bool = False, invited: bool = True) -> bool:
        """Whether one more may begin: guests must not keep members out, nor strangers those invited."""
        if not guest:
            return len(self._by_peer) < _MAX_ATTEMPTS
        return len(self._by_peer) < (_MAX_GUEST_ATTEMPTS if invited else _MAX_STRANGERS)

    def put(self, attempt: Attempt) -> None:
        self._by_peer[attempt.peer] = attempt

    def drop(self, attempt: Attempt) -> bool:
        """Whether it was still the one at its peer."""
        mine = self._by_peer.get(attempt.peer) is attempt
        if mine:
            del self._by_peer[attempt.peer]
        return mine


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes links out of attempts; whatever it leaves with a carrier belongs to the attempt."""

    key: SigningKey
    room: RoomId
    post: Post
    introduce: Introduce | None
    offer_life: float
    connect_deadline: float
    reception: Reception
    faults: Counter[str]

    async def offer(self, attempt: Attempt, connection: Connection) -> Link | None:
        """Offer and wait for the answer; None when none came in time, or a refusal, or nobody could come by
        this offer any more. ConnectFailed."""
        attempt.offer = offer = self._make_offer(connection, recipient=attempt.peer)
        envelope = Envelope(encode(offer))
        introduction = self.introduce(offer.hash) if self.introduce is not None else None
        if introduction is not None:
            envelope = Envelope(encode(offer), introduction.grant, introduction.proof)
        connection.identify(offer.transport)
        await self.post.sweep(attempt.peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave, attempt, ParcelKind.OFFER, envelope, offer.expires)
            patience = self.offer_life * _RENEW_AT
            with trio.move_on_after(patience) as waiting:
                nursery.start_soon(_cancel_after, connection.moved, waiting)
                nursery.start_soon(_cancel_at, time.time() + patience, waiting)
                await attempt.answered.wait()
            nursery.cancel_scope.cancel()
        return None if attempt.answer is None else await self.connect(attempt, connection)

    async def open(self, wish: OpenOffer, connection: Connection, *, hear: Callable[[str], bool]) -> None:
        """Show an offer to whoever gets hold of it, until it is answered or over."""
        offer = self._make_offer(connection, recipient=None, invites=wish.invites)
        connection.identify(offer.transport, on_check=hear)
        wish.offer = offer
        wish.made.set()
        async with trio.open_nursery() as nursery:
            leave = partial(self.post.leave_bare, kind=ParcelKind.OFFER, expires=offer.expires, owner=wish)
            nursery.start_soon(leave, encode(offer))
            with trio.move_on_after(max(0.0, offer.expires - time.time())) as waiting:
                nursery.start_soon(_cancel_at, offer.expires, waiting)
                await wish.answered.wait()
            nursery.cancel_scope.cancel()

    async def connect(self, attempt: Attempt, connection: Connection) -> Link:
        """Our offer was answered: ConnectFailed."""
        assert attempt.offer is not None and attempt.answer is not None
        await connection.connect(attempt.answer.transport, deadline=self.connect_deadline)
        return await self._greet(attempt.offer, attempt.answer, connection)

    async def answer(self, attempt: Attempt, connection: Connection) -> Link:
        """Answer the attempt's offer; ConnectFailed."""
        offer = attempt.offer
        assert offer is not None
        answer = make_answer(
            key=self.key,
            offer=offer,
            issued=int(time.time()),
            fingerprint=connection.fingerprint,
            candidates=connection.local_candidates,
        )
        connection.identify(answer.transport)
        waiting = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            deadline = self.connect_deadline
            if offer.recipient is None:  # a person may have to carry the answer
                # However long it says it lives: each of its addresses is sent to as long as that.
                patience = max(0.0, min(offer.expires - time.time(), self.offer_life))
                deadline += patience
                until = min(offer.expires, math.ceil(time.time() + patience))
                leave = partial(self.post.leave_bare, kind=ParcelKind.ANSWER, expires=until, owner=attempt)
                nursery.start_soon(leave, encode(answer))
                nursery.start_soon(_cancel_at, until + self.connect_deadline + 1, waiting)
                attempt.carried = answer
            else:
                envelope = Envelope(encode(answer))
                nursery.start_soon(self._leave, attempt, ParcelKind.ANSWER, envelope, offer.expires)
            try:
                with waiting:
                    await connection.connect(offer.transport, deadline=deadline)
                if waiting.cancelled_caught:
                    raise ConnectFailed(
                        "The connection was not made: its time is over.", "Ask for a new token."
                    )
            except ConnectFailed as error:
                if connection.lost or offer.recipient is not None or offer.expires < time.time() + _SOON:
                    raise
                raise GaveUpFirst(error.message) from None
            attempt.carried = None
            nursery.cancel_scope.cancel()
        return await self._greet(offer, answer, connection)

    async def refuse(self, offer: Offer, reason: Reason) -> None:
        """Leave a refusal where the answer would be, as long as the offer lives."""
        owner = object()
        envelope = Envelope(make_refusal(key=self.key, offer=offer, reason=reason))
        try:
            with trio.move_on_after(max(0.0, min(_REFUSED_FOR, offer.expires - time.time()))):
                await self.post.leave(
                    envelope, kind=ParcelKind.ANSWER, to=offer.sender, expires=offer.expires, owner=owner
                )
                await trio.sleep_forever()
        finally:
            await self.post.take_back(owner)

    def _make_offer(
        self, connection: Connection, *, recipient: Identity | None, invites: bool = False
    ) -> Offer:
        return make_offer(
            key=self.key,
            room=self.room,
            recipient=recipient,
            seed=secrets.token_bytes(SEED_BYTES),
            issued=int(time.time()),
            life=self.offer_life,
            fingerprint=connection.fingerprint,
            candidates=connection.local_candidates,
            invites=invites,
            protected=invites and self.reception.host.password() is not None,
        )

    async def _greet(self, offer: Offer, answer: Answer, connection: Connection) -> Link:
        return await greet(
            connection,
            key=self.key,
            offer=offer,
            answer=answer,
            faults=self.faults,
            reception=self.reception,
        )

    async def _leave(self, attempt: Attempt, kind: ParcelKind, envelope: Envelope, expires: int) -> None:
        await self.post.leave(envelope, kind=kind, to=attempt.peer, expires=expires, owner=attempt)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _cancel_at(until: float, scope: trio.CancelScope) -> None:
    """`until`: Unix seconds. While a machine sleeps the clock of timeouts stands still, and offers expire."""
    while (left := until - time.time()) > 0:
        await trio.sleep(min(left, _LOOK_AT_CLOCK))
    scope.cancel()


def first_of(failed: BaseExceptionGroup[BaseException]) -> ConnectFailed:
    """What to tell of an attempt that ended so."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectFailed):
        return error
    return ConnectFailed(f"The connection was lost: {error}.", "Try again.")
