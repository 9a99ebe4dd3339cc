"""A key file is made once, is nobody else's to read, and is refused when anything about it is wrong."""

import os
from pathlib import Path

import pytest

from node.errors import KeyFileError
from node.keys import create_key, load_key, load_or_create_key


def test_the_key_made_is_the_key_loaded(tmp_path: Path) -> None:
    path = tmp_path / "home" / "identity.key"
    key = load_or_create_key(path)
    assert load_or_create_key(path) == key == load_key(path, purpose="identity")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["identity.key"]


def test_an_existing_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = create_key(path, purpose="identity")
    with pytest.raises(FileExistsError):
        create_key(path, purpose="identity")
    assert load_key(path, purpose="identity") == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "key"
    create_key(path, purpose="identity")
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        load_key(path, purpose="identity")


def test_every_flipped_bit_of_the_secret_or_the_public_key_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_key(path, purpose="identity")
    good = path.read_bytes()
    digits = [at for at, byte in enumerate(good) if chr(byte) in "0123456789abcdef" and at > 30]
    for at in digits:
        altered = bytearray(good)
        altered[at] = ord("0") if altered[at] != ord("0") else ord("1")
        path.write_bytes(altered)
        with pytest.raises(KeyFileError):
            load_key(path, purpose="identity")


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 200, b"x" * 10_000, b"[" * 4000])
def test_a_damaged_file_says_what_to_do_and_is_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"damaged.*backup"):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_a_vote_key_does_not_serve_as_an_identity(tmp_path: Path) -> None:
    path = tmp_path / "vote.key"
    create_key(path, purpose="vote")
    with pytest.raises(KeyFileError, match="another purpose"):
        load_or_create_key(path)


def test_a_link_a_folder_and_a_fifo_are_refused_without_waiting(tmp_path: Path) -> None:
    create_key(tmp_path / "real", purpose="identity")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("link", "folder", "fifo"):
        with pytest.raises(KeyFileError):
            load_or_create_key(tmp_path / name)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyFileError):
        load_or_create_key(tmp_path / "file" / "key")
