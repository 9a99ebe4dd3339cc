"""Feeds a decoder a range of its inputs and watches answers, time and memory."""

import heapq
import math
import resource
import signal
import time
import tracemalloc
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import cast

import trio

from tests.fuzz.decoder import Decoder, Feed, Refused
from tests.fuzz.mutate import dice_for

HANG = 2
"""Seconds of processor time after which an input counts as endless."""
PER_BYTE = 100
FEWEST = 100
"""Inputs that are run however little time there is: fewer show nothing."""
MAX_FAILURES = 3
"""Of one decoder in one range: more of them say no more."""
_LATE_CHANGES = 0.2
_ADDRESS_SPACE = 1 << 30
"""Bytes beyond those that the process has mapped when it begins."""


class Endless(BaseException):
    """No Exception, so that nothing on the way takes it for a refusal."""


@dataclass
class Tally:
    """What became of the inputs of one decoder."""

    decoder: str
    count: int = 0
    accepted: int = 0
    refused: int = 0
    bytes: int = 0
    largest: int = 0
    slowest: float = 0.0
    """Seconds of processor time of one input, at its first try."""
    seconds: float = 0.0
    """Of processor time, for all of it."""
    memory: int = 0
    """Most bytes that the spot checks saw one input take."""
    peak_kb: int = 0
    """Resident size of the process that did it, at its highest."""
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        for name in ("count", "accepted", "refused", "bytes", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("largest", "slowest", "memory", "peak_kb"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.failures += other.failures


def make_input(decoder: Decoder, *, seed: int, index: int) -> tuple[bytes, bool]:
    """The input of this number, and whether it is a sound sample."""
    dice = dice_for(decoder.name, seed=seed, index=index)
    data, sound = decoder.mutator.input(dice)
    if decoder.finish is not None:
        data = decoder.finish(data, dice)
        if not sound and dice.random() < _LATE_CHANGES:
            data = decoder.mutator.blind(data, dice)
    return data, sound


class Run:
    """One decoder over one range of inputs."""

    def __init__(self, decoder: Decoder, *, seed: int) -> None:
        self._decoder = decoder
        self._seed = seed
        self.tally = Tally(decoder.name)
        self._feed: Feed | None = None
        self._sizes: list[tuple[int, int]] = []
        self._times: list[tuple[float, int]] = []

    async def over(self, start: int, stop: int, seconds: float) -> Tally:
        began, cpu = time.perf_counter(), time.process_time()
        former = signal.signal(signal.SIGPROF, self._give_up)
        signal.setitimer(signal.ITIMER_PROF, HANG, HANG)
        try:
            for index in range(start, stop):
                if index % 64 == 0:
                    signal.setitimer(signal.ITIMER_PROF, HANG, HANG)
                await self._one(index)
                late = time.perf_counter() - began > seconds and self.tally.count >= FEWEST
                if late or len(self.tally.failures) >= MAX_FAILURES:
                    break
            await self._spot_checks()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, former)
        self.tally.seconds = time.process_time() - cpu
        self.tally.peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self.tally

    def _give_up(self, signum: int, frame: FrameType | None) -> None:
        raise Endless(f"no end after {HANG} s")

    async def _one(self, index: int) -> None:
        data, sound = make_input(self._decoder, seed=self._seed, index=index)
        life = self._decoder.life
        if self._feed is None or (life and index % life == 0):
            self._feed = self._decoder.make()
        tally = self.tally
        began = time.process_time()
        problem = await self.answer(self._feed, data, sound=sound)
        took = time.process_time() - began
        tally.count += 1
        tally.bytes += len(data)
        tally.largest = max(tally.largest, len(data))
        tally.slowest = max(tally.slowest, took)
        _keep_highest(self._sizes, (len(data), index))
        _keep_highest(self._times, (took, index))
        if took > self._decoder.slow and not problem:
            problem = await self._is_slow(index)
        if problem:
            tally.failures.append((index, problem))
            self._feed = None if not life else self._feed

    async def answer(self, feed: Feed, data: bytes, *, sound: bool) -> str:
        """Feed it; what is wrong with the answer, or nothing."""
        try:
            value = feed(data)
            if self._decoder.waits:
                await cast(Awaitable[object], value)
        except (Refused, *self._decoder.refuses) as refusal:
            self.tally.refused += 1
            return f"a sound sample is refused: {refusal!r}" if sound and self._decoder.sound else ""
        except (Exception, Endless) as error:
            return _in_words(error)
        self.tally.accepted += 1
        return ""

    async def _again(self, index: int) -> tuple[Feed, bytes]:
        """Something in the state that this input met, and the input."""
        feed, life = self._decoder.make(), self._decoder.life
        for earlier in range(index - index % life if life else index, index):
            data, _ = make_input(self._decoder, seed=self._seed, index=earlier)
            await Run(self._decoder, seed=self._seed).answer(feed, data, sound=False)
        return feed, make_input(self._decoder, seed=self._seed, index=index)[0]

    async def _is_slow(self, index: int) -> str:
        """The best of three decides: caches may have been cold, or garbage been collected in between."""
        best = HANG * 1.0
        for _ in range(3):
            feed, data = await self._again(index)
            began = time.process_time()
            await Run(self._decoder, seed=self._seed).answer(feed, data, sound=False)
            best = min(best, time.process_time() - began)
        return f"took {best * 1000:.0f} ms" if best > self._decoder.slow else ""

    async def _spot_checks(self) -> None:
        """The memory that the largest and the slowest inputs take."""
        known = {index for index, _ in self.tally.failures}
        for index in {index for _, index in (*self._sizes, *self._times)} - known:
            signal.setitimer(signal.ITIMER_PROF, 10 * HANG, HANG)
            feed, data = await self._again(index)
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                await Run(self._decoder, seed=self._seed).answer(feed, data, sound=False)
                taken = tracemalloc.get_traced_memory()[1] - before
            finally:
                tracemalloc.stop()
            self.tally.memory = max(self.tally.memory, taken)
            if taken > self._decoder.allowance + PER_BYTE * len(data):
                self.tally.failures.append((index, f"took {taken:,} bytes of memory"))


def _keep_highest(kept: list[tuple[float, int]] | list[tuple[int, int]], one: tuple[float, int]) -> None:
    if len(kept) < 2:
        heapq.heappush(kept, one)  # type: ignore[arg-type]
    elif one > kept[0]:
        heapq.heapreplace(kept, one)  # type: ignore[arg-type]


def _in_words(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {str(error)[:500]}{where}"


def bound_address_space() -> None:
    """So that an input which asks for everything ends its process and not the machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return  # not Linux: the processor time of an input is bounded all the same
    mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _ADDRESS_SPACE, hard))


def run_range(decoder: Decoder, *, seed: int, start: int, stop: int, seconds: float = math.inf) -> Tally:
    """Feed a decoder the inputs from `start` to below `stop`, or what `seconds` are enough for; blocking."""
    return trio.run(Run(decoder, seed=seed).over, start, stop, seconds)


async def _replay(decoder: Decoder, *, seed: int, index: int) -> Tally:
    run = Run(decoder, seed=seed)
    await run.over(index - index % decoder.life if decoder.life else index, index + 1, math.inf)
    return run.tally


def replay(decoder: Decoder, *, seed: int, index: int) -> Tally:
    """One input again, after those that whatever it is given to had taken before it."""
    return trio.run(partial(_replay, decoder, seed=seed, index=index))
