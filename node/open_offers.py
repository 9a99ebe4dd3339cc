"""Offers to whoever holds them: made when asked for, each good for one answer, by whatever way it comes.

The answer comes with the first STUN check, if the other end can reach us directly, or by a carrier. Both are
the same bytes under the same checks, and the first one counts.
"""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

from node.errors import ConnectFailed
from signaling.description import Answer, Identity, Offer, answer_hint, decode_answer, decode_ufrag, encode
from signaling.errors import Expired, NotForUs, Replayed, SignalError

_MAX_OPEN: Final = 4  # each holds a socket for every address of this machine
_MAX_PAST: Final = 256
_MAX_OUTDATED: Final = 16
_MAX_NAMES: Final = 64  # of those who knocked with an offer in hand

Welcome = Callable[[bytes, bool], bool]
"""(who answers, whether the offer invites newcomers): may it?"""


class Fate(Enum):
    """Why an offer is over."""

    USED = "used"
    """Somebody answered it."""
    EXPIRED = "expired"
    STALE = "stale"
    """The addresses that it names are this machine's no more."""
    WITHDRAWN = "withdrawn"
    """Another took its place, or nobody needs it."""


@dataclass(eq=False)
class OpenOffer:
    """A wish for one, then the offer, then the answer that was taken."""

    invites: bool
    offer: Offer | None = None
    answer: Answer | None = None
    failure: ConnectFailed | None = None
    made: trio.Event = field(default_factory=trio.Event)
    """`offer` is there, or `failure`."""
    answered: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    names: set[str] = field(default_factory=set)
    moved: Callable[[], bool] = lambda: False
    """Whether an address in it leads here no more."""
    stale: bool = False

    def fate(self) -> Fate:
        """Once it takes no answer any more."""
        if self.answer is not None:
            return Fate.USED
        if self.stale:
            return Fate.STALE
        # A second early is no other reason: the sleep until then may end a little before the clock says so.
        over = self.offer is not None and self.offer.expires <= time.time() + 1
        return Fate.EXPIRED if over else Fate.WITHDRAWN


@dataclass(frozen=True)
class _Past:
    """What stays of one; `answer`: the one that was taken, or b""."""

    offer: bytes
    answer: bytes
    invites: bool


class OpenOffers:
    """Those of one node. `wishes` are for who makes connections; answers come in by take() and hear()."""

    def __init__(
        self, *, welcome: Welcome, on_over: Callable[[OpenOffer], None], faults: Counter[str]
    ) -> None:
        """`on_over`: told of each offer once, as soon as it takes no answer any more."""
        self._welcome = welcome
        self._on_over = on_over
        self._faults = faults
        self._open: list[OpenOffer] = []
        self._past: OrderedDict[bytes, _Past] = OrderedDict()  # by the hint in answers to it
        self._outdated: deque[bytes] = deque(maxlen=_MAX_OUTDATED)
        self._wishes = trio.open_memory_channel[OpenOffer](_MAX_OPEN)

    def wishes(self) -> AsyncIterator[OpenOffer]:
        """What to make; end each with close()."""
        return self._wishes[1]

    def __bool__(self) -> bool:
        return bool(self._open)

    def __iter__(self) -> Iterator[OpenOffer]:
        return iter(list(self._open))

    async def open(self, *, invites: bool) -> OpenOffer:
        """One more, made when this returns; the oldest gives way when there are too many. ConnectFailed.

        Who is cancelled meanwhile leaves none behind.
        """
        while len(self._open) >= _MAX_OPEN:
            self._open[0].failure = ConnectFailed(
                f"At most {_MAX_OPEN} tokens can wait for somebody: the oldest does not any more.",
                "Who has it needs a new one: /invite.",
            )
            self.withdraw(self._open[0])
        wish = OpenOffer(invites=invites)
        self._open.append(wish)
        try:
            await self._wishes[0].send(wish)
            await wish.made.wait()
        except trio.Cancelled:
            self.withdraw(wish)
            raise
        if wish.failure is not None:
            raise wish.failure
        if wish.offer is None:
            raise ConnectFailed("The node is stopping.", "Start it again, then: /invite.")
        return wish

    async def renew(self, offer: bytes | None) -> OpenOffer:
        """A fresh one in the place of this one of ours (None: of the newest), open or over; ConnectFailed.

        SignalError where there is none, or somebody has answered it.
        """
        for former in reversed(self._open):
            if former.offer is not None and offer in (None, encode(former.offer)):
                self.withdraw(former)
                return await self.open(invites=former.invites)
        past = next((each for each in reversed(self._past.values()) if offer in (None, each.offer)), None)
        if past is None:
            raise NotForUs("There is no offer that could be renewed.", "/invite makes one.")
        if past.answer:
            raise Replayed("Somebody has answered this offer.", "/invite makes another one.")
        return await self.open(invites=past.invites)

    def withdraw(self, wish: OpenOffer) -> None:
        """Nobody needs it any more; one that was answered goes on."""
        if wish in self._open:
            self.close(wish)
            wish.scope.cancel()

    def close(self, wish: OpenOffer) -> None:
        """It takes no answer any more."""
        if wish not in self._open:
            return
        self._open.remove(wish)
        if wish.offer is not None:
            answer = b"" if wish.answer is None else encode(wish.answer)
            self._past[wish.offer.hash[:4]] = _Past(encode(wish.offer), answer, wish.invites)
            if len(self._past) > _MAX_PAST:
                self._past.popitem(last=False)
            self._on_over(wish)

    def take(self, data: bytes) -> None:
        """An answer that was carried; SignalError. One that came by another way and did its work is none."""
        hint = answer_hint(data)
        for wish in self._open:
            if wish.offer is not None and wish.offer.hash[:4] == hint:
                answer = decode_answer(data, offer=wish.offer, now=int(time.time()))
                self._check_welcome(answer)
                return self._accept(wish, answer)
        if hint not in self._past:
            raise NotForUs("This answer is to no offer of this node.", "Answer the token it shows now.")
        if self._past[hint].answer == data:
            return None
        if not self._past[hint].answer:
            newest = "Send them the token that is shown now." if self._open else "Make a new one: /invite."
            raise Expired("The offer that this answers is over.", newest)
        raise Replayed("Somebody else answered this offer before.", "Make a new one: /invite.")

    def outdate(self, answer: bytes) -> None:
        """An answer of ours, to somebody else's offer, names addresses that are this machine's no more."""
        self._outdated.append(answer)

    def is_outdated(self, answer: bytes) -> bool:
        return answer in self._outdated

    def hear(self, wish: OpenOffer, ufrag: str) -> bool:
        """Somebody who knows this offer checks our address: its name may be its answer. Whether it counts."""
        if wish.answer is not None:
            return wish.answer.transport.ufrag == ufrag
        if wish not in self._open or wish.offer is None or ufrag in wish.names:
            return False
        if len(wish.names) >= _MAX_NAMES:
            self._faults["signal: too many names at an offer"] += 1
            return False
        wish.names.add(ufrag)
        try:
            answer = decode_ufrag(ufrag, offer=wish.offer, now=int(time.time()))
            self._check_welcome(answer)
        except SignalError as error:
            self._faults[f"signal: {type(error).__name__} in a check"] += 1
            return False
        self._accept(wish, answer)
        return True

    def _check_welcome(self, answer: Answer) -> None:
        if not self._welcome(Identity(answer.sender), answer.offer.invites):
            raise NotForUs("This answer is from somebody who is not of this room.", "Invite them: /invite.")

    def _accept(self, wish: OpenOffer, answer: Answer) -> None:
        wish.answer = answer
        self.close(wish)
        wish.answered.set()
