"""Events to subscribers: in order, from now on, and no slow one harms another."""

import pytest
import trio

from node.bus import Bus, FellBehind
from node.events import NoticeEvent


def notice(number: int) -> NoticeEvent:
    return NoticeEvent(message=str(number))


async def test_every_subscriber_gets_every_event_in_order() -> None:
    bus = Bus()
    with bus.subscribe() as one, bus.subscribe() as other:
        for number in range(5):
            bus.publish(notice(number))
        bus.end()
        assert [event async for event in one] == [notice(number) for number in range(5)]
        assert [event async for event in other] == [notice(number) for number in range(5)]


async def test_a_subscriber_gets_nothing_from_before() -> None:
    bus = Bus()
    bus.publish(notice(0))
    with bus.subscribe() as late:
        bus.publish(notice(1))
        assert await anext(late) == notice(1)


async def test_a_slow_subscriber_keeps_what_it_had_and_is_then_cut_off_alone() -> None:
    bus = Bus(limit=3)
    with bus.subscribe() as slow, bus.subscribe() as quick:
        for number in range(6):
            bus.publish(notice(number))
            assert await anext(quick) == notice(number)
        assert [await anext(slow) for _ in range(3)] == [notice(number) for number in range(3)]
        with pytest.raises(FellBehind):
            await anext(slow)


async def test_a_subscriber_that_left_is_forgotten() -> None:
    bus = Bus(limit=1)
    with bus.subscribe():
        assert bus.subscribers == 1
    assert bus.subscribers == 0
    bus.publish(notice(0))
    bus.publish(notice(1))


async def test_the_stream_ends_with_the_node_for_who_waits_and_for_who_comes_later() -> None:
    bus = Bus()
    ended = trio.Event()

    async def listen() -> None:
        with bus.subscribe() as subscription:
            listening.set()
            assert [event async for event in subscription] == []
        ended.set()

    listening = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await listening.wait()
        bus.end()
        with trio.fail_after(5):
            await ended.wait()
    with bus.subscribe() as late:
        assert [event async for event in late] == []
