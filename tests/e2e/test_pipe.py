"""`pigeon pipe` between two pigeons, as shells use it."""

import json
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from console.children import command, environment, output_of
from tests.e2e.pipes import PATIENCE, pair
from tests.e2e.terminal import terminal

MEGABYTE = random.Random(7).randbytes(1 << 20)


async def test_each_direction_carries_a_megabyte_and_both_ends_exit_with_0(tmp_path: Path) -> None:
    async with pair(tmp_path) as pipes:
        one, other = await pipes.offerer(), await pipes.answerer()
        async with trio.open_nursery() as nursery:
            for each, data in ((one, MEGABYTE), (other, MEGABYTE[::-1])):
                nursery.start_soon(each.write, data)
        await one.end()
        await other.end()
        assert (await one.code(), await other.code()) == (0, 0), one.said + other.said
        assert other.received == MEGABYTE
        assert one.received == MEGABYTE[::-1]


async def test_the_end_of_one_direction_is_seen_at_once_and_the_other_goes_on(tmp_path: Path) -> None:
    async with pair(tmp_path) as pipes:
        asks, answers = await pipes.offerer(), await pipes.answerer()
        await asks.write(b"what is 6 x 7?")
        await asks.end()
        await answers.has(len("what is 6 x 7?"))
        with trio.fail_after(PATIENCE):
            await answers.at_end.wait()
        await answers.write(b"42")
        await asks.has(2)
        assert (asks.process.returncode, answers.process.returncode) == (None, None)
        await answers.write(b", I think")
        await answers.end()
        assert (await asks.code(), await answers.code()) == (0, 0)
        assert asks.received == b"42, I think"


async def test_a_shell_pipeline_moves_a_tree_of_files(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "down").mkdir(parents=True)
    target.mkdir()
    (source / "large").write_bytes(MEGABYTE)
    (source / "deep" / "down" / "small").write_text("small")
    offer, answer, pigeon = tmp_path / "o", tmp_path / "a", " ".join(command("pipe", "--quiet"))
    script = f"""
        set -o pipefail
        tar c -C {source} . | {pigeon} --offer --out {offer} --in {answer} & sender=$!
        {pigeon} --answer --in {offer} --out {answer} < /dev/null | tar x -C {target}
        received=$?
        wait $sender
        echo "$? $received"
    """
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            ["bash", "-c", script], capture_stdout=True, capture_stderr=True, env=environment()
        )
    assert (done.stdout, done.stderr) == (b"0 0\n", b"")
    assert (target / "large").read_bytes() == MEGABYTE
    assert (target / "deep" / "down" / "small").read_text() == "small"


async def test_a_reader_that_stops_holds_the_writer_back_and_loses_nothing(tmp_path: Path) -> None:
    """A megabyte in the window, one queued, and what the system's pipes hold: the rest waits outside."""
    async with pair(tmp_path) as pipes:
        one, other = await pipes.offerer(), await pipes.answerer(stalled=True)
        data, taken = MEGABYTE * 8, 0

        async def write() -> None:
            nonlocal taken
            for at in range(0, len(data), 1 << 16):
                await one.write(data[at : at + (1 << 16)])
                taken = at + (1 << 16)
            await one.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            with trio.fail_after(PATIENCE):
                while not taken:
                    await trio.sleep(0.01)
            before = -1
            while before != taken:  # until nothing was taken for longer than a probe takes
                before = taken
                await trio.sleep(1.5)
            assert taken < 4 << 20, "the writer was not held back"
            other.go_on()
        await other.end()
        assert (await one.code(), await other.code()) == (0, 0)
        assert other.received == data


async def test_a_reader_that_leaves_ends_its_side_like_sigpipe_and_the_writer_is_told(tmp_path: Path) -> None:
    async with pair(tmp_path) as pipes:
        one, other = await pipes.offerer(), await pipes.answerer()
        await one.write(b"x" * 1000)
        await other.has(1000)
        await other.leave()
        with suppress(trio.BrokenResourceError):  # it may be gone before it took all that
            await one.write(MEGABYTE)
        assert await other.code() == 128 + signal.SIGPIPE
        assert await one.code() == 4
        assert "ended before the data did" in one.said
        assert "Traceback" not in one.said + other.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_and_the_other_side_does_not_take_that_for_the_end_of_the_data(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    async with pair(tmp_path) as pipes:
        one, other = await pipes.offerer(), await pipes.answerer()
        await other.end()
        await one.write(b"half of it")
        await other.has(10)
        os.kill(one.process.pid, number)
        assert await one.code() == code
        assert await other.code() == 4
        assert other.received == b"half of it"
        assert "may be missing" in other.said


async def test_without_a_connection_in_time_it_exits_with_3(tmp_path: Path) -> None:
    for side in ("--offer", "--answer"):
        code, output, said = await output_of(
            "pipe", side, "--in", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--timeout", "0.5"
        )
        assert (code, output) == (3, b""), said
    assert json.loads((tmp_path / "out").read_bytes())["type"] == "offer"


async def test_what_is_no_description_is_told_and_exits_with_2(tmp_path: Path) -> None:
    given, out = tmp_path / "in", ("--out", str(tmp_path / "out"))
    code, output, said = await output_of("pipe", "--out", str(tmp_path / "out"))
    assert (code, output) == (2, b"")
    assert b"--offer here" in said
    given.write_text("{}")
    await output_of("pipe", "--offer", *out, "--in", str(given), "--timeout", "0.3")
    given.write_bytes((tmp_path / "out").read_bytes().replace(b"offer", b"answer"))
    code, output, said = await output_of("pipe", "--answer", *out, "--in", str(given))
    assert (code, output) == (2, b"")
    assert b"nobody would begin" in said
    given.write_text('{"type": "offer", "sdp": "v=0')
    code, output, said = await output_of("pipe", "--answer", *out, "--in", str(given), "--json")
    assert (code, output) == (2, b""), "standard output is for data, with --json too"
    assert json.loads(said.splitlines()[-1])["code"] == 2


async def test_an_answer_from_before_the_offer_is_passed_over(tmp_path: Path) -> None:
    async with pair(tmp_path) as pipes:
        pipes.answer.write_text("an answer to something else")
        one, other = await pipes.offerer(), await pipes.answerer()
        await one.end()
        await other.end()
        assert (await one.code(), await other.code()) == (0, 0), one.said + other.said


async def test_files_of_an_earlier_run_do_not_keep_two_sides_apart(tmp_path: Path) -> None:
    """The answerer takes the old offer, until it sees the new one, which it answers."""
    async with pair(tmp_path) as pipes:
        code, _, _ = await output_of(
            "pipe", "--offer", "--in", str(pipes.answer), "--out", str(pipes.offer), "--timeout", "0.3"
        )
        assert code == 3
        other = await pipes.answerer()
        with trio.fail_after(PATIENCE):
            while not pipes.answer.exists():
                await trio.sleep(0.01)
        one = await pipes.offerer()
        await one.end()
        await other.end()
        assert (await one.code(), await other.code()) == (0, 0), one.said + other.said


async def test_descriptions_may_go_through_named_pipes(tmp_path: Path) -> None:
    async with pair(tmp_path) as pipes:
        for path in (pipes.offer, pipes.answer):
            os.mkfifo(path)
        one, other = await pipes.offerer(), await pipes.answerer()
        await one.end()
        await other.end()
        assert (await one.code(), await other.code()) == (0, 0), one.said + other.said


async def test_what_the_system_refuses_is_told_beside_the_data(tmp_path: Path) -> None:
    missing = str(tmp_path / "none" / "out")
    code, output, said = await output_of("pipe", "--offer", "--out", missing, "--in", missing, "--json")
    assert (code, output) == (8, b"")
    assert (
        json.loads(said)["message"] == f"The system refused: {tmp_path / 'none'}: No such file or directory."
    )


async def test_by_hand_at_two_terminals_the_lines_are_shown_and_pasted() -> None:
    shown, prompt = r'^(\{"type":"%s".*\})$', "Paste the"
    async with terminal("pipe", "--offer", columns=4000) as one:
        offer = (await one.wait_for(shown % "offer", within=PATIENCE))[1]
        await one.wait_for(prompt, within=PATIENCE)
        async with terminal("pipe", "--answer", columns=4000) as other:
            await other.wait_for(prompt, within=PATIENCE)
            await other.type(f"{offer[:300]}\n{offer[300:]}\n")
            answer = (await other.wait_for(shown % "answer", within=PATIENCE))[1]
            await one.type("here it comes\n")
            sorry = await one.wait_for("This is not the JSON of a session description", within=PATIENCE)
            await one.wait_for(prompt, within=PATIENCE, since=sorry.end())
            await one.type(f"{answer}\n")
            for each in (one, other):
                await each.wait_for("Connected", within=PATIENCE)
            await one.type("hello there\n")
            await other.wait_for("^hello there$", within=PATIENCE)
            for each in (one, other):
                await each.type("\x04")
            with trio.fail_after(PATIENCE):
                assert (await one.process.wait(), await other.process.wait()) == (0, 0)
