"""How `pigeon doctor` looks: a sign and a word for each check, and the worst of it last."""

import os
import pty
import re
import subprocess
from pathlib import Path

from console.children import command, environment
from console.doctor import diagnosis_lines, finding_lines
from node.doctor import sum_up
from node.doctor.finding import fine, problem, warning


def test_a_finding_is_a_line_with_a_sign_and_a_word_and_the_cause_and_cure_stand_under_it() -> None:
    broken = problem("dir:/a", "It is no folder.", cause="A file is there.", cure="Remove it.")
    assert finding_lines(broken, color=False) == [
        "✗ problem  dir:/a: It is no folder.",
        "           A file is there.",
        "           → Remove it.",
    ]
    assert finding_lines(fine("clock", "It is right."), color=False) == ["✓ ok       clock: It is right."]
    colored = finding_lines(broken, color=True)
    assert "✗ problem" in colored[0], "colour says nothing that the word does not"


def test_what_strangers_wrote_moves_no_cursor() -> None:
    nasty = warning("dir:/a", "The lobby of '\x1b[2J\u202etea'.", cause="x\nNo problem.", cure="\x07y")
    text = "".join(finding_lines(nasty, color=False) + diagnosis_lines(sum_up([nasty])))
    assert not re.search("[\x00-\x1f\x7f\u202e]", text)


def test_the_last_lines_count_what_is_wrong_and_name_the_cause_and_the_cure_of_the_worst() -> None:
    know = warning("home", "It is nearly full.", cause="Little is left.", cure="Free some.")
    bad = problem("router", "Nobody gets in.", cause="It is symmetric.", cure="Here you need TURN.")
    assert diagnosis_lines(sum_up([know, bad, bad])) == [
        "2 problems and 1 warning. Mend this first: router: Nobody gets in.",
        "It is symmetric.",
        "Here you need TURN.",
    ]
    assert diagnosis_lines(sum_up([know]))[0].startswith("1 warning. It works; but know this: home")
    assert diagnosis_lines(sum_up([])) == ["Everything that was looked at works here."]


def test_where_no_server_was_asked_the_last_line_does_not_speak_of_other_networks() -> None:
    near = fine("addresses", "192.168.1.2 (private).", only_near=True)
    (line,) = diagnosis_lines(sum_up([near]))
    assert line.endswith("Whether you can meet people in other networks was not: that takes --stun SERVER.")


def test_on_a_terminal_progress_is_shown_and_wiped_and_no_color_is_obeyed(tmp_path: Path) -> None:
    def seen(**variables: str) -> tuple[bytes, bytes]:
        ours, theirs = pty.openpty()
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123
            process = subprocess.Popen(
                command("doctor", "--home", str(tmp_path)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=theirs,
                env={**environment(), "TERM": "xterm", **variables},
            )
            os.close(theirs)
            output, _ = process.communicate(timeout=30)
            assert process.returncode == 0
            shown = b""
            try:
                while data := terminal.read(4096):
                    shown += data
            except OSError:
                pass  # the other end is closed
            return output, shown

    output, shown = seen(NO_COLOR="1")
    assert "✓ ok".encode() in output and b"\x1b" not in output
    assert re.search(rb"\d+ of \d+ checks done", shown)
    assert shown.endswith(b"\r\x1b[2K"), "nothing of it stays"
