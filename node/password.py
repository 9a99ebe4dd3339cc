"""A room's password as one node has it: stretched, in a file of its own; and how often others may guess it.

Whoever was let in with the password keeps it as well, so that every member's door is guarded alike. What is
kept is scrypt of it under the room's id: nobody reads the password from a disk, but who has the file can be
let in, and can try a dictionary, at scrypt's price a word.
"""

import math
from collections import deque
from pathlib import Path
from typing import Final

from node.config import Home
from node.errors import UsageError
from node.keys import load_key, write_seed
from signaling.errors import BadPassword
from signaling.password import MAX_PASSWORD

PASSWORD_FILE: Final = "password.key"

_AT_ONCE: Final = 10  # wrong guesses in a minute
_MINUTE: Final = 60.0
_LONGEST: Final = 3600.0
_FORGOTTEN: Final = 24 * 3600.0  # seconds since the last pause, after which they begin anew
_MAX_FILE: Final = 4 * MAX_PASSWORD + 2  # bytes of the first line, its end included


def keep_password(home: Home, fingerprint: str, secret: bytes) -> None:
    """Keep what `stretch` made, over what was there; on disk when this returns. Blocking; NodeError."""
    write_seed(_path(home, fingerprint), secret, purpose="password")


def kept_password(home: Home, fingerprint: str) -> bytes | None:
    """What was kept; None: no password is asked here. Blocking; KeyFileError when it cannot be used."""
    try:
        return bytes(load_key(_path(home, fingerprint), purpose="password"))
    except FileNotFoundError:
        return None


def read_password(path: Path) -> str:
    """The first line of a file, without its end. Blocking; UsageError when that is no password."""
    try:
        with path.open("rb") as file:
            line = file.readline(_MAX_FILE)
    except OSError as error:
        raise UsageError(
            f"The password file {path} cannot be read: {error.strerror}.", "Check its name and permissions."
        ) from error
    try:
        password = line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise UsageError(f"The first line of {path} is not UTF-8.", "Save it as UTF-8.") from None
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise UsageError(f"The first line of {path} is no password: {BadPassword.message}", BadPassword.hint)
    return password


class Guesses:
    """How often strangers may be wrong: ten times a minute in all, then ten times after pauses that double.

    In all, and not each: an identity costs nothing. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._wrong: deque[float] = deque()
        self._pause = _MINUTE
        self._closed_until = -math.inf

    def wait(self, *, now: float) -> float:
        """Seconds until another may be looked at; 0: now."""
        return max(0.0, self._closed_until - now)

    def was_wrong(self, *, now: float) -> None:
        while self._wrong and self._wrong[0] <= now - _MINUTE:
            self._wrong.popleft()
        self._wrong.append(now)
        if len(self._wrong) < _AT_ONCE:
            return
        if now - self._closed_until >= _FORGOTTEN:
            self._pause = _MINUTE
        self._wrong.clear()
        self._closed_until = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST)


def _path(home: Home, fingerprint: str) -> Path:
    return home.room_directory(fingerprint) / PASSWORD_FILE
