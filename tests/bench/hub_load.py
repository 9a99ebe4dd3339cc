"""The load of `make bench-hub`, in a process of its own on plain sockets: the same for every server.

    python -m tests.bench.hub_load PORT KIND NUMBER SECONDS    prints one JSON object

KIND `posts`: NUMBER connections post as fast as they are answered, one subscriber listens. `latency`: one
broadcast at a time to NUMBER subscribers. `events`: four connections post to NUMBER subscribers. `hold`:
NUMBER subscribers do nothing until standard input ends.
"""

import contextlib
import gc
import json
import select
import socket
import statistics
import sys
import time
from typing import Final

PAUSE: Final = 0.004
PAYLOAD: Final = 200
CHANNEL: Final = "/v1/bench/channel"


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def post_of(body: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Accept: application/json\r\nContent-Length: %d\r\n\r\n%b" % (CHANNEL.encode(), len(body), body)
    )


def body_of(stamp: int) -> bytes:
    """200 bytes of JSON that say when they were sent."""
    start = b'{"at":%020d,"pad":"' % stamp
    return start + b"x" * (PAYLOAD - len(start) - 2) + b'"}'


def subscribe(port: int, count: int) -> list[socket.socket]:
    """All of them, once the server has answered each."""
    socks = []
    for _ in range(count):
        sock = connect(port)
        sock.sendall(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n" % CHANNEL.encode()
        )
        said = b""
        while b"\r\n\r\n" not in said:
            said += sock.recv(4096)
        assert said.startswith(b"HTTP/1.1 200"), said
        socks.append(sock)
    time.sleep(0.05)  # ours says where a subscriber is after the head
    for sock in socks:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.recv(65536)
    return socks


class Load:
    """Posters and subscribers on one epoll."""

    def __init__(self, port: int, *, posters: int, subscribers: int) -> None:
        self.posters = {sock.fileno(): sock for sock in (connect(port) for _ in range(posters))}
        self.subscribers = {sock.fileno(): sock for sock in subscribe(port, subscribers)}
        self.epoll = select.epoll()
        for descriptor in (*self.posters, *self.subscribers):
            self.epoll.register(descriptor, select.EPOLLIN)

    def flood(self, seconds: float) -> dict[str, float]:
        """Every poster posts again as soon as it is answered."""
        request = post_of(body_of(0))
        answers = events = 0
        rest = dict.fromkeys(self.subscribers, b"")
        began = time.perf_counter()
        for sock in self.posters.values():
            sock.sendall(request)
        while (now := time.perf_counter()) < began + seconds:
            for descriptor, _ in self.epoll.poll(1):
                poster = self.posters.get(descriptor)
                if poster is not None:
                    said = poster.recv(4096)
                    assert said.startswith(b"HTTP/1.1 200") and said.endswith(b"\r\n\r\n"), said
                    answers += 1
                    poster.send(request)
                else:
                    data = rest[descriptor] + self.subscribers[descriptor].recv(262144)
                    assert data, "a subscriber was cut off"
                    events += data.count(b'"}\n\n')
                    rest[descriptor] = data[-3:]
        took = now - began
        return {"posts": answers / took, "events": events / took}

    def pace(self, seconds: float) -> dict[str, float]:
        """One broadcast, then wait until all have it; how long each took, in microseconds."""
        (poster,) = self.posters.values()
        times: list[float] = []
        warm = time.perf_counter() + 0.3
        end = warm + seconds
        while (now := time.perf_counter()) < end:
            missing = len(self.subscribers) + 1
            poster.send(post_of(body_of(time.perf_counter_ns())))
            while missing:
                ready = self.epoll.poll(5)
                assert ready, "an event or an answer did not come"
                for descriptor, _ in ready:
                    sock = self.subscribers.get(descriptor)
                    if sock is None:
                        missing -= poster.recv(4096).endswith(b"\r\n\r\n")
                        continue
                    data = sock.recv(65536)
                    at = data.find(b'"at":')
                    if at >= 0:
                        if now > warm:
                            times.append((time.perf_counter_ns() - int(data[at + 5 : at + 25])) / 1000)
                        missing -= 1
            time.sleep(PAUSE)
        cuts = statistics.quantiles(times, n=100)
        return {"p50": statistics.median(times), "p99": cuts[98], "count": len(times)}


def main() -> None:
    port, kind, number, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    gc.disable()
    result: dict[str, float] = {}
    match kind:
        case "posts":
            result = Load(port, posters=number, subscribers=1).flood(seconds)
        case "events":
            result = Load(port, posters=4, subscribers=number).flood(seconds)
        case "latency":
            result = Load(port, posters=1, subscribers=number).pace(seconds)
        case "hold":
            held = subscribe(port, number)
            print(json.dumps({"held": len(held)}), flush=True)
            sys.stdin.read()
            return
    print(json.dumps(result))


if __name__ == "__main__":
    main()
