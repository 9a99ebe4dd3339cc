"""A password that is typed is neither shown nor said, and the terminal is as before however that ends."""

import os
import termios
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from console.chat import Chat
from console.lines import LineReader
from console.secret import typed_line, unseen
from tests.console.fakes import Noted, SpokenTo

_LOCAL_FLAGS = 3


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Where a person types and reads, and the program's end of it."""
    person, program = os.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def echoes(program: int) -> bool:
    return bool(termios.tcgetattr(program)[_LOCAL_FLAGS] & termios.ECHO)


def test_what_is_typed_is_not_shown(terminal: tuple[int, int]) -> None:
    person, program = terminal
    with unseen(program):
        os.write(person, b"open sesame\n")
        assert os.read(program, 100) == b"open sesame\n"
        assert os.read(person, 100) == b"\r\n"
    os.write(person, b"hello\n")
    assert os.read(program, 100) == b"hello\n"
    assert os.read(person, 100) == b"hello\r\n"


async def test_echo_is_back_when_whoever_waits_is_cancelled(terminal: tuple[int, int]) -> None:
    _, program = terminal
    with trio.CancelScope() as scope, unseen(program):
        assert not echoes(program)
        scope.cancel()
        await trio.sleep_forever()
    assert echoes(program)


async def test_a_line_typed_as_a_secret_is_never_said_and_the_next_ones_are() -> None:
    node, screen = SpokenTo(), Noted()
    lines = iter([b"\n", b"open sesame\n", b"hello\n", b"/quit\n"])
    talk = Chat(node, screen).talk()
    heard: list[str] = []

    async def ask() -> None:
        heard.append(await talk.secret())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await talk.run(LineReader(lambda: next(lines)), timeout=None)
    assert (heard, node.said) == (["open sesame"], ["hello"])


async def test_without_a_chat_line_the_next_line_is_taken_and_empty_ones_are_not() -> None:
    rest = [b"\n\nopen sesame\nhello\n", b""]
    lines = LineReader(lambda: rest.pop(0))
    assert await typed_line(lines) == "open sesame"
    assert await typed_line(lines) == "hello"
    assert await typed_line(lines) is None
