"""Where a hub keeps what hubs can share: in its own memory, or in a Redis that others use too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio

from console.out import Out
from node.errors import Unreachable, UsageError
from signaling.hub.hub import OpenStores
from signaling.hub.memory import open_memory
from signaling.hub.redis_url import BadRedisUrl
from signaling.hub.settings import HubSettings
from signaling.hub.store import Stores

_MAX_NOTES: Final = 16


async def choose_stores(redis: str | None, settings: HubSettings, out: Out) -> OpenStores:
    """redis: an URL. UsageError, or Unreachable if it cannot be used now; later it may come and go."""
    if redis is None:
        return open_memory
    try:
        import coredis  # noqa: F401
    except ImportError:
        raise UsageError(
            "--redis needs a library that is not installed here.",
            "Install it with: pip install 'pigeon[redis]'",
        ) from None
    opened = partial(_open_redis, redis, out=out)
    async with opened(settings):
        return opened


@asynccontextmanager
async def _open_redis(redis: str, settings: HubSettings, *, out: Out) -> AsyncIterator[Stores]:
    """As signaling/hub/redis_store.py has it, in the words and errors of the console."""
    from signaling.hub.redis_link import RedisUnusable
    from signaling.hub.redis_store import open_redis

    notes, told = trio.open_memory_channel[str](_MAX_NOTES)

    def changed(text: str) -> None:
        with suppress(trio.WouldBlock):
            notes.send_nowait(text)

    async def tell() -> None:
        async for text in told:
            await out.note(f"· {text}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        try:
            async with open_redis(redis, settings, changed=changed) as stores:
                yield stores
        except BadRedisUrl as error:
            raise UsageError(error.message, error.hint) from None
        except RedisUnusable as error:
            raise Unreachable(error.message, error.hint) from None
        nursery.cancel_scope.cancel()
