"""The hub's table: which method and path leads to which handler, and what OpenAPI says about it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from signaling.hub.http import PREFLIGHT, Handler, Request, Response

_METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the table."""

    method: str
    path: str
    """Exact ("/v1/meet"), or with names in braces for what is not empty ("/v1/{app}/{channel}"); the last
    name takes slashes too. An exact path wins over one with names."""
    name: str
    """What the metrics and the access log call it."""
    handler: Handler
    operation: Mapping[str, Any]
    """The OpenAPI 3.1 Operation Object."""
    shared: bool = True
    """It needs what hubs share. The others answer also while that is away, and then as often as asked."""
    held: bool = False
    """It may take its time (a long poll): it is cancelled as soon as its client leaves or the hub stops.
    The others are short, and run to their end."""


class Service(Protocol):
    """One of the things that a hub does: its routes, and what runs beside them."""

    @property
    def routes(self) -> Sequence[Route]: ...

    async def run(self) -> None:
        """Its background work; cancelled when the hub stops. May end at once."""


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Nothing is there: what to answer instead."""

    response: Response


class Routes:
    """Looks requests up."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._named: list[tuple[str, int, Route]] = []
        for route in routes:
            if "{" in route.path:
                fixed = route.path.partition("{")[0]
                self._named.append((fixed, route.path[len(fixed) :].count("/"), route))
            else:
                self._exact[route.method, route.path] = route
        self.all = [*self._exact.values(), *(route for _, _, route in self._named)]

    def find(self, request: Request) -> Route | NoRoute:
        method = "GET" if request.method == "HEAD" else request.method
        found = self._exact.get((method, request.path))
        if found is not None:
            return found
        for fixed, slashes, route in self._named:
            if route.method == method and _fits(request.path, fixed, slashes):
                return route
        allowed = self._allowed(request.path)
        if method == "OPTIONS":  # a browser asks before it posts; so does signalhub's, of any path
            return NoRoute(Response(200, headers=PREFLIGHT))
        if allowed:
            return NoRoute(
                Response.words(
                    405, "This path does not take that method.", headers={"Allow": ", ".join(allowed)}
                )
            )
        return NoRoute(Response.words(404, "There is nothing here. See /openapi.json for what there is."))

    def _allowed(self, path: str) -> list[str]:
        methods = {method for method, exact in self._exact if exact == path}
        methods |= {each.method for fixed, slashes, each in self._named if _fits(path, fixed, slashes)}
        if not methods:
            return []
        if "GET" in methods:
            methods.add("HEAD")
        return [method for method in _METHODS if method in methods or method == "OPTIONS"]


def _fits(path: str, fixed: str, slashes: int) -> bool:
    if not path.startswith(fixed):
        return False
    parts = path[len(fixed) :].split("/", slashes)
    return len(parts) == slashes + 1 and all(parts)
