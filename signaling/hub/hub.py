"""The whole hub: stores opened, services put into one table, served until it is told to stop."""

import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import BinaryIO

import trio

from signaling.hub.about import About
from signaling.hub.access_log import AccessLog
from signaling.hub.channels import Channels
from signaling.hub.counts import Counts
from signaling.hub.meet import Meet
from signaling.hub.routes import Routes, Service
from signaling.hub.server import Server
from signaling.hub.settings import HubSettings
from signaling.hub.shared import Shared
from signaling.hub.store import Stores

OpenStores = Callable[[HubSettings], AbstractAsyncContextManager[Stores]]


async def serve(
    listeners: Sequence[socket.socket],
    settings: HubSettings,
    *,
    stores: OpenStores,
    version: str,
    log_to: BinaryIO | None = None,
) -> None:
    """Serve on these sockets until cancelled, then stop gracefully: settings.grace at most."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(_serve, listeners, settings, stores=stores, version=version, log_to=log_to, stop=stop)
        )
        try:
            await trio.sleep_forever()
        finally:
            stop.set()


async def _serve(
    listeners: Sequence[socket.socket],
    settings: HubSettings,
    *,
    stores: OpenStores,
    version: str,
    log_to: BinaryIO | None,
    stop: trio.Event,
) -> None:
    # Shielded: whoever cancels the hub wants it to stop, and stopping needs everything that runs here.
    with trio.CancelScope(shield=True):
        async with stores(settings) as opened, trio.open_nursery() as beside:
            counts = Counts()
            log = AccessLog(log_to, counts)
            channels = Channels(opened.channels, settings, counts)
            about = About(opened, counts, version=version)
            services: list[Service] = [about, channels, Meet(opened, settings, counts)]
            routes = Routes(route for service in services for route in service.routes)
            shared = Shared(settings, routes=routes, stores=opened, counts=counts, log=log)
            about.tell(shared)
            for service in services:
                beside.start_soon(service.run)
            beside.start_soon(log.run)
            await Server(shared).run(listeners, stop=stop)
            beside.cancel_scope.cancel()
