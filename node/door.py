"""Good offers made to us: each is answered once, now or as soon as it may be, or refused."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from node.attempt import Attempt, Attempts, Introduction
from signaling.description import Identity, Offer, Session
from signaling.handshake import Role
from signaling.refusal import Reason

_K = TypeVar("_K")
_V = TypeVar("_V")

_MAX_DEFERRED: Final = 256
MAX_REMEMBERED: Final = 8192
_ANSWER_EVERY: Final = 0.5  # seconds between answers to one sender
_ADMISSION_RETRY: Final = 1.0  # an ADMIT may be on its way to us
_LOOK_AGAIN: Final = 0.25

Admits = Callable[[bytes, Introduction | None, bytes], bool | Reason]


@dataclass
class _Deferred:
    """A good offer that cannot be answered now."""

    offer: Offer
    introduction: Introduction | None
    not_before: float


class Door:
    """Decides only: `answer` starts the attempt, `refuse` leaves the refusal (False: no room for it now)."""

    def __init__(
        self,
        *,
        me: Identity,
        admits: Admits,
        is_member: Callable[[bytes], bool],
        attempts: Attempts,
        answer: Callable[[Attempt], None],
        refuse: Callable[[Offer, Reason], bool],
        glare_patience: float,
        faults: Counter[str],
    ) -> None:
        self._me = me
        self._admits = admits
        self._is_member = is_member
        self._attempts = attempts
        self._answer = answer
        self._refuse = refuse
        self._glare_patience = glare_patience
        self._faults = faults
        self._deferred: OrderedDict[Identity, _Deferred] = OrderedDict()
        self._sessions: OrderedDict[Session, None] = OrderedDict()  # of offers answered
        self._answered_at: OrderedDict[Identity, float] = OrderedDict()

    def look_again(self) -> None:
        """Whether what had to wait may be answered by now."""
        now = trio.current_time()
        for deferred in list(self._deferred.values()):
            if deferred.not_before <= now:
                self.consider(deferred.offer, deferred.introduction)

    def forget(self, peer: Identity) -> None:
        """We are linked: what of its offers still waits is older than that."""
        self._deferred.pop(peer, None)

    def consider_again(self, offer: Offer) -> None:
        """Our answer to this one leads nowhere any more: it takes another."""
        self._sessions.pop(offer.session, None)
        self.consider(offer, None)

    def consider(self, offer: Offer, introduction: Introduction | None) -> None:
        """Answer the offer now, or keep it for later, or refuse or drop it."""
        peer, now = offer.sender, trio.current_time()
        waiting = self._deferred.pop(peer, None)
        if waiting is not None and waiting.offer.issued > offer.issued:
            offer, introduction = waiting.offer, waiting.introduction
        if peer == self._me or offer.session in self._sessions:
            return
        if offer.expires <= time.time():
            self._faults["signal: expired"] += 1
            return
        admitted = self._admits(peer, introduction, offer.hash)
        wait = 0.0
        if isinstance(admitted, Reason):
            if self._refuse(offer, admitted):
                self._faults[f"signal: refused, {admitted.name.lower()}"] += 1
                remember(self._sessions, offer.session, None)
                return
            wait = _ADMISSION_RETRY
        elif not admitted:
            self._faults["signal: not admitted"] += waiting is None
            wait = _ADMISSION_RETRY
        elif not self._yields_to(offer, now):
            wait = _LOOK_AGAIN
        elif now < self._answered_at.get(peer, -math.inf) + _ANSWER_EVERY:
            wait = _ANSWER_EVERY
        elif self._attempts.of(peer) is None and not self._attempts.has_room(
            guest=introduction is not None or not self._is_member(peer), invited=introduction is not None
        ):
            self._faults["signal: too many attempts"] += 1
            wait = _ADMISSION_RETRY
        if wait:
            deferred = _Deferred(offer, introduction, now + wait)
            remember(self._deferred, peer, deferred, limit=_MAX_DEFERRED)
            return
        former = self._attempts.of(peer)
        if former is not None:
            self._attempts.drop(former)
            former.scope.cancel()
        remember(self._sessions, offer.session, None)
        remember(self._answered_at, peer, now)
        self._answer(Attempt(peer, Role.ANSWERER, now, offer))

    def _yields_to(self, offer: Offer, now: float) -> bool:
        """Whether our present attempt at this peer, if any, gives way to its offer."""
        attempt = self._attempts.of(offer.sender)
        if attempt is None:
            return True
        if attempt.role is Role.ANSWERER:
            return attempt.offer is None or offer.issued >= attempt.offer.issued
        if attempt.answer is not None:
            return offer.issued > attempt.answer.issued  # it answered, died, and is back
        return self._me > offer.sender or now - attempt.began > self._glare_patience


def remember(table: "OrderedDict[_K, _V]", key: _K, value: _V, *, limit: int = MAX_REMEMBERED) -> None:
    """Keep the newest `limit` entries."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > limit:
        table.popitem(last=False)
