"""The lobby's host is whoever said so and is linked; the time in its entry convicts nobody."""

import pytest

from node.host import Host
from signaling.description import Identity
from signaling.envelope import Presence

ANN, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
LIFE = 600
CLOCK = 1_800_000_000


def due(host: Host, *, now: float = 0.0, clock: int = CLOCK, up: bool = False, before: int = 0) -> bool:
    return host.is_due(now=now, clock=clock, is_up=lambda _: up, before=before)


def host_of(sender: Identity, *, issued: int = CLOCK) -> Host:
    host = Host(ANN, life=LIFE)
    host.saw(Presence(sender, issued, issued + LIFE))
    return host


def test_where_nobody_is_host_we_are_at_once() -> None:
    assert due(Host(ANN, life=LIFE))


@pytest.mark.parametrize(
    ("clock", "renewed"), [(0, False), (299, False), (300, True), (601, True), (-1, True)]
)
def test_our_own_entry_is_renewed_at_half_its_life_and_when_the_clock_was_set_back(
    clock: int, renewed: bool
) -> None:
    assert due(host_of(ANN), clock=CLOCK + clock) is renewed


def test_a_host_that_is_linked_is_left_alone_until_its_entry_is_over() -> None:
    host = host_of(BOB)
    assert not due(host, now=1000, up=True)
    assert due(host, clock=CLOCK + LIFE, up=True)


def test_a_host_without_a_link_is_replaced_within_seconds_and_by_one_after_the_other() -> None:
    for before, at in ((0, 3.0), (2, 5.0)):
        host = host_of(BOB)
        assert not due(host, now=100, before=before)
        assert not due(host, now=100 + at - 0.1, before=before)
        assert due(host, now=100 + at, before=before)
        host.took_over(Presence(ANN, CLOCK, CLOCK + LIFE))
        assert not due(host, now=100 + at)


def test_a_link_that_comes_and_goes_starts_the_wait_anew() -> None:
    host = host_of(BOB)
    assert not due(host, now=0)
    assert not due(host, now=2.9, up=True)
    assert not due(host, now=3)
    assert not due(host, now=5.9)
    assert due(host, now=6)


def test_two_that_see_one_folder_and_cannot_link_take_turns_ever_more_slowly() -> None:
    host, now, waits = Host(ANN, life=LIFE), 0.0, []
    for _ in range(9):
        host.saw(Presence(BOB, CLOCK, CLOCK + LIFE))
        began = now
        while not due(host, now=now):
            now += 1
        waits.append(now - began)
        host.took_over(Presence(ANN, CLOCK, CLOCK + LIFE))
    assert waits == [3, 6, 12, 24, 48, 96, 192, 300, 300]
    host.saw(Presence(BOB, CLOCK, CLOCK + LIFE))
    assert not due(host, now=now, up=True)  # they met: from here on it is quick again
    assert not due(host, now=now)
    assert due(host, now=now + 3)
