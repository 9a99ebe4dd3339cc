"""Whom a home has met: what it finds odd, and how it keeps that."""

import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from node.acquaintance import (
    MAX_KNOWN,
    Acquaintances,
    BadBook,
    Met,
    add_to_book,
    merged,
    read_book,
    surprise,
)
from node.config import Home
from node.events import IdentityEvent

BOB = Met("b0", "bob", "tea", first=1_000, last=2_000)
NEW_BOB = Met("b1", "bob", "pub", first=5_000, last=6_000)


@pytest.mark.parametrize(
    ("known", "member", "nick"),
    [
        ([], "b0", "bob"),
        ([BOB], "b0", "bob"),
        ([BOB], "b0", "BOB"),
        ([BOB], "c0", "cal"),
        ([BOB, NEW_BOB], "b0", "bob"),
        ([BOB, NEW_BOB], "b1", "bob"),
    ],
)
def test_somebody_new_and_somebody_known_are_no_surprise(known: list[Met], member: str, nick: str) -> None:
    assert surprise(known, member=member, nick=nick) is None


@pytest.mark.parametrize("nick", ["bob", "Bob", "ｂｏｂ"])
def test_a_known_nick_with_another_key_is_told_with_where_and_when_it_was_known(nick: str) -> None:
    odd = surprise([BOB], member="e0", nick=nick)
    assert odd is not None
    assert (odd.kind, odd.member, odd.known_member, odd.room, odd.met) == (
        "other-key",
        "e0",
        "b0",
        "tea",
        1000,
    )
    assert "another key than the bob you met in room tea on 1970-01-01" in odd.message
    assert "compare the safety words by voice" in odd.message


def test_of_several_keys_known_by_a_nick_the_last_seen_is_named() -> None:
    odd = surprise([BOB, NEW_BOB], member="e0", nick="bob")
    assert odd is not None
    assert odd.known_member == "b1"


def test_a_known_key_with_another_nick_is_told_unless_that_nick_was_somebody_elses() -> None:
    odd = surprise([BOB], member="b0", nick="rob")
    assert odd is not None
    assert (odd.kind, odd.known_nick) == ("other-nick", "bob")
    odd = surprise([BOB, Met("c0", "cal", "tea", 1, 2)], member="b0", nick="cal")
    assert odd is not None
    assert odd.kind == "other-key", "that is the graver one"


def acquainted(home: Home, told: list[IdentityEvent], *, room: str) -> Acquaintances:
    return Acquaintances(home, me="a0", room=room, tell=told.append)


async def kept(them: Acquaintances, home: Home, *, entries: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(them.run)
        with trio.fail_after(10):
            while not home.acquaintances_file.exists() or len(read_book(home.acquaintances_file)) < entries:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_who_was_met_in_one_room_is_known_in_the_next_and_told_of_once(tmp_path: Path) -> None:
    home, told = Home.at(tmp_path / "home"), list[IdentityEvent]()
    tea = acquainted(home, told, room="tea")
    assert await tea.prepare() == ""
    tea.meet([("a0", "ann"), ("b0", "bob")])
    await kept(tea, home, entries=1)
    assert told == []
    assert stat.S_IMODE(home.acquaintances_file.stat().st_mode) == 0o600
    assert [(met.member, met.nick, met.room) for met in read_book(home.acquaintances_file)] == [
        ("b0", "bob", "tea")
    ], "ourselves we know"

    pub = acquainted(home, told, room="pub")
    await pub.prepare()
    asks = pub.surprise(member="e0", nick="bob")
    assert asks is not None
    assert asks.kind == "other-key"
    assert asks == pub.surprise(member="e0", nick="bob"), "asking makes nobody known"
    pub.meet([("a0", "ann"), ("e0", "bob")])
    pub.meet([("a0", "ann"), ("e0", "bob")])
    assert told == pub.told == [asks]
    await kept(pub, home, entries=2)

    again = acquainted(home, told, room="pub")
    await again.prepare()
    again.meet([("a0", "ann"), ("e0", "bob")])
    assert told == [asks], "after a restart it is known"


def test_two_rooms_that_write_at_once_forget_nobody(tmp_path: Path) -> None:
    book = tmp_path / "book.json"
    add_to_book(book, [BOB])
    assert add_to_book(book, [NEW_BOB]) == [NEW_BOB, BOB]
    assert add_to_book(book, [Met("b0", "bob", "elsewhere", first=500, last=9_000)]) == [
        Met("b0", "bob", "tea", first=500, last=9_000),
        NEW_BOB,
    ]


def test_the_book_has_a_bound_and_whoever_was_seen_last_stays() -> None:
    def many(count: int) -> Iterable[Met]:
        return (Met(f"{number:x}", "n", "r", first=number, last=number) for number in range(count))

    known = merged(many(MAX_KNOWN + 5), [])
    assert len(known) == MAX_KNOWN
    assert min(met.last for met in known) == 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"known":[{"member":1}]}', b"x" * (1 << 20) + b"xx"])
async def test_a_damaged_book_is_told_of_and_set_aside_by_the_next_write(
    tmp_path: Path, content: bytes
) -> None:
    home = Home.at(tmp_path)
    home.acquaintances_file.write_bytes(content)
    trouble = await acquainted(home, [], room="tea").prepare()
    assert "cannot be read" in trouble
    with pytest.raises(BadBook):
        read_book(home.acquaintances_file)
    assert add_to_book(home.acquaintances_file, [BOB]) == [BOB]
    assert home.acquaintances_file.with_suffix(".damaged").read_bytes() == content
    assert read_book(home.acquaintances_file) == [BOB]
