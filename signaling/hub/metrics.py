"""What the hub counts, as plain numbers while it works; in Prometheus' words only when somebody asks."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Gauge = Callable[[], float]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_COUNTED: Final = {
    "connections": "Connections that were accepted.",
    "turned_away": "Connections that were closed at once, as there were too many.",
    "accept_failures": "Times that the system gave no connection, most likely for want of descriptors.",
    "expired": "Connections closed because a request or its body did not come in time.",
    "refused": "Requests that could not be read as HTTP/1.1, or were too large.",
    "limited": "Requests answered 429.",
    "published": "Broadcasts taken in.",
    "events": "Events written to subscribers.",
    "resumed": "Subscriptions that resumed after an event id.",
    "slow_readers": "Subscribers that were cut off as they read too slowly.",
    "store_away": "Requests answered 503, as what hubs share could not be reached.",
    "faults": "Requests answered 500: bugs of the hub.",
    "log_dropped": "Lines of the access log that nobody took.",
}


class Counts:
    """Adds up. `counts.of["events"] += 1`; names as in _COUNTED."""

    def __init__(self) -> None:
        self.of: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        self.answers: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self._gauges: list[tuple[str, str, Gauge]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Counted(self))
        ProcessCollector(registry=self._registry)

    def gauge(self, name: str, what: str, read: Gauge) -> None:
        """One more number that is read when somebody asks."""
        self._gauges.append((name, what, read))

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        for name, what in _COUNTED.items():
            yield CounterMetricFamily(f"pigeon_hub_{name}", what, value=self.of[name])
        answers = CounterMetricFamily("pigeon_hub_answers", "Requests answered.", labels=["route", "status"])
        for (route, status), count in self.answers.items():
            answers.add_metric([route, str(status)], count)
        yield answers
        for name, what, read in self._gauges:
            yield GaugeMetricFamily(f"pigeon_hub_{name}", what, value=read())


class _Counted(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        return self._counts.collect()
