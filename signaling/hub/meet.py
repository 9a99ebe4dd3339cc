"""`POST /v1/meet`: two strangers in one namespace are handed each other's signals, in the fewest round trips.

The first one's request is held; the second is demoted and answers; both requests then return. The rules stand
in meet_queue.py; here are waiting, limits, and the words. Between the steps on one queue other hubs may take
theirs: whoever finds it changed looks again.
"""

import math
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar, assert_never

import msgspec
import trio

from signaling.hub.counts import Counts
from signaling.hub.http import JSON, Request, Response
from signaling.hub.meet_openapi import OPERATION
from signaling.hub.meet_queue import (
    Answered,
    Arrival,
    Demote,
    Queue,
    Reply,
    Signal,
    Step,
    Waiting,
    arrive,
    decode_queue,
    encode_queue,
    free_again,
    leave,
    pair_name,
    pairs_to_ask,
    take,
    until_of,
)
from signaling.hub.meet_request import BOUNCE, Ask, Wrong, read_ask
from signaling.hub.meet_store import MAX_QUEUE, Held, Holder
from signaling.hub.routes import Route
from signaling.hub.settings import HubSettings
from signaling.hub.store import StoreAway, Stores

T = TypeVar("T")

TOO_FAST: Final = 297
ELSEWHERE: Final = 298
NOBODY: Final = 299
MISSING: Final = 499

_LEASE: Final = 2.0  # seconds by which a hub that was killed outlives the requests it held
_IN_FLIGHT: Final = 1.0  # seconds in which a reply that was handed over arrives
_REQUESTS_AT_ONCE: Final = 2.0  # who is demoted answers at once
_TRIES: Final = 64  # of one step on a queue that others change
_BUSY: Final = "Too many wait in this namespace just now. Try again in a few seconds."
_LEAVING: Final = 2.0


class Meet:
    """A Service of the hub."""

    def __init__(self, stores: Stores, settings: HubSettings, counts: Counts) -> None:
        self._store = stores.meet
        self._rates = stores.rates
        self._settings = settings
        self._held = 0
        counts.gauge("meet_held", "Requests to meet that are held.", lambda: self._held)
        self._turns: dict[str, trio.Lock] = {}  # of the queues that are worked on just now

    @property
    def routes(self) -> Sequence[Route]:
        return (
            Route(
                method="POST",
                path="/v1/meet",
                name="meet",
                handler=self.meet,
                operation=OPERATION,
                held=True,
            ),
        )

    async def run(self) -> None:
        """Forget what is over, every now and then."""
        while True:
            await trio.sleep(self._settings.meet_sweep)
            try:
                await self._store.sweep()
            except StoreAway:
                continue  # it says so itself, to those who ask for something

    async def meet(self, request: Request) -> Response:
        """Bring who asks together with somebody, or say after a while that there is nobody."""
        ask = read_ask(request, max_signal=self._settings.meet_signal)
        if isinstance(ask, Wrong):
            if not ask.parameter:
                return _say(400, ask.sentence)
            return _say(MISSING, ask.sentence, PARAMETER=ask.parameter)
        wait = await self._limit(ask)
        if wait > 0:
            return _too_fast(wait)
        if ask.nonce and ask.kind != BOUNCE:
            if await self._deliver(ask):
                return _reply(TYPE="DELIVERED")
            return await self._enter(ask, signal=None)  # what it brought is an answer to nobody
        return await self._enter(ask, signal=ask.signal)

    async def _limit(self, ask: Ask) -> float:
        """Seconds to wait first; 0 for whoever may go on."""
        every = self._settings.meet_request_every
        if every > 0:
            key = f"meet-request:{ask.client}"
            wait = await self._rates.take(key, rate=1 / every, burst=_REQUESTS_AT_ONCE)
            if wait > 0:
                return wait
        every = self._settings.meet_connect_every
        if every > 0 and not ask.nonce:
            return await self._rates.take(f"meet-connect:{ask.client}", rate=1 / every, burst=1)
        return 0.0

    async def _deliver(self, ask: Ask) -> bool:
        """Hand an answer to whom it is for, if that request is still held."""

        def change(queue: Queue, now: float) -> tuple[Queue, Waiting | None]:
            taken = take(queue, nonce=ask.nonce, client=ask.client, now=now)
            return (queue, None) if taken is None else taken

        offerer = await self._change(ask.queue, change)
        taken = False
        if offerer is not None:
            with trio.move_on_after(_LEAVING, shield=True):  # it is out of the queue now
                taken = await self._store.hand(offerer.holder, _encode(Answered(ask.signal)))
                if taken:
                    await self._remember((ask.client, offerer.client))
        return taken

    async def _enter(self, ask: Ask, *, signal: Signal | None) -> Response:
        """Somebody waits who can answer, and offer unless `signal` is None; matched at once, or held."""
        async with self._store.hold() as held:
            try:
                reply: Reply | None = await self._arrive(ask, held.holder, signal)
                if reply is None:
                    reply = await self._wait(ask.queue, held)
            except trio.Cancelled:  # the client went away
                with trio.move_on_after(_LEAVING, shield=True), suppress(StoreAway):
                    await self._leave(ask.queue, held.holder)
                raise
        if reply is not None:
            return _response_of(reply)
        if await self._somebody_waits(ask.queue):
            return _say(NOBODY, "Nobody came who is free to meet you.")
        if await self._store.elsewhere(ask.queue):
            return _say(ELSEWHERE, "Nobody came. Somebody waits, but in another namespace.")
        return _say(NOBODY, "Nobody came, and nobody waits in any namespace.")

    async def _somebody_waits(self, queue: str) -> bool:
        """Whom this request could not be matched with: the namespace is the right one."""
        snapshot = await self._store.load(queue)
        return any(each.until > snapshot.now for each in decode_queue(snapshot.data))

    async def _arrive(self, ask: Ask, holder: Holder, signal: Signal | None) -> Demote | None:
        """Join the queue, and bring together whom one can; whether the newcomer is demoted by that."""
        refuses = ask.nonce if ask.kind == BOUNCE else ""
        async with self._turn(ask.queue):
            queue, step = await self._step(ask, holder, signal, refuses=refuses)
        with trio.move_on_after(_LEAVING, shield=True):  # who is demoted is out of the queue by now
            for each in queue:
                if refuses and each.nonce == refuses and each.promised_to == ask.client:
                    await self._remember((ask.client, each.client))
            for demoted, reply in step.demoted:
                if demoted != holder and not await self._store.hand(demoted, _encode(reply)):
                    await self._free(ask.queue, reply.nonce)  # its hub died
        return next((reply for demoted, reply in step.demoted if demoted == holder), None)

    async def _step(
        self, ask: Ask, holder: Holder, signal: Signal | None, *, refuses: str
    ) -> tuple[Queue, Step]:
        """The queue as it was, and what was made of it."""
        settings = self._settings
        for _ in range(_TRIES):
            snapshot = await self._store.load(ask.queue)
            queue, now = decode_queue(snapshot.data), snapshot.now
            who = Waiting(holder, ask.client, signal, until=now + settings.meet_hold + _LEASE)
            arrival = Arrival(who=who, now=now, answer_within=settings.meet_answer, refuses=refuses)
            pairs = pairs_to_ask(queue, arrival)
            met = await self._store.paired([pair_name(pair) for pair in pairs]) if pairs else []
            step = arrive(
                queue,
                arrival,
                met={pair for pair, known in zip(pairs, met, strict=True) if known},
                new_nonce=partial(secrets.token_hex, 16),
            )
            data = encode_queue(step.queue)
            waits_on = all(demoted != holder for demoted, _ in step.demoted)
            if waits_on and (len(step.queue) > settings.meet_waiting or len(data) > MAX_QUEUE):
                raise StoreAway(_BUSY)
            if await self._store.swap(ask.queue, old=snapshot.data, new=data, until=until_of(step.queue)):
                return queue, step
        raise StoreAway(_BUSY)

    async def _wait(self, queue: str, held: Held) -> Reply | None:
        """What is handed to this request while it is held."""
        self._held += 1
        try:
            with trio.move_on_after(self._settings.meet_hold):
                return _decode(await held.receive())
        finally:
            self._held -= 1
        if await self._leave(queue, held.holder):
            return None
        with trio.move_on_after(_IN_FLIGHT):  # somebody took it in the last moment
            return _decode(await held.receive())
        return None

    async def _leave(self, queue: str, holder: Holder) -> bool:
        """Whether it was in the queue still."""

        def change(queue: Queue, now: float) -> tuple[Queue, bool]:
            return leave(queue, holder, now=now), any(each.holder == holder for each in queue)

        return await self._change(queue, change)

    async def _free(self, queue: str, nonce: str) -> None:
        def change(before: Queue, _now: float) -> tuple[Queue, None]:
            return free_again(before, nonce), None

        await self._change(queue, change)

    async def _change(self, queue: str, change: Callable[[Queue, float], tuple[Queue, T]]) -> T:
        """One step on a queue, as often as other hubs are faster."""
        async with self._turn(queue):
            for _ in range(_TRIES):
                snapshot = await self._store.load(queue)
                before = decode_queue(snapshot.data)
                after, result = change(before, snapshot.now)
                if after == before:
                    return result
                data = encode_queue(after)
                if await self._store.swap(queue, old=snapshot.data, new=data, until=until_of(after)):
                    return result
        raise StoreAway(_BUSY)

    @asynccontextmanager
    async def _turn(self, queue: str) -> AsyncIterator[None]:
        """One at a time of this hub: only other hubs are to be raced with."""
        lock = self._turns.setdefault(queue, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._turns.get(queue) is lock:
                del self._turns[queue]

    async def _remember(self, pair: tuple[str, str]) -> None:
        """Unless they look the same: then it would be about everybody behind that address."""
        if pair[0] != pair[1] and self._settings.meet_pair_memory > 0:
            await self._store.remember(pair_name(pair), seconds=self._settings.meet_pair_memory)


def _encode(reply: Reply) -> bytes:
    return msgspec.msgpack.encode(reply)


def _decode(data: bytes) -> Reply:
    return msgspec.msgpack.decode(data, type=Reply)  # type: ignore[no-any-return]


def _response_of(reply: Reply) -> Response:
    match reply:
        case Demote(nonce=nonce, signal=signal):
            return _reply(TYPE="DEMOTE", NONCE=nonce, **_fields_of(signal))
        case Answered(signal=signal):
            return _reply(TYPE="ANSWER", **_fields_of(signal))
        case _:
            assert_never(reply)


def _fields_of(signal: Signal) -> Mapping[str, str]:
    if signal.key:
        return {"SIGNED_SIGNAL": signal.text, "PUBLIC_KEY": signal.key}
    return {"SIGNAL": signal.text}


def _reply(**fields: Any) -> Response:
    return Response(200, msgspec.json.encode(fields), content_type=JSON)


def _say(status: int, sentence: str, headers: Mapping[str, str] | None = None, **fields: Any) -> Response:
    body = msgspec.json.encode({"MESSAGE": sentence, **fields})
    return Response(status, body, content_type=JSON, headers=headers or {})


def _too_fast(wait: float) -> Response:
    seconds = math.ceil(wait)
    sentence = f"That was too fast. Ask again in {seconds} s."
    return _say(TOO_FAST, sentence, {"Retry-After": str(seconds)}, RETRY_AFTER=round(wait, 3))
