"""The home on disk: may it be written to, are its keys whole and private, and does a node run in it."""

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from node.config import Home, RoomConfig, socket_directory
from node.control import connect_control
from node.doctor.finding import Finding, as_problem, fine, problem, warning
from node.doctor.machine import ours
from node.doctor.subject import Subject
from node.errors import NodeError
from node.events import StatusEvent
from node.keys import Purpose, load_key
from node.lock import lock_holder
from node.password import PASSWORD_FILE

_T = TypeVar("_T")

_FULL: Final = 1 << 20
_FEW_BYTES: Final = 64 << 20
_SQLITE: Final = b"SQLite format 3\0"
_NODE_ANSWERS: Final = 3.0


def check_home(subject: Subject) -> list[Finding]:
    """Its directories, the space there, and the place for the control socket. Blocking."""
    home = subject.home
    directories = list(dict.fromkeys((home.data, home.config, home.state)))
    findings = [finding for each in directories if (finding := _directory(each)) is not None]
    if not any(each.state == "problem" for each in findings):
        findings += _space(home.data)
    if not findings:
        there = "can be written to" if home.data.is_dir() else "is made when it is first needed"
        findings = [fine("home", f"{home.data} {there}.")]
    return [*findings, *_socket()]


def check_keys(subject: Subject) -> list[Finding]:
    """Whether they are there, whole, and nobody else's to read. Blocking."""
    findings = _key("identity", subject.home.identity_file, "identity", has_room=subject.room is not None)
    if subject.room is not None:
        vote = subject.home.vote_file(subject.room.fingerprint)
        findings += _key("vote key", vote, "vote", has_room=True)
        password = vote.with_name(PASSWORD_FILE)
        if os.path.lexists(password):
            findings += _key("password", password, "password", has_room=True)
    return findings


async def check_room(subject: Subject) -> list[Finding]:
    """Whether its record is there, and, where a node runs, how that is and what troubles it has."""
    about = [] if subject.rooms is None else [subject.rooms]
    return [*about, *(await _look_at(subject))]


async def _look_at(subject: Subject) -> list[Finding]:
    if subject.room is None:
        return []
    room = subject.room
    what = f"room {room.name}"
    try:
        store = await _in_thread(partial(_store, what, subject.home, room))
        if store is not None:
            return [store]
        pid = await _in_thread(partial(lock_holder, subject.home, room.fingerprint))
        if pid is None:
            return [fine(what, "No node runs: its members cannot reach you.", cure="Start one: pigeon up")]
        status = None
        with trio.move_on_after(_NODE_ANSWERS):
            node = await connect_control(subject.home, room)
            status = await node.status() if node is not None else None
    except NodeError as error:
        return [as_problem(what, error, found="Its node could not be asked.")]
    except OSError as error:
        return [_unusable(what, error)]
    if status is None:
        return [_silent(what, pid)]
    return _running(what, status)


async def _in_thread(look: Callable[[], _T]) -> _T:
    """Left behind when it hangs: disks do."""
    return await trio.to_thread.run_sync(look, abandon_on_cancel=True)


def _directory(path: Path) -> Finding | None:
    """What is wrong with it, or with what it would be made in."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not there.is_dir():
        return problem(
            "home",
            f"{there} is no directory.",
            cause="A file, or a link that leads nowhere, has its name.",
            cure="Remove it, or give another --home.",
        )
    if not os.access(there, os.W_OK | os.X_OK):
        read_only = bool(os.statvfs(there).f_flag & os.ST_RDONLY)
        owner = "" if ours(there.stat()) else ", and belongs to another user"
        return problem(
            "home",
            f"{there} cannot be written to{owner}.",
            cause="Its disk is mounted read-only." if read_only else "You are not permitted to write there.",
            cure="Give --home a directory of yours.",
        )
    return None


def _space(path: Path) -> list[Finding]:
    there = next(each for each in (path, *path.parents) if each.exists())
    disk = os.statvfs(there)
    free = disk.f_bavail * disk.f_frsize
    if free >= _FEW_BYTES and (disk.f_favail > 0 or not disk.f_files):
        return []
    found = f"{free // 1024:,} KiB are left on the disk of {there}."
    if free < _FULL or (disk.f_files and not disk.f_favail):
        return [
            problem(
                "home",
                found,
                cause="The disk is full: nothing can be said, and no key or record can be kept.",
                cure="Free some space, or give --home a directory on another disk.",
            )
        ]
    return [warning("home", found, cause="The disk is nearly full.", cure="Free some space.")]


def _socket() -> list[Finding]:
    try:
        directory = socket_directory()
    except NodeError as error:
        return [
            as_problem("control socket", error, found="There is no place for it, so no node can be started.")
        ]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and not Path(runtime).is_dir():
        return [
            warning(
                "control socket",
                f"It is in {directory}.",
                cause=f"XDG_RUNTIME_DIR is {runtime!r}, which is no directory.",
                cure="Set XDG_RUNTIME_DIR alike wherever you call pigeon, or nowhere: else one does not find "
                "the other's node.",
            )
        ]
    return [fine("control socket", f"It is in {directory}.")]


def _key(what: str, path: Path, purpose: Purpose, *, has_room: bool) -> list[Finding]:
    try:
        load_key(path, purpose=purpose)
    except FileNotFoundError:
        if not has_room:
            return [fine(what, "There is none yet; `pigeon new` and `pigeon join` make one.")]
        hint = "Restore it from a backup; nothing else can stand in for it."
        if purpose == "vote":
            hint = "`pigeon chat --repair` makes a new one, which the members have to let in."
        return [problem(what, f"{path} is missing.", cause="Somebody removed or moved it.", cure=hint)]
    except NodeError as error:
        return [as_problem(what, error, found="It cannot be used.")]
    except OSError as error:
        return [_unusable(what, error)]
    return [fine(what, f"{path} is whole, and only yours to read.")]


def _store(what: str, home: Home, room: RoomConfig) -> Finding | None:
    """A look from outside; `pigeon verify --store` reads it all."""
    path = home.store_file(room.fingerprint)
    try:
        with path.open("rb") as file:
            head, status = file.read(len(_SQLITE)), os.fstat(file.fileno())
    except FileNotFoundError:
        return problem(
            what,
            f"Its record {path} is missing.",
            cause="Somebody removed or moved it.",
            cure="`pigeon chat --repair` gets it from the other members.",
        )
    except OSError as error:
        return _unusable(what, error)
    if head != _SQLITE or not stat.S_ISREG(status.st_mode):
        return problem(
            what,
            f"Its record {path} is damaged.",
            cause="It does not begin like a database.",
            cure="`pigeon chat --repair` keeps what holds and gets the rest from the other members.",
        )
    if not ours(status) or not os.access(path, os.R_OK | os.W_OK):
        return problem(
            what,
            f"Its record {path} cannot be written to.",
            cause="It belongs to another user, or its permissions were changed.",
            cure=f"Run as its owner, or: chmod 600 {path}",
        )
    return None


def _unusable(what: str, error: OSError) -> Finding:
    return problem(
        what,
        f"{error.filename or 'It'} cannot be read: {error.strerror}.",
        cause="The system refuses.",
        cure="Check its permissions and the disk.",
    )


def _silent(what: str, pid: int) -> Finding:
    return problem(
        what,
        f"Process {pid or 'unknown'} has it open and does not answer.",
        cause="It hangs, or it was started with another XDG_RUNTIME_DIR or TMPDIR.",
        cure=f"End it (kill {pid or 'PID'}) and start it again with `pigeon up`.",
    )


def _running(what: str, status: StatusEvent) -> list[Finding]:
    """What it says of itself, and which of its carriers and servers fail it."""
    linked = f"A node runs, with {status.up} of {status.n} members up."
    if status.troubles:
        cure = "It tries again by itself; see what is said of it here."
        return [warning(what, linked, cause=each, cure=cure) for each in status.troubles]
    if status.up < status.quorum:
        return [
            warning(
                what,
                linked,
                cause=f"It takes {status.quorum} of them to make anything final.",
                cure="Have the others start theirs: pigeon up. See: pigeon status --why",
            )
        ]
    return [fine(what, linked, cure="See: pigeon status --why" if status.notes else "")]
