"""How often strangers may be wrong about a password, and what a file with one may hold."""

import math
from pathlib import Path

import pytest

from node.errors import UsageError
from node.password import Guesses, read_password


def test_the_pauses_double_up_to_an_hour_and_begin_anew_after_a_quiet_day() -> None:
    guesses = Guesses()
    now, pauses = 0.0, []
    for _ in range(9):
        for _ in range(10):
            assert guesses.wait(now=now) == 0
            guesses.was_wrong(now=now)
        pauses.append(guesses.wait(now=now))
        now += pauses[-1]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    now += 24 * 3600
    for _ in range(10):
        guesses.was_wrong(now=now)
    assert guesses.wait(now=now) == 60


def test_wrong_guesses_that_come_slowly_close_no_door() -> None:
    guesses = Guesses()
    for turn in range(1000):
        guesses.was_wrong(now=turn * 6.7)
        assert math.isclose(guesses.wait(now=turn * 6.7), 0.0)


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"open sesame", "open sesame"),
        (b"open sesame\r\nmore\n", "open sesame"),
        (b" spaces count \n", " spaces count "),
        ("é".encode() * 256 + b"\n", "é" * 256),
    ],
)
def test_a_password_is_the_first_line_of_its_file(tmp_path: Path, content: bytes, password: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_password(tmp_path / "file") == password


@pytest.mark.parametrize("content", [b"", b"\nsecond", b"x" * 257, b"x" * 100_000, b"\xff\n"])
def test_a_file_that_holds_no_password_is_said_to(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UsageError):
        read_password(tmp_path / "file")
