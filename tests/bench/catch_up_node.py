"""The real command line on a slow line, and perhaps with a liar's serving path: a program for measuring.

    python -m tests.bench.catch_up_node [--delay-ms 20] [--lie KIND] [--profile FILE] -- up --json --home DIR

Everything but the patches named here is the product's own code.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
from asyncio import selector_events
from collections import deque
from pathlib import Path
from typing import Any

import cli
from tests.bench.catch_up_lies import LIE_NAMES, tell


def delay_datagrams(seconds: float) -> None:
    """Hold every datagram back for so long before it leaves: a delay line in user space, nothing lost.

    What is due leaves at once, in order; one timer a socket, and not one a datagram.
    """
    transport: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]
    send = transport.sendto
    lines: dict[Any, deque[tuple[float, bytes, Any]]] = {}

    def leave(self: Any, loop: asyncio.AbstractEventLoop) -> None:
        line, now = lines[self], loop.time()
        while line and line[0][0] <= now and not self.is_closing():
            _, data, address = line.popleft()
            send(self, data, address)
        if line and not self.is_closing():
            loop.call_at(line[0][0], leave, self, loop)
        else:
            del lines[self]

    def sendto(self: Any, data: Any, addr: Any = None) -> None:
        if self.is_closing():
            return
        at = self._loop.time() + seconds
        if self not in lines:
            lines[self] = deque()
            self._loop.call_at(at, leave, self, self._loop)
        lines[self].append((at, bytes(data), addr))

    transport.sendto = sendto


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delay-ms", type=float, default=0.0, help="how long each datagram is held back")
    parser.add_argument("--lie", choices=LIE_NAMES, help="what this node serves to whoever catches up")
    parser.add_argument("--profile", type=Path, help="write cProfile's table here at the end")
    parser.add_argument("arguments", nargs="+", metavar="-- VERB ...", help="as for pigeon")
    given = parser.parse_args()
    if given.delay_ms:
        delay_datagrams(given.delay_ms / 1000)
    if given.lie:
        tell(given.lie)
    sys.argv = ["pigeon", *given.arguments]
    if given.profile is None:
        cli.main()
    profile = cProfile.Profile()
    try:
        profile.runcall(cli.main)
    finally:
        with given.profile.open("w") as file:
            stats = pstats.Stats(profile, stream=file)
            stats.sort_stats("tottime").print_stats(60)
            stats.sort_stats("cumtime").print_stats(90)


assert hasattr(selector_events, "_SelectorDatagramTransport"), asyncio.__file__

if __name__ == "__main__":
    main()
