"""The commands around a running node: exit codes, signals, bad input. One member is enough for most of it."""

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
import trio

from console.children import Child, command, environment, family
from tests.e2e.homes import PATIENCE, Homes


def store_of(home: Path) -> Path:
    (store,) = (home / "rooms").glob("*/store.sqlite")
    return store


async def stopped(node: Child, number: signal.Signals) -> int:
    node.process.send_signal(number)
    return await node.wait(within=PATIENCE)


async def test_messages_go_through_the_running_node_or_wait_on_disk_for_it(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        code, events, _ = await homes.run("ann", "send", "while it runs")
        assert (code, [event["event"] for event in events][-1]) == (0, "final")
        code, (pending,), _ = await homes.run("ann", "send", "only queued", "--wait", "pending")
        assert (code, pending["event"], pending["text"]) == (0, "pending", "only queued")
        assert await stopped(homes.nodes["ann"], signal.SIGTERM) == 143

        code, (pending, error), said = await homes.run("ann", "send", "while it sleeps")
        assert (code, pending["event"], error["code"]) == (3, "pending", 3)
        assert "do not send" in said
        code, (queued,), _ = await homes.run("ann", "send", "//not a command", "--wait", "pending")
        assert (code, queued["event"]) == (0, "pending")
        for verb in ("who", "status", "invite"):
            code, (error,), _ = await homes.run("ann", verb)
            assert (code, error["code"]) == (4, 4), verb

        node = await homes.start("ann", "chat")
        await homes.everyone_sees({"while it sleeps", "//not a command"})
        ids = {event["text"]: event["id"] for event in node.events if event["event"] == "final"}
        assert ids["while it sleeps"] == pending["id"], "one id from pending to final"
        log = [json.loads(line.replace(b":?", b":null")) for line in await homes.log("ann")]
        assert [event["text"] for event in log] == [
            "while it runs",
            "only queued",
            "while it sleeps",
            "//not a command",
        ]
        assert [event["index"] for event in log] == [0, 1, 2, 3]


async def test_a_chat_on_a_pipe_takes_messages_and_commands_and_ends_when_all_is_final(
    tmp_path: Path,
) -> None:
    lines = [
        b"hello",
        b"",
        b"//slash",
        b"/who",
        b"/status",
        b"/invite",
        b"/fly",
        b"bad \xff byte",
        b"x" * 16385,
        b"y" * 16384,
        "Grüße \x1b[31mred \u202egnp".encode(),
        b"/admit nobody",
        b"last",
    ]
    done = await trio.run_process(
        [*command("new"), "tea", "--as", "ann", "--json", "--home", str(tmp_path)],
        stdin=b"\n".join(lines) + b"\n",
        capture_stdout=True,
        capture_stderr=True,
        env=environment(),
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(event["v"] == 1 for event in events)
    assert [event["event"] for event in events[:2]] == ["room", "invite"]
    assert [event["text"] for event in events if event["event"] == "final"] == [
        "hello",
        "/slash",
        "y" * 16384,
        "Grüße \x1b[31mred \u202egnp",
        "last",
    ]
    errors = [event for event in events if event["event"] == "error"]
    assert len(errors) == 4
    assert all(error["message"] and error["hint"] for error in errors)
    assert sum(event["event"] == "status" for event in events) == 1
    assert sum(event["event"] == "member" for event in events) == 1
    assert sum(event["event"] == "invite" for event in events) == 2
    assert b"\x1b" not in done.stdout + done.stderr, "no escape sequence reaches whatever reads this"
    plain = await trio.run_process(
        [*command("log"), "--home", str(tmp_path)], capture_stdout=True, env=environment()
    )
    assert "Grüße red gnp" in plain.stdout.decode()
    assert b"\x1b" not in plain.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_node_cleanly_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        code, _, _ = await homes.run("ann", "send", "said")
        assert code == 0
        sockets = set(_sockets())
        with trio.fail_after(8):
            assert await stopped(homes.nodes["ann"], number) == 128 + number
        assert len(sockets - set(_sockets())) >= 1, "its socket is gone"
        left = [path.name for path in (tmp_path / "lobby").rglob("*.bin")]
        assert left == [], "no offer stays in the lobby"
        assert not list(store_of(tmp_path / "ann").parent.glob("*-wal")), "the store was closed"
        node = await homes.start("ann", "up")
        await node.wait_for("room", within=PATIENCE)


def _sockets() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(runtime) / "pigeon"] if runtime else []
    places.append(Path("/tmp") / f"pigeon-{os.getuid()}")
    return [path for place in places for path in place.glob("*.sock")]


async def test_a_second_process_on_the_same_home_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        first = homes.nodes["ann"]
        code, (error,), said = await homes.run("ann", "up")
        assert (code, error["code"]) == (2, 2)
        assert str(first.process.pid) in said
        await first.say("still here")
        await first.wait_for("final", within=PATIENCE)
        attached = await homes.children.start("ann, attached", "chat", "--json", *homes.at("ann"))
        await attached.say("through the socket")
        await attached.wait_for("final", within=PATIENCE, where=lambda e: e["text"] == "through the socket")
        await first.wait_for("final", within=PATIENCE, where=lambda e: e["text"] == "through the socket")
        await attached.end_input()
        assert await attached.wait(within=PATIENCE) == 0
        again = await homes.children.start("ann, again", "chat", "--json", *homes.at("ann"))
        await again.wait_for("room", within=PATIENCE)
        first.process.kill()
        assert await again.wait(within=PATIENCE) == 4, "an attached chat ends with its node"


async def test_without_enough_members_a_message_stays_queued_and_the_exit_code_says_why(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(2)
        await homes.kill("bob")
        await homes.nodes["ann"].wait_for(
            "peer", within=PATIENCE, where=lambda event: event["state"] == "down"
        )
        code, events, said = await homes.run("ann", "send", "anybody?", "--timeout", "1")
        assert code == 5
        assert [event["event"] for event in events] == ["pending", "error"]
        assert "do not send it again" in said
        code, (status,), _ = await homes.run("ann", "status", "--why")
        assert (code, status["up"], status["quorum"], status["pending"]) == (0, 1, 2, 1)
        assert status["waiting_for"] == ["bob"]
        await homes.nodes["ann"].end_input()
        with trio.move_on_after(1):
            await homes.nodes["ann"].process.wait()
        assert homes.nodes["ann"].process.returncode is None, "it waits for what was said"
        await homes.start("bob", "up")
        await homes.everyone_sees({"anybody?"})
        assert await homes.nodes["ann"].wait(within=PATIENCE) == 0


async def test_bad_names_tokens_rooms_and_carriers_are_each_told_apart(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await homes.found()
        for arguments, expected in [
            (("log", "--room", "coffee"), 1),
            (("join", token[:-3], "--as", "bob"), 2),
            (("join", "hello", "--as", "bob"), 2),
            (("new", "bad\nname", "--as", "bob"), 2),
            (("new", "ok", "--as", "b" * 40), 2),
            (("new", "ok", "--as", "bob", "--via", "pigeon:home"), 2),
            (("new", "tea", "--as", "ann"), 2),
            (("send", ""), 2),
            (("send", "x" * 16385), 2),
            (("send", "\udcff"), 2),
            (("admit", "nobody"), 1),
        ]:
            code, events, said = await homes.run("ann", *arguments)
            assert code == expected, (arguments, code, said)
            assert events[-1]["event"] == "error"
            assert "Traceback" not in said
            assert len(said.strip().splitlines()) >= 2
        await homes.start(
            "bob", "join", token, "--as", "bob", "--timeout", "0.5", "--via", f"dir:{tmp_path / 'no'}"
        )
        assert await homes.nodes["bob"].wait(within=PATIENCE) == 4, "nobody was there"


async def test_damage_is_found_and_a_foreign_store_is_told_apart_from_it(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        for text in ("one", "the second message", "three"):
            code, _, _ = await homes.run("ann", "send", text)
            assert code == 0
        assert await stopped(homes.nodes["ann"], signal.SIGTERM) == 143
        await homes.children.stop()
        code, (verdict,), _ = await homes.run("ann", "verify", "--store")
        assert (code, verdict["event"], verdict["ok"]) == (0, "verdict", True)

        store = store_of(tmp_path / "ann")
        sound = store.read_bytes()
        assert b"the second message" in sound
        store.write_bytes(sound.replace(b"the second message", b"the sEcond message"))
        code, verdicts, _ = await homes.run("ann", "verify", "--store")
        assert code == 1
        assert not any(verdict["ok"] for verdict in verdicts)
        assert any("block 2" in verdict["reason"] for verdict in verdicts)
        code, (error,), said = await homes.run("ann", "up")
        assert (code, error["event"]) == (8, "error")
        assert "verify --store" in said
        store.write_bytes(sound)

        await homes.start("bob", "new", "other", "--as", "bob")
        await homes.nodes["bob"].wait_for("room", within=PATIENCE)
        assert await stopped(homes.nodes["bob"], signal.SIGTERM) == 143
        foreign = store_of(tmp_path / "bob")
        code, (error,), _ = await homes.run("ann", "verify", "--store", str(foreign))
        assert (code, error["code"]) == (6, 6)
        code, (error,), _ = await homes.run("ann", "verify", "--store", str(tmp_path / "nothing"))
        assert (code, error["code"]) == (8, 8), "there is nothing to check"
        for suffix in ("", "-wal", "-shm", ".mark"):
            Path(f"{store}{suffix}").unlink(missing_ok=True)
            if Path(f"{foreign}{suffix}").exists():
                Path(f"{store}{suffix}").write_bytes(Path(f"{foreign}{suffix}").read_bytes())
        code, (error,), _ = await homes.run("ann", "up")
        assert (code, error["code"]) == (6, 6), "another room's store is refused as such"


async def test_junk_in_the_lobby_hinders_nobody(tmp_path: Path) -> None:
    lobby = tmp_path / "lobby"
    lobby.mkdir()
    (lobby / "host.offer.bin").write_bytes(b"\x93\x01junk")
    (lobby / f"{'ab' * 32}.offer.bin").write_bytes(os.urandom(3000))
    (lobby / f"{'cd' * 32}.answer.bin").write_bytes(b"")
    (lobby / "session.json").write_text("{not json")
    secret = tmp_path / "secret"
    secret.write_text("not for the lobby")
    (lobby / f"{'ef' * 32}.offer.bin").symlink_to(secret)
    (lobby / "a directory.bin").mkdir()
    with (lobby / f"{'01' * 32}.offer.bin").open("wb") as large:
        large.truncate(1 << 30)
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(2)
        await homes.nodes["bob"].say("we are here")
        await homes.everyone_sees({"we are here"})
    assert secret.read_text() == "not for the lobby"


async def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        for number in range(30):
            await homes.nodes["ann"].say(f"{number} " + "x" * 8000)
        await homes.nodes["ann"].wait_for_all("final", 30, within=PATIENCE)
        process = subprocess.Popen(
            [*command("log"), "--json", *homes.at("ann")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None and process.stderr is not None
        await trio.to_thread.run_sync(process.stdout.read, 100)
        process.stdout.close()
        complaint = await trio.to_thread.run_sync(process.stderr.read)
        process.stderr.close()
        assert process.wait(timeout=30) == 141
        assert complaint == b""


async def test_thousands_of_lines_at_once_are_all_final_in_order_even_for_a_reader_that_sleeps(
    tmp_path: Path,
) -> None:
    lines = [f"line {number}" for number in range(4500)]  # two events each: more than wait for a reader
    with (tmp_path / "lines").open("w+b") as said:
        said.write("\n".join(lines).encode())
        said.seek(0)
        process = subprocess.Popen(
            [*command("new"), "tea", "--as", "ann", "--json", "--home", str(tmp_path / "ann")],
            stdin=said,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
    async with family() as children:
        homes = Homes(children, tmp_path)
        with trio.fail_after(60):
            while True:
                code, events, _ = await homes.run("ann", "status")
                if code == 0 and events[0]["index"] == len(lines):
                    break
        output, _ = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 0
    shown = [event for event in map(json.loads, output.splitlines()) if event["event"] == "final"]
    assert [event["text"] for event in shown] == lines
    assert [event["index"] for event in shown] == list(range(len(lines)))


async def test_the_store_is_read_while_the_node_writes_it(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        for number in range(20):
            await homes.nodes["ann"].say(str(number))
            log = await homes.log("ann") if number % 5 == 0 else []
            texts = [json.loads(line.replace(b":?", b":null"))["text"] for line in log]
            assert texts == [str(each) for each in range(len(texts))]
        await homes.nodes["ann"].wait_for_all("final", 20, within=PATIENCE)
        assert len(await homes.log("ann")) == 20
        with sqlite3.connect(f"file:{store_of(tmp_path / 'ann')}?mode=ro", uri=True) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
