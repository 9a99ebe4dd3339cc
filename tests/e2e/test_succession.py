"""A room that can make no progress any more is continued by a new one, which cites its last block."""

import json
import shutil
from pathlib import Path

import trio

from console.children import command, environment, family
from tests.e2e.homes import PATIENCE, Homes


async def test_a_room_of_two_that_lost_one_goes_on_as_another_and_the_log_shows_both(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(2)
        await homes.nodes["bob"].say("said in the old room")
        await homes.everyone_sees({"said in the old room"})
        old = (await homes.nodes["ann"].wait_for("room", within=PATIENCE))["fingerprint"]
        await homes.kill("bob")
        shutil.rmtree(tmp_path / "bob")
        await homes.nodes["ann"].say("nobody can make this final")
        await homes.kill("ann")

        for wrong in ("no such room", "ab" * 32):
            code, (error,), _ = await homes.run("ann", "new", "tea 2", "--continues", wrong)
            assert (code, error["event"]) == (1, "error")
        node = await homes.start("ann", "new", "tea 2", "--as", "ann", *homes.via, "--continues", "tea")
        room = await node.wait_for("room", within=PATIENCE)
        assert (room["parent"], room["parent_name"], room["fingerprint"] != old) == (old, "tea", True)
        assert b"continues room tea" in node.complaints
        token = str((await node.wait_for("invite", within=PATIENCE))["token"])
        await node.say("and so we go on")
        await node.wait_for("final", within=PATIENCE)

        code, events, _ = await homes.run("ann", "log", "--room", "tea 2")
        assert code == 0
        assert [(event["room"], event["text"]) for event in events] == [
            (old, "said in the old room"),
            (room["fingerprint"], "and so we go on"),
        ]
        code, events, _ = await homes.run("ann", "log", "--room", "tea")
        assert [event["text"] for event in events] == ["said in the old room"], "the old room stays as it is"
        plain = await trio.run_process(
            [*command("log"), "--room", "tea 2", *homes.at("ann")], capture_stdout=True, env=environment()
        )
        lines = plain.stdout.decode().splitlines()
        assert lines[1] == "--- room tea ends here; room tea 2 continues it ---"
        code, (status,), _ = await homes.run("ann", "status", "--room", "tea 2")
        assert (code, status["parent"]) == (0, old)
        assert any("continues room tea" in note for note in status["notes"])

        newcomer = await homes.start("cal", "join", token, "--as", "cal")
        await node.wait_for("asks", within=PATIENCE)
        await node.say("/admit cal")
        room = await newcomer.wait_for("room", within=PATIENCE)
        assert (room["parent"], room["parent_name"]) == (old, ""), (
            "who never had the old room hears of it too"
        )
        await newcomer.wait_for("final", within=PATIENCE)
        code, events, said = await homes.run("cal", "log")
        assert (code, [event["text"] for event in events]) == (0, ["and so we go on"])
        assert "not in this home" in said


async def test_three_rooms_in_a_row_are_read_as_one_record(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    for number, name in enumerate(names):
        before = ["--continues", names[number - 1]] if number else []
        done = await trio.run_process(
            [*command("new"), name, "--as", "ann", "--json", "--home", str(tmp_path), *before],
            stdin=f"in {name}\n".encode(),
            capture_stdout=True,
            capture_stderr=True,
            env=environment(),
        )
        assert done.returncode == 0
    done = await trio.run_process(
        [*command("log"), "--json", "--home", str(tmp_path), "--room", "three"],
        capture_stdout=True,
        env=environment(),
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["text"] for event in events] == ["in one", "in two", "in three"]
    assert len({event["room"] for event in events}) == 3
