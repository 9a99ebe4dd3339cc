"""From a request to its answer: the table, the limit on requests, the handler, and what it may fail of."""

import logging
from collections.abc import Awaitable, Callable

from signaling.hub.http import Answer, Request, Response
from signaling.hub.limits import counted_as
from signaling.hub.routes import NoRoute, Route
from signaling.hub.shared import Shared
from signaling.hub.store import StoreAway

Hold = Callable[[Route, Request], Awaitable[Answer]]
"""Asks a handler that may take long, watching its client."""

_log = logging.getLogger(__name__)


class Gone(Exception):
    """The client left, or was cut off."""


async def answer_to(request: Request, shared: Shared, *, hold: Hold) -> tuple[str, Answer]:
    """The route's name and the answer. Raises Gone, where `hold` does, and nothing else."""
    found = shared.routes.find(request)
    name = "none" if isinstance(found, NoRoute) else found.name
    try:
        try:
            if refusal := await _limited(request, shared):
                return name, refusal
        except StoreAway:
            if isinstance(found, Route) and found.shared:
                raise
        if isinstance(found, NoRoute):
            return name, found.response
        return name, await (hold(found, request) if found.held else found.handler(request))
    except Gone:
        raise
    except StoreAway as away:
        shared.counts.of["store_away"] += 1
        text = str(away) or "The hub cannot reach what it shares with others; try again in a moment."
        return name, Response.words(503, text, headers={"Retry-After": "2"})
    except Exception:
        # Whatever it is, it is ours: told to the operator, and no reason to stop for anybody else.
        _log.exception("%s failed", name)
        shared.counts.of["faults"] += 1
        return name, Response.words(500, "The hub made a mistake; its operator can see which one.")


async def _limited(request: Request, shared: Shared) -> Response | None:
    """What to say instead to a client that asks too often."""
    bounds = shared.settings
    if not bounds.rate:
        return None
    key = f"requests:{counted_as(request.client)}"
    wait = await shared.stores.rates.take(key, rate=bounds.rate, burst=bounds.burst)
    if not wait:
        return None
    shared.counts.of["limited"] += 1
    after = {"Retry-After": str(int(wait) + 1)}
    return Response.words(429, "These are too many requests; wait a little.", headers=after)
