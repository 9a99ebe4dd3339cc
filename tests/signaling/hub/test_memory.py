"""The hub's own memory is bounded in every direction."""

import tracemalloc
from dataclasses import replace

from signaling.hub.memory import MemoryChannels, MemoryRates
from signaling.hub.settings import HubSettings

SMALL = HubSettings(kept_events=4, kept_bytes=1000, kept_seconds=300, kept_in_all=8000, kept_channels=8)


class Hands:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_the_channel_that_was_silent_longest_goes_first() -> None:
    channels = MemoryChannels(SMALL, clock=Hands())
    start = await channels.position()
    for number in range(8):
        await channels.publish(f"app/{number}", b"x")
    await channels.publish("app/0", b"y")
    await channels.publish("app/new", b"x")
    assert channels.kept_channels == 8
    assert await channels.since(["app/1"], start) == []
    assert len(await channels.since(["app/0"], start)) == 2


async def test_a_flood_of_channels_and_bytes_stays_within_what_is_allowed_in_all() -> None:
    channels = MemoryChannels(SMALL, clock=Hands())
    for number in range(1000):
        await channels.publish(f"app/{number}", b"x" * (number % 990))
        assert channels.kept_bytes <= SMALL.kept_in_all and channels.kept_channels <= SMALL.kept_channels


async def test_events_without_anything_in_them_take_memory_too() -> None:
    bounds = replace(SMALL, kept_channels=10_000, kept_in_all=1 << 20)
    channels = MemoryChannels(bounds, clock=Hands())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(8000):
            await channels.publish(f"app/{number % 4000:0500d}", b"")
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert channels.kept_channels > 500
    assert held < 3 * bounds.kept_in_all


async def test_one_event_larger_than_a_channel_may_keep_is_delivered_and_not_kept() -> None:
    channels, heard = MemoryChannels(SMALL, clock=Hands()), list[bytes]()
    channels.deliver_to(lambda event: heard.append(event.payload))
    start = await channels.position()
    await channels.publish("app/a", b"x" * 1001)
    assert heard == [b"x" * 1001] and await channels.since(["app/a"], start) == []
    assert channels.kept_bytes == 0


async def test_what_is_old_is_dropped_without_anybody_asking_for_it() -> None:
    clock = Hands()
    channels = MemoryChannels(SMALL, clock=clock)
    await channels.publish("app/a", b"x")
    clock.now = 299
    channels.forget_old()
    assert channels.kept_channels == 1
    clock.now = 301
    channels.forget_old()
    assert (channels.kept_channels, channels.kept_bytes) == (0, 0)


async def test_ids_of_another_run_resume_from_the_beginning_of_this_one() -> None:
    before, after = MemoryChannels(SMALL, clock=Hands()), MemoryChannels(SMALL, clock=Hands())
    last = [await before.publish("app/a", b"x") for _ in range(9)][-1]
    await after.publish("app/a", b"new")
    assert [event.payload for event in await after.since(["app/a"], last)] == [b"new"]


async def test_a_full_bucket_is_forgotten() -> None:
    clock = Hands()
    rates = MemoryRates(clock=clock)
    for number in range(100):
        assert await rates.take(f"{number}", rate=10, burst=5) == 0
    clock.now = 0.2
    rates.forget_full()
    assert len(rates._full_at) == 0


async def test_a_bucket_holds_its_rate_over_time() -> None:
    clock = Hands()
    rates = MemoryRates(clock=clock)
    given = 0
    for step in range(1000):
        clock.now = step / 100
        given += await rates.take("one", rate=10, burst=5) == 0
    assert given == 5 + 99
