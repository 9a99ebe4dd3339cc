"""`pigeon doctor --json` as a process of its own, wherever it is to be run, and what it said."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from console.children import Event, command, environment

WITHIN = 20.0

can_mount = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root and util-linux"
)


@dataclass(frozen=True)
class Examined:
    """One run."""

    code: int
    checks: list[Event]
    diagnosis: Event
    seconds: float

    def of(self, what: str) -> list[Event]:
        """What was said of one thing; `what` may be how its name begins."""
        return [check for check in self.checks if check["what"].startswith(what)]

    def one(self, what: str) -> Event:
        (check,) = self.of(what)
        return check

    def says(self, what: str, state: str, *texts: str) -> None:
        """Among what was said of it is this, with all of these words."""
        said = self.of(what)
        assert any(
            check["state"] == state and all(text in _whole(check) for text in texts) for check in said
        ), (what, state, texts, said)

    def troubles(self) -> list[Event]:
        return [check for check in self.checks if check["state"] != "ok"]


def _whole(check: Event) -> str:
    return f"{check['found']} {check['cause']} {check['cure']}"


async def examine(
    *arguments: str, where: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Examined:
    """Run it with these arguments, `where` being the beginning of the command line."""
    began = trio.current_time()
    with trio.fail_after(WITHIN):
        done = await trio.run_process(
            [*where, *command("doctor", "--json", *arguments)],
            stdin=b"",
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**environment(), **(variables or {})},
        )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    *checks, diagnosis = map(json.loads, done.stdout.splitlines())
    assert all(event["event"] == "check" and event["v"] == 1 for event in checks)
    assert diagnosis["event"] == "diagnosis", diagnosis
    assert diagnosis["code"] == done.returncode, done.stderr.decode()
    # Whatever does not work has its cause and its cure, and the worst of it ends the report.
    for check in checks:
        assert check["found"].endswith("."), check
        assert (check["state"] == "ok") or (check["cause"] and check["cure"]), check
    assert bool(diagnosis["cure"]) == any(check["state"] != "ok" for check in checks)
    return Examined(done.returncode, checks, diagnosis, trio.current_time() - began)


def by_mode_bits() -> list[str]:
    """Root passes every lock on files; without these powers it is held by them like anybody."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


def mounted(size: str, place: Path, *, prepare: str = "", options: str = "rw") -> list[str]:
    """Run with a disk of so many bytes at `place`, which goes with the process. prepare: done there first."""
    script = (
        f"mount -t tmpfs -o size={size} none {place} && cd {place} && {{ {prepare or ':'} ; }} && "
        f'mount -o remount,{options} {place} && cd / && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def limited(limit: str) -> list[str]:
    return ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh"]


def inside(directory: Path) -> list[str]:
    return ["sh", "-c", f'cd {directory} && exec "$@"', "sh"]


def all_there(place: Path) -> dict[str, tuple[int, int, str]]:
    """Everything in a directory: mode, when it was changed, and a hash of what a file holds."""
    found = {}
    for path in (place, *sorted(place.rglob("*"))):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = status.st_mode, status.st_mtime_ns, content
    return found
