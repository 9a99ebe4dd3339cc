"""Ctrl-C at moments when nobody should have to think of it: 130, no traceback, nothing broken."""

import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from console.children import command, environment, family
from tests.e2e.homes import PATIENCE, Homes
from tests.e2e.terminal import Terminal, terminal

CTRL_C = "\x03"


async def ends_quietly(screen: Terminal) -> None:
    at = len(screen.seen)
    await screen.type(CTRL_C)
    with trio.fail_after(PATIENCE):
        assert await screen.process.wait() == 130
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert screen.seen[at:].strip() in ("", "^C")


async def test_ctrl_c_while_a_message_is_typed(tmp_path: Path) -> None:
    async with terminal("send", "-", "--home", str(tmp_path)) as screen:
        await screen.wait_for("Type the message, then Enter and Ctrl-D:", within=PATIENCE)
        await screen.type("half a mess")
        await screen.wait_for("half a mess", within=PATIENCE)
        await ends_quietly(screen)


async def test_ctrl_c_at_a_question(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        async with terminal("remove", "zed", "--home", str(tmp_path / "ann")) as screen:
            await screen.wait_for("Type yes:", within=PATIENCE)
            await ends_quietly(screen)
        async with terminal("remove", "zed", "--home", str(tmp_path / "ann")) as screen:
            await screen.wait_for("Type yes:", within=PATIENCE)
            await screen.type("no\n")
            await screen.wait_for("Nobody was removed", within=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_pigeon_is_still_being_imported(tmp_path: Path, number: signal.Signals) -> None:
    """In place of the first import that takes time, one that interrupts it."""
    (tmp_path / "click.py").write_text(f"import os; os.kill(os.getpid(), {int(number)})")
    done = await trio.run_process(
        command("--version"),
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")
