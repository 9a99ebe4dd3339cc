"""A token from standard input: with other text around it, asked for again at a terminal, and not for ever."""

import textwrap

import pytest

from console.asking import WAYS_IN, token_given
from console.lines import Line, LineReader
from console.settings import Settings
from node.errors import UsageError
from signaling.token import Kind, to_token

TOKEN = to_token(Kind.OFFER, bytes(range(198)))
QUOTED = [f"> {line}" for line in textwrap.wrap(TOKEN, 76)]
SETTINGS = Settings(color=False)


def typed(*lines: str) -> LineReader:
    rest = [*(f"{line}\n".encode() for line in lines), b""]
    return LineReader(lambda: rest.pop(0), lambda _: True)


async def test_a_mail_may_be_piped_in_and_what_follows_the_token_is_not_taken() -> None:
    lines = typed("Subject: come in", "", "ann wrote at 17:20:", *QUOTED, "hello from bob")
    assert await token_given(SETTINGS, "-", None, lines=lines, wanted=WAYS_IN) == TOKEN
    assert await lines.next() == Line("hello from bob")


@pytest.mark.parametrize("lines", [0, 3, 1000])
async def test_what_holds_no_token_is_not_read_for_ever(lines: int) -> None:
    with pytest.raises(UsageError, match="There is no token on standard input"):
        await token_given(SETTINGS, None, None, lines=typed(*["no token"] * lines), wanted=WAYS_IN)


async def test_who_pastes_too_much_at_a_terminal_is_not_told_of_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("console.asking.stdin_is_terminal", lambda: True)
    lines = typed("ann wrote at 17:20:", *QUOTED)
    assert await token_given(SETTINGS, None, None, lines=lines, wanted=WAYS_IN) == TOKEN
    said = capfd.readouterr().err.splitlines()
    assert said[0].startswith("Paste the invitation")
    assert said[1:] == ["· This line holds no token; paste the invitation, or Ctrl-C ends."]
