"""What hubs leave in a Redis, how much of it there can be, and who may touch it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from signaling.hub import redis_meet
from signaling.hub.redis_link import RedisUnusable
from signaling.hub.redis_store import open_redis
from signaling.hub.settings import HubSettings
from signaling.hub.store import StoreAway
from tests.e2e.redis import RedisServer, free_port, needs_redis, redis_server, self_signed
from tests.signaling.hub.redis_hubs import TEA, hubs, until

pytestmark = needs_redis

SMALL = HubSettings(kept_events=4, kept_bytes=1000, kept_in_all=2000, kept_channels=8)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


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
        assert len(keys) == 12, keys
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
        for counted in ("sizes", "ends"):
            assert int(await redis.say("hlen", f"pigeon:1:{counted}")) == len(kept)
        # Whatever was counted wrong is right again once everything is gone.
        await redis.say("del", "pigeon:1:heard", *kept)
        await hub.stores.channels.publish("app/new", b"x")
        assert await redis.say("hlen", "pigeon:1:sizes") == "1"


async def test_who_resumes_on_many_full_channels_gets_the_newest_of_each(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        names = [f"app/{number}" for number in range(32)]
        start = await hub.stores.channels.position()
        for number in range(40):
            for name in names:
                await hub.stores.channels.publish(name, b"%d" % number + b" " * 4000)
        missed = await hub.stores.channels.since(names, start)
        assert 400_000 < sum(len(event.payload) for event in missed) <= 512 * 1024
        for name in names:
            numbers = [int(event.payload) for event in missed if event.channel == name]
            assert numbers == list(range(40))[-len(numbers) :] != []
        assert [int(event.payload) for event in await hub.stores.channels.since(names[:1], start)] == [
            *range(40)
        ]
        assert await hub.stores.channels.since(names, missed[-1].id) == []


async def test_what_hubs_have_not_read_is_bounded_too(redis: RedisServer) -> None:
    async with hubs(redis, 1) as [hub]:
        for _ in range(160):
            await hub.publish(b"x" * 65_536)
        assert 100 < int(await redis.say("xlen", "pigeon:1:events")) <= 128
        await until(lambda: len(hub.heard) == 160)


async def test_no_more_than_so_many_wait(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_meet, "_MAX_QUEUES", 3)
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
    monkeypatch.setattr(redis_meet, "_MAX_PAIRS", 3)
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
