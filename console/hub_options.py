"""The options of `pigeon hub` that are numbers: what each bounds, and the default."""

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_COUNT: Final = click.IntRange(min=1)


class _Number(click.FloatRange):
    """One that is a number: nan lies in every range, and inf is nothing to wait for."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that can be used here.", param, ctx)
        return number


_SECONDS: Final = _Number(min=0)

_LIMITS: Final[tuple[tuple[str, click.ParamType[Any], float, str], ...]] = (
    ("max_connections", _COUNT, 12000, "Connections at once, in all"),
    ("max_connections_each", _COUNT, 256, "Connections at once of one address"),
    ("max_subscribers_each", _COUNT, 256, "Subscriptions at once of one address"),
    ("rate", _SECONDS, 200, "Requests a second of one address, in the long run; 0: any number"),
    ("burst", _Number(min=1), 1000, "Requests of one address at once, before that"),
    ("kept_seconds", _SECONDS, 300, "Seconds that a silent channel is kept"),
    ("meet_hold", _Number(0, 55), 15, "Seconds that a request to meet is held"),
    ("meet_request_every", _SECONDS, 1, "Seconds between one client's of them"),
    ("meet_connect_every", _SECONDS, 5, "Seconds between those that begin anew"),
    ("meet_pair_memory", _SECONDS, 3600, "Seconds until the same two meet again"),
    ("meet_sweep", _Number(min=1), 30, "Seconds between two looks at what may be forgotten"),
    ("meet_answer", _SECONDS, 5, "Seconds to answer an offer, before it is handed to somebody else, too"),
)


def hub_limits(command: Command) -> Command:
    """Adds them all; each is passed by its name in HubSettings, None where it was not given."""
    for name, kind, default, what in reversed(_LIMITS):
        option = f"--{name.replace('_', '-')}"
        help_text = f"{what}  [default: {default:g}]"
        command = click.option(option, name, type=kind, metavar="N", help=help_text)(command)
    return command


def hub_defaults() -> dict[str, float]:
    """What the help says, by name. (The numbers themselves are the hub's, which --help does not import.)"""
    return {name: default for name, _, default, _ in _LIMITS}
