"""Lines of standard input, however they come in."""

from collections.abc import Callable

import pytest

from console.lines import MAX_LINE, NOT_TEXT, TOO_LONG, BadLine, Line, LineReader


def pieces(*chunks: bytes) -> Callable[[], bytes]:
    rest = [*chunks, b""]
    return lambda: rest.pop(0)


async def read_all(*chunks: bytes) -> list[Line | BadLine]:
    reader, lines = LineReader(pieces(*chunks)), []
    while (line := await reader.next()) is not None:
        lines.append(line)
    return lines


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], [Line("one"), Line("two")]),
        ([b"on", b"e\nt", b"wo"], [Line("one"), Line("two")]),
        ([b"windows\r\n"], [Line("windows")]),
        ([b"\n\n"], [Line(""), Line("")]),
        ([], []),
        ([b"caf\xc3", b"\xa9\n"], [Line("café")]),
        ([b"bad \xff\ngood\n"], [NOT_TEXT, Line("good")]),
        ([b"cut \xc3"], [NOT_TEXT]),
    ],
)
async def test_lines_are_the_same_however_they_are_cut(
    chunks: list[bytes], lines: list[Line | BadLine]
) -> None:
    assert await read_all(*chunks) == lines


async def test_the_longest_message_is_taken_and_one_byte_more_is_not() -> None:
    longest = b"x" * MAX_LINE
    assert await read_all(longest + b"\n" + longest + b"x\nnext\n") == [
        Line(longest.decode()),
        TOO_LONG,
        Line("next"),
    ]


async def test_an_endless_line_is_skipped_without_being_kept() -> None:
    reader = LineReader(pieces(*[b"x" * 60_000] * 50, b"\nnext"))
    assert await reader.next() == TOO_LONG
    assert await reader.next() == Line("next")
    assert await reader.next() is None
    assert len(reader._buffer) == 0
