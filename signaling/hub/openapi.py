"""The hub's OpenAPI 3.1 document, put together from what each route says about itself."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from signaling.hub.routes import Route

_SENTENCE: Final = {"text/plain": {"schema": {"type": "string"}}}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Za-z0-9._~-]+$"}


def sentence(what: str) -> Mapping[str, Any]:
    """A response in plain words."""
    return {"description": what, "content": _SENTENCE}


ALWAYS: Final[Mapping[str, Any]] = {
    "400": sentence("The request cannot be understood."),
    "408": sentence("The request did not come in time."),
    "413": sentence("The body is too large."),
    "414": sentence("The path is too long."),
    "429": sentence("Too many requests, connections or subscriptions; Retry-After says when to come back."),
    "431": sentence("The headers are too large, or too many."),
    "500": sentence("A fault of the hub."),
    "501": sentence("A method or a transfer coding that nobody here knows."),
    "503": sentence("The hub is full, stops, or cannot reach what it shares with others."),
}
"""What every route may answer, as the server itself does."""

_PARAMETERS: Final = [
    {"name": "app", "in": "path", "required": True, "schema": _NAME},
    {"name": "channel", "in": "path", "required": True, "schema": _NAME},
]

BROADCAST: Final[Mapping[str, Any]] = {
    "summary": "Broadcast the body to all subscribers of a channel.",
    "operationId": "broadcast",
    "parameters": _PARAMETERS,
    "requestBody": {
        "required": False,
        "description": "At most 64 KiB, any bytes; what is no UTF-8 is replaced, and a line end becomes \\n.",
        "content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}},
    },
    "responses": {"200": {"description": "It was sent to everybody who listens."}},
}

SUBSCRIBE: Final[Mapping[str, Any]] = {
    "summary": "Subscribe to a channel, or to several with commas between their names.",
    "operationId": "subscribe",
    "parameters": [
        *_PARAMETERS,
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "The id of the last event seen: what came after it and is still kept comes first.",
            "schema": {"type": "string", "pattern": "^[0-9A-Za-z-]{1,64}$"},
        },
    ],
    "responses": {
        "200": {
            "description": "Events as they are broadcast, each with an id, until either side ends it.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
}

ROOT: Final[Mapping[str, Any]] = {
    "summary": "What this is, and how many subscribe.",
    "operationId": "root",
    "responses": {
        "200": {
            "description": "As signalhub answers it.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["name", "version", "subscribers"],
                        "properties": {
                            "name": {"type": "string"},
                            "version": {"type": "string"},
                            "subscribers": {"type": "integer", "minimum": 0},
                        },
                    }
                }
            },
        },
    },
}

HEALTH: Final[Mapping[str, Any]] = {
    "summary": "Whether the hub works.",
    "operationId": "health",
    "responses": {"200": sentence("It does.")},
}

METRICS: Final[Mapping[str, Any]] = {
    "summary": "Counters and gauges for Prometheus.",
    "operationId": "metrics",
    "responses": {"200": sentence("Prometheus' text format.")},
}

DOCUMENT: Final[Mapping[str, Any]] = {
    "summary": "This document.",
    "operationId": "openapi",
    "responses": {
        "200": {
            "description": "OpenAPI 3.1.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    },
}


def document(routes: Iterable[Route], *, version: str) -> Mapping[str, Any]:
    """As /openapi.json serves it."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = {**route.operation, "responses": {**ALWAYS, **route.operation["responses"]}}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pigeon hub",
            "version": version,
            "description": "A rendezvous for peers that want to link. It is trusted with nothing: what goes "
            "through it is sealed by those who talk.",
        },
        "paths": paths,
    }
