"""The machine itself: the clock, how many files may be open, and whether sockets can be made."""

import os
import resource
import socket
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from node.doctor.finding import Finding, fine, problem, warning
from node.doctor.subject import Subject
from signaling.description import CLOCK_SKEW

_DAY: Final = 86_400
_FEW_DESCRIPTORS: Final = 256  # 30 links with a few addresses each, and what else a node holds open
_TRIED: Final = 16
_RAISE: Final = (
    "Raise the limit (ulimit -n 1024; who runs this machine sets how far), or close other programs."
)
SET_CLOCK: Final = "Set this machine's clock (on most systems: timedatectl set-ntp true)."


def check_version() -> list[Finding]:
    """Which program this is, for a report."""
    try:
        own = version("pigeon")
    except PackageNotFoundError:
        own = "?"
    return [fine("version", f"pigeon {own}, Python {sys.version.split()[0]}, {sys.platform}.")]


def check_clock(subject: Subject, *, now: float | None = None) -> list[Finding]:
    """Offers and invitations carry times, and are refused where clocks differ by more than five minutes."""
    now = time.time() if now is None else now
    made = subject.room.created / 1000 if subject.room is not None else 0.0
    installed = Path(__file__).stat().st_mtime
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    if now < installed - _DAY:
        return [_wrong_clock(shown, "That is before this program was installed")]
    if now < made - CLOCK_SKEW:
        return [_wrong_clock(shown, "That is before this home came into the room")]
    return [fine("clock", f"It says {shown} UTC; five minutes off would be too much.")]


def _wrong_clock(shown: str, why: str) -> Finding:
    return problem(
        "clock",
        f"It says {shown} UTC.",
        cause=f"{why}: the clock is wrong, and others refuse what is made now.",
        cure=SET_CLOCK,
    )


def check_sockets() -> list[Finding]:
    """Whether enough sockets can be open at once; each link takes one for each address of this machine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = "without limit" if soft == resource.RLIM_INFINITY else f"{soft:,} at most"
    tried: list[socket.socket] = []
    try:
        for _ in range(_TRIED):
            tried.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tried[-1].bind(("", 0))
    except OSError as error:
        return [
            problem(
                "sockets",
                f"Only {len(tried)} UDP sockets could be opened: {error.strerror}.",
                cause=f"This process may have {limit} files open, or the system forbids sockets.",
                cure=_RAISE,
                cuts_off=len(tried) < 2,
            )
        ]
    finally:
        for each in tried:
            each.close()
    if soft not in (resource.RLIM_INFINITY, -1) and soft < _FEW_DESCRIPTORS:
        return [
            warning(
                "sockets",
                f"UDP sockets can be opened, {limit} with all other files.",
                cause="That is too few for a room with many members.",
                cure=_RAISE,
            )
        ]
    return [fine("sockets", f"UDP sockets can be opened; open files {limit}.")]


def ours(status: os.stat_result) -> bool:
    """Whether a file is this user's."""
    return status.st_uid == os.geteuid()


def lasting(seconds: float) -> str:
    """How long, in words, whatever its sign."""
    seconds = abs(seconds)
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
