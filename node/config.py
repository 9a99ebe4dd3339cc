"""Where things are: one home holds one identity and any number of rooms, each with a small file of settings.

    config  rooms/<fingerprint>/room.json
    data    identity.key  acquaintances.json
            rooms/<fingerprint>/{genesis, vote.key, password.key, store.sqlite, lock, damaged-*/}
    state   rooms/<fingerprint>/evidence-*.json

With `--home DIR` all three are DIR; without it they are the XDG directories.
"""

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from node.errors import Exit, Mismatch, NodeError, UsageError
from node.ice_servers import IceServers

IDENTITY_FILE: Final = "identity.key"
ACQUAINTANCES_FILE: Final = "acquaintances.json"
VOTE_FILE: Final = "vote.key"
STORE_FILE: Final = "store.sqlite"
GENESIS_FILE: Final = "genesis"
LOCK_FILE: Final = "lock"
SETTINGS_FILE: Final = "room.json"
DEFAULT_MAX_PEERS: Final = 31
DEFAULT_OFFER_LIFE: Final = 600  # seconds
LEAST_OFFER_LIFE: Final = 2
LONGEST_OFFER_LIFE: Final = 24 * 3600
MAX_VIA: Final = 8

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_MAX_SETTINGS: Final = 64 * 1024
_MAX_SOCKET_PATH: Final = 100  # the system ends it at 108 bytes
_SOCKET_NAME_LIKE: Final = "0" * 24 + ".sock"

Rule = Literal["ask", "auto"]


class RoomConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this home remembers of one room. `via`: carrier specs, in order. `created`: ms since 1970."""

    name: str
    fingerprint: str
    """The room id, 64 lower-case hex digits."""
    nick: str
    via: tuple[str, ...]
    rule: Rule = "ask"
    max_peers: int = DEFAULT_MAX_PEERS
    """This node approves nobody beyond so many members."""
    created: int = 0
    version: int = 1
    listed: bool = False
    """Whether our profile in other rooms' lobbies shows this room, and where it is met."""
    offer_life: Annotated[int, msgspec.Meta(ge=LEAST_OFFER_LIFE, le=LONGEST_OFFER_LIFE)] = DEFAULT_OFFER_LIFE
    """Seconds that an offer of ours waits for its answer, and an answer of ours for a connection."""
    stun: tuple[str, ...] = ()
    turn_file: str = ""
    """An absolute path: what is secret stands in that file only."""
    relay_only: bool = False

    @property
    def room_id(self) -> bytes:
        return bytes.fromhex(self.fingerprint)

    @property
    def ice(self) -> IceServers:
        """The servers of this room; UsageError where the settings were edited."""
        return IceServers.remembered(stun=self.stun, turn_file=self.turn_file, relay_only=self.relay_only)


@dataclass(frozen=True)
class Home:
    """The directories of one user; nothing is created before it is needed."""

    config: Path
    data: Path
    state: Path

    @classmethod
    def at(cls, path: str | Path | None) -> Self:
        """Everything under `path`, or in the user's XDG directories when it is None."""
        if path is not None:
            root = Path(path).expanduser().absolute()
            return cls(config=root, data=root, state=root)
        import platformdirs

        return cls(
            config=platformdirs.user_config_path("pigeon"),
            data=platformdirs.user_data_path("pigeon"),
            state=platformdirs.user_state_path("pigeon"),
        )

    @property
    def identity_file(self) -> Path:
        return self.data / IDENTITY_FILE

    @property
    def acquaintances_file(self) -> Path:
        """Whom this home has met, in any room."""
        return self.data / ACQUAINTANCES_FILE

    def room_directory(self, fingerprint: str) -> Path:
        """Where the store, the vote key and the lock of one room are."""
        return self.data / "rooms" / _checked(fingerprint)

    def vote_file(self, fingerprint: str) -> Path:
        return self.room_directory(fingerprint) / VOTE_FILE

    def store_file(self, fingerprint: str) -> Path:
        return self.room_directory(fingerprint) / STORE_FILE

    def genesis_file(self, fingerprint: str) -> Path:
        """What a lost store is begun anew from; its hash is the fingerprint."""
        return self.room_directory(fingerprint) / GENESIS_FILE

    def lock_file(self, fingerprint: str) -> Path:
        return self.room_directory(fingerprint) / LOCK_FILE

    def evidence_directory(self, fingerprint: str) -> Path:
        return self.state / "rooms" / _checked(fingerprint)

    def socket_file(self, fingerprint: str) -> Path:
        """The control socket: short, whatever the home is; two homes with one room have two sockets."""
        name = hashlib.sha256(os.fsencode(self.data) + b"\0" + _checked(fingerprint).encode()).hexdigest()[
            :24
        ]
        directory = socket_directory()
        make_private_directory(directory)
        _check_ours(directory)  # or somebody was faster
        return directory / f"{name}.sock"

    def rooms(self) -> list[RoomConfig]:
        """Every room of this home, by name. A settings file that cannot be read is an error that names it."""
        return sorted(self._rooms(), key=lambda room: (room.name.casefold(), room.fingerprint))

    def room(self, wanted: str | None) -> RoomConfig:
        """The room with this name, fingerprint or beginning of one (6 digits); None: the only one."""
        rooms = self.rooms()
        if wanted is None:
            found = rooms
        else:
            prefix = wanted.lower()
            found = [room for room in rooms if room.name == wanted or room.fingerprint == prefix] or [
                room for room in rooms if len(prefix) >= 6 and room.fingerprint.startswith(prefix)
            ]
        if len(found) == 1:
            return found[0]
        if not rooms:
            raise NodeError(
                "There is no room here yet.",
                "Make one with `pigeon new` or join one with `pigeon join`.",
                exit_code=Exit.NO,
            )
        listing = ", ".join(f"{room.name} ({room.fingerprint[:12]})" for room in found or rooms)
        if found:
            raise UsageError(
                f"There is more than one room here: {listing}.", "Say which with --room NAME-OR-FINGERPRINT."
            )
        raise NodeError(
            f"No room here is called {wanted!r}.", f"These are here: {listing}.", exit_code=Exit.NO
        )

    def save(self, room: RoomConfig) -> None:
        """Write the settings of a room, whole or not at all."""
        directory = self.config / "rooms" / _checked(room.fingerprint)
        make_private_directory(directory)
        fields = msgspec.to_builtins(room)
        file = {**fields, "sum": _sum_of(fields)}
        content = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
        write_whole(directory / SETTINGS_FILE, content)

    def find(self, fingerprint: str) -> RoomConfig | None:
        """The settings of exactly this room, or None."""
        path = self.config / "rooms" / _checked(fingerprint) / SETTINGS_FILE
        return _read_settings(path) if path.exists() else None

    def _rooms(self) -> Iterator[RoomConfig]:
        try:
            directories = sorted((self.config / "rooms").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise NodeError(
                f"The settings in {self.config} cannot be read: {error.strerror}.", "Check its permissions."
            ) from error
        for directory in directories:
            settings = directory / SETTINGS_FILE
            if _FINGERPRINT.fullmatch(directory.name) and settings.exists():
                yield _read_settings(settings)


def _read_settings(path: Path) -> RoomConfig:
    try:
        with path.open("rb") as file:
            fields = msgspec.json.decode(file.read(_MAX_SETTINGS), type=dict[str, Any])
        written = fields.pop("sum", None)
        room = msgspec.convert(fields, RoomConfig)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NodeError(
            f"The settings of a room cannot be read: {path}: {error}.",
            "Mend or remove that file; the room's record is stored elsewhere and stays. Without the file "
            "--via, --relay-only and the like have to be given again.",
        ) from error
    if written not in (None, _sum_of(fields)):
        raise NodeError(
            f"The settings of a room are damaged: {path} does not match its checksum.",
            'Mend that file and remove its line "sum"; the room\'s record is stored elsewhere and stays.',
        )
    if room.fingerprint != path.parent.name:
        raise Mismatch(f"{path} holds the settings of another room.", "Put it back where it was.")
    return room


def _sum_of(fields: dict[str, Any]) -> str:
    """So that a flipped bit is seen, over what is in the file, whatever version wrote it.

    Who edits the file by hand removes the line.
    """
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()[:16]


def _checked(fingerprint: str) -> str:
    """It becomes part of a path."""
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError(f"not a room's fingerprint: {fingerprint!r}")
    return fingerprint


def socket_directory() -> Path:
    """Where the control socket of any room is or will be; nothing is made. NodeError if nowhere."""
    for directory in _runtime_places():
        if len(os.fsencode(directory / _SOCKET_NAME_LIKE)) > _MAX_SOCKET_PATH:
            continue
        if os.path.lexists(directory):
            _check_ours(directory)
        elif not os.access(directory.parent, os.W_OK | os.X_OK):
            raise NodeError(
                f"The directory {directory} cannot be made.",
                "Set XDG_RUNTIME_DIR to a directory that only you can use.",
            )
        return directory
    raise NodeError(
        "There is no directory with a path short enough for the control socket.",
        "Set XDG_RUNTIME_DIR or TMPDIR to a directory with a shorter path.",
    )


def _runtime_places() -> Iterator[Path]:
    """Where a socket may be, the usual one first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        yield Path(runtime) / "pigeon"
    for parent in (tempfile.gettempdir(), "/tmp"):
        yield Path(parent) / f"pigeon-{os.getuid()}"


def _check_ours(directory: Path) -> None:
    # In a directory that everyone may write to, somebody else may have been there first.
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise NodeError(
            f"{directory} is not a private directory of yours, so the control socket cannot be there.",
            "Remove it, or set XDG_RUNTIME_DIR to a directory that only you can use.",
        )


def make_private_directory(directory: Path) -> None:
    """Make it where missing, parents too, durably; only its owner may enter. NodeError if that fails."""
    try:
        missing = [each for each in (directory, *directory.parents) if not each.exists()]
        for each in reversed(missing):  # mkdir would make parents that anybody may enter
            each.mkdir(mode=0o700, exist_ok=True)
            with suppress(PermissionError):  # we may be let through a directory and not see into it
                sync_directory(each.parent)
        directory.mkdir(mode=0o700, exist_ok=True)  # it says so if this is something else
    except OSError as error:
        raise NodeError(
            f"The directory {directory} cannot be made: {error.strerror or error}.",
            "Check its permissions, or use another --home.",
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by rename, 0600, so that a crash leaves the old or the new one and nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise NodeError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Check its permissions and that the disk is not full.",
        ) from error


def sync_directory(directory: Path) -> None:
    """What was put into it by name is still there after a power cut; OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
