"""What must hold after every crash: nothing shown is lost, all of it once, and no key signed twice."""

import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from chain.block import Slot
from chain.codec import decode
from chain.ids import MemberId, RoomId
from chain.records import KeepSlot
from tests.crash.hatch import Child, CrashFailed, Event, Hatch
from tests.simulation.signatures import SignatureLog, Violation

_MAX_SLOT = 1 << 20


@dataclass
class Tally:
    """What was done and checked; the last line of a run."""

    kills: Counter[str] = field(default_factory=Counter)
    """By story."""
    steps: Counter[str] = field(default_factory=Counter)
    """By what the process was about to do or had just done."""
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        self.kills += other.kills
        self.steps += other.steps
        self.checked += other.checked


class Home:
    """One home of a story, and all that its processes ever showed."""

    def __init__(self, hatch: Hatch, directory: Path, name: str, *, lobby: Path) -> None:
        self.hatch = hatch
        self.name = name
        self.path = directory / name
        self.at = ("--json", "--home", str(self.path))
        self.via = ("--via", f"dir:{lobby}")
        self._children: list[Child] = []
        self._log: list[Event] = []

    @property
    def founded(self) -> bool:
        """Whether there is a room here, as far as people can see."""
        return any(self.path.glob("rooms/*/room.json"))

    def watch(self, child: Child) -> Child:
        """Hold the room to whatever this process shows."""
        self._children.append(child)
        return child

    def shown(self, kind: str) -> list[Event]:
        return [event for child in self._children for event in child.shown(kind)]

    def log(self) -> list[Event]:
        """`pigeon log`, which must continue what it was before and keep whatever was shown as final."""
        shown = self.shown("final")  # by now: a node that is up shows more while the log is read
        child = self.hatch.run(self.name, "log", *self.at)
        if child.code != 0:
            raise CrashFailed(f"{self.name}: log ended with {child.code}\n{child.complaints()}")
        before, self._log = self._log, child.events
        if self._log[: len(before)] != before:
            raise CrashFailed(f"{self.name}: the log does not continue what it was")
        places = {event["id"]: event for event in self._log}
        if len(places) != len(self._log):
            raise CrashFailed(f"{self.name}: a message stands in the log twice")
        for event in shown:
            kept = places.get(event["id"])
            if kept is None or (kept["index"], kept["text"]) != (event["index"], event["text"]):
                raise CrashFailed(f"{self.name}: what was shown as final is lost or changed: {event}")
        return self._log

    def keeps_its_promises(self, tally: Tally) -> None:
        """At rest: nothing is lost, everything verifies, and nothing was signed twice."""
        self.keeps_everything(tally)
        self.is_sound()
        self.signed_once(tally)

    def keeps_everything(self, tally: Tally) -> None:
        """At rest, with all final: every message that was ever shown as pending is in the log, once."""
        log = {event["id"] for event in self.log()}
        pending = {event["id"] for event in self.shown("pending")}
        if lost := pending - log:
            raise CrashFailed(f"{self.name}: {len(lost)} pending messages are lost: {sorted(lost)}")
        tally.checked["pending"] += len(pending)
        tally.checked["final"] += len({event["id"] for event in self.shown("final")})

    def is_sound(self) -> None:
        child = self.hatch.run(self.name, "verify", "--store", *self.at)
        if child.code != 0:
            raise CrashFailed(f"{self.name}: verify --store ended with {child.code}: {child.lines}")

    def died_at(self) -> str:
        """What the last process here was about to do, or had just done, when it was killed."""
        died = [values[0] for kind, *values in records_of(self.hatch.witness(self.name)) if kind == "died"]
        return str(died[-1]) if died else "nothing"

    def died_at_count(self) -> int:
        return sum(kind == "died" for kind, *_ in records_of(self.hatch.witness(self.name)))

    def note_kill(self, tally: Tally, story: str, child: Child) -> bool:
        """Count it if this process was killed; False if it did what it was for."""
        if child.code == 0:
            return False
        if child.code != -signal.SIGKILL:
            raise CrashFailed(f"{self.name}: it ended with {child.code}\n{child.complaints()}")
        tally.kills[story] += 1
        step, _, file = self.died_at().partition(" ")
        tally.steps[{"commit": "commit", "pwrite": "mark"}.get(step, "file") if file else "file"] += 1
        return True

    def signed_once(self, tally: Tally) -> None:
        """No vote key of this home signed two things at one position; nothing left it before it was kept."""
        seen = SignatureLog()
        for kind, *values in records_of(self.hatch.witness(self.name)):
            if kind == "unsynced":
                raise CrashFailed(f"{self.name}: a signature left before it was on disk: {values[0]!r}")
            if kind == "kept":
                made, slots = values
                keeps = [_keep(slot, made) for slot in slots]
                for key, message, _ in made:
                    try:
                        seen.commit(MemberId(key), [message], keeps)
                    except Violation as error:
                        raise CrashFailed(f"{self.name}: {error}") from error
        tally.checked["positions"] += len(seen.positions)


def _keep(data: bytes, made: list[tuple[bytes, bytes, bytes]]) -> KeepSlot:
    slot = decode(data, Slot, limit=_MAX_SLOT)
    room = next(
        (
            RoomId(text[text.index(b"\0") + 1 :][:32])
            for _, text, _ in made
            if text.startswith(b"pigeon/slot")
        ),
        RoomId(bytes(32)),
    )
    return KeepSlot(slot.id(room), slot, ())


def records_of(witness: Path) -> list[list[object]]:
    """What a process wrote beside its room, in order."""
    data = witness.read_bytes() if witness.exists() else b""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(msgspec.msgpack.decode(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def one_order(homes: list[Home]) -> None:
    """The logs of all members are prefixes of one another."""
    logs = [[{**event, "mine": None} for event in home.log()] for home in homes]
    longest = max(logs, key=len)
    for home, log in zip(homes, logs, strict=True):
        if log != longest[: len(log)]:
            raise CrashFailed(f"{home.name}: its log contradicts another member's")
