"""The disk fills up at some write: the node says so in a sentence, keeps what it showed, and comes back."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from node.errors import Exit
from tests.crash.deadly import Death
from tests.crash.hatch import CrashFailed, Hatch
from tests.crash.promises import Home, Tally

_GIVE_UP = "1"
"""Seconds that a node on a full disk goes on hoping, where nothing it needs is refused."""
_EVERY = 3


def stories(hatch: Hatch, directory: Path) -> Iterator[Tally]:
    """Full at each write of a founding, then at each of a start; one tally a full disk."""
    for number in itertools.count(1):
        tally, through = founding(hatch, directory, number)
        yield tally
        if through:
            break
    home = Home(hatch, directory, "full", lobby=directory / "full.lobby")
    founded(home, hatch)
    for number in itertools.count(1):
        tally, through = starting(home, hatch, number)
        yield tally
        if through:
            break
    tally = Tally()
    home.keeps_its_promises(tally)
    yield tally


def founding(hatch: Hatch, directory: Path, number: int) -> tuple[Tally, bool]:
    """True when there was no such write."""
    tally = Tally()
    home = Home(hatch, directory, f"full-{number}", lobby=directory / f"full-{number}.lobby")
    arguments = ("new", "tea", "--as", "ann", *home.via, *home.at)
    through = not _fills(home, hatch, tally, number, *arguments)
    if home.founded:
        _works(home, hatch, "chat", *home.at)
    else:
        _works(home, hatch, *arguments)
    home.keeps_its_promises(tally)
    return tally, through


def starting(home: Home, hatch: Hatch, number: int) -> tuple[Tally, bool]:
    tally = Tally()
    through = not _fills(home, hatch, tally, number, "chat", *home.at)
    home.log()
    if number % _EVERY == 0:
        _works(home, hatch, "chat", *home.at)
    return tally, through


def founded(home: Home, hatch: Hatch) -> None:
    _works(home, hatch, "new", "tea", "--as", "ann", *home.via, *home.at)


def _fills(home: Home, hatch: Hatch, tally: Tally, number: int, *arguments: str) -> bool:
    """Run a command whose disk fills up; whether it got so far."""
    before = home.died_at_count()
    death = Death(number, "before", home.path, full=True)
    child = home.watch(
        hatch.run(
            home.name, *arguments, "--timeout", _GIVE_UP, lines=(f"{number}.1", f"{number}.2"), death=death
        )
    )
    if home.died_at_count() == before:
        return False
    tally.checked["full"] += 1
    if child.code == Exit.DONE:
        return True  # what was refused was not needed, and all became final
    errors = child.shown("error")
    if child.code not in (Exit.COULD_NOT_CHECK, Exit.TIMED_OUT, Exit.UNREACHABLE) or len(errors) != 1:
        raise CrashFailed(
            f"{home.name}: on a full disk (at {home.died_at()}) it ended with {child.code} "
            f"and said {errors}\n{child.complaints()}"
        )
    if not errors[0]["message"] or not errors[0]["hint"] or "inside pigeon" in errors[0]["message"]:
        raise CrashFailed(f"{home.name}: on a full disk (at {home.died_at()}) it said {errors[0]}")
    return True


def _works(home: Home, hatch: Hatch, *arguments: str) -> None:
    """There is room again: all goes on."""
    child = home.watch(hatch.run(home.name, *arguments, lines=("room again",)))
    if child.code != 0:
        raise CrashFailed(f"{home.name}: with room again it ended with {child.code}\n{child.complaints()}")
