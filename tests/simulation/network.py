"""Virtual time: one heap of events, latency models, and the directions of a link."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

Latency = Callable[[random.Random], float]
"""Seconds that one envelope is under way."""


def fixed(delay: float) -> Latency:
    return lambda _: delay


def uniform(low: float, high: float) -> Latency:
    return lambda dice: dice.uniform(low, high)


def heavy_tailed(typical: float, *, cap: float) -> Latency:
    """Pareto with infinite variance: most are near `typical`, some take until `cap`."""
    return lambda dice: min(cap, typical * dice.paretovariate(1.3))


@dataclass(order=True, slots=True)
class Event:
    """Something that happens at a time, unless it is called off before."""

    at: float
    order: int
    happen: Callable[[], None] = field(compare=False)
    alive: bool = field(default=True, compare=False)


class Calendar:
    """The future. Events at one instant happen in the order they were scheduled."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[Event] = []
        self._order = 0

    def schedule(self, at: float, happen: Callable[[], None]) -> Event:
        """Let something happen at `at`, or now if that is over."""
        event = Event(max(at, self.now), self._order, happen)
        self._order += 1
        heapq.heappush(self._heap, event)
        return event

    def next_time(self) -> float | None:
        """When the next event happens; None: never again anything, all is quiet."""
        while self._heap and not self._heap[0].alive:
            heapq.heappop(self._heap)
        return self._heap[0].at if self._heap else None

    def pop_due(self) -> Event | None:
        """The next event of the present instant."""
        if self.next_time() != self.now:
            return None
        event = heapq.heappop(self._heap)
        event.alive = False
        return event


class Lane:
    """One direction of a link: envelopes under way, first in first out unless it reorders."""

    def __init__(self, latency: Latency, *, in_order: bool) -> None:
        self.latency = latency
        self._in_order = in_order
        self._last = 0.0
        self._flights: list[Event] = []

    def carry(self, calendar: Calendar, dice: random.Random, arrive: Callable[[], None]) -> None:
        at = calendar.now + self.latency(dice)
        if self._in_order:
            at = self._last = max(at, self._last)
        self._flights = [flight for flight in self._flights if flight.alive]
        self._flights.append(calendar.schedule(at, arrive))

    def lose_everything(self) -> None:
        for flight in self._flights:
            flight.alive = False
        self._flights.clear()
        self._last = 0.0
