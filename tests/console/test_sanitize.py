"""What others wrote cannot steer a terminal."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.sanitize import json_line, one_line, paragraphs


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x9b31mred", "red"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP+q544e\x1b\\text", "text"),
        ("\x1b]52;c;never ended", "52;c;never ended"),
        ("\x1bcreset", "reset"),
        ("bell\x07 and back\x08space", "bell and backspace"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\u2066isolated\u2069", "isolated"),
        ("a\u200eb\u200fc\u061cd\ufeffe", "abcde"),
        ("two\nlines", "two lines"),
        ("carriage\rreturn", "carriagereturn"),
        ("\ud800lone surrogate", "lone surrogate"),
        ("tag\U000e0041s", "tags"),
        ("family \U0001f469\u200d\U0001f467 stays", "family \U0001f469\u200d\U0001f467 stays"),
        ("naïve 日本語 ok", "naïve 日本語 ok"),
    ],
)
def test_what_would_act_on_a_terminal_is_taken_out(hostile: str, harmless: str) -> None:
    assert one_line(hostile) == harmless


@pytest.mark.parametrize("beginning", ["\x1b[", "\x1b]", "\x1bP", "\x90", "\x9d", "\x9b", "\x90\x9d"])
def test_many_beginnings_of_sequences_that_never_end_cost_no_more_than_as_much_text(beginning: str) -> None:
    began = time.process_time()
    one_line(beginning * 60_000)
    assert time.process_time() - began < 2, "quadratic time would be more than ten seconds"


@given(st.text(max_size=200))
def test_no_control_or_reordering_character_survives(text: str) -> None:
    forbidden = {
        *map(chr, range(32)),
        *map(chr, range(127, 160)),
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067",
    }
    assert not forbidden & set(one_line(text))
    assert not (forbidden - {"\n"}) & set(paragraphs(text, indent="  "))


def test_a_second_line_is_indented_so_that_it_cannot_pose_as_somebody_elses() -> None:
    assert paragraphs("yes\n■ #9 10:00 ann: no", indent="    ") == "yes\n    ■ #9 10:00 ann: no"


@given(st.text(max_size=100))
def test_a_json_line_keeps_its_value_and_is_one_line_however_it_is_split(text: str) -> None:
    line = json_line(msgspec.json.encode({"text": text}))
    assert msgspec.json.decode(line) == {"text": text}
    assert line.decode().splitlines() == [line.decode().removesuffix("\n")]
    assert not set("\x1b\x7f\x9b\u202e\u2066") & set(line.decode())
