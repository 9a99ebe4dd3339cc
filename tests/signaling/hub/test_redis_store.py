"""Several hubs over one Redis: what is theirs together, and what they do without it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from signaling.hub import redis_store
from signaling.hub.settings import HubSettings
from signaling.hub.store import StoreAway
from tests.e2e.redis import RedisServer, needs_redis, redis_server
from tests.signaling.hub.redis_hubs import PATIENCE, TEA, Hub, hubs, until

pytestmark = needs_redis


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


async def test_all_hubs_hear_the_same_in_the_same_order_under_the_same_ids(redis: RedisServer) -> None:
    async with hubs(redis, 3) as three, trio.open_nursery() as nursery:

        async def say(hub: Hub, who: int) -> None:
            for number in range(20):
                await hub.publish(b"%d from %d" % (number, who))

        for who, hub in enumerate(three):
            nursery.start_soon(say, hub, who)
        await until(lambda: all(len(hub.heard) == 60 for hub in three))
        assert three[0].heard == three[1].heard == three[2].heard
        seen = three[0].heard[29].id
        for hub in three:
            assert await hub.stores.channels.since(["app/a"], seen) == three[0].heard[30:]


async def test_what_is_said_while_a_hub_reconnects_is_delivered_to_it_and_before_anybody_resumes(
    redis: RedisServer,
) -> None:
    await redis.say("acl", "setuser", "there", "on", ">pass", "~*", "&*", "+@all")
    async with hubs(redis, 1, HubSettings(kept_events=1000)) as [here]:
        redis.user = "there:pass@"
        async with hubs(redis, 1, HubSettings(kept_events=1000)) as [there]:
            start = await there.stores.channels.position()
            await redis.say("acl", "setuser", "there", "off")
            await redis.say("client", "kill", "user", "there")
            await until(lambda: len(there.notes) == 1)
            for number in range(400):
                await here.publish(b"%d" % number)
            await redis.say("acl", "setuser", "there", "on")
            while True:  # it is asked before it has read them all
                try:
                    missed = await there.stores.channels.since(["app/a"], start)
                    break
                except StoreAway:
                    await trio.sleep(0)
            assert [event.payload for event in missed] == [b"%d" % number for number in range(400)]
            assert there.heard == missed
            assert not here.notes


async def test_hubs_count_a_client_together_and_redis_never_sees_its_address(redis: RedisServer) -> None:
    async with hubs(redis, 2) as (here, there):
        who = "requests:203.0.113.7"
        waits = [await hub.stores.rates.take(who, rate=0.5, burst=4) for hub in (here, there) * 3]
        assert waits[:4] == [0, 0, 0, 0]
        assert all(0 < wait <= 2 for wait in waits[4:])
        assert "203.0.113" not in await redis.say("keys", "*")


async def test_who_is_refused_again_costs_redis_nothing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked() -> str:
        return (
            (await redis.say("info", "commandstats")).partition("cmdstat_evalsha:calls=")[2].partition(",")[0]
        )

    monkeypatch.setattr(redis_store, "_MAX_REFUSED", 2)
    async with hubs(redis, 1) as [hub]:
        rates = hub.stores.rates
        assert await rates.take("who", rate=0.01, burst=1) == 0
        assert 99 < await rates.take("who", rate=0.01, burst=1) <= 100
        before = await asked()
        assert all([99 < await rates.take("who", rate=0.01, burst=1) <= 100 for _ in range(50)])
        assert await asked() == before
        for other in ("one", "two", "three", "one", "two", "three"):  # more than it remembers
            await rates.take(other, rate=0.01, burst=1)
        assert await rates.take("who", rate=0.01, burst=1) > 0
        assert await asked() != before


async def test_nothing_is_handed_to_a_hub_that_is_gone(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [here]:
        async with hubs(redis, 1) as [there], there.stores.meet.hold() as held:
            assert await here.stores.meet.hand(held.holder, b"one")
            with trio.fail_after(PATIENCE):
                assert await held.receive() == b"one"
        assert not await here.stores.meet.hand(held.holder, b"two")
        async with here.stores.meet.hold() as held:
            pass
        assert not await here.stores.meet.hand(held.holder, b"three")


async def test_without_redis_everybody_is_told_at_once_and_with_it_all_goes_on(redis: RedisServer) -> None:
    async with hubs(redis, 2) as (here, there):
        await here.publish(b"before")
        await until(lambda: there.payloads == [b"before"])
        redis.kill()
        await until(lambda: bool(here.notes and there.notes))
        with trio.fail_after(1):
            for operation in (
                here.publish,
                lambda _: here.stores.channels.since(["app/a"], "1-0"),
                lambda _: here.stores.rates.take("who", rate=1, burst=1),
                lambda _: here.stores.meet.load(TEA),
                lambda _: here.stores.meet.sweep(),
                lambda _: here.stores.check(),
            ):
                with pytest.raises(StoreAway, match="cannot be reached"):
                    await operation(b"meanwhile")
        async with here.stores.meet.hold() as held:
            await redis.start()
            await until(here.works)
            await until(there.works)
            await here.publish(b"after")
            await until(lambda: here.payloads == there.payloads == [b"before", b"after"])
            assert await there.stores.meet.hand(held.holder, b"reply"), "the old name is listened to again"
            with trio.fail_after(PATIENCE):
                assert await held.receive() == b"reply"
        where = f"Redis at {redis.socket} is"
        assert here.notes[0].startswith(f"{where} lost: ")
        assert here.notes[1:] == [f"{where} back."]


async def test_a_redis_that_answers_nothing_is_taken_for_dead_until_it_wakes(redis: RedisServer) -> None:
    async with hubs(redis, 2) as (here, there):
        redis.sleep()
        with trio.fail_after(PATIENCE), pytest.raises(StoreAway):
            await here.publish(b"into the void")
        with trio.fail_after(0.5), pytest.raises(StoreAway):  # the next one need not wait for that
            await here.publish(b"into the void")
        await until(lambda: "timed out after 2.0 seconds" in "".join(here.notes))
        redis.wake()
        await until(here.works)
        await until(there.works)
        await here.publish(b"after")
        await until(lambda: b"after" in there.payloads)


async def test_no_event_is_lost_or_said_twice_while_connections_break(redis: RedisServer) -> None:
    async with hubs(redis, 2) as (here, there):
        published: list[str] = []
        for number in range(40):
            if number % 8 == 4:
                await redis.say("client", "kill", "type", "normal")
            with trio.fail_after(PATIENCE):
                while True:
                    try:
                        published.append(await here.publish(b"%d" % number))
                        break
                    except StoreAway:
                        await trio.sleep(0.01)
        await until(lambda: bool(there.heard) and there.heard[-1].id == published[-1])
        assert there.notes, "its connections broke"
        heard = [event.id for event in there.heard]
        assert [id for id in heard if id in set(published)] == published
        assert len(set(heard)) == len(heard)


async def test_scripts_that_redis_was_made_to_forget_are_told_to_it_again(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        await hub.publish(b"one")
        await redis.say("script", "flush")
        await hub.publish(b"two")
        await until(lambda: hub.payloads == [b"one", b"two"])
        assert not hub.notes


async def test_a_redis_that_takes_no_more_is_told_to_the_operator_and_used_again_later(
    redis: RedisServer,
) -> None:
    async with hubs(redis, 1) as [hub]:
        await redis.say("config", "set", "maxmemory", "1")
        for _ in range(3):
            with pytest.raises(StoreAway):
                await hub.publish(b"too much")
            with pytest.raises(StoreAway):
                await hub.stores.check()
        assert len(hub.notes) == 1
        assert "OOM" in hub.notes[0]
        await redis.say("config", "set", "maxmemory", "0")
        await hub.publish(b"now")
        await until(lambda: hub.payloads == [b"now"])


async def test_an_id_of_a_clock_that_was_ahead_resumes_all_that_is_kept(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        await hub.publish(b"one")
        later = f"{2**60}-0"
        assert [event.payload for event in await hub.stores.channels.since(["app/a"], later)] == [b"one"]


@pytest.mark.parametrize("said", [64, 65, 300])
async def test_a_hub_that_was_away_for_too_long_says_that_it_missed_events(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    monkeypatch.setattr(redis_store, "_STREAM_EVENTS", 64)
    await redis.say("acl", "setuser", "there", "on", ">pass", "~*", "&*", "+@all")
    async with hubs(redis, 1) as [here]:
        redis.user = "there:pass@"
        async with hubs(redis, 1) as [there]:
            await here.publish(b"before")
            await until(lambda: there.payloads == [b"before"])
            await redis.say("acl", "setuser", "there", "off")
            await redis.say("client", "kill", "user", "there")
            await until(lambda: len(there.notes) == 1)
            for number in range(said):
                await here.publish(b"%d" % number)
            await redis.say("acl", "setuser", "there", "on")
            await until(lambda: there.payloads[-1] == b"%d" % (said - 1))
            assert there.payloads[1:] == [b"%d" % number for number in range(max(0, said - 64), said)]
            missed = [note for note in there.notes if "missed events" in note]
            assert len(missed) == (1 if said > 64 else 0)
            assert not here.notes
