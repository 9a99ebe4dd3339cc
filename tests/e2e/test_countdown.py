"""How long a token is still good, at real terminals: in the last row, in lines, or not at all; and Enter."""

import re
from pathlib import Path

import pytest
import trio

from console.children import family
from node.node import read_invitation
from signaling.description import Offer
from tests.console.vt import Screen
from tests.e2e.homes import PATIENCE, Homes
from tests.e2e.terminal import Terminal, terminal

TOKEN = r"pigeon:[A-Z2-7]{40,}"
COLUMNS, ROWS = 80, 40
LIFE = "4"


def seen_on(ann: Terminal) -> Screen:
    """What stands on it now."""
    screen = Screen(columns=COLUMNS, rows=ROWS)
    screen.feed(ann.seen)
    return screen


async def row_says(ann: Terminal, pattern: str) -> Screen:
    with trio.move_on_after(PATIENCE):
        while not re.search(pattern, seen_on(ann).line(ROWS - 1)):
            await ann.news()
    screen = seen_on(ann)
    assert re.search(pattern, screen.line(ROWS - 1)), screen.lines()
    return screen


def by_hand(home: Path) -> tuple[str, ...]:
    return "new", "tea", "--as", "ann", "--via", "paste", "--home", str(home), "--offer-life", LIFE


async def test_the_time_stands_below_what_one_types_and_enter_renews_what_is_over(tmp_path: Path) -> None:
    picture = tmp_path / "offer.png"
    async with terminal(*by_hand(tmp_path / "ann"), "--qr-out", str(picture)) as ann:
        first = (await ann.wait_for(TOKEN, within=PATIENCE))[0]
        await row_says(ann, r"Offer for one person: 0:0\d left")
        drawn = picture.read_bytes()
        await ann.type("half a wo")
        screen = await row_says(ann, "The offer is over. Enter: a new one")
        typed = [line for line in screen.lines() if line.startswith("half a wo")]
        assert len(typed) == 1, "nothing was written over what is being typed"
        assert screen.scrolls == (0, ROWS - 2)
        await ann.type("rd\n")
        await ann.wait_for(r"■ #\d+ .* ann: half a word", within=PATIENCE)
        at = len(ann.seen)
        await ann.type("\n")
        second = (await ann.wait_for(TOKEN, within=PATIENCE, since=at))[0]
        assert second != first
        await row_says(ann, r"Offer for one person: 0:0\d left")
        assert picture.read_bytes() != drawn, "the picture is of the new one"
        async with terminal("join", second, "--as", "bob", "--home", str(tmp_path / "bob")) as bob:
            await bob.wait_for("Safety words", within=PATIENCE)
        screen = await row_says(ann, "^$")
        assert screen.scrolls == (0, ROWS - 1), "the row was given back once somebody came"
        assert len(re.findall(r"■ #\d+ .* ann:", ann.seen)) == 1, "and an empty line is no message"


async def test_enter_leaves_an_offer_alone_that_is_good_for_long_and_ctrl_c_gives_the_row_back(
    tmp_path: Path,
) -> None:
    async with terminal(*by_hand(tmp_path / "ann"), "--offer-life", "1h") as ann:
        await ann.wait_for(TOKEN, within=PATIENCE)
        await row_says(ann, r"Offer for one person: (1 h 00|60) min left")
        await ann.type("\n\n/who\n")
        await ann.wait_for("since block", within=PATIENCE)
        assert len(set(re.findall(TOKEN, ann.seen))) == 1
        await ann.type("\x03")
        with trio.fail_after(PATIENCE):
            assert await ann.process.wait() == 130
        assert seen_on(ann).scrolls == (0, ROWS - 1)
        assert "left" not in seen_on(ann).line(ROWS - 1)


@pytest.mark.parametrize("variables", [("NO_COLOR=1",), ("TERM=dumb",)], ids="".join)
async def test_a_terminal_that_takes_no_escape_sequences_is_told_in_lines(
    tmp_path: Path, variables: tuple[str, ...]
) -> None:
    async with terminal(*by_hand(tmp_path / "ann"), before=("env", *variables)) as ann:
        first = (await ann.wait_for(TOKEN, within=PATIENCE))[0]
        await ann.wait_for("press Enter for a new one", within=PATIENCE)
        at = len(ann.seen)
        await ann.type("\n")
        assert (await ann.wait_for(TOKEN, within=PATIENCE, since=at))[0] != first
        assert "\x1b" not in ann.seen


async def test_a_stopped_chat_leaves_the_terminal_to_the_shell_and_counts_on_afterwards(
    tmp_path: Path,
) -> None:
    async with terminal(*by_hand(tmp_path / "ann"), "--offer-life", "1h", shell=True) as ann:
        await row_says(ann, "min left")
        at = 0
        for _ in range(2):
            await ann.type("\x1a")
            await ann.wait_for(r"\[stopped\]", within=PATIENCE, since=at)
            at = len(ann.seen)
            screen = seen_on(ann)
            assert (screen.line(ROWS - 1), screen.scrolls) == ("", (0, ROWS - 1))
            await ann.type("fg\n")
            await row_says(ann, "min left")


async def test_scripts_are_told_by_events_and_renew_by_a_command(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        token = await homes.found("--offer-life", LIFE)
        ann = homes.nodes["ann"]
        over = await ann.wait_for("over", within=PATIENCE)
        assert (over["kind"], over["token"], over["reason"]) == ("offer", token, "expired")
        await ann.say("")
        await ann.say("/renew")
        second = await ann.wait_for("invite", within=PATIENCE, where=lambda event: event["token"] != token)
        offer = read_invitation(str(second["token"]))
        assert isinstance(offer, Offer) and offer.expires - offer.issued == int(LIFE)
        assert b"left" not in ann.complaints and b"\x1b" not in ann.complaints
