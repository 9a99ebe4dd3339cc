"""On a terminal a line of progress is written over; whatever comes next takes its place."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import trio

from console.out import Out
from console.settings import Settings

PROGRAM = """
import trio
from console.out import Out
from console.plain import PlainScreen
from console.settings import Settings
from node.events import ProgressEvent

async def main():
    screen = PlainScreen(Out(Settings()), color=False)
    for height in (0, 5, 10):
        await screen.event(ProgressEvent(height=height, target=10, past=False))

trio.run(main)
"""


def test_progress_on_a_terminal_is_one_line_that_is_gone_in_the_end() -> None:
    master, slave = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stderr=slave,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
        timeout=60,
        check=True,
    )
    os.close(slave)
    shown = os.read(master, 4096).decode()
    os.close(master)
    assert done.stdout == b""
    wipe = "\r\x1b[2K"
    assert shown == (
        f"{wipe}· catching up: 0 of 10 blocks{wipe}· catching up: 5 of 10 blocks{wipe}"
        "· caught up: 10 blocks.\r\n"
    )


async def test_what_a_cancelled_writer_began_stands_before_what_comes_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: writer))
    first, second = b"1" * 300_000, b"2" * 300_000  # more than a pipe holds
    with trio.move_on_after(0.1) as given_up:
        await Out(Settings()).data(first)
    assert given_up.cancelled_caught
    read = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Out(Settings()).data, second)
        while len(read) < len(first) + len(second):
            read += await trio.to_thread.run_sync(os.read, reader, 1 << 16)
    assert read == first + second
    os.close(reader)
    os.close(writer)
