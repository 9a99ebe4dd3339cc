"""The file helpers: what is not a plain file of ours is not read, followed, waited for or removed."""

import itertools
import os
import stat
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from signaling.errors import CarrierError
from signaling.folder import (
    Complaints,
    Seen,
    digest,
    folder_path,
    in_thread,
    opened,
    opened_inside,
    read_bounded,
    remove_if,
    write_whole,
)
from signaling.polling import Polling


def test_what_is_written_is_there_whole_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "folder", make=True) as folder:
        for content in (b"first", b"", b"x" * 100_000):
            write_whole(folder, "name", content)
            assert read_bounded(folder, "name", 100_000) == content
    assert [each.name for each in (tmp_path / "new" / "folder").iterdir()] == ["name"]


def test_writing_replaces_a_link_and_never_what_it_points_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    with opened(tmp_path / "lobby", make=True) as folder:
        (tmp_path / "lobby" / "name").symlink_to(secret)
        write_whole(folder, "name", b"content")
        assert read_bounded(folder, "name", 100) == b"content"
    assert secret.read_bytes() == b"mine"
    assert not (tmp_path / "lobby" / "name").is_symlink()


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with opened(tmp_path, make=False) as folder, pytest.raises(OSError, match="directory"):
        write_whole(folder, "name", b"content")
    assert [each.name for each in tmp_path.iterdir()] == ["name"]


@pytest.mark.parametrize("kind", ["a link", "a dead link", "a fifo", "a folder", "a device", "too large"])
def test_what_is_no_plain_file_of_a_sound_size_is_neither_read_nor_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "name"
    match kind:
        case "a link":
            (tmp_path / "secret").write_bytes(b"mine")
            path.symlink_to(tmp_path / "secret")
        case "a dead link":
            path.symlink_to("nowhere")
        case "a fifo":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a device":
            if os.geteuid() == 0:
                os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # endless zeros
            else:  # no other is ours to make
                path.symlink_to("/dev/zero")
        case _:
            path.write_bytes(b"x" * 101)
    with opened(tmp_path, make=False) as folder:
        with suppress(OSError):  # a link says so
            assert read_bounded(folder, "name", 100) is None
        remove_if(folder, "name", written=None, limit=100)
    assert os.path.lexists(path)


def test_only_what_we_wrote_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"theirs")
    with opened(tmp_path, make=False) as folder:
        remove_if(folder, "name", written=digest(b"ours"), limit=100)
        assert path.exists()
        remove_if(folder, "name", written=digest(b"theirs"), limit=100)
        assert not path.exists()
        remove_if(folder, "name", written=None, limit=100)


def test_a_folder_inside_is_not_entered_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lobby").mkdir()
    (tmp_path / "lobby" / "profile").symlink_to(tmp_path / "elsewhere")
    with opened(tmp_path / "lobby", make=False) as folder:
        for make in (False, True):
            with pytest.raises(OSError, match=r"."), opened_inside(folder, "profile", make=make):
                raise AssertionError("entered")


def test_a_file_swapped_for_a_link_at_any_moment_never_shows_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    lobby = tmp_path / "lobby"
    lobby.mkdir()
    over = threading.Event()

    def swap() -> None:
        """The name is a file, a link, a fifo and nothing, again and again."""
        path, other = lobby / "name", lobby / "other"
        while not over.is_set():
            other.write_bytes(b"public")
            other.rename(path)
            other.symlink_to(tmp_path / "secret")
            other.rename(path)
            os.mkfifo(other)
            other.rename(path)
            path.unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: Counter[bytes | None] = Counter()
    try:
        with opened(lobby, make=False) as folder:
            for _ in range(200_000):
                with suppress(OSError):
                    seen[read_bounded(folder, "name", 100)] += 1
                if seen[b"public"] >= 20 and seen[None] >= 20:
                    break
    finally:
        over.set()
        swapper.join()
    assert seen[b"public"] >= 20
    assert set(seen) <= {b"public", b"", None}


def test_descriptors_are_closed_whatever_happens(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").write_bytes(b"")
    for _ in range(20):
        with opened(tmp_path, make=False) as folder:
            for name in ("link", "file", "missing"):
                with suppress(OSError):
                    read_bounded(folder, name, 10)
                with suppress(OSError), opened_inside(folder, name, make=False):
                    pass
            os.mkfifo(tmp_path / "fifo")
            read_bounded(folder, "fifo", 10)
            (tmp_path / "fifo").unlink()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_path_that_no_system_can_have_is_refused_with_its_carriers_name() -> None:
    for where in ("", "a\0b", "~nobody-has-this-name/x"):
        with pytest.raises(CarrierError, match=r"qr:/path/to/folder|qr: needs a folder"):
            folder_path(where, carrier="qr")
    assert folder_path("relative", carrier="qr") == Path.cwd() / "relative"


async def test_what_a_disk_refuses_is_said_as_a_carriers_error() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CarrierError, match="No space left on device"):
        await in_thread(full)


def test_the_memory_of_what_was_seen_is_bounded() -> None:
    seen = Seen(3)
    assert [seen.is_new(name, 1) for name in "aab"] == [True, False, True]
    assert seen.is_new("a", 2)
    assert [seen.is_new(name, 1) for name in "cd"] == [True, True]
    assert seen.is_new("a", 2), "the oldest was forgotten"
    seen.forget("d")
    assert seen.is_new("d", 1)


async def test_polling_rests_longer_than_it_looks(tmp_path: Path) -> None:
    looks: list[float] = []

    def slow(_folder: int) -> tuple[list[int], bool]:
        looks.append(time.monotonic())
        time.sleep(0.1)  # a folder that takes long to read
        return [], False

    faults: Counter[str] = Counter()
    polling = Polling(tmp_path, slow, complaints=Complaints(tmp_path, kind="lobby", faults=faults))
    with trio.move_on_after(1.2):
        await anext(polling)
    assert 2 <= len(looks) <= 3
    assert min(after - before for before, after in itertools.pairwise(looks)) >= 0.5


async def test_what_a_cancelled_look_found_comes_at_the_next(tmp_path: Path) -> None:
    number = 0

    def scan(_folder: int) -> tuple[list[int], bool]:
        nonlocal number
        number += 1
        return [number], True

    polling = Polling(
        tmp_path, scan, complaints=Complaints(tmp_path, kind="lobby", faults=Counter()), grows=True
    )
    for _ in range(5):
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(polling)
    with trio.fail_after(10):
        assert [await anext(polling) for _ in range(3)] == [1, 2, 3]
