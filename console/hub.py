"""`hub`: run a rendezvous server in the foreground until it is told to stop."""

import importlib.metadata
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import trio

from console.hub_stores import choose_stores
from console.out import Out
from console.settings import Settings
from node.errors import Exit, Unreachable, UsageError
from node.events import Event
from signaling.hub.hub import serve
from signaling.hub.listening import CannotListen, allow_descriptors, listen, parse_listen, url_of
from signaling.hub.settings import HubSettings


class HubEvent(Event, frozen=True, tag="hub"):
    """The hub takes connections."""

    url: str


async def hub(
    settings: Settings, *, address: str, redis: str | None, access_log: str | None, **limits: Any
) -> int:
    """`hub`. address: HOST:PORT. access_log: a file to append to, "-" for standard error, None for none.

    limits: numbers of HubSettings by name; None: as they are there.
    """
    bounds = replace(HubSettings(), **{name: each for name, each in limits.items() if each is not None})
    try:
        host, port = parse_listen(address)
    except CannotListen as error:
        raise UsageError(error.message, error.hint) from None
    try:
        listeners = await trio.to_thread.run_sync(listen, host, port)
    except CannotListen as error:
        raise Unreachable(error.message, error.hint) from None
    allowed = allow_descriptors(bounds.max_connections)
    out = Out(settings)
    url = url_of(listeners[0])
    if allowed < bounds.max_connections:
        await out.note(f"· The system allows {allowed} connections only (ulimit -n).")
    async with AsyncExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        stores = await choose_stores(redis, bounds, out)
        log_to = await stack.enter_async_context(_opened(access_log))
        if settings.json:
            await out.data(msgspec.json.encode(HubEvent(url=url)) + b"\n")
        else:
            await out.data(f"The hub listens on {url}\n".encode())
        await serve(
            listeners,
            replace(bounds, max_connections=allowed),
            stores=stores,
            version=importlib.metadata.version("pigeon"),
            log_to=log_to,
        )
    return Exit.DONE


@asynccontextmanager
async def _opened(access_log: str | None) -> AsyncIterator[BinaryIO | None]:
    if access_log is None:
        yield None
    elif access_log == "-":
        with os.fdopen(os.dup(sys.stderr.fileno()), "wb", buffering=0) as file:
            yield file
    else:
        with await trio.to_thread.run_sync(_open_unbuffered, Path(access_log)) as file:
            yield file


def _open_unbuffered(path: Path) -> BinaryIO:
    return path.open("ab", buffering=0)
