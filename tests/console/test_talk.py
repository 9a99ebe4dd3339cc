"""What is typed before one is in a room, and tokens that are typed: carried out, never said."""

import textwrap
from pathlib import Path

import pytest
import trio

from console.lines import LineReader
from console.settling import Settling
from console.talk import Talk
from node.errors import UsageError
from node.events import ErrorEvent, NoticeEvent
from node.tokens import draw_png
from signaling.token import Kind, to_token
from tests.console.fakes import Noted, SpokenTo

OFFER = to_token(Kind.OFFER, bytes(range(198)))
ANSWER = to_token(Kind.ANSWER, bytes(range(151)))


class Carrying(SpokenTo):
    """A node whose tokens people carry; it knows one that is over."""

    def __init__(self) -> None:
        super().__init__()
        self.carried: list[str] = []
        self.settling = Settling()

    async def order(self) -> None:
        """And whoever shows events tells so."""
        ids = list(self.unordered)
        await super().order()
        for each in ids:
            self.settling.on_final(each)

    async def carry(self, text: str) -> str:
        if text == OFFER:
            raise UsageError("This offer expired two minutes ago.", "Ask for a new one.")
        self.carried.append(text)
        return "answer"


def typed(*lines: str) -> LineReader:
    rest = [*(f"{line}\n".encode() for line in lines), b""]
    return LineReader(lambda: rest.pop(0), lambda _: True)


def talk_to(node: Carrying, *, by_hand: bool = True, admitted: bool = True) -> tuple[Talk, Noted]:
    screen = Noted()
    return Talk(node, screen, node.settling, by_hand=lambda: by_hand, admitted=admitted), screen


def told(screen: Noted) -> list[str]:
    return [event.message for event in screen.events if isinstance(event, NoticeEvent | ErrorEvent)]


async def test_a_pasted_token_is_used_and_its_outcome_told_and_what_stands_around_it_is_said() -> None:
    node = Carrying()
    talk, screen = talk_to(node)
    await talk.run(typed("before", *textwrap.wrap(ANSWER, 80), "after"), timeout=None)
    assert node.carried == [ANSWER]
    assert node.said == ["before", "after"]
    assert told(screen) == ["Got the answer: it connects within seconds, if it has not yet."]


async def test_a_token_that_is_no_good_is_told_with_the_nodes_own_sentence_and_not_said() -> None:
    node = Carrying()
    talk, screen = talk_to(node)
    await talk.run(typed(OFFER, f"`{ANSWER[:60]}", "", "hello"), timeout=None)
    assert node.said == ["hello"]
    expired, cut = told(screen)
    assert expired == "This offer expired two minutes ago."
    assert "cut" in cut


async def test_where_nobody_carries_tokens_one_can_be_said() -> None:
    node = Carrying()
    talk, screen = talk_to(node, by_hand=False)
    await talk.run(typed(ANSWER, ANSWER[:60]), timeout=None)
    assert (node.said, node.carried, told(screen)) == ([ANSWER, ANSWER[:60]], [], [])


async def test_a_picture_is_scanned_for_the_answer_first(tmp_path: Path) -> None:
    (tmp_path / "the answer.png").write_bytes(draw_png(ANSWER))
    node = Carrying()
    talk, screen = talk_to(node)
    await talk.run(
        typed(f"/scan {tmp_path / 'the answer.png'}", f"/scan {tmp_path / 'none.png'}"), timeout=None
    )
    assert node.carried == [ANSWER]
    assert len(told(screen)) == 2
    assert "cannot be read" in told(screen)[1]


async def test_what_is_typed_before_one_is_in_is_carried_out_afterwards_before_what_follows() -> None:
    node = Carrying()
    talk, screen = talk_to(node, admitted=False)
    lines = trio.open_memory_channel[bytes](10)

    def read() -> bytes:
        return trio.from_thread.run(lines[1].receive)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: talk.run(LineReader(read, lambda _: True), timeout=None))
        await lines[0].send(f"one\n//two\n/help\n{ANSWER}\n".encode())
        with trio.fail_after(5):
            while not node.carried:
                await trio.sleep(0.01)
        assert node.said == [], "nobody is there to say it to"
        assert screen.shown.count("notice") == 3, "that it is kept, once; the help; the token's outcome"
        await talk.on_admitted()
        assert node.said == ["one", "/two"]
        await lines[0].send(b"three\n")
        await lines[0].send(b"")
    assert node.said == ["one", "/two", "three"]


async def test_who_waits_can_quit() -> None:
    talk, _ = talk_to(Carrying(), admitted=False)
    with trio.fail_after(5):
        await talk.run(typed("one", "/quit", "never"), timeout=None)


async def test_who_never_comes_in_holds_so_many_lines_and_reads_no_more() -> None:
    node = Carrying()
    talk, _ = talk_to(node, admitted=False)
    count = 0

    def read() -> bytes:
        nonlocal count
        count += 1
        return f"line {count}\n".encode()

    with trio.move_on_after(0.5) as waiting:
        await talk.run(LineReader(read, lambda _: True), timeout=None)
    assert waiting.cancelled_caught
    assert count < 1000


@pytest.mark.parametrize("admitted", [True, False])
async def test_the_end_of_input_waits_until_what_was_said_is_final_however_early_it_comes(
    admitted: bool,
) -> None:
    node = Carrying()
    talk, _ = talk_to(node, admitted=admitted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: talk.run(typed("one", "two"), timeout=None))
        if not admitted:
            await trio.sleep(0.1)
            assert node.said == []
            await talk.on_admitted()
    assert node.said == ["one", "two"]
    assert node.unordered == {}


@pytest.mark.parametrize(
    ("terminal", "old", "renewed"), [(True, OFFER, [OFFER]), (True, None, []), (False, OFFER, [])]
)
async def test_enter_at_a_terminal_renews_an_offer_that_is_over_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, old: str | None, renewed: list[str]
) -> None:
    monkeypatch.setattr("console.talk.stdin_is_terminal", lambda: terminal)
    node = Carrying()
    talk, screen = talk_to(node)
    screen.old = old
    await talk.run(typed("", "  ", "/quit") if not renewed else typed("", "/quit"), timeout=None)
    assert (node.renewed, node.said) == (renewed, [])
    assert screen.shown == ["invite"] * len(renewed)


@pytest.mark.parametrize("old", [OFFER, None])
async def test_renew_takes_the_place_of_the_one_that_is_over_or_else_of_the_last(old: str | None) -> None:
    node = Carrying()
    talk, screen = talk_to(node)
    screen.old = old
    await talk.run(typed("/renew"), timeout=None)
    assert (node.renewed, screen.shown) == ([old], ["invite"])


async def test_of_several_tokens_on_one_line_all_are_handed_over_and_nothing_is_said() -> None:
    node = Carrying()
    talk, screen = talk_to(node)
    await talk.run(typed(f"mine was {OFFER} and back came {ANSWER}"), timeout=None)
    assert (node.carried, node.said) == ([f"{OFFER}\n{ANSWER}"], [])
    assert told(screen) == ["Got the answer: it connects within seconds, if it has not yet."]


async def test_who_waits_at_the_end_of_a_pipe_is_told_once_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.talk._SILENCE", 0.05)  # not a virtual clock: lines are read in a thread
    node = Carrying()
    node.finish, node.up = False, 2
    talk, screen = talk_to(node)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: talk.run(typed("left behind"), timeout=None))
            while not told(screen):
                await trio.sleep(0.01)
            await trio.sleep(0.2)
            (notice,) = told(screen)
            assert "2 of 4 members are up, it takes 3" in notice
            await node.order()
