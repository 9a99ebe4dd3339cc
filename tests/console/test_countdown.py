"""How long a token is still good: in the last row of a terminal, in lines, or not at all."""

import itertools

import pytest
import trio
from trio.testing import MockClock

from console.bottom import BottomRow
from console.countdown import ANSWER, OFFER, RECONNECT, Countdown, left_in_words, until_change
from console.out import Out
from console.settings import Settings
from tests.console.vt import Screen


class Shown(Out):
    """What would be seen: the last row, and lines."""

    def __init__(self, *, row: bool = True, looked_at: bool = True) -> None:
        super().__init__(Settings())
        self.stood: list[str] = []
        self.lines: list[str] = []
        self._row, self._looked_at = row, looked_at

    @property
    def counts(self) -> bool:
        return self._looked_at

    async def standing(self, text: str) -> bool:
        await trio.lowlevel.checkpoint()
        if self._row and [text] != self.stood[-1:]:
            self.stood.append(text)
        return self._row

    async def note(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.lines.append(text)


def counting(out: Shown) -> Countdown:
    return Countdown(out, clock=trio.current_time)


async def after(countdown: Countdown, seconds: float, *, typed: bool = True) -> None:
    with trio.move_on_after(seconds):
        await countdown.run(typed=typed)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86400, "24 h 00 min"), (3601, "1 h 01 min"), (3600, "1 h 00 min"), (3540, "59 min"),
        (599.5, "10 min"), (121, "3 min"), (120, "2:00"), (61.2, "1:02"),
        (59, "0:59"), (0.3, "0:01"), (0, "0:00"), (-5, "0:00"),
    ],
)  # fmt: skip
def test_time_is_told_in_minutes_and_at_the_end_in_seconds(seconds: float, words: str) -> None:
    assert left_in_words(seconds) == words


def test_it_is_told_anew_just_when_it_is_another() -> None:
    for tenths in range(1, 40_000, 7):
        left = tenths / 10
        pause = until_change(left)
        assert left_in_words(left - pause - 0.02) != left_in_words(left)
        assert left_in_words(left - pause + 0.02) == left_in_words(left) or pause < 0.02


async def test_minutes_then_seconds_then_that_it_is_over_and_which_key_makes_another(
    autojump_clock: MockClock,
) -> None:
    out = Shown()
    countdown = counting(out)
    countdown.add("a", what=OFFER, expires=trio.current_time() + 600)
    await after(countdown, 479)
    assert out.stood[:2] == ["Offer for one person: 10 min left", "Offer for one person: 9 min left"]
    assert countdown.renewable is None
    await after(countdown, 200)
    assert "Offer for one person: 2:00 left. Enter: a new one" in out.stood
    assert "Offer for one person: 0:01 left. Enter: a new one" in out.stood
    assert out.stood[-2:] == ["The offer is over. Enter: a new one", ""], (
        "and the row is given back at the end"
    )
    assert len(out.stood) < 140
    assert countdown.renewable == "a"
    assert out.lines == []


async def test_without_a_chat_line_no_key_is_promised(autojump_clock: MockClock) -> None:
    out = Shown()
    countdown = counting(out)
    countdown.add("a", what=OFFER, expires=trio.current_time() + 60)
    await after(countdown, 70, typed=False)
    assert out.stood[-2] == "The offer is over. `pigeon invite`: a new one"
    assert countdown.renewable is None


async def test_an_answer_is_counted_and_cannot_be_renewed(autojump_clock: MockClock) -> None:
    out = Shown()
    countdown = counting(out)
    countdown.add("a", what=ANSWER, expires=trio.current_time() + 30)
    await after(countdown, 29.5)
    assert out.stood[0] == "Answer to send back: 0:30 left"
    assert countdown.renewable is None
    countdown.over("a", reason="expired")
    assert (countdown.text(), countdown.renewable) == ("", None)


@pytest.mark.parametrize(
    ("reason", "left"), [("used", None), ("withdrawn", None), ("expired", "a"), ("stale", "a")]
)
async def test_what_is_used_is_gone_and_what_leads_nowhere_is_to_be_renewed(
    autojump_clock: MockClock, reason: str, left: str | None
) -> None:
    countdown = counting(Shown())
    countdown.add("a", what=RECONNECT, expires=trio.current_time() + 600)
    assert countdown.renewable is None
    countdown.over("a", reason=reason)
    assert countdown.renewable is None, "nobody was told of a key yet"
    await after(countdown, 1)
    countdown.over("never shown", reason="used")
    assert countdown.renewable == left
    countdown.linked()
    assert (countdown.renewable, countdown.text()) == (None, ""), "somebody is there"


async def test_a_fresh_offer_takes_the_place_of_one_that_is_over(autojump_clock: MockClock) -> None:
    countdown = counting(Shown())
    await after(countdown, 1)
    countdown.add("a", what=OFFER, expires=trio.current_time() + 600)
    countdown.over("a", reason="expired")
    countdown.add("b", what=OFFER, expires=trio.current_time() + 600)
    assert (countdown.renewable, countdown.text()) == (None, "Offer for one person: 10 min left")
    countdown.add("c", what=OFFER, expires=trio.current_time() + 300)
    assert countdown.text() == "Offer for one person: 5 min left (of 2 the first to go)"


async def test_where_no_row_can_stand_a_few_lines_say_it(autojump_clock: MockClock) -> None:
    out = Shown(row=False)
    countdown = counting(out)
    countdown.add("a", what=OFFER, expires=trio.current_time() + 900)
    await after(countdown, 1000)
    assert out.lines == [
        "· Offer for one person: 10 min left.",
        "· Offer for one person: 2:00 left. Enter makes a new one.",
        "· Offer for one person: 0:30 left. Enter makes a new one.",
        "· The offer is over; press Enter for a new one.",
    ]


async def test_where_nobody_looks_nothing_is_said(autojump_clock: MockClock) -> None:
    out = Shown(looked_at=False)
    countdown = counting(out)
    countdown.add("a", what=OFFER, expires=trio.current_time() + 60)
    await after(countdown, 100)
    assert (out.lines, out.stood, countdown.renewable) == ([], [], None)


async def test_no_more_than_a_few_are_counted(autojump_clock: MockClock) -> None:
    countdown = counting(Shown())
    for number in range(1000):
        countdown.add(str(number), what=OFFER, expires=trio.current_time() + 600 + number)
    assert "(of 16 the first to go)" in countdown.text()


@pytest.mark.parametrize("said", [0, 3, 9, 30])
def test_the_row_stands_below_what_is_said_and_typed_and_writes_over_none_of_it(said: int) -> None:
    screen, row = Screen(columns=40, rows=10), BottomRow()
    screen.feed("".join(f"line {number}\n" for number in range(said)) + "half a wo")
    at = screen.column
    for text in ("9 min left", "8 min left", "x" * 100, "1:00 left"):
        screen.feed(row.show(text, columns=40, rows=10))
        assert screen.column == at, "the cursor is where somebody types"
        assert screen.line(screen.row) == "half a wo"
    assert screen.line(9) == " 1:00 left"
    assert screen.scrolls == (0, 8)
    screen.feed("rd\n" + "".join(f"more {number}\n" for number in range(20)))
    assert screen.line(9) == " 1:00 left", "it does not scroll"
    screen.feed(row.clear())
    assert (screen.scrolls, screen.line(9), row.clear()) == ((0, 9), "", "")
    whole = [*screen.gone, *screen.lines()]
    told = [f"line {number}" for number in range(said)] + ["half a word", *(f"more {n}" for n in range(20))]
    assert [line for line in whole if line] == told


def test_a_terminal_that_changes_its_size_has_the_row_anew_and_a_tiny_one_none() -> None:
    row = BottomRow()
    assert row.show("a", columns=40, rows=10) and not row.show("a", columns=40, rows=10)
    larger = Screen(columns=60, rows=20)
    larger.feed(row.show("a", columns=60, rows=20))
    assert (larger.line(19), larger.scrolls) == (" a", (0, 18))
    for columns, rows in itertools.product((10, 60), (3, 20)):
        if (columns, rows) != (60, 20):
            row.show("a", columns=60, rows=20)
            assert "[r" in row.show("a", columns=columns, rows=rows)
            assert row.show("a", columns=columns, rows=rows) == ""


def test_what_a_peer_wrote_cannot_get_out_of_the_row() -> None:
    screen = Screen(columns=40, rows=10)
    screen.feed(BottomRow().show("a\n\x1b[2Jb\rc", columns=40, rows=10))
    assert screen.lines()[:9] == [""] * 9
