"""What a typed line means."""

import pytest

from console.commands import (
    Admit,
    Command,
    Help,
    Invite,
    Nothing,
    Quit,
    Remove,
    Say,
    Scan,
    Status,
    Who,
    Wrong,
    parse,
)


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("hello", Say("hello")),
        ("  keep my spaces ", Say("  keep my spaces ")),
        ("//usr/bin is a path", Say("/usr/bin is a path")),
        ("a / b", Say("a / b")),
        ("", Nothing()),
        ("   ", Nothing()),
        ("/who", Who()),
        ("/status", Status()),
        ("/admit bob", Admit("bob")),
        ("/admit  bob the builder ", Admit("bob the builder")),
        ("/remove bob", Remove("bob")),
        ("/invite", Invite()),
        ("/scan a photo.jpg ", Scan("a photo.jpg")),
        ("/help ", Help()),
        ("/quit", Quit()),
    ],
)
def test_a_line_is_a_message_or_a_command(line: str, meaning: Command) -> None:
    assert parse(line) == meaning


@pytest.mark.parametrize("line", ["/", "/wat", "/quit now", "/admit", "/admit ", "/remove", "/scan", "/Who"])
def test_what_is_neither_is_never_sent(line: str) -> None:
    assert isinstance(parse(line), Wrong)
