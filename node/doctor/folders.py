"""The folders that carry: is each there, a folder, and one that a parcel can be put into.

Nothing is left there. What is written to try it has no name where the system can do that, else one that is
taken away at once.
"""

import errno
import os
import secrets
import time
from pathlib import Path
from typing import Final

from node.doctor.finding import Finding, fine, problem, warning
from node.doctor.folder_content import check_content
from node.doctor.machine import SET_CLOCK, lasting
from signaling.carrier import MAX_PAYLOAD
from signaling.description import CLOCK_SKEW
from signaling.folder import opened

_AWAY: Final = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ENODEV)
_NO_UNNAMED: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


def check_folder(spec: str, *, remembered: bool) -> list[Finding]:
    """One of `dir:`, `log:`, `qr:` with a full path. Blocking. `remembered`: a room has used it before."""
    kind, _, where = spec.partition(":")
    path = Path(where)
    try:
        with opened(path, make=False) as folder:
            broken = _try_to_write(spec, folder)
            if broken is not None:
                return [broken]
            return check_content(spec, kind, folder)
    except OSError as error:
        return [_no_folder(spec, path, error, remembered=remembered)]


def _no_folder(spec: str, path: Path, error: OSError, *, remembered: bool) -> Finding:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return problem(
            spec,
            "There is a link in its place that leads nowhere.",
            cause=f"It points to {str(path.readlink())!r}, which is not there.",
            cure="Mount that drive, or mend or remove the link.",
        )
    if isinstance(error, FileNotFoundError):
        return _missing(spec, path, remembered=remembered)
    if error.errno == errno.ENOTDIR:
        return problem(
            spec,
            "It is no folder.",
            cause="A file has this name, or a part of it.",
            cure="Name a folder, or remove that file.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return problem(
            spec,
            "It cannot be looked into.",
            cause="You are not permitted to enter this folder, or one above it.",
            cure="Ask its owner, or use a folder of yours.",
        )
    if error.errno in _AWAY:
        return problem(
            spec,
            f"It does not answer: {error.strerror}.",
            cause="The drive or its server is away.",
            cure="Mount it again, or check the connection to its server.",
        )
    return problem(
        spec,
        f"It cannot be opened: {error.strerror}.",
        cause="The system refuses this folder.",
        cure="Check the name, or use another folder.",
    )


def _missing(spec: str, path: Path, *, remembered: bool) -> Finding:
    above = next(each for each in path.parents if os.path.lexists(each))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return problem(
            spec,
            "It is not there, and cannot be made.",
            cause=f"{above} is no folder that you may write to.",
            cure="Name another folder, or mount the drive that it is on.",
        )
    if above != path.parent:
        return warning(
            spec,
            f"It is not there, nor is {path.parent}; all of it would be made.",
            cause="The drive may not be mounted, or the name is mistyped.",
            cure="Mount the drive or correct the name; nobody is met in a folder that only you have.",
        )
    if remembered:
        return warning(
            spec,
            "It is not there any more; it would be made anew.",
            cause="Somebody removed it, or the drive is not mounted.",
            cure="Mount the drive; nobody is met in a folder that only you have.",
        )
    return fine(spec, "It is not there yet; it is made when it is first needed.")


def _try_to_write(spec: str, folder: int) -> Finding | None:
    """What keeps a parcel from being written there, or a clock there from being right."""
    try:
        written = _write_and_forget(folder)
    except OSError as error:
        return _unwritable(spec, error)
    off = written - time.time()
    if abs(off) > CLOCK_SKEW:
        return warning(
            spec,
            f"Its clock is {lasting(off)} {'ahead of' if off > 0 else 'behind'} ours.",
            cause="This machine's clock, or that of the machine that the folder is on, is wrong.",
            cure=SET_CLOCK,
        )
    return None


def _unwritable(spec: str, error: OSError) -> Finding:
    match error.errno:
        case errno.EROFS:
            return problem(
                spec,
                "It can be read and not written to.",
                cause="The drive is mounted read-only, or its switch says so.",
                cure="Mount it for writing: mount -o remount,rw; both sides have to write there.",
            )
        case errno.ENOSPC | errno.EDQUOT:
            return problem(
                spec,
                "Nothing can be written there.",
                cause="The drive is full.",
                cure="Free some space there.",
            )
        case errno.EACCES | errno.EPERM:
            return problem(
                spec,
                "It can be read and not written to.",
                cause="You are not permitted to write to this folder.",
                cure="Have its owner permit it; both sides have to write there.",
            )
        case _:
            return problem(
                spec,
                f"Nothing can be written there: {error.strerror}.",
                cause="The drive or its server refuses.",
                cure="Check the drive, or use another folder.",
            )


def _write_and_forget(folder: int) -> float:
    """Write as much as a parcel may have; the time that the folder's file system gave it. OSError."""
    name = None
    try:
        file = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        name = f".pigeon-{secrets.token_hex(8)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        os.write(file, secrets.token_bytes(MAX_PAYLOAD))
        os.fsync(file)
        return os.fstat(file).st_mtime
    finally:
        os.close(file)
        if name is not None:
            os.unlink(name, dir_fd=folder)
