"""Two strangers at one hub: from starting both to a room of two, and how many requests that took."""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import trio

from console.children import Child, Family, family

ROUNDS = 7
PATIENCE = 30.0


async def run() -> int:
    times: list[float] = []
    linked: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        async with family() as children:
            log = place / "log"
            listen = ("--listen", "127.0.0.1:0", "--access-log", str(log))
            hub = await children.start("hub", "hub", *listen, "--json")
            url = (await hub.wait_for("hub", within=PATIENCE))["url"]
            for number in range(ROUNDS):
                whole, after = await _once(children, place / str(number), url, f"round {number}")
                times.append(whole)
                linked.append(after)
                print(
                    f"{number}: {whole:.2f} s from a common start, {after:.2f} s from the second's",
                    flush=True,
                )
            posts = [json.loads(line) for line in log.read_text().splitlines()]
            requests = sum(post.get("route") == "meet" for post in posts) / (2 * ROUNDS)
    p50 = statistics.median(times)
    print(
        f"meet rounds={len(times)} p50={p50:.2f} max={max(times):.2f} "
        f"later_p50={statistics.median(linked):.2f} requests={requests:g}"
    )
    return 0 if times and requests else 1


async def _once(children: Family, place: Path, url: str, namespace: str) -> tuple[float, float]:
    """Seconds from starting two at once; and, with one that waits already, from starting the other."""

    async def start(name: str, where: str) -> Child:
        return await children.start(
            name, "meet", "--hub", url, "--namespace", where, "--as", name, "--json", "--headless",
            "--home", str(place / f"{name} {where}"),
        )  # fmt: skip

    began = trio.current_time()
    both = [await start("ann", namespace), await start("bob", namespace)]
    for each in both:
        await each.wait_for("room", within=PATIENCE)
    whole = trio.current_time() - began
    for each in both:
        await each.stop()
    first = await start("ann", f"{namespace} later")
    await first.wait_for("notice", within=PATIENCE)
    await trio.sleep(2)  # it is held by now, or the reading is longer than it should be
    began = trio.current_time()
    second = await start("bob", f"{namespace} later")
    for each in (first, second):
        await each.wait_for("room", within=PATIENCE)
    after = trio.current_time() - began
    for each in (first, second):
        await each.stop()
    return whole, after


if __name__ == "__main__":
    sys.exit(trio.run(run))
