"""Several hubs' stores over one Redis, for the tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from signaling.hub.redis_store import open_redis
from signaling.hub.settings import HubSettings
from signaling.hub.store import Event, StoreAway, Stores
from tests.e2e.redis import RedisServer

PATIENCE = 10.0
TEA = "aa" * 32


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
