"""The real command line, made deadly: at its k-th persisted write it kills itself, or fills its disk.

Everything is wrapped from outside: the product has no switch for it. A write is a commit of the database, a
write of the mark, or a step with a file (create, write, sync, link, rename, remove) under the directories
that are watched. Beside the room's files it keeps a record of its own of every signature that became durable,
written before the process can die; whatever leaves the machine unsynced is noted there as a violation.
"""

import errno
import os
import resource
import signal
import sqlite3
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from chain.codec import encode
from chain.crypto import Ed25519Signer
from chain.ids import MemberId, Signature
from chain.records import KeepSlot, Record
from chain.store import Store
from node.mesh import Mesh

Phase = Literal["before", "after"]
PHASES: Final[tuple[Phase, ...]] = ("before", "after")
FILE_STEPS: Final = (
    "write",
    "pwrite",
    "fsync",
    "ftruncate",
    "link",
    "rename",
    "replace",
    "unlink",
    "mkdir",
    "open",
)
TWO_NAMES: Final = ("link", "rename", "replace")
NEED_ROOM: Final = ("write", "pwrite", "link", "mkdir", "open")
VOTE_TAGS: Final = (
    *(f"pigeon/{kind}/".encode() for kind in ("slot-signature", "ack", "prevote", "propose", "round-change")),
    b"pigeon.invalid/",
)


@dataclass(frozen=True)
class Death:
    """Before or after the `number`-th write (from 1) to a file under `under`, commits and marks too."""

    number: int
    phase: Phase
    under: Path
    store_only: bool = False
    """Count only commits and marks."""
    full: bool = False
    """It is the disk that dies: from then on it takes nothing more."""


class Witness:
    """The record of signatures: appended to, never read by the process that writes it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._made: list[tuple[bytes, bytes, bytes]] = []
        self._slots: list[bytes] = []

    def note(self, kind: str, *values: object) -> None:
        line = msgspec.msgpack.encode([kind, *values])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))  # ours is another disk
        _REAL["write"](self._file, len(line).to_bytes(4, "big") + line)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def signed(self, key: bytes, message: bytes, signature: bytes) -> None:
        if message.startswith(VOTE_TAGS):
            self._made.append((key, message, signature))

    def about_to_keep(self, records: Sequence[Record]) -> None:
        self._slots = [encode(record.slot) for record in records if isinstance(record, KeepSlot)]

    def committed(self) -> None:
        made, self._made = self._made, []
        if made:
            self.note("kept", made, self._slots)

    def leaves(self, data: bytes) -> None:
        for _, message, signature in self._made:
            if signature in data:
                self.note("unsynced", message)


_REAL: Final[dict[str, Callable[..., Any]]] = {name: getattr(os, name) for name in FILE_STEPS}


class _Reaper:
    """Counts the writes, and dies where it was told to."""

    def __init__(
        self, death: Death | None, *, counts: Callable[[str, str], bool], told: Callable[[str], None]
    ) -> None:
        self._death = death
        self._counts = counts
        self._told = told
        self._seen = 0
        self._full = False
        self._lock = threading.Lock()

    def around(
        self, what: str, where: str, step: Callable[[], Any], *, done: Callable[[], None] = lambda: None
    ) -> Any:
        """Carry out one step; `done` stands between it and a death after it."""
        fatal: Phase | None = None
        if self._counts(what, where):
            with self._lock:
                self._seen += 1
                if self._death is not None and self._seen == self._death.number:
                    fatal = self._death.phase
        if fatal == "before":
            self._die(what, where)
        try:
            if self._full and what in NEED_ROOM and not where.startswith(("/dev/", "/proc/")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)
            result = step()
            done()
        finally:  # a step that the system refused is one as well
            if fatal == "after":
                self._die(what, where)
        return result

    def _die(self, what: str, where: str) -> None:
        assert self._death is not None
        self._told(f"{what} {Path(where).name}")
        if self._death.full:
            self._full = True
            # SQLite writes by itself: the system refuses every byte from here on.
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            return
        os.kill(os.getpid(), signal.SIGKILL)


def arm(death: Death | None, *, witness: Path, trace: bool = False) -> None:
    """Wrap this process; once, before the command line runs. `trace`: note every step in the record, too."""
    record = Witness(witness)

    def counts(what: str, where: str) -> bool:
        if death is None or not where.startswith(str(death.under)):
            return False
        return not death.store_only or what == "commit" or where.endswith(".mark")

    def taken(what: str, where: str, source: str = "") -> None:
        if trace:
            record.note("step", what, where, source)

    reaper = _Reaper(death, counts=counts, told=lambda at: record.note("died", at))
    for name in FILE_STEPS:
        setattr(os, name, _wrapped_step(name, reaper, taken))
    _wrap_sqlite(reaper, record, taken)
    _wrap_signing(record)


def _wrapped_step(name: str, reaper: _Reaper, taken: Callable[..., None]) -> Callable[..., Any]:
    real = _REAL[name]

    def step(*arguments: Any, **options: Any) -> Any:
        where = _where(name, arguments)
        if not where:
            return real(*arguments, **options)
        source = os.fspath(arguments[0]) if name in TWO_NAMES else ""
        return reaper.around(
            name, where, lambda: real(*arguments, **options), done=lambda: taken(name, where, source)
        )

    return step


def _where(name: str, arguments: tuple[Any, ...]) -> str:
    """The file that a step is about; empty if it changes none."""
    if name == "open" and not arguments[1] & os.O_CREAT:
        return ""
    if not isinstance(arguments[0], int):
        return os.fspath(arguments[-1] if name in TWO_NAMES else arguments[0])
    try:
        if not stat.S_ISREG(os.fstat(arguments[0]).st_mode):
            return "" if name != "fsync" else str(Path(f"/proc/self/fd/{arguments[0]}").readlink())
        return str(Path(f"/proc/self/fd/{arguments[0]}").readlink())
    except OSError:
        return ""


def _wrap_sqlite(reaper: _Reaper, record: Witness, taken: Callable[..., None]) -> None:
    connect = sqlite3.connect

    class Deadly(sqlite3.Connection):
        where = ""

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            writes = sql == "COMMIT" or (
                not self.in_transaction and sql.startswith(("INSERT", "DELETE", "CREATE"))
            )
            if not writes:
                return super().execute(sql, parameters)
            real = super().execute

            def done() -> None:
                record.committed()
                taken("commit", self.where)

            cursor: sqlite3.Cursor = reaper.around(
                "commit", self.where, lambda: real(sql, parameters), done=done
            )
            return cursor

        def close(self) -> None:
            reaper.around("close", self.where, super().close)

    def deadly(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(database, *arguments, factory=Deadly, **options)
        connection.where = str(database).removeprefix("file://").partition("?")[0]
        return connection

    sqlite3.connect = deadly  # type: ignore[assignment]


def _wrap_signing(record: Witness) -> None:
    sign, apply, send, serve = Ed25519Signer.sign, Store.apply, Mesh.send, Mesh.serve

    def witnessed_sign(self: Ed25519Signer, message: bytes) -> Signature:
        signature = sign(self, message)
        record.signed(self.public, message, signature)
        return signature

    def witnessed_apply(self: Store, records: Sequence[Record]) -> None:
        record.about_to_keep(records)
        apply(self, records)

    def witnessed_send(self: Mesh, peer: MemberId, data: bytes) -> None:
        record.leaves(data)
        send(self, peer, data)

    def witnessed_serve(self: Mesh, peer: MemberId, envelopes: Sequence[bytes]) -> None:
        for data in envelopes:
            record.leaves(data)
        serve(self, peer, envelopes)

    Ed25519Signer.sign = witnessed_sign  # type: ignore[method-assign]
    Store.apply = witnessed_apply  # type: ignore[method-assign]
    Mesh.send = witnessed_send  # type: ignore[method-assign]
    Mesh.serve = witnessed_serve  # type: ignore[method-assign]
