"""A real Chromium without a screen, driven through a pair of pipes (--remote-debugging-pipe)."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

PATIENCE = 40.0
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
    "--remote-debugging-pipe", "about:blank",
)  # fmt: skip


class Page:
    """One empty page; `do` runs JavaScript in it."""

    def __init__(self, commands: trio.abc.SendStream, answers: trio.abc.ReceiveStream) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None

    async def open(self) -> None:
        targets = await self._call("Target.getTargets")
        page = next(each["targetId"] for each in targets["targetInfos"] if each["type"] == "page")
        attached = await self._call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]

    async def do(self, script: str) -> Any:
        """The value of the last expression, in which `await` may stand; what is thrown fails the test."""
        with trio.fail_after(PATIENCE):
            result = await self._call(
                "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, replMode=True
            )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        await self._commands.send_all(json.dumps(message).encode() + b"\0")
        while True:
            answer = await self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def _next(self) -> Any:
        while b"\0" not in self._buffer:
            piece = await self._answers.receive_some()
            assert piece, "Chromium ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """An empty page in a Chromium that lives as long as the block."""
    assert CHROMIUM is not None
    (their_end, ours), (our_end, theirs) = os.pipe(), os.pipe()
    line = [CHROMIUM, *_ARGUMENTS, f"--user-data-dir={profile}"]
    try:
        process = await trio.lowlevel.open_process(
            ["bash", "-c", f'exec "$@" 3<&{their_end} 4>&{theirs}', "chromium", *line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(their_end, theirs),
        )
    finally:
        os.close(their_end)
        os.close(theirs)
    async with trio.lowlevel.FdStream(ours) as commands, trio.lowlevel.FdStream(our_end) as answers:
        try:
            page = Page(commands, answers)
            with trio.fail_after(PATIENCE):
                await page.open()
            yield page
        finally:
            with trio.CancelScope(shield=True):
                process.terminate()
                with trio.move_on_after(5):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                await process.wait()
