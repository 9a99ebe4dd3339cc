"""The room's lock: one process at a time, told by its pid, gone with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.config import Home
from node.errors import Exit, NodeError
from node.lock import RoomLocked, lock_holder, room_lock

ROOM = "ab" * 32

HOLDER = """
import sys
from node.config import Home
from node.lock import room_lock
with room_lock(Home.at(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    with room_lock(home, ROOM), pytest.raises(RoomLocked) as caught, room_lock(home, ROOM):
        pass
    assert caught.value.pid == os.getpid()
    assert caught.value.exit_code is Exit.USAGE


def test_a_lock_that_was_released_can_be_taken_again(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    for _ in range(2):
        with room_lock(home, ROOM):
            assert lock_holder(home, ROOM) == os.getpid()
        assert lock_holder(home, ROOM) is None


def test_nobody_holds_a_lock_that_was_never_taken(tmp_path: Path) -> None:
    assert lock_holder(Home.at(tmp_path), ROOM) is None
    assert not any(tmp_path.iterdir())


def test_another_process_is_named_and_its_lock_dies_with_it(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), ROOM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert lock_holder(home, ROOM) == holder.pid
        with pytest.raises(RoomLocked, match=f"process {holder.pid}"), room_lock(home, ROOM):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with room_lock(home, ROOM):
            pass


@pytest.mark.parametrize("written", [b"", b"-7\n", b"1_0\n", b"\xff", b"12 13\n", b"0x7\n"])
def test_a_lock_file_that_names_no_process_is_held_by_one_that_is_not_known(
    tmp_path: Path, written: bytes
) -> None:
    home = Home.at(tmp_path)
    with room_lock(home, ROOM):
        home.lock_file(ROOM).write_bytes(written)
        assert lock_holder(home, ROOM) == 0
        with pytest.raises(RoomLocked, match="another process"), room_lock(home, ROOM):
            pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    path = home.lock_file(ROOM)
    path.parent.mkdir(parents=True)
    target = tmp_path / "precious"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(NodeError, match="cannot be opened"), room_lock(home, ROOM):
        pass
    assert target.read_text() == "precious"
