"""A room of one, killed at every write of being founded, spoken in, left a message, and started again."""

import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.crash.deadly import PHASES, Death, Phase
from tests.crash.hatch import CrashFailed, Hatch
from tests.crash.promises import Home, Tally

_WORDS = ("one", "two", "three")
_WRITES_OF_A_SEND = 11
_LOUD, _LONG = 60, 12_000
"""Messages and bytes of each: thrice this is more than SQLite leaves in its log."""
_KILLS_OF_A_STORM = 7
_MOMENT = 0.05


def stories(hatch: Hatch, directory: Path, seed: int) -> Iterator[Tally]:
    """One tally a kill (or a few), for ever; the stories take turns, the first two until they are through."""
    kinds = [
        (lives(hatch, directory, random.Random(seed)), 42),
        (every_founding(hatch, directory), 8),
        (every_queueing(hatch, directory), 4),
        (storms(hatch, directory, random.Random(-seed)), 4),
    ]
    while True:
        for kind, at_once in kinds:
            yield from itertools.islice(kind, at_once)


def every_founding(hatch: Hatch, directory: Path) -> Iterator[Tally]:
    """Killed at each write in turn, until there is none left."""
    for number in itertools.count(1):
        lived = 0
        for phase in PHASES:
            tally, whole = founding(hatch, directory, Death(number, phase, Path()))
            yield tally
            lived += whole
        if lived == len(PHASES):
            return


def every_queueing(hatch: Hatch, directory: Path) -> Iterator[Tally]:
    for number in range(1, _WRITES_OF_A_SEND + 1):
        for phase in PHASES:
            yield queueing(hatch, directory, number, phase)


def lives(hatch: Hatch, directory: Path, dice: random.Random) -> Iterator[Tally]:
    for number in itertools.count(1):
        yield from living(hatch, directory, f"life{number}", dice)


def new_home(hatch: Hatch, directory: Path, name: str) -> Home:
    return Home(hatch, directory, name, lobby=directory / f"{name}.lobby")


def founding(hatch: Hatch, directory: Path, death: Death) -> tuple[Tally, bool]:
    """`pigeon new` with three messages, killed once; then people go on. True when it was not killed."""
    tally = Tally()
    home = new_home(hatch, directory, f"founder-{death.number}-{death.phase}")
    arguments = ("new", "tea", "--as", "ann", *home.via, *home.at)
    death = Death(death.number, death.phase, home.path)
    lived = not home.note_kill(
        tally, "founding", home.watch(hatch.run(home.name, *arguments, lines=_WORDS, death=death))
    )
    if not home.founded:
        if home.shown("room"):
            raise CrashFailed(f"{home.name}: a room that was shown is gone")
        _lives(home, hatch, *arguments, lines=("again",))
    else:
        _lives(home, hatch, "chat", *home.at, lines=("after",))
    home.keeps_its_promises(tally)
    return tally, lived


def queueing(hatch: Hatch, directory: Path, number: int, phase: Phase) -> Tally:
    """`pigeon send` without a node, killed once; what it printed as pending becomes final, and once."""
    tally = Tally()
    home = new_home(hatch, directory, f"sender-{number}-{phase}")
    _lives(home, hatch, "new", "tea", "--as", "ann", *home.via, *home.at, lines=("one",))
    arguments = ("send", "queued", "--wait", "pending", *home.at)
    death = Death(number, phase, home.path)
    home.note_kill(tally, "queueing", home.watch(hatch.run(home.name, *arguments, death=death)))
    _lives(home, hatch, "send", "queued too", "--wait", "pending", *home.at)
    _lives(home, hatch, "chat", *home.at, lines=("after",))
    home.keeps_its_promises(tally)
    return tally


def living(hatch: Hatch, directory: Path, name: str, dice: random.Random) -> Iterator[Tally]:
    """One room killed at some write of each of twenty starts in a row, also while it still recovers."""
    home = new_home(hatch, directory, name)
    _lives(home, hatch, "new", "tea", "--as", "ann", *home.via, *home.at)
    for start in range(20):
        tally = Tally()
        lines = tuple(f"{start}.{number}" for number in range(dice.randrange(4)))
        death = Death(dice.randrange(1, 16), dice.choice(PHASES), home.path, store_only=dice.random() < 0.7)
        child = home.watch(hatch.run(home.name, "chat", *home.at, lines=lines, death=death))
        home.note_kill(tally, "living", child)
        if start % 3 == 0:
            home.log()
        yield tally
    tally = Tally()
    _lives(home, hatch, "chat", *home.at, lines=("the end",))
    home.keeps_its_promises(tally)
    yield tally


def storms(hatch: Hatch, directory: Path, dice: random.Random) -> Iterator[Tally]:
    """So much is said that the log is checkpointed, and the kill comes from outside, at any moment within."""
    for number in itertools.count(1):
        home = new_home(hatch, directory, f"storm{number}")
        _lives(home, hatch, "new", "tea", "--as", "ann", *home.via, *home.at)
        for start in range(_KILLS_OF_A_STORM):
            tally = Tally()
            child = home.watch(hatch.start(home.name, "chat", *home.at))
            child.say(*(f"{start}.{each} {'x' * _LONG}" for each in range(_LOUD)))
            enough = dice.randrange(2 * _LOUD)
            hatch.until(
                lambda child=child, enough=enough: len(child.events) > enough, what="a storm", on=child
            )
            until = time.monotonic() + dice.random() * _MOMENT
            while time.monotonic() < until:
                child.pump()
            child.kill()
            hatch.ended(child)
            tally.kills["storming"] += 1
            tally.steps["anywhere"] += 1
            if start % 2 == 0:
                home.log()
            yield tally
        tally = Tally()
        _lives(home, hatch, "chat", *home.at, lines=("the end",))
        home.keeps_its_promises(tally)
        yield tally


def _lives(home: Home, hatch: Hatch, *arguments: str, lines: tuple[str, ...] = ()) -> None:
    """A command that nobody kills must do what it is for."""
    child = home.watch(hatch.run(home.name, *arguments, lines=lines))
    if child.code != 0:
        raise CrashFailed(
            f"{home.name}: `{arguments[0]}` ended with {child.code} after a kill at {home.died_at()}\n"
            f"{child.complaints()}"
        )
