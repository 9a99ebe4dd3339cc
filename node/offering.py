"""Offers to whoever holds them, served: shown when somebody wishes for one, and linked by once answered."""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from node.attempt import Attempt, Attempts, Maker, first_of
from node.errors import ConnectFailed
from node.introduce import InBand
from node.link import ChannelClosed, Link
from node.open_offers import OpenOffer, OpenOffers
from node.post import Post
from node.webrtc import Rtc
from signaling.carrier import Carrier, Hands, shows_by_itself
from signaling.description import Identity, Offer, encode
from signaling.errors import SignalError
from signaling.handshake import Role

logger = logging.getLogger(__name__)

_LOOK: Final = 1.0
_INTRODUCED: Final = 10.0  # seconds that linked members have to introduce us
_LOOK_AT_ADDRESSES: Final = 2.0
_TICK: Final = 0.25
_GLARE_PATIENCE: Final = 5.0  # seconds for a link by their token, when both sides brought the other's


@dataclass(kw_only=True)
class Offering:
    """For the arguments see node/connect.py, whose nursery this runs in, with its attempts and its links."""

    rtc: Rtc
    carriers: Sequence[Carrier]
    me: Identity
    maker: Maker
    post: Post
    offers: OpenOffers
    in_band: InBand | None
    attempts: Attempts
    wanted: Callable[[], Collection[bytes]]
    host: Callable[[], bool]
    is_up: Callable[[Identity], bool]
    host_link: Callable[[Link, Attempt], Awaitable[None]]
    end: Callable[[Attempt], None]
    answer_again: Callable[[Offer], None]
    on_failed: Callable[[bytes | None, Offer, ConnectFailed], None]
    faults: Counter[str]

    def __post_init__(self) -> None:
        self._told: set[bytes] = set()  # for whom an offer was shown

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_one)
            nursery.start_soon(self._give_up_moved)
            async for wish in self.offers.wishes():
                nursery.start_soon(self._serve, wish)

    async def _keep_one(self) -> None:
        """Where carriers know nobody by name: an offer for whoever of the room gets it, while somebody lacks.

        Machines look again and again; a person is not shown the same twice, nor asked to carry what those
        who are linked may carry in a moment.
        """
        by_machine = any(map(shows_by_itself, self.carriers))
        by_hand = bool(self.carriers) and all(isinstance(carrier, Hands) for carrier in self.carriers)
        kept: OpenOffer | None = None
        since: dict[bytes, float] = {}
        while by_machine or by_hand:
            await trio.sleep(_LOOK)
            lacking = set(self.wanted()) if self.host() else set()
            self._told &= lacking
            if not lacking and kept is not None:
                self.offers.withdraw(kept)
            now = trio.current_time()
            since = {peer: since.get(peer, now) for peer in lacking}
            if not by_machine:
                patience = _INTRODUCED if self.in_band is not None and self.in_band.reaches else 0.0
                lacking = {peer for peer, when in since.items() if now - when >= patience}
            if self.offers or not lacking - (set() if by_machine else self._told):
                continue
            try:
                kept = await self.offers.open(invites=False)
                self._told |= lacking
            except ConnectFailed as error:
                logger.info("no open offer: %s", error)

    async def _give_up_moved(self) -> None:
        """Offers and answers name addresses: once this machine has none of them, nobody comes by them."""
        while True:
            await trio.sleep(_LOOK_AT_ADDRESSES)
            for wish in self.offers:
                shown = wish.offer.candidates if wish.offer is not None else ()
                if wish.moved() or self.rtc.has_moved(shown):
                    wish.stale = True
                    wish.failure = ConnectFailed(
                        "This machine has another address now: a token shown before leads nowhere.",
                        "/invite makes a new one.",
                    )
                    self.offers.withdraw(wish)
                    self._told.clear()
            for attempt in self.attempts:  # an offer to somebody by name is made anew at once
                waits = attempt.role is Role.OFFERER and not attempt.answered.is_set()
                ours = attempt.offer if waits else attempt.carried
                if ours is not None and (attempt.moved() or self.rtc.has_moved(ours.candidates)):
                    if attempt.carried is None:
                        attempt.scope.cancel()
                    elif attempt.offer is not None and attempt.offer.expires > time.time():
                        self.offers.outdate(encode(attempt.carried))
                        self.answer_again(attempt.offer)  # it may still take another one

    async def _serve(self, wish: OpenOffer) -> None:
        attempt: Attempt | None = None
        try:
            with wish.scope:
                async with self.rtc.connection(Role.OFFERER) as connection:
                    wish.moved = connection.moved.is_set
                    await self.maker.open(wish, connection, hear=partial(self.offers.hear, wish))
                    await self.post.take_back(wish)
                    if wish.answer is None:
                        raise ConnectFailed("A token was not used in time.", "/invite makes a new one.")
                    attempt = Attempt(wish.answer.sender, Role.OFFERER, trio.current_time(), wish.offer)
                    attempt.answer = wish.answer
                    attempt.answered.set()
                    if await self._takes_over(attempt):
                        with attempt.scope:
                            await self.host_link(await self.maker.connect(attempt, connection), attempt)
            if wish.failure is not None:  # it had to give way
                raise wish.failure
        except* (ConnectFailed, ChannelClosed, SignalError) as failed:
            self.faults["connect: failed"] += 1
            error = first_of(failed)
            logger.info("no link by an open offer: %s", error)
            wish.failure = error
            if wish.offer is not None:
                self.on_failed(None if attempt is None else attempt.peer, wish.offer, error)
        finally:
            wish.made.set()
            await self.post.take_back(wish)
            self.offers.close(wish)
            if attempt is not None:
                self.end(attempt)

    async def _takes_over(self, attempt: Attempt) -> bool:
        """Put it in the place of the one at the same peer, which ends; False if that made a link meanwhile.

        Both sides may have brought the other's token at once. Then the lower identity's offer stands, and
        the higher one gives it a while: if each took the answer to its own, nobody would be at the other end.
        """
        former = self.attempts.of(attempt.peer)
        if former is not None and former.role is Role.ANSWERER and self.me > attempt.peer:
            with trio.move_on_after(_GLARE_PATIENCE):
                while self.attempts.of(attempt.peer) is former:
                    await trio.sleep(_TICK)
                if self.is_up(attempt.peer):
                    return False
            former = self.attempts.of(attempt.peer)
        if former is not None:
            former.scope.cancel()
        self.attempts.put(attempt)
        return True
