"""What the hub counts, as plain numbers; metrics.py tells them."""

from collections import Counter
from collections.abc import Callable
from typing import Final

Gauge = Callable[[], float]

COUNTED: Final = {
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
    """Adds up: `counts.of["events"] += 1`, with names as in COUNTED."""

    def __init__(self) -> None:
        self.of: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.answers: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.gauges: dict[str, tuple[str, Gauge]] = {}
        """What it is and how to read it, by name."""

    def gauge(self, name: str, what: str, read: Gauge) -> None:
        """One more number that is read when somebody asks."""
        self.gauges[name] = (what, read)
