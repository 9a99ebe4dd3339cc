"""A power cut keeps only what was synced: before anything is signed, no file of the room can vanish any more.

The steps of real processes are traced (tests/crash/deadly.py). A name is safe once its directory was synced
after it was put there, and a file's bytes once the file was; what an unsafe name leads to is not safe either.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.promises import records_of

ROOT = Path(__file__).parents[2]
TRACED = """
import sys
from pathlib import Path
import cli
from tests.crash import deadly
deadly.arm(None, witness=Path(sys.argv[1]), trace=True)
sys.exit(cli._main(sys.argv[2:]))
"""
ESSENTIAL = ("identity.key", "vote.key", "genesis", "store.sqlite", "store.sqlite.mark", "room.json")


class Disk:
    """What a power cut would take away."""

    def __init__(self) -> None:
        self.unsafe_names: set[str] = set()
        self.unsafe_bytes: set[str] = set()
        self.commits: list[set[str]] = []
        """At each commit of the room's store: which of its files, or directories on the way, could vanish."""

    def take(self, step: str, where: str, source: str) -> None:
        match step:
            case "open":
                self.unsafe_names.add(where)
                self.unsafe_bytes.add(where)
            case "write" | "pwrite" | "ftruncate" if not where.endswith(("lock", ".mark")):
                # The mark is a witness that may come late, the lock's content only tells who holds it.
                self.unsafe_bytes.add(where)
            case "mkdir":
                self.unsafe_names.add(where)
            case "fsync":
                self.unsafe_bytes.discard(where)
                self.unsafe_names = {name for name in self.unsafe_names if str(Path(name).parent) != where}
            case "link":
                self.unsafe_names.add(where)
                self.unsafe_bytes |= {where} if source in self.unsafe_bytes else set()
            case "rename" | "replace":
                self.unsafe_names = {*_moved(self.unsafe_names, source, where), where}
                self.unsafe_bytes = set(_moved(self.unsafe_bytes, source, where))
            case "unlink":
                self.unsafe_names.discard(where)
                self.unsafe_bytes.discard(where)
            case "commit" if Path(where).name == "store.sqlite":
                self.commits.append(self.may_vanish())

    def may_vanish(self) -> set[str]:
        names = {name for name in self.unsafe_names if Path(name).name in ESSENTIAL or Path(name).is_dir()}
        # SQLite syncs its own bytes, by itself.
        return names | {
            name for name in self.unsafe_bytes if Path(name).name in ESSENTIAL[:3] + ESSENTIAL[4:]
        }


def _moved(names: set[str], source: str, to: str) -> Iterator[str]:
    for name in names:
        yield to + name.removeprefix(source) if name == source or name.startswith(f"{source}/") else name


def traced(tmp_path: Path, *arguments: str, lines: str = "") -> Disk:
    witness = tmp_path / "witness"
    witness.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-c",
        TRACED,
        str(witness),
        *arguments,
        "--json",
        "--home",
        str(tmp_path / "new/ann"),
    ]
    done = subprocess.run(command, cwd=ROOT, input=lines, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    disk = Disk()
    for kind, *values in records_of(witness):
        if kind == "step" and str(values[1]).startswith(str(tmp_path)) and "/lobby" not in str(values[1]):
            disk.take(*(str(value) for value in values))
    return disk


def test_before_a_founder_signs_anything_nothing_of_its_room_can_vanish(tmp_path: Path) -> None:
    via = ("--via", f"dir:{tmp_path / 'lobby'}")
    disk = traced(tmp_path, "new", "tea", "--as", "ann", *via, lines="one\ntwo\n")
    assert len(disk.commits) >= 2
    assert set().union(*disk.commits) == set()


def test_a_message_that_was_queued_without_a_node_is_safe(tmp_path: Path) -> None:
    via = ("--via", f"dir:{tmp_path / 'lobby'}")
    traced(tmp_path, "new", "tea", "--as", "ann", *via)
    disk = traced(tmp_path, "send", "later", "--wait", "pending")
    assert disk.commits == [set()]


def test_the_model_knows_what_a_power_cut_takes() -> None:
    disk = Disk()
    for step in (
        ("open", "/h/.vote.key.tmp", ""),
        ("write", "/h/.vote.key.tmp", ""),
        ("link", "/h/vote.key", "/h/.vote.key.tmp"),
    ):
        disk.take(*step)
    assert disk.may_vanish() == {"/h/vote.key"}
    disk.take("fsync", "/h", "")
    assert disk.may_vanish() == {"/h/vote.key"}, "its name is safe, its bytes are not"
    disk.take("fsync", "/h/vote.key", "")
    assert disk.may_vanish() == set()
    disk.take("rename", "/g/room.json", "/h/vote.key")
    assert disk.may_vanish() == {"/g/room.json"}


@pytest.mark.parametrize("synced", [True, False])
def test_a_directory_that_was_renamed_has_to_be_synced_where_it_stands_now(
    tmp_path: Path, synced: bool
) -> None:
    disk, rooms = Disk(), tmp_path / "rooms"
    (rooms / "fp").mkdir(parents=True)
    disk.take("mkdir", str(rooms / ".new"), "")
    disk.take("fsync", str(rooms), "")
    disk.take("rename", str(rooms / "fp"), str(rooms / ".new"))
    if synced:
        disk.take("fsync", str(rooms), "")
    assert disk.may_vanish() == (set() if synced else {str(rooms / "fp")})
