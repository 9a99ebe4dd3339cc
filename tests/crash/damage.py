"""Torn logs and flipped bits: what was shown is intact or missed in words, and `repair` keeps what holds.

A home is made by a real node that is killed at rest, so that its write-ahead log is full; copies of it are
then damaged. In-process for every frame and many bits, through the command line for a part of them.
"""

import itertools
import random
import shutil
import signal
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from node.config import Home as Directories
from node.config import RoomConfig
from node.content import body_text
from node.disk import identity_of, open_store, vote_key_of
from node.errors import NodeError
from node.events import FinalEvent
from node.offline import check_store, read_log
from node.repair import repair
from tests.crash.deadly import PHASES, Death
from tests.crash.hatch import Child, CrashFailed, Hatch
from tests.crash.promises import Home, Tally

_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_BATCH: Final = 40
_SPOKEN: Final = ("one", "two", "three", "four", "five")


class Original:
    """A home to be copied and damaged, and all that it holds."""

    def __init__(self, hatch: Hatch, directory: Path, name: str, *, killed: bool) -> None:
        self.home = Home(hatch, directory, name, lobby=directory / f"{name}.lobby")
        self._hatch = hatch
        _run(self.home, hatch, "new", "tea", "--as", "ann", *self.home.via, *self.home.at, lines=_SPOKEN[:1])
        node = self.home.watch(hatch.start(name, "chat", *self.home.at))
        node.say(*_SPOKEN[1:])
        hatch.until(lambda: len(node.shown("final")) == len(_SPOKEN) - 1, what="all is final", on=node)
        node.kill() if killed else node.end_input()
        hatch.ended(node)
        if not killed:
            _run(self.home, hatch, "send", "queued", "--wait", "pending", *self.home.at)
        self.shown = {event["id"]: event["text"] for event in self.home.shown("final")}
        self._copies = itertools.count(1)

    def copy(self) -> "Copy":
        place = self.home.path.with_name(f"{self.home.name}.copy{next(self._copies)}")
        shutil.copytree(self.home.path, place, symlinks=True)
        return Copy(place)

    def through_the_command_line(self, copy: "Copy") -> tuple[Child, Child]:
        """`log` and `verify --store` of a copy."""
        at = ("--json", "--home", str(copy.path))
        return (
            self._hatch.run(copy.path.name, "log", *at),
            self._hatch.run(copy.path.name, "verify", "--store", *at),
        )

    def reopened(self, copy: "Copy") -> Child:
        """`chat` of a copy with one more message, which is given up on soon if it does not become final."""
        arguments = ("chat", "--json", "--home", str(copy.path), "--timeout", "1")
        return self._hatch.run(copy.path.name, *arguments, lines=("after",))


class Copy:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.directories = Directories.at(path)
        (self.settings,) = path.glob("rooms/*/room.json")
        self.room_directory = self.settings.parent
        self.store = self.room_directory / "store.sqlite"
        self.wal = self.room_directory / "store.sqlite-wal"

    def room(self) -> RoomConfig:
        return self.directories.room(None)

    def log(self) -> dict[str, str]:
        return {event.id: event.text for event in self.events()}

    def events(self) -> list[FinalEvent]:
        return list(read_log(self.directories, self.room()))

    def queued(self) -> list[str | None]:
        """What is to be sent when the node runs next."""
        with closing(open_store(self.directories, self.room().fingerprint, read_only=True)) as store:
            return [body_text(body.data) for body in store.snapshot().queue]

    def problems(self) -> list[str]:
        return [problem.sentence for problem in check_store(self.directories, self.room())]

    def remove(self) -> None:
        shutil.rmtree(self.path)


def _run(home: Home, hatch: Hatch, *arguments: str, lines: tuple[str, ...] = ()) -> None:
    child = home.watch(hatch.run(home.name, *arguments, lines=lines))
    if child.code != 0:
        raise CrashFailed(f"{home.name}: `{arguments[0]}` ended with {child.code}\n{child.complaints()}")


# Torn logs


def torn(hatch: Hatch, directory: Path) -> Iterator[Tally]:
    original = Original(hatch, directory, "torn", killed=True)
    whole = original.copy().wal.read_bytes()
    (page,) = struct.unpack(">I", whole[8:12])
    edges = range(_HEADER, len(whole) + 1, _FRAME_HEADER + page)
    if len(edges) < len(_SPOKEN):
        raise CrashFailed(f"a log of {len(whole)} bytes is too short to be torn")
    tears = [("as it was", whole)]
    tears += [(what, data) for edge in edges for what, data in _tears(whole, edge)]
    tears += [("no log", b""), ("its header", bytes(_HEADER) + whole[_HEADER:])]
    for number, (what, data) in enumerate(tears):
        tally = Tally()
        copy = original.copy()
        copy.wal.write_bytes(data)
        tally.checked["torn_noticed" if _is_noticed(original, copy, what) else "torn_intact"] += 1
        if number % 16 == 0:
            _is_noticed_by_people(original, copy, what)
        copy.remove()
        yield tally


def _tears(whole: bytes, edge: int) -> Iterator[tuple[str, bytes]]:
    """The log cut off at and around one edge of its frames, and garbled there."""
    for at in (edge - 1, edge, edge + 1, edge + _FRAME_HEADER, edge + 100):
        if at < len(whole):
            yield f"cut at {at}", whole[:at]
    if edge < len(whole):
        yield (
            f"frame header at {edge} zeroed",
            whole[:edge] + bytes(_FRAME_HEADER) + whole[edge + _FRAME_HEADER :],
        )
        garbled = bytearray(whole)
        garbled[edge + _FRAME_HEADER + 7] ^= 0x10
        yield f"page at {edge} garbled", bytes(garbled)


def _is_noticed(original: Original, copy: Copy, what: str) -> bool:
    """True: something is missing, and said to be; False: everything is there."""
    problems, log = copy.problems(), copy.log()
    if any(original.shown.get(key) != text for key, text in log.items()):
        raise CrashFailed(f"{what}: the log says what nobody was shown")
    missing = original.shown.keys() - log.keys()
    if not problems and missing:
        raise CrashFailed(f"{what}: {len(missing)} final messages are lost and nobody says so")
    if problems and not any("are gone" in problem for problem in problems):
        raise CrashFailed(f"{what}: {problems}")
    return bool(problems)


def _is_noticed_by_people(original: Original, copy: Copy, what: str) -> None:
    """The same through the command line; a node that lost something signs nothing."""
    noticed = bool(copy.problems())
    log, verdict = original.through_the_command_line(copy)
    if (log.code, verdict.code) != (0, int(noticed)):
        raise CrashFailed(f"{what}: log ended with {log.code}, verify --store with {verdict.code}")
    node = original.reopened(copy)
    said = [event["text"] for event in node.shown("final")]
    if noticed and ("after" in said or node.code == 0):
        raise CrashFailed(f"{what}: a node that lost its journal went on signing")
    if not noticed and (said != ["after"] or node.code != 0):
        raise CrashFailed(f"{what}: nothing was missing, and the node did not go on\n{node.complaints()}")


# Flipped bits


def flipped(hatch: Hatch, directory: Path, dice: random.Random) -> Iterator[Tally]:
    """A bit anywhere in a home: found and named, or without effect; what holds is kept. Batches, for ever."""
    originals = [
        Original(hatch, directory, "flip-rest", killed=False),
        Original(hatch, directory, "flip-killed", killed=True),
    ]
    while True:
        for original in originals:
            tally = Tally()
            for number in range(_BATCH):
                _flip(original, dice, tally, in_full=number == 0)
            yield tally


def _flip(original: Original, dice: random.Random, tally: Tally, *, in_full: bool) -> None:
    copy = original.copy()
    identity = copy.directories.identity_file
    files = [copy.store, copy.store, copy.store, *_others(copy), identity, copy.settings]
    file = dice.choice([each for each in files if each.exists() and each.stat().st_size])
    before = file.read_bytes()
    position, bit = dice.randrange(len(before)), dice.randrange(8)
    data = bytearray(before)
    data[position] ^= 1 << bit
    file.write_bytes(data)
    what = f"{original.home.name}: {file.name} byte {position} bit {bit}"
    found = _find(original, copy, what)
    tally.checked["flips"] += 1
    tally.checked["flips_found"] += bool(found)
    if in_full:
        log, verdict = original.through_the_command_line(copy)
        if found and log.code == 0 == verdict.code and "vote" not in file.name:
            raise CrashFailed(f"{what}: found ({found}), and yet `log` and `verify --store` say all is well")
    if found and file in (copy.store, copy.wal, copy.directories.vote_file(copy.room_directory.name)):
        _is_repaired(original, copy, what)
        tally.checked["repaired"] += 1
    copy.remove()


def _others(copy: Copy) -> list[Path]:
    beside = [copy.store.with_name(copy.store.name + suffix) for suffix in ("-wal", "-wal", ".mark")]
    return [*beside, copy.room_directory / "vote.key"]


def _find(original: Original, copy: Copy, what: str) -> str:
    """What a command would say is wrong; empty if all reads as if nothing had happened."""
    try:
        room = copy.room()
        identity_of(copy.directories)
        vote_key_of(copy.directories, room.fingerprint)
        problems = copy.problems()
        if problems:
            return problems[0]
        log = copy.log()
    except NodeError as error:
        return error.message
    if not original.shown.items() <= log.items():
        raise CrashFailed(f"{what}: the log has changed, and nobody says so")
    return ""


def _is_repaired(original: Original, copy: Copy, what: str) -> None:
    """Afterwards it opens, is sound, and holds nothing but what it held, up to some block."""
    room = copy.room()
    before = vote_key_bytes(copy, room)
    done = repair(copy.directories, room)
    if copy.problems() and done.found:
        raise CrashFailed(f"{what}: after the repair: {copy.problems()}")
    log = copy.log()
    if not log.items() <= original.shown.items() or list(original.shown)[: len(log)] != list(log):
        raise CrashFailed(f"{what}: the repair made up a record")
    if done.found and vote_key_bytes(copy, room) == before:
        raise CrashFailed(f"{what}: the old vote key may sign on")


# Repairs that are killed


def repairing(hatch: Hatch, directory: Path) -> Iterator[Tally]:
    """`chat --repair` killed before and after each of its writes, and done again."""
    original = Original(hatch, directory, "repair", killed=False)
    damaged = original.copy()
    with closing(sqlite3.connect(damaged.store)) as db:
        db.execute("UPDATE blocks SET certificate = x'00' WHERE height = 3")
        db.commit()
    key = vote_key_bytes(damaged, damaged.room())
    for number in itertools.count(1):
        lived = 0
        for phase in PHASES:
            tally = Tally()
            home = Home(hatch, directory, f"repair-{number}-{phase}", lobby=directory / "repair.lobby")
            shutil.copytree(damaged.path, home.path, symlinks=True)
            arguments = ("chat", "--repair", *home.at, "--timeout", "0")
            child = hatch.run(home.name, *arguments, death=Death(number, phase, home.path))
            if child.code == -signal.SIGKILL:
                home.note_kill(tally, "repairing", child)
            else:
                lived += 1
            hatch.run(home.name, *arguments)
            copy = Copy(home.path)
            if (problems := copy.problems()) or vote_key_bytes(copy, copy.room()) == key:
                raise CrashFailed(f"{home.name}: killed at {home.died_at()}, repaired again: {problems}")
            if list(copy.log().values()) != list(_SPOKEN[:2]) or copy.queued() != ["queued"]:
                raise CrashFailed(f"{home.name}: {list(copy.log().values())} and {copy.queued()} are left")
            yield tally
        if lived == len(PHASES):
            return


def vote_key_bytes(copy: Copy, room: RoomConfig) -> bytes:
    return copy.directories.vote_file(room.fingerprint).read_bytes()
