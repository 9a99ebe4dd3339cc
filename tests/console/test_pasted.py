"""Tokens among typed lines: used whole, whatever they went through, and never said."""

import textwrap
from collections.abc import Callable

import pytest

from console.lines import BadLine, Line, LineReader, Pause
from console.pasted import Collector, PasteReader, Read
from node.tokens import NoToken, Token
from signaling.token import Kind, to_token

TOKEN = to_token(Kind.OFFER, bytes(range(198)))
OTHER = to_token(Kind.ANSWER, bytes(range(150)))


def fed(*lines: str) -> list[Read]:
    """What comes of these lines and the end of input."""
    collector = Collector()
    return [each for line in lines for each in collector.feed(line)] + collector.give_up()


def test_a_line_with_a_token_is_that_token_whatever_is_written_around_it() -> None:
    assert fed(TOKEN) == [Token(TOKEN, "offer")]
    assert fed(f"  {TOKEN}\t") == [Token(TOKEN, "offer")]
    assert fed(f"<ann> here you are: {TOKEN}") == [Token(TOKEN, "offer")]
    assert fed(f"`{TOKEN}` (good for ten minutes)", OTHER) == [Token(TOKEN, "offer"), Token(OTHER, "answer")]


def test_of_several_on_one_line_none_is_lost() -> None:
    (token,) = fed(f"mine was {TOKEN} and I got {OTHER} back")
    assert token == Token(TOKEN, "offer", beside=(OTHER,))
    assert isinstance(token, Token) and token.lines.splitlines() == [TOKEN, OTHER]


@pytest.mark.parametrize("width", [20, 40, 72, 80, 120, len(TOKEN) - 1])
@pytest.mark.parametrize("quote", ["", "> ", ">> ", "| ", "    ", "\u2502\u200b"])
def test_a_token_that_was_wrapped_and_quoted_is_put_together_again(width: int, quote: str) -> None:
    for end in ("", "\r", " =", "\u200b"):
        lines = [quote + part + end for part in textwrap.wrap(TOKEN, width)]
        assert len(lines) > 1
        assert fed("before", *lines, "after") == [Line("before"), Token(TOKEN, "offer"), Line("after")]


def test_a_token_that_a_chat_program_put_a_name_before_every_line_of_is_put_together_again() -> None:
    lines = [f"[12:03] ann: {part}" for part in textwrap.wrap(TOKEN, 60)]
    assert fed(*lines, "thanks") == [Token(TOKEN, "offer"), Line("thanks")]


@pytest.mark.parametrize(
    "line",
    [
        "pigeon: a bird",
        "pigeon:",
        "Is it pigeon:companion or pigeon-companion?",
        "see https://example.org/pigeon:x",
        f"//{TOKEN}",
        "/help",
        "",
    ],
)
def test_what_people_say_about_pigeons_is_no_token(line: str) -> None:
    assert fed(line) == [Line(line)]


def test_a_cut_token_ends_at_an_empty_line_and_is_named_as_one() -> None:
    (wrong,) = fed(TOKEN[:100], "")
    assert isinstance(wrong, NoToken)
    assert wrong.cut
    assert "cut" in wrong.message


def test_a_message_after_a_cut_token_is_said_and_the_token_is_not() -> None:
    wrong, said = fed(TOKEN[:100], "oh, that was half of it")
    assert isinstance(wrong, NoToken)
    assert said == Line("oh, that was half of it")


def test_a_whole_token_after_a_cut_one_takes_its_place() -> None:
    assert fed(TOKEN[:100], OTHER) == [Token(OTHER, "answer")]


def test_a_mistyped_token_is_named_as_one_and_never_said() -> None:
    swapped = TOKEN[:60] + ("A" if TOKEN[60] != "A" else "B") + TOKEN[61:]
    (wrong,) = fed(swapped)
    assert isinstance(wrong, NoToken)
    assert not wrong.cut
    assert "mistyped" in wrong.message


def test_an_endless_token_is_given_up() -> None:
    collector = Collector()
    collector.feed(TOKEN[:40])
    read = [each for _ in range(10_000) for each in collector.feed("A")]
    assert isinstance(read[0], NoToken)
    assert len(collector._lines) < 300
    assert sum(isinstance(each, NoToken) for each in read) < 3


def pieces(*chunks: bytes) -> tuple[Callable[[], bytes], Callable[[float], bool]]:
    """A source that is silent where a chunk is empty; at its end it ends."""
    rest = [*chunks]

    def ready(_: float) -> bool:
        if rest and not rest[0]:
            rest.pop(0)
            return False
        return True

    return lambda: rest.pop(0) if rest else b"", ready


async def read_all(reader: PasteReader) -> list[Read]:
    found = []
    while (read := await reader.next()) is not None:
        found.append(read)
    return found


class Waits:
    """How often somebody was told that more is waited for."""

    def __init__(self) -> None:
        self.told = 0

    async def tell(self) -> None:
        self.told += 1


async def test_a_silence_in_the_middle_is_explained_and_the_rest_still_taken() -> None:
    half, rest = TOKEN[:90].encode() + b"\n", TOKEN[90:].encode() + b"\nhello\n"
    waits = Waits()
    reader = PasteReader(LineReader(*pieces(half, b"", rest)), watch=lambda: True, on_wait=waits.tell)
    assert await read_all(reader) == [Token(TOKEN, "offer"), Line("hello")]
    assert waits.told == 1


async def test_a_long_silence_gives_the_token_up_and_loses_nothing_of_what_follows() -> None:
    half = TOKEN[:90].encode() + b"\n"
    waits = Waits()
    reader = PasteReader(
        LineReader(*pieces(half, b"", b"", b"hello\n")), watch=lambda: True, on_wait=waits.tell
    )
    wrong, said = await read_all(reader)
    assert isinstance(wrong, NoToken)
    assert said == Line("hello")


async def test_the_end_of_input_and_bytes_that_are_no_text_end_a_token() -> None:
    half = TOKEN[:90].encode()
    waits = Waits()
    reader = PasteReader(LineReader(*pieces(half)), watch=lambda: True, on_wait=waits.tell)
    (wrong,) = await read_all(reader)
    assert isinstance(wrong, NoToken)
    reader = PasteReader(LineReader(*pieces(half + b"\n\xff\n")), watch=lambda: True, on_wait=waits.tell)
    wrong, bad = await read_all(reader)
    assert isinstance(wrong, NoToken)
    assert isinstance(bad, BadLine)


async def test_where_nobody_carries_tokens_they_are_lines_like_any_other() -> None:
    waits = Waits()
    source = LineReader(*pieces(f"{TOKEN}\n{TOKEN[:50]}\n".encode()))
    reader = PasteReader(source, watch=lambda: False, on_wait=waits.tell)
    assert await read_all(reader) == [Line(TOKEN), Line(TOKEN[:50])]


async def test_a_pause_is_told_only_when_nothing_came() -> None:
    source = LineReader(*pieces(b"on", b"", b"e\ntwo\n"))
    assert await source.next_within(1) == Pause()
    assert [await source.next_within(1), await source.next_within(1)] == [Line("one"), Line("two")]
    assert await source.next_within(1) is None
