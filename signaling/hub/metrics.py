"""What the hub counts, in the text format of Prometheus (version 0.0.4), with the numbers of its process.

Written by hand: it is a line for each number, and the usual library would bring an HTTP server and TLS of its
own along. The tests read it with that library's parser.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from signaling.hub.counts import COUNTED, Counts

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX: Final = "pigeon_hub"


def metrics_text(counts: Counts) -> bytes:
    """All of it. Names and labels are our own words: there is nothing in them to escape."""
    return "".join(_lines(counts)).encode("ascii")


def _lines(counts: Counts) -> Iterator[str]:
    for name, what in COUNTED.items():
        yield from _series(f"{_PREFIX}_{name}_total", "counter", what, counts.of[name])
    yield from _head(f"{_PREFIX}_answers_total", "counter", "Requests answered.")
    for (route, status), count in counts.answers.items():
        yield f'{_PREFIX}_answers_total{{route="{route}",status="{status}"}} {count}\n'
    for name, (what, read) in counts.gauges.items():
        yield from _series(f"{_PREFIX}_{name}", "gauge", what, read())
    yield from _process()


def _process() -> Iterator[str]:
    """Under the names that Prometheus' own libraries give them; without /proc only what can be had."""
    times = os.times()
    yield from _series(
        "process_cpu_seconds_total", "counter", "Processor time.", round(times.user + times.system, 3)
    )
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        descriptors = len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208, one of them is the listing's own
    except OSError:
        return
    size = pages * os.sysconf("SC_PAGE_SIZE")
    yield from _series("process_resident_memory_bytes", "gauge", "Resident memory.", size)
    yield from _series("process_open_fds", "gauge", "Open descriptors.", descriptors)


def _series(name: str, kind: str, what: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, what)
    yield f"{name} {value}\n"


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP {name} {what}\n# TYPE {name} {kind}\n"
