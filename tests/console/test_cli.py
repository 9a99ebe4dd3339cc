"""The command table: what needs no node."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from console.options import OfferLife

VERBS = [
    "admit",
    "carry",
    "chat",
    "demo",
    "doctor",
    "evidence",
    "hub",
    "id",
    "invite",
    "join",
    "leave",
    "log",
    "meet",
    "new",
    "pipe",
    "remove",
    "send",
    "status",
    "up",
    "verify",
    "who",
]
SHARED = ["--home", "--room", "--json", "--quiet", "--verbose", "--timeout", "--no-color", "--yes"]


def pigeon(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIGEON_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**clean, **variables},
    )


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_program_introduces_itself_without_loading_what_it_needs_later(option: str) -> None:
    heavy = "{'aiortc', 'av', 'PIL', 'sqlite3', 'trio_asyncio', 'trio', 'rich', 'nacl'}"
    program = (
        "import sys, cli\n"
        f"sys.argv = ['pigeon', {option!r}]\n"
        "try: cli.main()\n"
        f"except SystemExit as end: print(end.code, sorted({heavy} & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr.split("\n")[0] == "0 []"
    assert done.stdout.startswith("pigeon 0." if option == "--version" else "Usage: pigeon")


def test_every_verb_of_now_is_there_and_none_of_later() -> None:
    listing = pigeon("--help").stdout.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+)  ", listing, re.MULTILINE) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_takes_the_shared_options(verb: str) -> None:
    done = pigeon(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(option in done.stdout for option in SHARED)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("log", "--frob"),
        ("log", "extra"),
        ("send",),
        ("send", "x", "--wait", "forever"),
        ("new",),
        ("new", "x", "--admit", "maybe"),
        ("verify",),
        ("demo", "--members", "3"),
        ("log", "--timeout", "nan"),
        ("log", "--timeout", "-1"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_what_to_do(arguments: tuple[str, ...]) -> None:
    done = pigeon(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "See: pigeon" in done.stderr or "Usage: pigeon" in done.stderr


@pytest.mark.parametrize("place", ["before", "after", "variable"])
def test_shared_options_work_before_and_after_the_verb_and_as_variables(place: str, tmp_path: Path) -> None:
    shared = ("--json", "--home", str(tmp_path))
    if place == "before":
        done = pigeon(*shared, "log")
    elif place == "after":
        done = pigeon("log", *shared)
    else:
        done = pigeon("log", PIGEON_JSON="1", PIGEON_HOME=str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "v": 1,
        "event": "error",
        "code": 1,
        "message": "There is no room here yet.",
        "hint": "Make one with `pigeon new` or join one with `pigeon join`.",
    }


def test_what_stands_after_the_verb_wins(tmp_path: Path) -> None:
    done = pigeon("--home", "/nowhere/at/all", "id", "--home", str(tmp_path), PIGEON_HOME="/nowhere/either")
    assert "There is no identity here yet." in done.stderr


def test_an_error_is_two_sentences_and_a_traceback_only_when_asked_for(tmp_path: Path) -> None:
    plain = pigeon("who", "--home", str(tmp_path))
    assert plain.stdout == ""
    assert plain.stderr.splitlines() == [
        "! There is no room here yet.",
        "  Make one with `pigeon new` or join one with `pigeon join`.",
    ]
    loud = pigeon("who", "--home", str(tmp_path), "-vv")
    assert "Traceback" in loud.stderr
    assert loud.returncode == plain.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--version",), 8),
        (("--help",), 8),
        (("fly", "--json"), 2),
        (("id", "--json"), 1),
    ],
)
def test_a_full_disk_under_standard_output_is_told_in_two_sentences(
    arguments: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PIGEON_HOME": str(tmp_path)},
        )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("! ") and "\n  " in done.stderr


def test_an_empty_nick_is_refused_and_not_replaced(tmp_path: Path) -> None:
    done = pigeon("new", "tea", "--as", "", "--home", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "nick" in done.stderr


def test_a_message_that_is_not_text_is_refused(tmp_path: Path) -> None:
    done = pigeon("join", "\udcff\udcfe", "--home", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("2", 2), ("600", 600), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("24H", 86400), (" 2 m ", 120)],
)
def test_an_offers_life_is_said_in_seconds_minutes_or_hours(said: str, seconds: int) -> None:
    assert OfferLife().convert(said, None, None) == seconds


@pytest.mark.parametrize("said", ["", "1", "-5", "25h", "86401", "nan", "inf", "1e9", "h", "10 days", "ten"])
def test_an_offers_life_of_nothing_or_of_more_than_a_day_is_wrong_usage(said: str) -> None:
    with pytest.raises(click.BadParameter, match="from 2 seconds to 24 hours"):
        OfferLife().convert(said, None, None)
