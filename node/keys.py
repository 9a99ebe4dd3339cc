"""Secrets on disk: 32 bytes a file, mode 0600; keys are made once and never overwritten.

A file is one line of JSON: {"v": 1, "purpose", "seed", "public"}, hex. The public key is derived again on
loading, so a flipped bit is seen, and `purpose` keeps a vote key from being used as an identity.
"""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Literal

import msgspec
from nacl.signing import SigningKey

from node.config import make_private_directory, sync_directory, write_whole
from node.errors import KeyFileError

_VERSION: Final = 1
_MAX_FILE: Final = 4096

Purpose = Literal["identity", "vote", "password", "meeting"]


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int
    purpose: str
    seed: str
    public: str


def load_or_create_key(path: Path, *, purpose: Purpose = "identity") -> SigningKey:
    """The key in `path`, made there if there is no such file. Two processes that race get the same key."""
    try:
        return load_key(path, purpose=purpose)
    except FileNotFoundError:
        pass
    try:
        return create_key(path, purpose=purpose)
    except FileExistsError:
        return load_key(path, purpose=purpose)


def create_key(path: Path, *, purpose: Purpose) -> SigningKey:
    """Make a new key, safely on disk when this returns; FileExistsError when there is a file already."""
    key = SigningKey(secrets.token_bytes(32))
    try:
        make_private_directory(path.parent)
        _write_once(path, _content(key, purpose))
    except FileExistsError:
        raise
    except OSError as error:
        raise KeyFileError(
            f"The key file {path} cannot be written: {error.strerror or error}.",
            "Check that its folder exists, is yours, and that the disk is not full.",
        ) from error
    return key


def write_seed(path: Path, seed: bytes, *, purpose: Purpose) -> None:
    """Keep 32 bytes that are no key of ours in the same form, over what was there; NodeError."""
    make_private_directory(path.parent)
    write_whole(path, _content(SigningKey(seed), purpose))


def load_key(path: Path, *, purpose: Purpose) -> SigningKey:
    """The key in `path`; FileNotFoundError when there is no file, KeyFileError when it must not be used."""
    record = _parse(path, _read(path), purpose)
    if record.v != _VERSION:
        raise KeyFileError(
            f"The key file {path} was written by another version of pigeon.", "Use that version, or update."
        )
    if record.purpose != purpose:
        raise KeyFileError(
            f"The key file {path} holds a key for another purpose: {record.purpose[:20]!r}, not {purpose!r}.",
            "Put the right file there; keys are never interchanged.",
        )
    try:
        key = SigningKey(bytes.fromhex(record.seed))
        sound = bytes(key.verify_key) == bytes.fromhex(record.public)
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise _damaged(path, purpose)
    return key


def set_aside(*paths: Path, directory: Path) -> None:
    """Move the files that are there into a directory of the same disk; nothing is ever overwritten in it.

    Cut off at any point, all of them are still where they were or all are in the directory.
    """
    there = [path for path in paths if os.path.lexists(path)]
    try:
        make_private_directory(directory)
        for path in there:
            os.link(path, directory / path.name, follow_symlinks=False)  # refuses where rename overwrites
        sync_directory(directory)
        sync_directory(directory.parent)
        for path in there:
            path.unlink()
            sync_directory(path.parent)
    except OSError as error:
        raise KeyFileError(
            f"{error.filename} cannot be moved to {directory}: {error.strerror}.",
            "Check that both are yours, on one disk, and that the disk is not full.",
        ) from error


def _read(path: Path) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise KeyFileError(f"The key file {path} {what}.", "Put a plain file there that is yours.") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"The key file {path} is not a plain file.", "Put a plain file there.")
        if status.st_uid != os.geteuid():
            raise KeyFileError(f"The key file {path} belongs to another user.", "Run as its owner.")
        if status.st_mode & 0o077:
            raise KeyFileError(
                f"The key file {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}).",
                f"Run: chmod 600 {path}; if others may have read it, make a new identity instead.",
            )
        return os.read(file, _MAX_FILE + 1)
    finally:
        os.close(file)


def _content(key: SigningKey, purpose: Purpose) -> bytes:
    public = bytes(key.verify_key).hex()
    return (
        msgspec.json.encode(_KeyFile(v=_VERSION, purpose=purpose, seed=bytes(key).hex(), public=public))
        + b"\n"
    )


def _parse(path: Path, content: bytes, purpose: Purpose) -> _KeyFile:
    if len(content) > _MAX_FILE:
        raise _damaged(path, purpose)
    try:
        return msgspec.json.decode(content, type=_KeyFile)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise _damaged(path, purpose) from None


def _damaged(path: Path, purpose: Purpose) -> KeyFileError:
    if purpose == "password":
        hint = "Copy that of another member of this room over it: theirs is the same."
        return KeyFileError(f"What is kept of the room's password in {path} is damaged.", hint)
    return KeyFileError(
        f"The key file {path} is damaged.",
        "If it is the room's vote key, `pigeon chat --repair` makes a new one, which the members have to let "
        "in; an identity can only be restored from a backup.",
    )


def _write_once(path: Path, content: bytes) -> None:
    """Whole or not at all, never over an existing file, and still there after a power cut."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.link(temporary, path)  # unlike rename, refuses when somebody was faster
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    sync_directory(path.parent)
