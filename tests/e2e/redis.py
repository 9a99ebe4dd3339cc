"""A real Redis for the tests, on a socket in a folder of its own; it keeps nothing on disk."""

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

PATIENCE = 10.0

needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")


class RedisServer:
    """One server: it may be killed, put to sleep, and started again with nothing of what it knew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "redis.sock"
        self.options: list[str] = []
        self.user = ""
        """`NAME:PASSWORD@` in its address."""

    @property
    def url(self) -> str:
        return f"unix://{self.user}{self.socket}"

    async def start(self) -> None:
        """With `options` added to its command line; ready when this returns."""
        self.socket.unlink(missing_ok=True)
        command = [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--dir",
            str(self._folder),
        ]
        command += ["--save", "", "--appendonly", "no", "--logfile", str(self._folder / "log"), *self.options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with trio.fail_after(PATIENCE):
            while await self.say("PING") != "PONG":
                assert self._process.poll() is None, (self._folder / "log").read_text()
                await trio.sleep(0.02)

    async def say(self, *words: str) -> str:
        """What redis-cli prints."""
        done = await trio.run_process(
            ["redis-cli", "-s", str(self.socket), *words],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        return done.stdout.decode(errors="replace").strip()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def sleep(self) -> None:
        """It takes connections still, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def redis_server(folder: Path, *options: str) -> AsyncIterator[RedisServer]:
    """Started; killed at the end. `folder` exists, and its path is short enough for a socket."""
    server = RedisServer(folder)
    server.options += options
    try:
        await server.start()
        yield server
    finally:
        server.kill()
