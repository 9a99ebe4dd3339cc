"""The options that every verb has, before it or after it; what stands after the verb wins."""

import math
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from console.settings import Settings
from node.ice_servers import IceOptions

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.ParamType[float]):
    """A duration: a finite number of seconds, not negative."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds) or seconds < 0:
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class OfferLife(click.ParamType[int]):
    """Whole seconds, or a number with s, m or h behind it; from two seconds to a day."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from node.config import LEAST_OFFER_LIFE, LONGEST_OFFER_LIFE

        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        unit = _UNITS.get(text[-1:], 0)
        try:
            seconds = float(text[:-1] if unit else text) * (unit or 1)
        except ValueError:
            seconds = math.nan
        if not LEAST_OFFER_LIFE <= seconds <= LONGEST_OFFER_LIFE:
            self.fail(f"{value!r} is not from 2 seconds to 24 hours: say 600, 10m or 2h.", param, ctx)
        return round(seconds)


offer_life_option: Final = click.option(
    "--offer-life",
    type=OfferLife(),
    metavar="S",
    envvar="PIGEON_OFFER_LIFE",
    help="How long an offer or an answer waits to be carried: seconds, or 10m (the default), 2h, up to 24h. "
    "The room remembers it; both sides have to keep running so long.",
)

_ICE: Final = (
    click.option(
        "--stun",
        multiple=True,
        metavar="HOST[:PORT]",
        envvar="PIGEON_STUN",
        help="Ask this STUN server how others see this machine. Repeatable, up to 4; none forgets them.",
    ),
    click.option(
        "--turn-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        envvar="PIGEON_TURN_FILE",
        help='Relay through the TURN server in FILE: {"urls": "turn:HOST:PORT", "username": "...", '
        '"credential": "..."}, mode 0600; none forgets it.',
    ),
    click.option(
        "--relay-only/--no-relay-only",
        default=None,
        envvar="PIGEON_RELAY_ONLY",
        help="Show no member an address but the TURN server's, and connect through it only, or not at all.",
    ),
)


def ice_options(command: F) -> F:
    """The servers to ask for addresses, which come to the command as one `ice`."""

    @wraps(command)
    def run(
        *arguments: Any,
        stun: tuple[str, ...],
        turn_file: Path | None,
        relay_only: bool | None,
        **options: Any,
    ) -> Any:
        ice = IceOptions(stun=stun, turn_file=turn_file, relay_only=relay_only)
        return command(*arguments, ice=ice, **options)

    for option in reversed(_ICE):
        option(run)
    return run  # type: ignore[return-value]


_OPTIONS: Final[dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "home": (
        ("--home",),
        {
            "type": click.Path(path_type=Path, file_okay=False),
            "metavar": "DIR",
            "help": "Keep everything in DIR.",
        },
    ),
    "room": (
        ("--room",),
        {"metavar": "ROOM", "help": "Which room, by name or fingerprint, if there are several."},
    ),
    "json": (("--json",), {"is_flag": True, "help": "One JSON object a line on standard output."}),
    "quiet": (("--quiet", "-q"), {"is_flag": True, "help": "Only data and errors."}),
    "verbose": (("--verbose", "-v"), {"count": True, "help": "Log to standard error; -vv: with tracebacks."}),
    "timeout": (("--timeout",), {"type": Seconds(), "metavar": "S", "help": "Give up after S seconds."}),
    "no_color": (("--no-color",), {"is_flag": True, "help": "Never use colour."}),
    "yes": (("--yes", "-y"), {"is_flag": True, "help": "Answer yes to every question."}),
}


def common_options(*, variables: bool) -> Callable[[F], F]:
    """Add them to a command; with `variables` each can also be given as PIGEON_... in the environment."""

    def add(command: F) -> F:
        for name, (flags, details) in reversed(_OPTIONS.items()):
            variable = f"PIGEON_{name.upper()}" if variables else None
            command = click.option(*flags, envvar=variable, **details)(command)
        return command

    return add


def settings_from(context: click.Context, options: dict[str, Any]) -> Settings:
    """Take the common options out of a verb's own; what was typed after the verb wins."""
    before: dict[str, Any] = context.find_root().params
    chosen: dict[str, Any] = {}
    for name in _OPTIONS:
        after = options.pop(name)
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        chosen[name] = after if typed else before[name]
    no_color = chosen.pop("no_color") or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Settings(color=not no_color, **chosen)
