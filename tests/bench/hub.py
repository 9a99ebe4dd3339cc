"""`make bench-hub`: our hub and npm's signalhub side by side, in turn, under the same load on loopback.

Each figure is the median of ROUNDS interleaved readings, and so is each ratio: on a machine that others use
too, only what was measured at the same time can be compared.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from console.children import command, environment

NIGHTLY: Final = os.environ.get("NIGHTLY") == "1"
ROUNDS: Final = 15 if NIGHTLY else 5
SECONDS: Final = 5.0 if NIGHTLY else 2.0
HELD: Final = 1000
SIGNALHUB: Final = Path(__file__).parent.parent / "e2e" / "signalhub"
PATIENCE: Final = 60.0
FREE: Final = (
    "--rate", "0", "--max-connections-each", "12000", "--max-subscribers-each", "12000",
)  # fmt: skip


class Server:
    """A running hub."""

    def __init__(self, name: str, process: subprocess.Popen[str], port: int) -> None:
        self.name = name
        self.process = process
        self.port = port

    def cpu(self) -> float:
        """Seconds that all its threads have run."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def resident(self) -> int:
        """Bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


@contextmanager
def started(name: str, line: list[str], directory: Path) -> Iterator[Server]:
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment(), cwd=directory
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        yield Server(name, process, _port(first))
    finally:
        process.terminate()
        process.wait()


def _port(said: str) -> int:
    """The signalhub script prints a number, ours an event."""
    return int(said) if said.strip().isdecimal() else int(json.loads(said)["url"].rpartition(":")[2])


def load(server: Server, kind: str, number: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.hub_load", str(server.port), kind, str(number), str(SECONDS)],
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def memory_each(server: Server) -> float:
    """kB that the process grew by with each of so many subscribers."""
    before = server.resident()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.hub_load", str(server.port), "hold", str(HELD), "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holding:
        assert holding.stdout is not None and holding.stdin is not None
        assert json.loads(holding.stdout.readline()) == {"held": HELD}
        grown = server.resident() - before
        holding.stdin.close()
    return grown / HELD / 1024


def measure(server: Server) -> dict[str, float]:
    """One round of everything but memory."""
    found: dict[str, float] = {}
    load(server, "posts", 16)  # not counted: one of the two compiles what it does often
    spent = server.cpu()
    posts = load(server, "posts", 16)
    found["posts_s"] = posts["posts"]
    found["cpu_us_post"] = (server.cpu() - spent) / (posts["posts"] * SECONDS) * 1e6
    for count in (1, 10, 100):
        latency = load(server, "latency", count)
        found[f"p50_us_{count}"], found[f"p99_us_{count}"] = latency["p50"], latency["p99"]
    spent = server.cpu()
    events = load(server, "events", 100)
    found["events_s"] = events["events"]
    found["cpu_us_event"] = (server.cpu() - spent) / (events["events"] * SECONDS) * 1e6
    return found


def main() -> int:
    if not (shutil.which("node") and (SIGNALHUB / "node_modules").exists()):
        print(f"signalhub is not there: npm ci --prefix {SIGNALHUB}")
        return 1
    ours = command("--json", "hub", "--listen", "127.0.0.1:0", *FREE)
    lines = {"pigeon": ours, "signalhub": ["node", str(SIGNALHUB / "server.cjs")]}
    readings: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in lines}
    here = Path(__file__).parent.parent.parent
    for round_ in range(ROUNDS):
        with ExitStack() as stack:
            servers = [stack.enter_context(started(name, line, here)) for name, line in lines.items()]
            for server in servers if round_ % 2 else reversed(servers):
                readings[server.name]["kb_subscriber"].append(memory_each(server))
                for key, value in measure(server).items():
                    readings[server.name][key].append(value)
                readings[server.name]["mb_after"].append(server.resident() / 2**20)
    middle = {
        name: {key: statistics.median(each) for key, each in of.items()} for name, of in readings.items()
    }
    print(f"{'':16}{'pigeon':>12}{'signalhub':>12}{'ratio':>8}   (median of {ROUNDS}; range of the ratio)")
    summary = []
    for key, mine in middle["pigeon"].items():
        theirs = middle["signalhub"][key]
        pairs = zip(readings["pigeon"][key], readings["signalhub"][key], strict=True)
        ratios = sorted(one / other for one, other in pairs)
        middling, least, most = statistics.median(ratios), ratios[0], ratios[-1]
        print(f"{key:16}{mine:12,.1f}{theirs:12,.1f}{middling:8.2f}   {least:.2f}-{most:.2f}")
        summary.append(f"{key}={mine:.1f} {key}_ratio={middling:.2f}")
    print("bench-hub", *summary)
    return 0 if all(value > 0 for of in middle.values() for value in of.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
