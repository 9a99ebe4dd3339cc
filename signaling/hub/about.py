"""What the hub says about itself: name, health, metrics, and its OpenAPI document."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from signaling.hub import openapi
from signaling.hub.counts import Counts
from signaling.hub.http import JSON, Answer, Handler, Request, Response
from signaling.hub.metrics import CONTENT_TYPE, metrics_text
from signaling.hub.routes import Route
from signaling.hub.shared import Shared
from signaling.hub.store import Stores


class About:
    """A Service."""

    def __init__(self, stores: Stores, counts: Counts, *, version: str) -> None:
        self._stores = stores
        self._counts = counts
        self._version = version
        self._document = b""
        self._shared: Shared | None = None

    def tell(self, shared: Shared) -> None:
        """Once the table is complete: what there is to say."""
        self._shared = shared
        self._document = msgspec.json.encode(openapi.document(shared.routes.all, version=self._version))

    @property
    def routes(self) -> Sequence[Route]:
        def get(path: str, name: str, handler: Handler, operation: Mapping[str, Any]) -> Route:
            return Route(
                method="GET", path=path, name=name, handler=handler, operation=operation, shared=False
            )

        return (
            get("/", "root", self._root, openapi.ROOT),
            get("/healthz", "health", self._health, openapi.HEALTH),
            get("/metrics", "metrics", self._metrics, openapi.METRICS),
            get("/openapi.json", "openapi", self._openapi, openapi.DOCUMENT),
        )

    async def run(self) -> None:
        """Nothing runs beside."""

    async def _root(self, _request: Request) -> Answer:
        subscribers = self._shared.subscribers.total if self._shared is not None else 0
        said = {"name": "pigeon hub", "version": self._version, "subscribers": subscribers}
        return Response(200, msgspec.json.encode(said) + b"\n", JSON)

    async def _health(self, _request: Request) -> Answer:
        await self._stores.check()
        return Response.words(200, "ok")

    async def _metrics(self, _request: Request) -> Answer:
        return Response(200, metrics_text(self._counts), CONTENT_TYPE)

    async def _openapi(self, _request: Request) -> Answer:
        return Response(200, self._document, JSON)
