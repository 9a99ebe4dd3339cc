"""What lies in a folder that carries: ours, others', from the future, in too many copies; only looked at."""

import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from node.doctor.finding import Finding, fine, problem, warning
from node.doctor.machine import SET_CLOCK, lasting, ours
from signaling.description import CLOCK_SKEW
from signaling.directory_scan import is_lobby_name
from signaling.folder import TEMPORARY
from signaling.log_names import segment_of
from signaling.qr import is_picture_name

_MAX_NAMES: Final = 50_000
_JUNK: Final = 2_000  # foreign names that every look has to pass by
_FEW_BYTES: Final = 4 << 20
# Syncthing's mark, and that of Dropbox, Nextcloud and ownCloud.
_CONFLICT: Final = re.compile(r"sync-conflict-|conflicted copy|case conflict", re.IGNORECASE)
_NAMES: Final[dict[str, Callable[[str], bool]]] = {
    "dir": is_lobby_name,
    "log": lambda name: segment_of(name) is not None,
    "qr": is_picture_name,
}


@dataclass
class _Content:
    """What lies in a folder, counted."""

    ours: int = 0
    foreign: int = 0
    conflicts: int = 0
    unreadable: int = 0
    ahead: float = 0.0
    """Seconds that the latest file is from the future."""
    whole: bool = True


def check_content(spec: str, kind: str, folder: int) -> list[Finding]:
    """Of a folder that can be written to, by its descriptor; OSError."""
    content = _content(kind, folder)
    worse = list(_worth_knowing(spec, kind, content))
    free = os.fstatvfs(folder)
    if free.f_bavail * free.f_frsize < _FEW_BYTES:
        worse.append(
            warning(
                spec,
                f"{free.f_bavail * free.f_frsize // 1024:,} KiB are left on it.",
                cause="The drive is nearly full.",
                cure="Free some space there.",
            )
        )
    if worse:
        return worse
    lies = "nothing of ours" if not content.ours else f"{content.ours:,} of our files"
    others = f", {content.foreign:,} others" if content.foreign else ""
    return [fine(spec, f"It can be written to; {lies} in it{others}.")]


def _content(kind: str, folder: int) -> _Content:
    content, now = _Content(), time.time()
    is_ours = _NAMES[kind]
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number == _MAX_NAMES:
                content.whole = False
                break
            if _CONFLICT.search(entry.name):
                content.conflicts += 1
            if is_ours(entry.name):
                content.ours += 1
                with suppress(OSError):  # withdrawn while we looked
                    status = entry.stat(follow_symlinks=False)
                    content.ahead = max(content.ahead, status.st_mtime - now)
                    if stat.S_ISREG(status.st_mode) and not ours(status):
                        content.unreadable += not os.access(entry.name, os.R_OK, dir_fd=folder)
            elif not TEMPORARY.fullmatch(entry.name):
                content.foreign += 1
    return content


def _worth_knowing(spec: str, kind: str, content: _Content) -> list[Finding]:
    found = []
    if content.unreadable:
        found.append(
            problem(
                spec,
                f"{content.unreadable:,} files of others there cannot be read.",
                cause="Other users wrote them, and do not let you read what they write there.",
                cure="Have them permit it (umask 022), or use a folder that is set up for sharing.",
            )
        )
    if content.ahead > CLOCK_SKEW:
        found.append(
            warning(
                spec,
                f"A file there is {lasting(content.ahead)} from the future.",
                cause="This machine's clock, or that of whoever wrote it, is wrong.",
                cure=SET_CLOCK,
            )
        )
    if content.conflicts and kind == "dir":
        found.append(
            warning(
                spec,
                f"There are {content.conflicts:,} conflict copies that a sync tool made.",
                cause="dir: is for a folder that both sides share; this one is copied to and fro.",
                cure=f"Use log:{spec.partition(':')[2]} on both sides: its files cannot conflict.",
            )
        )
    if kind != "qr" and content.foreign > _JUNK:
        more = "" if content.whole else "more than "
        found.append(
            warning(
                spec,
                f"There are {more}{content.foreign:,} files there that are none of ours.",
                cause="Each look at the folder has to pass all of them, which takes long.",
                cure="Use an empty folder.",
            )
        )
    return found
