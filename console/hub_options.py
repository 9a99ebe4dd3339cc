"""The options of `pigeon hub` that are numbers: what each bounds, and the default."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_COUNT: Final = click.IntRange(min=1)
_SECONDS: Final = click.FloatRange(min=0)

_LIMITS: Final[tuple[tuple[str, str, click.ParamType[Any], str], ...]] = (
    ("max-connections", "max_connections", _COUNT, "Connections at once, in all [12000]."),
    ("max-connections-each", "max_connections_each", _COUNT, "Connections at once of one address [256]."),
    ("max-subscribers-each", "max_subscribers_each", _COUNT, "Subscriptions at once of one address [256]."),
    ("rate", "rate", _SECONDS, "Requests a second of one address, in the long run; 0: any number [200]."),
    ("burst", "burst", click.FloatRange(min=1), "Requests of one address at once, before that [1000]."),
    (
        "kept-seconds",
        "kept_seconds",
        _SECONDS,
        "Seconds that a silent channel is kept [300].",
    ),
    ("meet-hold", "meet_hold", _SECONDS, "Seconds that a request to meet is held [15]."),
    (
        "meet-request-every",
        "meet_request_every",
        _SECONDS,
        "Seconds between one client's of them [1].",
    ),
    ("meet-connect-every", "meet_connect_every", _SECONDS, "Seconds between those that begin anew [5]."),
    (
        "meet-pair-memory",
        "meet_pair_memory",
        _SECONDS,
        "Seconds until the same two meet again [3600].",
    ),
)


def hub_limits(command: Command) -> Command:
    """Adds them all; each is passed by its name in HubSettings, None where it was not given."""
    for option, name, kind, what in reversed(_LIMITS):
        command = click.option(f"--{option}", name, type=kind, metavar="N", help=what)(command)
    return command
