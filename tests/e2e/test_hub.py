"""`pigeon hub` as a process: how it starts and ends, and what it does when the system has nothing to give."""

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from console.children import Child, Family, command, family, output_of
from console.hub_options import hub_defaults
from signaling.hub.settings import HubSettings

PATIENCE = 20.0
NIGHTLY = os.environ.get("NIGHTLY") == "1"
SUBSCRIBERS = 10_000 if NIGHTLY else 2_000
MOST_EACH = 40_000
MANY = ("--rate", "0", "--max-connections-each", "12000", "--max-subscribers-each", "12000")


async def started(children: Family, *arguments: str) -> tuple[Child, int]:
    """A hub on a free port of 127.0.0.1, and that port."""
    hub = await children.start("hub", "hub", "--json", "--listen", "127.0.0.1:0", *arguments)
    return hub, port_of(await hub.wait_for("hub", within=PATIENCE))


def port_of(event: object) -> int:
    assert isinstance(event, dict) and event["url"].startswith("http://127.0.0.1:")
    return int(event["url"].rpartition(":")[2])


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def subscriber(port: int, path: str = "/v1/app/channel") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: hub\r\n\r\n" % path.encode())
    return sock


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Up to this at the end of what came; b"" at the end means the end of the stream."""
    said = b""
    while data := sock.recv(65536):
        said += data
        if end and said.endswith(end):
            break
    return said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_cleanly_and_every_stream_with_it(number: int, code: int) -> None:
    async with family() as children:
        hub, port = await started(children)
        assert get(port, "/healthz") == (200, b"ok\n")
        with subscriber(port) as listening, subscriber(port, "/v1/app/other") as other:
            for sock in (listening, other):
                await trio.to_thread.run_sync(read_until, sock, b"\n\n")
            hub.process.send_signal(number)
            for sock in (listening, other):  # the end, and no reset
                assert await trio.to_thread.run_sync(read_until, sock, b"") == b""
        assert await hub.wait(within=PATIENCE) == code
        assert hub.complaints == b""


async def test_it_says_where_it_listens_also_to_people() -> None:
    async with family() as children:
        process = await trio.lowlevel.open_process(
            command("hub", "--listen", "localhost:0"), stdout=-1, stdin=-3
        )
        try:
            assert process.stdout is not None
            with trio.fail_after(PATIENCE):
                said = await process.stdout.receive_some()
            assert said.startswith(b"The hub listens on http://")
        finally:
            process.terminate()
            await process.wait()
        assert children is not None


@pytest.mark.parametrize("where", ["nonsense:port", "::1:80", "127.0.0.1:99999", "127.0.0.1:"])
async def test_an_address_that_is_none_is_wrong_usage(where: str) -> None:
    code, _, said = await output_of("hub", "--listen", where)
    assert code == 2 and b"no address to listen on" in said


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, said = await output_of("hub", "--listen", where)
    assert code == 4
    assert said.decode() == (
        f"! The hub cannot listen on {where}: address already in use.\n"
        "  Give another address: --listen HOST:PORT\n"
    )


async def test_the_access_log_goes_to_a_file_and_says_nothing_of_what_was_said(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with family() as children:
        hub, port = await started(children, "--access-log", str(log))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("POST", "/v1/hidden/hidden", b"hidden")
        assert connection.getresponse().status == 200
        connection.close()
        await hub.stop()
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["route"] == "broadcast" and "hidden" not in line


async def test_a_log_that_nobody_reads_holds_up_neither_answers_nor_the_end() -> None:
    line = command("hub", "--json", "--listen", "127.0.0.1:0", "--access-log", "-", "--rate", "0")
    process = await trio.lowlevel.open_process(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with trio.fail_after(PATIENCE):
            port = port_of(json.loads(await process.stdout.receive_some()))

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            for _ in range(2000):  # more lines than a pipe holds
                connection.request("GET", "/healthz")
                assert connection.getresponse().read() == b"ok\n"
            connection.close()

        await trio.to_thread.run_sync(ask)
        await trio.sleep(0.5)  # so that it is stuck in the middle of writing
        process.terminate()
        with trio.fail_after(PATIENCE / 2):
            assert await process.wait() == 143
    finally:
        process.kill()
        await process.wait()


async def test_the_help_tells_the_defaults_that_the_hub_has() -> None:
    settings = HubSettings()
    assert hub_defaults() == {name: getattr(settings, name) for name in hub_defaults()}


async def test_without_descriptors_it_waits_and_goes_on_when_there_are_some_again() -> None:
    async with family() as children:
        line = command("hub", "--json", "--listen", "127.0.0.1:0", *MANY)
        hub = await children.run("hub", ["sh", "-c", 'ulimit -n 160; exec "$@"', "sh", *line])
        port = port_of(await hub.wait_for("hub", within=PATIENCE))
        # It knows that it may take 32 only; then the system takes more away than it was told of.
        used = len(list(Path(f"/proc/{hub.process.pid}/fd").iterdir()))
        resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE, (used + 8, 160))
        with ExitStack() as stack:
            held: list[socket.socket] = []
            while True:
                assert len(held) < 24
                waiting = stack.enter_context(subscriber(port))
                waiting.settimeout(1.5)
                before = cpu_of(hub)
                try:
                    said = await trio.to_thread.run_sync(read_until, waiting, b"\n\n")
                except TimeoutError:  # the kernel took it, the hub cannot
                    break
                assert said.startswith(b"HTTP/1.1 200 ")
                held.append(waiting)
            assert len(held) > 4
            assert cpu_of(hub) - before < 0.5, "it does not spin"
            held[0].close()
            waiting.settimeout(PATIENCE)
            assert (await trio.to_thread.run_sync(read_until, waiting, b"\n\n")).startswith(b"HTTP/1.1 200 ")
            held[1].close()
            status, metrics = await trio.to_thread.run_sync(get, port, "/metrics")
        assert status == 200
        failures = [
            line for line in metrics.splitlines() if line.startswith(b"pigeon_hub_accept_failures_total")
        ]
        assert float(failures[0].split()[1]) >= 1


def cpu_of(hub: Child) -> float:
    """Seconds."""
    ticks = Path(f"/proc/{hub.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


async def test_thousands_of_subscribers_at_40_kb_each_and_all_hear_a_broadcast() -> None:
    async with family() as children:
        hub, port = await started(children, *MANY)
        with enough_descriptors(SUBSCRIBERS + 200), ExitStack() as stack:
            first = stack.enter_context(subscriber(port))
            await trio.to_thread.run_sync(read_until, first, b"\n\n")
            before = resident(hub)
            socks = []
            for _ in range(SUBSCRIBERS):
                socks.append(stack.enter_context(subscriber(port)))
            for sock in socks:
                said = await trio.to_thread.run_sync(read_until, sock, b"\n\n")
                assert said.startswith(b"HTTP/1.1 200 ")
            each = (resident(hub) - before) / SUBSCRIBERS
            assert each < MOST_EACH
            for number in range(3):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                connection.request("POST", "/v1/app/channel", b"%d" % number)
                assert connection.getresponse().status == 200
                connection.close()
            for sock in socks:
                said = b""
                while said.count(b"\ndata: ") < 3:
                    said += sock.recv(4096)
                assert [line for line in said.split(b"\n") if line.startswith(b"data")] == [
                    b"data: 0", b"data: 1", b"data: 2",
                ]  # fmt: skip
            print(f"{SUBSCRIBERS} subscribers, {each / 1000:.1f} kB each")
        assert hub.process.returncode is None
        await hub.stop()
        assert hub.process.returncode == 143


def resident(hub: Child) -> int:
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@contextmanager
def enough_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"the system allows {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
