"""The store's file: making it, opening it, and refusing whatever is not this room's record of this member."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chain.codec import encode
from chain.control import Genesis, decode_genesis
from chain.crypto import Verifier
from chain.errors import ForeignStoreError, MalformedError, StoreError
from chain.ids import HASH_SIZE, MemberId, RoomId
from chain.store_mark import Mark, mark_path
from chain.store_rows import APPLICATION_ID, FORMAT, SCHEMA, Rows

MEMORY = ":memory:"
_BUSY_MS = 5000


@dataclass(slots=True)
class Opened:
    """An open store file: whose it is, and how many transactions it holds."""

    db: sqlite3.Connection
    rows: Rows
    genesis: Genesis
    me: MemberId
    mark: Mark | None
    number: int
    """Transactions committed so far."""
    lost: int = 0
    """How many of those that were committed once are not there any more."""
    mark_fault: str = ""
    """What was wrong with the mark when the file was opened."""

    def note(self, number: int) -> None:
        """The transaction of this number is committed."""
        if self.mark is not None:
            self.mark.write(number, self.rows.room)

    def forget_lost(self) -> None:
        """From now on nothing is missing; OSError and sqlite3.Error, and then it is to be done again."""
        self.rows.execute("DELETE FROM meta WHERE key = 'lost'")
        if self.mark is not None:
            self.mark.reset(self.number, self.rows.room)
        self.lost = 0

    def close(self) -> None:
        self.db.close()
        if self.mark is not None:
            self.mark.close()

    @contextmanager
    def one_view(self) -> Iterator[None]:
        """What is read meanwhile is of one moment, whatever another process writes."""
        self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.rollback()


def create_file(path: str | Path, *, genesis: Genesis, me: MemberId) -> Opened:
    """A new store, whole or not at all: it is made under another name and then renamed."""
    if path == MEMORY:
        db = _connect(MEMORY)
        return _filled(db, genesis=genesis, me=me, mark=None)
    path = Path(path)
    if os.path.lexists(path):
        raise StoreError(f"There is a store at {path} already.")
    unfinished = path.with_name(path.name + ".new")
    try:
        for stale in (unfinished, *beside(unfinished), *beside(path)):
            stale.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        _filled(_connect(str(unfinished)), genesis=genesis, me=me, mark=None).close()
        # The mark first: a store without one has lost it.
        mark = Mark.create(mark_path(path), number=1, room=genesis.room_id())
        unfinished.rename(path)
        _sync_directory(path.parent)
        db = _connect(str(path))
        _prepare_to_write(db)
    except (OSError, sqlite3.Error) as error:
        what = getattr(error, "strerror", None) or error
        raise StoreError(f"The store {path} could not be made: {what}.") from error
    return Opened(db, Rows(db, genesis.room_id()), genesis, me, mark, 1)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def beside(path: Path) -> tuple[Path, ...]:
    """The files that SQLite and we keep next to the database."""
    return (*(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")), mark_path(path))


def put_in_place(made: Path, path: Path) -> None:
    """Rename a closed store to where there is none; OSError. Its mark goes first: no store is without one."""
    mark_path(made).rename(mark_path(path))
    made.rename(path)
    _sync_directory(path.parent)


def _filled(db: sqlite3.Connection, *, genesis: Genesis, me: MemberId, mark: Mark | None) -> Opened:
    rows = Rows(db, genesis.room_id())
    _prepare_to_write(db)
    db.execute("BEGIN")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in SCHEMA:
        db.execute(statement)
    rows.put_counter("format", FORMAT)
    rows.put("meta", "room", rows.room)
    rows.put("meta", "me", me)
    rows.put("meta", "genesis", encode(genesis))
    rows.put_counter("number", 1)
    db.execute("COMMIT")
    return Opened(db, rows, genesis, me, mark, 1)


def _connect(where: str, *, uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(where, uri=uri, isolation_level=None, check_same_thread=False, cached_statements=256)
    db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return db


def _prepare_to_write(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # What is deleted is overwritten: a body in the queue leaves no copy behind.
    db.execute("PRAGMA secure_delete = ON")


def connect_to_read(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    db = _connect(f"{address}?mode=ro", uri=True)
    try:
        db.execute("PRAGMA schema_version").fetchall()
    except sqlite3.OperationalError:
        # On a full disk, or in a folder we may not write to: what no one has open has no log to share.
        db.close()
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connect(f"{address}?mode=ro&immutable=1", uri=True)
    return db


def open_file(
    path: str | Path,
    *,
    room: RoomId | None = None,
    me: MemberId | None = None,
    verify: Verifier,
    read_only: bool = False,
) -> Opened:
    """Open what is a store of this room and this member (where given), its contents not verified yet."""
    path = Path(path)
    _look_at(path)
    mark, db = None, None
    try:
        # The mark before the database: a node that writes meanwhile puts the database ahead, never behind.
        mark = Mark.open(mark_path(path), read_only=read_only)
        db = connect_to_read(path) if read_only else _connect(str(path))
        opened = _recognise(path, db, mark, room=room, me=me, verify=verify)
        if not read_only:
            _prepare_to_write(db)
            if opened.lost:
                # Said in the database too: the mark is overwritten as new transactions come.
                opened.rows.put_counter("lost", opened.lost)
            if opened.mark_fault:
                _close(None, mark)
                opened.mark = mark = Mark.create(mark_path(path), number=opened.number, room=opened.rows.room)
                _sync_directory(path.parent)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        _close(db, mark)
        raise StoreError(f"{path} cannot be read as a store: {error}.", where="database") from error
    except OSError as error:
        _close(db, mark)
        raise StoreError(f"{path} cannot be opened: {error}.") from error
    except BaseException:
        _close(db, mark)
        raise
    return opened


def _close(db: sqlite3.Connection | None, mark: Mark | None) -> None:
    if db is not None:
        db.close()
    if mark is not None:
        mark.close()


def _look_at(path: Path) -> None:
    if not path.exists():
        raise StoreError(f"There is no store at {path}.")
    if not path.is_file():
        raise StoreError(f"{path} is not a file, so it is no store.")
    if path.stat().st_size == 0:
        raise StoreError(f"{path} is empty, so it is no store.")


def _recognise(
    path: Path,
    db: sqlite3.Connection,
    mark: Mark | None,
    *,
    room: RoomId | None,
    me: MemberId | None,
    verify: Verifier,
) -> Opened:
    kind = db.execute("PRAGMA application_id").fetchone()[0]
    schema = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    if kind != APPLICATION_ID and SCHEMA[0] not in schema:
        raise StoreError(f"{path} is a database, but no store of pigeon's.")
    found = db.execute("SELECT value FROM meta WHERE key = 'room'").fetchone()
    if found is None or not isinstance(found[0], bytes) or len(found[0]) != HASH_SIZE:
        raise StoreError("the room in the table meta is damaged", where="meta")
    rows = Rows(db, RoomId(found[0]))
    rows.meta("room")
    if (version := rows.counter("format")) == 0:
        raise StoreError("the format in the table meta is missing", where="meta")
    if version < FORMAT:
        raise StoreError(
            f"{path} was written by an older pigeon (format {version}), from before rooms could be kept."
        )
    if version > FORMAT:
        raise StoreError(
            f"{path} was written by a newer pigeon (format {version}, not {FORMAT}). Update pigeon."
        )
    if Counter(schema) != Counter(SCHEMA):
        # One letter of it decides what a column means: INTEGEA PRIMARY KEY reads as no number at all.
        raise StoreError("the description of the tables is damaged", where="database")
    if room is not None and room != rows.room:
        raise ForeignStoreError(f"{path} is the record of another room, {rows.room.hex()}.")
    mine, genesis_bytes = rows.meta("me"), rows.meta("genesis")
    if mine is None or len(mine) != HASH_SIZE or genesis_bytes is None:
        raise StoreError("the identity or the genesis in the table meta is missing", where="meta")
    if me is not None and me != mine:
        raise ForeignStoreError(f"{path} was kept by another identity, {mine.hex()}.")
    try:
        genesis = decode_genesis(genesis_bytes, room=rows.room, verify=verify)
    except MalformedError as error:
        raise StoreError(f"the genesis in the table meta is damaged: {error}", where="meta") from error
    number = rows.counter("number")
    lost = max(rows.counter("lost"), (mark.seen(rows.room) if mark else 0) - number)
    fault = ""
    if mark is None:
        fault = "the mark beside the store is missing"
    elif not mark.is_whole(rows.room):
        fault = "the mark beside the store is damaged"
    return Opened(db, rows, genesis, MemberId(mine), mark, number, lost, fault)
