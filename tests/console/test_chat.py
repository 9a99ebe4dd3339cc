"""A conversation with a node that does what it is told, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from console.chat import converse
from console.lines import LineReader
from node.bus import MAX_BEHIND, Bus, FellBehind
from node.errors import NodeError, NoQuorum, NotAMember, TimedOut, Unreachable
from node.events import AnyEvent, FinalEvent, PeerEvent, PendingEvent, RemovedEvent, TokenEvent
from tests.console.fakes import ROOM, Noted, SpokenTo, final


def typed(*lines: bytes) -> LineReader:
    rest = [*lines, b""]
    return LineReader(lambda: rest.pop(0))


async def test_the_room_is_shown_once_and_the_end_of_input_waits_for_what_was_said() -> None:
    node, screen = SpokenTo(), Noted()
    await converse(node, screen, typed(b"one\ntwo\n"), timeout=None, invite=True)
    assert node.said == ["one", "two"]
    assert [each for each in screen.shown if each != "standing"] == [
        "room",
        "invite",
        "pending",
        "final",
        "pending",
        "final",
    ]


async def test_commands_are_carried_out_and_never_said() -> None:
    node, screen = SpokenTo(), Noted()
    before, after = b"/who\n/status\n/admit bob\n/admit eve\n/remove dee\n", b"/quit\nnever\n"
    lines = typed(before + b"/invite\n/help\n/fly\n\nrefused\n" + after)
    await converse(node, screen, lines, timeout=None)
    assert node.said == []
    assert [each for each in screen.shown if each not in ("standing", "room")] == [
        "members",
        "status",
        "approved",
        "error",
        "removal",
        "invite",
        "notice",
        "error",
        "error",
    ]


@pytest.mark.parametrize(("up", "needed"), [(3, True), (4, False)])
async def test_who_leaves_too_few_behind_sees_through_first_what_others_said(
    autojump_clock: MockClock, up: int, needed: bool
) -> None:
    node = SpokenTo(up=up)
    node.undecided = 10
    await converse(node, Noted(), typed(b"mine\n"), timeout=None)
    assert (node.undecided == 0) == needed


async def test_nobody_waits_long_for_what_others_said(autojump_clock: MockClock) -> None:
    node, began = SpokenTo(up=3), trio.current_time()
    node.undecided = 1_000_000
    await converse(node, Noted(), typed(b"mine\n"), timeout=None)
    assert trio.current_time() - began < 3


@pytest.mark.parametrize(("up", "error"), [(2, NoQuorum), (3, TimedOut)])
async def test_what_is_not_final_in_time_ends_with_the_reason(
    autojump_clock: MockClock, up: int, error: type[NodeError]
) -> None:
    with pytest.RaisesGroup(error):
        await converse(SpokenTo(up=up, finish=False), Noted(), typed(b"hello\n"), timeout=5)


async def test_a_node_that_stops_ends_the_conversation() -> None:
    with pytest.RaisesGroup(Unreachable):
        await converse(SpokenTo(stopping=True), Noted(), None, timeout=None)


class Answering(SpokenTo):
    """A node that has an answer to be carried, and reaches somebody after so many seconds."""

    def __init__(self, *, reached_after: float) -> None:
        super().__init__()
        self._reached_after = reached_after

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        async def tell() -> AsyncIterator[AnyEvent]:
            yield ROOM
            yield TokenEvent(kind="answer", token="pigeon:X", expires=0)
            await trio.sleep(self._reached_after)
            yield PeerEvent(member="bb", nick="bob", state="up")
            await trio.sleep(60)

        yield tell()


@pytest.mark.parametrize(("reached_after", "shown"), [(1, []), (20, ["token"])])
async def test_people_are_asked_to_carry_an_answer_only_where_no_link_comes_up_without(
    autojump_clock: MockClock, reached_after: float, shown: list[str]
) -> None:
    screen = Noted()
    with pytest.RaisesGroup(Unreachable):  # that is how this node ends
        await converse(Answering(reached_after=reached_after), screen, None, timeout=None)
    assert [each for each in screen.shown if each == "token"] == shown
    assert screen.shown.index("room") == 0


class Ending(SpokenTo):
    """A node whose membership ends, and which then stops."""

    def __init__(self, *, left: bool) -> None:
        super().__init__()
        self._left = left

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        bus = Bus()
        with bus.subscribe() as subscription:
            bus.publish(ROOM)
            bus.publish(RemovedEvent(member="bb", nick="bob", n=4, f=1, quorum=3))
            bus.publish(RemovedEvent(member="aa", nick="ann", n=3, f=0, quorum=3, left=self._left))
            bus.end()
            yield subscription


async def test_who_left_has_its_conversation_ended_and_who_was_removed_hears_why() -> None:
    screen = Noted()
    await converse(Ending(left=True), screen, None, timeout=None)
    assert screen.shown.count("removed") == 2, "that of another member ends nothing"
    with pytest.RaisesGroup(NotAMember):
        await converse(Ending(left=False), Noted(), None, timeout=None)


RECORD = [final(index, f"id-{index}", text=f"line {index}") for index in range(MAX_BEHIND + 2000)]


class Flooding(SpokenTo):
    """A node with a long record, most of which becomes final before its reader has read a line."""

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        bus = Bus()
        with bus.subscribe() as subscription:
            bus.publish(ROOM)
            bus.publish(PendingEvent(id=RECORD[-1].id, text="the last"))
            for event in RECORD[since or 0 :]:
                bus.publish(event)
            bus.end()
            yield subscription


async def test_a_reader_so_slow_that_it_is_cut_off_is_shown_the_rest_once_and_in_order() -> None:
    screen = Noted()
    with pytest.RaisesGroup(Unreachable):  # that is how the record of this node ends
        await converse(Flooding(), screen, None, timeout=None, since=0)
    assert [event for event in screen.events if isinstance(event, FinalEvent)] == RECORD
    assert screen.shown.count("notice") == 1, "and is told that it was"
    assert screen.shown.count("room") == screen.shown.count("pending") == 1


class Refusing(SpokenTo):
    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        async def cut_off_at_once() -> AsyncIterator[AnyEvent]:
            yield ROOM
            raise FellBehind

        yield cut_off_at_once()


async def test_a_stream_that_fails_before_it_has_shown_much_is_not_asked_for_again() -> None:
    with pytest.RaisesGroup(FellBehind):
        await converse(Refusing(), Noted(), None, timeout=None, since=0)
