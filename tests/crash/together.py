"""Stories of several real processes over WebRTC: one is killed at a write while all speak, join or let in."""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from node.errors import Exit
from tests.crash.deadly import PHASES, Death, Phase
from tests.crash.hatch import PATIENCE, Child, CrashFailed, Event, Hatch
from tests.crash.promises import Home, Tally, one_order

_NICKS = ("ann", "bob", "cal", "dee", "eve")
_WRITES_OF_A_LIFE = 14
"""Commits and marks between a member's start and the end of a message that all four speak around."""
_WRITES_OF_A_JOIN = 44
"""Steps with files from the first one of a home until its room is open."""
_WRITES_OF_AN_ADMISSION = 16
_LAST_HEARD = 12


def stories(hatch: Hatch, directory: Path, seed: int) -> Iterator[Tally]:
    """One tally a kill, for ever; the three stories take turns."""
    dice = random.Random(seed)
    kinds = [
        talking(hatch, directory, dice),
        joining(hatch, directory, dice),
        admitting(hatch, directory, dice),
    ]
    while True:
        for kind in kinds:
            yield from itertools.islice(kind, 8)


class Room:
    """Some homes and the processes that run in them."""

    def __init__(self, hatch: Hatch, directory: Path, name: str, *, patience: float = PATIENCE) -> None:
        self._hatch = hatch
        self.patience = patience
        self._directory = directory
        self._name = name
        self.homes: dict[str, Home] = {}
        self.running: dict[str, Child] = {}

    def home(self, nick: str) -> Home:
        if nick not in self.homes:
            lobby = self._directory / f"{self._name}.lobby"
            self.homes[nick] = Home(self._hatch, self._directory, f"{self._name}-{nick}", lobby=lobby)
        return self.homes[nick]

    def start(self, nick: str, *arguments: str, death: Death | None = None) -> Child:
        home = self.home(nick)
        child = home.watch(self._hatch.start(home.name, *arguments, *home.at, death=death))
        self.running[nick] = child
        return child

    def found(self) -> None:
        self.start("ann", "new", "tea", "--as", "ann", "--admit", "auto", *self.home("ann").via)
        self.hears("ann", "invite")

    def grow(self, count: int) -> None:
        for nick in _NICKS[1:count]:
            self.start(nick, "join", self.invite("ann"), "--as", nick)
            self.all_have(len(self.running))

    def invite(self, nick: str) -> str:
        seen = len(self.running[nick].events)
        self.running[nick].say("/invite")
        return str(self.hears(nick, "invite", since=seen)["token"])

    def hears(
        self, nick: str, kind: str, *, since: int = 0, where: Callable[[Event], bool] = lambda event: True
    ) -> Event:
        child = self.running[nick]

        def found() -> list[Event]:
            return [event for event in child.events[since:] if event["event"] == kind and where(event)]

        self._wait(lambda: bool(found()) or child.code is not None, f"{child.name} hears of {kind}", child)
        if not found():
            raise CrashFailed(f"{child.name} ended with {child.code}\n{child.complaints()}")
        return found()[0]

    def all_have(self, n: int) -> None:
        for nick in self.running:
            self.hears(nick, "room", where=lambda event: event["n"] == n)

    def all_see(self, text: str) -> None:
        for nick in self.running:
            self.hears(nick, "final", where=lambda event: event["text"] == text)

    def died(self, nick: str, *, or_else: Callable[[], bool]) -> bool:
        """Wait until this one was killed or that came true; whether it was killed."""
        child = self.running[nick]
        self._wait(lambda: child.code is not None or or_else(), f"{child.name} dies or gets on", child)
        return child.code is not None

    def _wait(self, so: Callable[[], bool], what: str, child: Child) -> None:
        self._hatch.until(so, within=self.patience, what=what, on=child, ask=self._how_it_stands)

    def _how_it_stands(self) -> str:
        """What each process heard last, and what it says of itself: who waits seldom is who is to blame."""
        told = []
        for nick, child in list(self.running.items()):
            home = self.homes[nick]
            told.append(f"\n{child.name}, {'up' if child.code is None else f'ended with {child.code}'}")
            told += [f"    {dict(event)}" for event in child.events[-_LAST_HEARD:]]
            for verb in (("status", "--why"), ("who",)):
                answer = self._hatch.run(home.name, *verb, *home.at)
                told += [f"  {verb[0]}: {line.decode()}" for line in answer.lines] or [answer.complaints()]
        return "\n".join(told)

    def end(self, nick: str) -> None:
        child = self.running.pop(nick)
        child.kill()
        self._hatch.ended(child)

    def settle(self, tally: Tally) -> None:
        """Let all be final, end all and hold them to their promises."""
        # What one member says is ordered as it was said: after its last word nothing of it is missing.
        for nick, child in self.running.items():
            child.say(f"the end, says {nick}")
        for nick in self.running:
            self.all_see(f"the end, says {nick}")
        for nick in list(self.running):
            self.end(nick)
        one_order(list(self.homes.values()))
        for home in self.homes.values():
            home.keeps_its_promises(tally)


@contextmanager
def room_of(hatch: Hatch, directory: Path, name: str, count: int) -> Iterator[Room]:
    room = Room(hatch, directory, name)
    try:
        room.found()
        room.grow(count)
        yield room
    finally:
        for child in room.running.values():
            child.kill()


def talking(hatch: Hatch, directory: Path, dice: random.Random) -> Iterator[Tally]:
    """A room of four: one is killed, or its disk fills up, at each write of starting again and speaking."""
    for turn in itertools.count():
        with room_of(hatch, directory, f"talk{turn}", 4) as room:
            for number, phase in itertools.product(range(1, _WRITES_OF_A_LIFE + 1), PHASES):
                for full in (False, True) if phase == "before" else (False,):
                    nick = dice.choice(list(room.running))
                    under = room.homes[nick].path
                    yield _talk(room, nick, Death(number, phase, under, store_only=True, full=full))
            tally = Tally()
            room.settle(tally)
            yield tally


def _talk(room: Room, nick: str, death: Death) -> Tally:
    tally, what = Tally(), f"{death.number} {'full' if death.full else death.phase}"
    room.end(nick)
    child = room.start(nick, "chat", death=death)
    mine = f"{nick} {what}"
    child.say(mine)
    for other, each in room.running.items():
        if other != nick:
            each.say(f"{other}, while {mine}")
    died = room.died(nick, or_else=lambda: any(event["text"] == mine for event in child.shown("final")))
    if died and death.full:
        if child.code != Exit.COULD_NOT_CHECK or not child.shown("error"):
            raise CrashFailed(
                f"{child.name}: on a full disk it ended with {child.code}\n{child.complaints()}"
            )
        tally.checked["full"] += 1
    elif died:
        room.homes[nick].note_kill(tally, "talking", child)
    else:
        room.end(nick)  # it has got past this write already
    room.start(nick, "chat").say(f"{nick} is back, {what}")
    room.all_see(f"{nick} is back, {what}")
    room.homes[nick].log()
    return tally


def joining(hatch: Hatch, directory: Path, dice: random.Random) -> Iterator[Tally]:
    """A newcomer is killed at each step of its first start, types the same again and comes in, once."""
    deaths = itertools.cycle(itertools.product(range(1, _WRITES_OF_A_JOIN + 1), PHASES))
    for turn in itertools.count():
        with room_of(hatch, directory, f"join{turn}", 1) as room:
            for nick in _NICKS[1:]:
                number, phase = next(deaths)
                yield _join(room, nick, number, phase)
            tally = Tally()
            room.settle(tally)
            yield tally


def _join(room: Room, nick: str, number: int, phase: Phase) -> Tally:
    tally, home = Tally(), room.home(nick)
    n = len(room.running) + 1
    arguments = ("join", room.invite("ann"), "--as", nick)
    child = room.start(nick, *arguments, death=Death(number, phase, home.path))
    child.say("in at last")
    if room.died(nick, or_else=lambda: bool(child.shown("final"))):
        home.note_kill(tally, "joining", child)
        room.start(nick, *arguments)
    room.all_have(n)
    room.running[nick].say(f"{nick} is here")
    room.all_see(f"{nick} is here")
    return tally


def admitting(hatch: Hatch, directory: Path, dice: random.Random) -> Iterator[Tally]:
    """A member is killed at some write while a newcomer is let in, the epoch's switch among them."""
    deaths = itertools.cycle(itertools.product(range(1, _WRITES_OF_AN_ADMISSION + 1), PHASES))
    for turn in itertools.count():
        with room_of(hatch, directory, f"admit{turn}", 1) as room:
            for nick in _NICKS[1:]:
                number, phase = next(deaths)
                yield _admit(room, nick, dice.choice(list(room.running)), number, phase)
            tally = Tally()
            room.settle(tally)
            yield tally


def _admit(room: Room, newcomer: str, victim: str, number: int, phase: Phase) -> Tally:
    tally, n = Tally(), len(room.running) + 1
    token = room.invite("ann")
    room.end(victim)
    child = room.start(victim, "chat", death=Death(number, phase, room.homes[victim].path, store_only=True))
    child.say(f"while {newcomer} comes")
    joined = room.start(newcomer, "join", token, "--as", newcomer)
    if room.died(victim, or_else=lambda: bool(joined.shown("room")) and bool(child.shown("final"))):
        room.homes[victim].note_kill(tally, "admitting", child)
    else:
        room.end(victim)
    room.start(victim, "chat")
    room.all_have(n)
    room.running[victim].say(f"{newcomer} came")
    room.all_see(f"{newcomer} came")
    return tally
