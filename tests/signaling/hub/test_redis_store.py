"""Several hubs over one Redis: what is theirs together, what they do without it, what they leave in it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from signaling.hub import redis_store
from signaling.hub.redis_link import RedisUnusable
from signaling.hub.redis_store import open_redis
from signaling.hub.settings import HubSettings
from signaling.hub.store import Event, StoreAway, Stores
from tests.e2e.redis import RedisServer, free_port, needs_redis, redis_server, self_signed

pytestmark = needs_redis

PATIENCE = 10.0
SMALL = HubSettings(kept_events=4, kept_bytes=1000, kept_in_all=2000, kept_channels=8)
TEA = "aa" * 32


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


class Hub:
    """One hub's stores, what it was delivered, and what its operator was told."""

    stores: Stores

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.notes: list[str] = []

    @property
    def payloads(self) -> list[bytes]:
        return [event.payload for event in self.heard]

    async def publish(self, payload: bytes) -> str:
        return await self.stores.channels.publish("app/a", payload)

    async def works(self) -> bool:
        try:
            await self.stores.check()
        except StoreAway:
            return False
        return True


@asynccontextmanager
async def hubs(
    redis: RedisServer, count: int, settings: HubSettings | None = None
) -> AsyncIterator[list[Hub]]:
    opened = [Hub() for _ in range(count)]
    async with AsyncExitStack() as stack:
        for hub in opened:
            hub.stores = await stack.enter_async_context(
                open_redis(redis.url, settings or HubSettings(), changed=hub.notes.append)
            )
            hub.stores.channels.deliver_to(hub.heard.append)
        yield opened


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            done = condition()
            if done if isinstance(done, bool) else await done:
                return
            await trio.sleep(0.02)


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


async def test_every_key_has_our_prefix_and_ends_by_itself(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        await hub.publish(b"one")
        await hub.stores.rates.take("who", rate=0.1, burst=4)
        meet = hub.stores.meet
        now = (await meet.load(TEA)).now
        assert await meet.swap(TEA, old=b"", new=b"ann", until=now + 10)
        await meet.remember(TEA, seconds=60)
        await hub.stores.check()
        keys = (await redis.say("keys", "*")).split()
        assert len(keys) == 11, keys
        for key in keys:
            assert key.startswith("pigeon:1:")
            assert 0 < int(await redis.say("pttl", key)) < 3_600_000, key


async def test_a_queue_of_hubs_that_are_gone_vanishes(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        now = (await hub.stores.meet.load(TEA)).now
        assert await hub.stores.meet.swap(TEA, old=b"", new=b"ann", until=now + 0.2)
    assert await redis.say("exists", f"pigeon:1:queue:{TEA}") == "1"

    async def gone() -> bool:
        return await redis.say("exists", f"pigeon:1:queue:{TEA}") == "0"

    await until(gone)


async def test_what_is_kept_in_redis_is_bounded_and_counted_right(redis: RedisServer) -> None:
    async with hubs(redis, 1, SMALL) as [hub]:
        for number in range(60):
            await hub.stores.channels.publish(f"app/{number % 12}", b"x" * (number * 7 % 500))
        kept = (await redis.say("keys", "pigeon:1:kept:*")).split()
        assert 0 < len(kept) <= 8
        sizes = []
        for key in kept:
            entries = (await redis.say("lrange", key, "0", "-1")).split("\n")
            assert len(entries) <= 4
            sizes.append(sum(len(entry) for entry in entries))
        assert all(size <= 1000 for size in sizes)
        assert sum(sizes) <= 2000
        assert int(await redis.say("hget", "pigeon:1:totals", "kept")) == sum(sizes)
        assert int(await redis.say("hlen", "pigeon:1:sizes")) == len(kept)
        # Whatever was counted wrong is right again once everything is gone.
        await redis.say("del", "pigeon:1:heard", *kept)
        await hub.stores.channels.publish("app/new", b"x")
        assert await redis.say("hlen", "pigeon:1:sizes") == "1"


async def test_what_hubs_have_not_read_is_bounded_too(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        for _ in range(160):
            await hub.publish(b"x" * 65_536)
        assert 100 < int(await redis.say("xlen", "pigeon:1:events")) <= 128
        await until(lambda: len(hub.heard) == 160)


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


async def test_no_more_than_so_many_wait(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "_MAX_QUEUES", 3)
    async with hubs(redis, 1) as [hub]:
        meet = hub.stores.meet
        now = (await meet.load(TEA)).now
        for name in ("01", "02", "03"):
            assert await meet.swap(name * 32, old=b"", new=b"x", until=now + (0.3 if name == "01" else 60))
        with pytest.raises(StoreAway, match="Too many"):
            await meet.swap("04" * 32, old=b"", new=b"x", until=now + 60)
        assert await meet.swap("02" * 32, old=b"x", new=b"y", until=now + 60)

        async def room() -> bool:
            try:
                return await meet.swap("04" * 32, old=b"", new=b"x", until=now + 60)
            except StoreAway:
                return False

        await until(room)
        assert int(await redis.say("hget", "pigeon:1:queue-sizes", "total")) == 3


async def test_no_more_than_so_many_pairs_are_remembered(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "_MAX_PAIRS", 3)
    async with hubs(redis, 1) as [hub]:
        pairs = [f"{number:02d}" * 32 for number in range(5)]
        for pair in pairs:
            await hub.stores.meet.remember(pair, seconds=60)
        assert await hub.stores.meet.paired(pairs) == [False, False, True, True, True]


# As docs/hosting.md has it.
RULES = "~pigeon:1:* &pigeon:1:* +@read +@write +@scripting +@pubsub +@connection +time -@dangerous"


async def test_a_user_of_redis_with_these_rights_alone_is_enough(redis: RedisServer) -> None:
    await redis.say("acl", "setuser", "hub", "on", ">pass word", *RULES.split())
    await redis.say("acl", "setuser", "weak", "on", ">pass word", *RULES.split(), "-xread")
    await redis.say("acl", "setuser", "mute", "on", ">pass word", *RULES.split(), "resetchannels")
    await redis.say("acl", "setuser", "default", "off")
    own, redis.user = redis.user, "hub:pass%20word@"
    async with hubs(redis, 2) as (here, there):
        await here.stores.check()
        await here.publish(b"one")
        await until(lambda: there.payloads == [b"one"])
        assert await there.stores.channels.since(["app/a"], "1-0") == there.heard
        await here.stores.rates.take("who", rate=1, burst=1)
        now = (await here.stores.meet.load(TEA)).now
        assert await here.stores.meet.swap(TEA, old=b"", new=b"ann", until=now + 60)
        assert not await here.stores.meet.elsewhere(TEA)
        await here.stores.meet.remember(TEA, seconds=60)
        assert await here.stores.meet.paired([TEA]) == [True]
        async with there.stores.meet.hold() as held:
            assert await here.stores.meet.hand(held.holder, b"reply")
        await here.stores.meet.sweep()
        assert not here.notes
    refusals = [
        ("hub:guess@", "invalid username-password"),
        (own, "must be called with"),
        ("weak:pass%20word@", "no permissions to run the 'xread' command"),
        ("mute:pass%20word@", "no permissions to access one of the channels"),
    ]
    for user, why in refusals:
        redis.user = user
        with pytest.raises(RedisUnusable, match=why) as refused:
            async with hubs(redis, 1):
                pass
        assert "guess" not in str(refused.value)


async def test_over_tls_the_server_must_be_whom_the_system_trusts_by_its_name(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, keys = self_signed(tmp_path, name="localhost")
    files = (
        "tls-cert-file",
        str(certificate),
        "tls-key-file",
        str(keys),
        "tls-ca-cert-file",
        str(certificate),
    )
    assert await redis.say("config", "set", *files, "tls-auth-clients", "no") == "OK"
    port = free_port()
    assert await redis.say("config", "set", "tls-port", str(port)) == "OK"
    with pytest.raises(RedisUnusable, match="self-signed"):
        async with open_redis(f"rediss://localhost:{port}", HubSettings()):
            pass
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # what the system trusts, for OpenSSL
    async with open_redis(f"rediss://localhost:{port}", HubSettings()) as stores:
        await stores.check()
    with pytest.raises(RedisUnusable, match="certificate"):
        async with open_redis(f"rediss://127.0.0.1:{port}", HubSettings()):
            pass
