"""One subscription to a hub, kept: dialled again when it ends, falls silent, or the machine has slept."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

import trio

from signaling.errors import CarrierError
from signaling.event_stream import Event, EventStream
from signaling.hub_client import HubAway, HubClient
from signaling.hub_pace import PAUSE_IF_ASKED, Budget, pause

_WATCH: Final = 1.0
_SLEPT: Final = 5.0  # seconds by which the day's clock has run ahead of ours
_ECHO: Final = 5.0  # seconds until what we said has come back to us
_YOUNG: Final = 10.0  # seconds; a stream that ends before was no good
_DOUBT: Final = 60.0  # seconds between two streams given up because nothing came back
_NO_GOOD: Final = 3  # of them in a row are a trouble
_DIAL: Final = 20.0
_MAX_ECHOES: Final = 256


class HubLine:
    """`up`: we are subscribed, as far as anybody can tell."""

    def __init__(
        self,
        client: HubClient,
        *,
        on_up: Callable[[], None],
        hear: Callable[[Event], None],
        tell: Callable[[CarrierError | None], None],
        faults: Counter[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """tell(error): the hub cannot be used, or (None) can be; `clock`: the day's, Unix seconds."""
        self._client = client
        self._on_up, self._hear, self._tell = on_up, hear, tell
        self._faults = faults
        self._clock = clock
        self.up = False
        self._since = -math.inf  # when the present or last stream began
        self._trouble: CarrierError | None = None
        self._failures = 0  # in a row
        self._short = 0  # streams in a row that were no good
        self._is_told = False  # that it works
        self._outcome = trio.Event()  # of the dial that comes
        self._asked = trio.Event()
        self._stream = trio.CancelScope()
        self._echoes: OrderedDict[int, float] = OrderedDict()
        self._doubted = -math.inf

    async def wait_up(self) -> None:
        """Until we are subscribed; HubAway or the like when the next dial fails too."""
        await trio.lowlevel.checkpoint()
        if self.up:
            return
        outcome = self._outcome
        self._asked.set()
        with trio.move_on_after(_DIAL):
            await outcome.wait()
        if not self.up:
            raise self._trouble or HubAway()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            try:
                await self._keep()
            finally:
                self.up = False

    # What we say comes back to us, or nothing does

    def saying(self, digest: int) -> None:
        """We are about to say this."""
        self._echoes[digest] = math.inf
        if len(self._echoes) > _MAX_ECHOES:
            self._echoes.popitem(last=False)

    def said(self, digest: int, *, well: bool) -> None:
        """The hub took it, or did not."""
        if digest in self._echoes:
            self._echoes[digest] = trio.current_time() + _ECHO
            if not well:
                del self._echoes[digest]

    def heard(self, digest: int) -> None:
        """This came."""
        self._echoes.pop(digest, None)

    # The stream

    async def _keep(self) -> None:
        last_id = ""
        while True:
            stream = EventStream(last_id=last_id)
            trouble = await self._listen(stream)
            last_id = stream.last_id
            self._faults["hub: event too large"] += stream.oversize
            was_good = self.up and (self._stream.cancel_called or self._age() > _YOUNG)
            if was_good:
                self._failures = self._short = 0
            else:
                self._failures, self._short = self._failures + 1, self._short + self.up
            self.up = False
            # Proxies end streams now and then: that is a trouble only if the next one does not begin either.
            if trouble is None and self._short >= _NO_GOOD:
                trouble = HubAway("The hub ends every connection at once.")
            if trouble is not None:
                self._trouble = trouble
                self._tell(trouble)
                self._outcome.set()
                self._outcome = trio.Event()
            await self._rest(trouble.wait if isinstance(trouble, HubAway) else 0.0)

    async def _listen(self, stream: EventStream) -> CarrierError | None:
        """One stream from its beginning to its end; why it never began, if it did not."""
        self._stream = trio.CancelScope()
        budget = Budget(now=trio.current_time())
        try:
            with self._stream:
                async with self._client.listen(last_id=stream.last_id) as chunks:
                    self._begin()
                    async for chunk in chunks:
                        for event in stream.feed(chunk):
                            self._hear(event)
                        wait = budget.spend(chunk, now=trio.current_time())
                        if wait:
                            self._faults["hub: flood"] += 1
                            await trio.sleep(wait)
        except CarrierError as error:
            return None if self.up else error
        return None

    def _begin(self) -> None:
        self.up, self._since = True, trio.current_time()
        self._asked = trio.Event()
        self._echoes.clear()
        self._is_told = self._short < _NO_GOOD
        if self._is_told:
            self._tell(None)
        self._outcome.set()
        self._outcome = trio.Event()
        self._on_up()

    async def _rest(self, at_least: float) -> None:
        """Before the next dial: longer each time, and not as long when somebody waits for it."""
        if not self._failures:
            return
        wait = pause(self._failures)
        certain = max(at_least, min(wait, PAUSE_IF_ASKED))
        await trio.sleep(certain)
        with trio.move_on_after(max(0.0, wait - certain)):
            await self._asked.wait()
        self._asked = trio.Event()

    async def _watch(self) -> None:
        day, ours = self._clock(), trio.current_time()
        while True:
            await trio.sleep(_WATCH)
            ran = trio.current_time() - ours
            slept = self._clock() - day - ran > _SLEPT
            day, ours = self._clock(), ours + ran
            if slept:
                self._failures = 0
                self._asked.set()
            if slept or self._is_deaf():
                self._stream.cancel()
            elif self.up and not self._is_told and self._age() > _YOUNG:
                self._is_told = True
                self._tell(None)

    def _is_deaf(self) -> bool:
        """Whether what we said is overdue. Some hubs hand on to a few only, so this is not asked often."""
        now = trio.current_time()
        overdue = min(self._echoes.values(), default=math.inf) < now
        if not self.up or not overdue or now - self._doubted < _DOUBT:
            return False
        self._doubted = now
        return True

    def _age(self) -> float:
        return trio.current_time() - self._since
