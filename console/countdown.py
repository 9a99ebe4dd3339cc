"""How long what waits to be carried is still good: said where somebody looks, and renewed with one key.

On a terminal the time stands in the last row, in minutes and towards the end in seconds. On one that cannot
do that (TERM=dumb, NO_COLOR) it is a line at a few moments. Elsewhere nothing is said: tokens have an expiry.
"""

import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from console.out import Out

_SECONDS_BELOW: Final = 120.0  # from here on seconds are counted
_NEARLY: Final = 0.2  # of a short life, likewise
_MOMENTS: Final = (3600.0, 600.0, 120.0, 30.0)  # seconds left at which a line is worth it
_LOOK: Final = 2.0  # seconds until the terminal's size is looked at again
_SETTLE: Final = 0.2
_GOODBYE: Final = 0.5
_MAX_KEPT: Final = 16

OFFER: Final = "Offer for one person"
RECONNECT: Final = "Offer to a member"
ANSWER: Final = "Answer to send back"

_KEY: Final = "Enter: a new one"
_NO_KEY: Final = "`pigeon invite`: a new one"


@dataclass(kw_only=True)
class _Waiting:
    """One token that was shown. `is_over`: it expired or leads nowhere, and a new one is to be had."""

    what: str
    expires: float  # Unix seconds
    nearly: float  # seconds left from which on it is worth renewing
    said: float  # seconds left when that was said last
    is_over: bool = False


class Countdown:
    """The tokens of one screen."""

    def __init__(self, out: Out, *, clock: Callable[[], float] = time.time) -> None:
        self._out = out
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._typed = False
        self._news = trio.Event()

    def add(self, token: str, *, what: str, expires: float) -> None:
        """It was shown just now. `expires`: Unix seconds."""
        left = expires - self._clock()
        if token not in self._waiting:
            for each in [each for each, waiting in self._waiting.items() if waiting.is_over]:
                del self._waiting[each]  # there is a newer one now
            if len(self._waiting) >= _MAX_KEPT:
                del self._waiting[next(iter(self._waiting))]
            nearly = min(_SECONDS_BELOW, _NEARLY * left)
            self._waiting[token] = _Waiting(what=what, expires=expires, nearly=nearly, said=left)
            self._changed()

    def over(self, token: str, *, reason: str) -> None:
        """It is of no use any more; `reason` as in OverEvent."""
        waiting = self._waiting.get(token)
        if waiting is None:
            return
        if reason in ("expired", "stale") and waiting.what != ANSWER:
            waiting.is_over = True
        else:
            del self._waiting[token]
        self._changed()

    def linked(self) -> None:
        """Somebody is there: what is over may have been for them."""
        for token in [token for token, waiting in self._waiting.items() if waiting.is_over]:
            del self._waiting[token]
        self._changed()

    @property
    def renewable(self) -> str | None:
        """The offer that a key renews, where that was said: one that is over, or nearly."""
        return self._old() if self._typed else None

    def _old(self) -> str | None:
        now = self._clock()
        old = [
            token
            for token, waiting in self._waiting.items()
            if waiting.what != ANSWER and (waiting.is_over or waiting.expires - now <= waiting.nearly)
        ]
        return old[-1] if old else None

    def text(self) -> str:
        """What stands on the terminal; empty when nothing waits."""
        now = self._clock()
        alive = [each for each in self._waiting.values() if not each.is_over and each.expires > now]
        if not alive:
            offers = [each for each in self._waiting.values() if each.what != ANSWER]
            return f"The offer is over. {self._how}" if offers else ""
        first = min(alive, key=lambda each: each.expires)
        text = f"{first.what}: {left_in_words(first.expires - now)} left"
        if len(alive) > 1:
            text += f" (of {len(alive)} the first to go)"
        return f"{text}. {self._how}" if self._old() else text

    @property
    def _how(self) -> str:
        return _KEY if self._typed else _NO_KEY

    async def run(self, *, typed: bool) -> None:
        """Until cancelled. `typed`: there is a chat line, whose Enter renews."""
        if not self._out.counts:
            return
        self._typed = typed
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._count)
                if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
                    nursery.start_soon(self._make_way)
        finally:
            with trio.move_on_after(_GOODBYE, shield=True), suppress(OSError):  # it may be gone
                await self._out.standing("")

    async def _count(self) -> None:
        while True:
            self._news = news = trio.Event()
            if not self.text():  # a new one may come at once, and the row should not come and go
                with trio.move_on_after(_SETTLE):
                    await news.wait()
            text = self.text()
            stands = await self._out.standing(text)
            if not stands:
                await self._say()
            with trio.move_on_after(min(self._until_next(), _LOOK if stands and text else math.inf)):
                await news.wait()

    def _until_next(self) -> float:
        """Seconds until the text is another one."""
        now = self._clock()
        left = [each.expires - now for each in self._waiting.values() if not each.is_over]
        ahead = [each for each in left if each > 0]
        return min((until_change(each) for each in ahead), default=math.inf)

    async def _say(self) -> None:
        """Where no line can stand: what has come nearer since it was said last."""
        for waiting in list(self._waiting.values()):
            left = waiting.expires - self._clock()
            if waiting.is_over or left <= 0:
                if waiting.said > 0 and waiting.what != ANSWER and self._typed:
                    await self._out.note("· The offer is over; press Enter for a new one.")
                waiting.said = 0
            elif passed := [each for each in _MOMENTS if left <= each < waiting.said]:
                waiting.said = min(passed)
                end = " Enter makes a new one." if self._typed and left <= waiting.nearly + 1 else ""
                await self._out.note(f"· {waiting.what}: {left_in_words(left)} left.{end}")

    async def _make_way(self) -> None:
        """Ctrl-Z: the shell gets its whole terminal back for as long as we are stopped."""
        while True:
            with trio.open_signal_receiver(signal.SIGTSTP) as signals:
                await anext(signals)
                await self._out.standing("")
            os.kill(os.getpid(), signal.SIGTSTP)  # now with what it does by default
            self._changed()

    def _changed(self) -> None:
        self._news.set()


def left_in_words(seconds: float) -> str:
    """How long that is: `1 h 05 min`, `9 min`, `1:05`."""
    if seconds > _SECONDS_BELOW:
        minutes = math.ceil(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
    whole = max(0, math.ceil(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def until_change(left: float) -> float:
    """Seconds until left_in_words says something else; `left` is more than 0."""
    step = 60.0 if left > _SECONDS_BELOW else 1.0
    rest = left % step or step
    return max(0.01, min(rest, left - _SECONDS_BELOW) if left > _SECONDS_BELOW else rest)
