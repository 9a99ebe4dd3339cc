"""Hubs for the tests, each a process of its own on a free port, and a relay before one that may do harm."""

import base64
import http.client
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from console.children import command

SIGNALHUB = Path(__file__).parent.parent / "e2e" / "signalhub"
_READY = 30.0


def has_signalhub() -> bool:
    """Whether npm's is installed for the tests."""
    return bool(shutil.which("node")) and (SIGNALHUB / "node_modules" / "signalhub").exists()


needs_signalhub = pytest.mark.skipif(
    not has_signalhub(),
    reason="signalhub is not there: npm ci --prefix tests/e2e/signalhub",
)
KINDS = ["ours", pytest.param("signalhub", marks=needs_signalhub)]


@contextmanager
def hub_process(kind: str, *, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A hub that listens on 127.0.0.1: our own, or npm's signalhub; its process and port.

    `port`: where another one of ours was before.
    """
    line = (
        ["node", str(SIGNALHUB / "server.cjs")]
        if kind == "signalhub"
        else command("hub", "--listen", f"127.0.0.1:{port}", "--json")
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIGEON_")}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        found = re.search(r"(?:127\.0\.0\.1:|^)([0-9]+)", said)
        assert found is not None, f"the hub said {said!r}"
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def post(port: int, channel: str, body: bytes) -> int:
    """As any stranger may; blocking. The status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/v1/pigeon/{channel}", body)
        return connection.getresponse().status
    finally:
        connection.close()


Change = Callable[[bytes], bytes]


@dataclass
class Relay:
    """Stands before a hub and hears everything; it may be cut, and `down`/`up` change what passes."""

    behind: int
    port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    """Every byte of both directions."""
    down: Change = bytes
    """What comes from the hub."""
    up: Change = bytes
    connections: int = 0
    _listeners: list[trio.SocketListener] = field(default_factory=list)
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self.open()
            task_status.started()
            await trio.sleep_forever()

    async def open(self) -> None:
        """Take connections, from now on or again, at the port it had."""
        self._scope = trio.CancelScope()
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]

        async def serve() -> None:
            with self._scope:
                await trio.serve_listeners(self._relay, listeners)

        self._nursery.start_soon(serve)
        self._listeners = listeners

    def cut(self) -> None:
        """As if the hub had died: connections are reset, new ones refused."""
        self._scope.cancel()
        for listener in self._listeners:
            listener.socket.close()

    async def _relay(self, near: trio.SocketStream) -> None:
        self.connections += 1
        try:
            with suppress(OSError):
                far = await trio.open_tcp_stream("127.0.0.1", self.behind)
                async with near, far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass, near, far, "up")
                    nursery.start_soon(self._pass, far, near, "down")
        finally:
            self.connections -= 1

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream, way: str) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                self.heard += data
                changed = (self.up if way == "up" else self.down)(data)
                if changed:
                    await target.send_all(changed)
            await target.send_eof()
            return
        await trio.aclose_forcefully(target)


def packed(heard: bytes) -> bytes:
    """What was heard, and everything in it that looks like base64, unpacked."""
    found = [bytes(heard)]
    for text in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", heard):
        with suppress(ValueError):
            found.append(base64.b64decode(text[: len(text) // 4 * 4]))
    return b"\n".join(found)
