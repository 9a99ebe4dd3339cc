"""`send`: what it says about a message is true, however short its patience is."""

import pytest
import trio
from trio.testing import MockClock

from console.messages import ACCEPT_PATIENCE, send_through
from console.out import Out
from console.plain import PlainScreen
from console.settings import Settings
from node.errors import NodeError, NoQuorum, TimedOut, Unreachable
from node.events import DeliveredEvent
from tests.console.fakes import Noted, SpokenTo


@pytest.mark.parametrize(
    ("wait", "shown"),
    [("pending", ["pending"]), ("delivered", ["pending", "final"]), ("final", ["pending", "final"])],
)
async def test_it_ends_with_the_state_that_was_asked_for_or_a_later_one(wait: str, shown: list[str]) -> None:
    screen = Noted()
    assert await send_through(SpokenTo(), screen, "hello", wait=wait, timeout=30) == 0
    assert screen.shown == shown


@pytest.mark.parametrize(("up", "error"), [(2, NoQuorum), (3, TimedOut)])
@pytest.mark.parametrize("timeout", [0.0, 30.0])
@pytest.mark.parametrize("state", ["delivered", "final"])
async def test_only_a_message_that_was_queued_is_said_to_be(
    autojump_clock: MockClock, up: int, error: type[NodeError], timeout: float, state: str
) -> None:
    node, screen, began = SpokenTo(up=up, finish=False), Noted(), trio.current_time()
    with pytest.raises(error) as failed:
        await send_through(node, screen, "hello", wait=state, timeout=timeout)
    assert node.said == ["hello"]
    assert screen.shown == ["pending"]
    assert "do not send it again" in failed.value.hint
    assert trio.current_time() - began == pytest.approx(timeout)


class Delivering(SpokenTo):
    async def order(self) -> None:
        for said in self.unordered:
            await self._events.send(DeliveredEvent(id=said, acks=3))
        await super().order()


async def test_people_read_how_many_of_all_members_hold_it(capfd: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    await send_through(Delivering(), screen, "hello", wait="final", timeout=30)
    shown = capfd.readouterr()
    assert shown.err.splitlines() == ["… pending hello", "✓ 3/4     hello  (delivered, not final)"]
    assert shown.out.startswith("■ #0 ")


class Hanging(SpokenTo):
    async def say(self, text: str) -> str:
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("timeout", [0.0, 30.0])
async def test_a_node_that_hangs_leaves_it_open_whether_the_message_was_queued(
    autojump_clock: MockClock, timeout: float
) -> None:
    screen, began = Noted(), trio.current_time()
    with pytest.raises(Unreachable) as failed:
        await send_through(Hanging(), screen, "hello", wait="final", timeout=timeout)
    assert screen.shown == []
    assert "not known" in failed.value.message
    assert trio.current_time() - began == pytest.approx(max(timeout, ACCEPT_PATIENCE))
