"""The demo is a test of its own: every step that it tells must hold."""

import json
import os
import signal
import subprocess
from pathlib import Path

import trio

from console.children import command, environment


async def test_the_demo_holds_and_cleans_up(tmp_path: Path) -> None:
    done = await trio.run_process(
        [*command("demo"), "--json", "--messages", "3"],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**environment(), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr.decode()
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(step["event"] == "step" and step["ok"] for step in steps)
    told = " ".join(step["name"] + " " + step["detail"] for step in steps)
    for promise in ("joins", "12 messages final", "same", "killed", "catches up", "flipped", "block"):
        assert promise in told
    assert list(tmp_path.glob("pigeon-demo-*")) == []


async def test_an_interrupted_demo_takes_its_nodes_with_it(tmp_path: Path) -> None:
    process = await trio.lowlevel.open_process(
        [*command("demo"), "--json", "--keep", str(tmp_path / "here")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    assert process.stdout is not None
    told = b""
    with trio.fail_after(60):
        while told.count(b"\n") < 2:  # two nodes run by then
            told += await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    await process.stdout.aclose()
    locks = list((tmp_path / "here").glob("*/rooms/*/lock"))
    assert len(locks) >= 2
    for lock in locks:
        pid = int(lock.read_text())
        assert not _is_pigeon(pid), f"node {pid} outlived the demo"


def _is_pigeon(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return b"cli" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (ProcessLookupError, FileNotFoundError):
        return False
