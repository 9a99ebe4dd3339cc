"""What a disk gives back: rows rightly sealed with wrong columns, store files, marks, settings, keys."""

import fcntl
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import msgspec
from nacl.signing import SigningKey

from chain.codec import encode
from chain.crypto import ed25519_verify
from chain.errors import StoreError
from chain.ids import RoomId
from chain.store import Store
from chain.store_check import check_store
from chain.store_mark import Mark, mark_path
from chain.store_rows import COLUMNS, NAMES, SCHEMA, Rows, Value
from chain.store_salvage import read_genesis, salvage
from node.config import SETTINGS_FILE, STORE_FILE, Home, RoomConfig
from node.errors import KeyFileError, NodeError
from node.keys import load_key
from node.lock import RoomLocked, lock_holder, room_lock
from tests.chain.drawing import Room
from tests.fuzz.chain_borders import room
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused, same, scratch
from tests.fuzz.forms import BINARY, JSON, MESSAGEPACK, TEXT, Form

MARK_FILE = mark_path(Path(STORE_FILE)).name


# Rows


@cache
def _store() -> Store:
    here = room()
    store = Store.create(":memory:", genesis=here.genesis, me=here.me, verify=ed25519_verify)
    store.apply(here.history)
    return store


def _rows_of(table: str) -> list[bytes]:
    """The columns of real rows, as a MessagePack array."""
    names = NAMES[table].removesuffix(", sum")
    found = _store()._db.execute(f"SELECT {names} FROM {table} LIMIT 20").fetchall()
    return [msgspec.msgpack.encode(row) for row in found] or [_MADE_UP[table]]


_MADE_UP = {
    "journal": msgspec.msgpack.encode(("vote:1", b"a message")),
    "queue": msgspec.msgpack.encode((1, b"u" * 16, encode((b"s" * 32, b"u" * 16 + b"\0hello")))),
    "evidence": msgspec.msgpack.encode((1, b"m" * 32, b"v" * 32, "two slots", b"evidence")),
}


def _read_every_way(rows: Rows, table: str, columns: tuple[Value, ...]) -> object:
    key = cast(Any, columns[0])
    match table:
        case "meta":
            return rows.meta(key), rows.counter(key)
        case "epochs":
            return rows.epochs(-1), rows.epoch(key)
        case "blocks":
            return rows.block(key)
        case "slots":
            return rows.slot(key), rows.slots_of(cast(int, columns[1]))
        case "bodies":
            return rows.body(key)
        case "items":
            return rows.items(0, 2**53)
        case "journal":
            return rows.journal()
        case "queue":
            return rows.queue()
        case _:
            return list(rows.evidence())


def _row_feed(table: str) -> Feed:
    """The row stands alone in its table, sealed by somebody who knows how."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for statement in SCHEMA:
        db.execute(statement)
    rows = Rows(db, RoomId(room().id))
    width = len(COLUMNS[table].split(", "))

    def feed(data: bytes) -> object:
        try:
            values = msgspec.msgpack.decode(data, type=tuple[Any, ...])
        except (msgspec.DecodeError, RecursionError, ValueError):
            raise Refused from None
        columns = tuple(value if isinstance(value, int | bytes | str) else None for value in values)
        columns = (*columns, *[None] * width)[:width]
        db.execute("BEGIN")
        try:
            try:
                rows.put(table, *columns)
            except (sqlite3.Error, OverflowError):
                raise Refused from None  # no database holds such a value
            stored = db.execute(f"SELECT * FROM {table}").fetchall()
            if len(stored) != 1:
                raise Refused
            return _read_every_way(rows, table, stored[0])
        finally:
            db.execute("ROLLBACK")

    return feed


# A whole store file


@cache
def room_of_one() -> Room:
    """Its founder said two things, and they are ordered."""
    here = Room()
    here.say("ann", "one", "two")
    here.block()
    return here


@cache
def _stored() -> dict[str, bytes]:
    """A store and whatever is kept beside it, by file name."""
    directory, here = scratch() / "sample", room_of_one()
    directory.mkdir()
    store = Store.create(directory / STORE_FILE, genesis=here.genesis, me=here.me, verify=ed25519_verify)
    store.apply(here.history)
    store.close()
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _pages(data: bytes) -> list[tuple[int, int]]:
    """Small pieces that are not all zeros, and whole pages."""
    pieces = [
        (at, at + size)
        for size in (1, 2, 4, 16, 100)
        for at in range(0, len(data) - size, size)
        if any(data[at : at + size])
    ]
    return [*pieces[:: len(pieces) // 3500 + 1], *((at, at + 4096) for at in range(0, len(data), 4096))]


SQLITE = Form("SQLite", _pages, BINARY.odd, BINARY.rewrite)


def _place(name: str) -> Path:
    """A directory that holds the sample's files and nothing else, whatever the last input left there."""
    directory = scratch() / name
    directory.mkdir(exist_ok=True)
    for left in directory.iterdir():
        if left.name not in _stored():
            left.unlink()
    for file, content in _stored().items():
        if file != STORE_FILE:  # that one is overwritten next
            (directory / file).write_bytes(content)
    return directory


def _check_feed() -> Feed:
    here = room_of_one()

    def feed(data: bytes) -> object:
        path = _place("checked") / STORE_FILE
        path.write_bytes(data)
        for problem in check_store(path, room=here.id, me=here.me, verify=ed25519_verify):
            raise Refused(problem.sentence)
        return None

    return feed


def _open_feed() -> Feed:
    here = room_of_one()

    def feed(data: bytes) -> object:
        path = _place("opened") / STORE_FILE
        path.write_bytes(data)
        store = Store.open(path, room=here.id, me=here.me, verify=ed25519_verify)
        try:
            texts = [item.data[16:] for item in store.items() if item.data is not None]
            assert texts == [b"one", b"two"], texts
            return texts
        finally:
            store.close()

    return feed


def _salvage_feed() -> Feed:
    """What is carried over verifies, whatever it was taken from."""
    here = room_of_one()

    def feed(data: bytes) -> object:
        path = _place("salvaged") / STORE_FILE
        path.write_bytes(data)
        read_genesis(path)
        new = Store.create(":memory:", genesis=here.genesis, me=here.me, verify=ed25519_verify)
        try:
            found = salvage(path, new, verify=ed25519_verify)
            assert not found.blocks or new.check() == []
            assert {item.data[16:] for item in new.items() if item.data is not None} <= {b"one", b"two"}
        finally:
            new.close()
        if found.blocks == 0:
            raise Refused
        return found

    return feed


def _mark_feed() -> Feed:
    path, true = scratch() / MARK_FILE, _stored()[MARK_FILE]

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        mark = Mark.open(path)
        assert mark is not None
        try:
            seen = mark.seen(room_of_one().id)
            if not mark.is_whole(room_of_one().id):
                assert seen in (0, 1, 2)
                raise Refused
            same(data, true)
            return seen
        finally:
            mark.close()

    return feed


# A home


FINGERPRINT = "ab" * 32


def _home() -> Home:
    home = Home.at(scratch() / "home")
    home.save(_settings()[0])
    return home


def _settings() -> list[RoomConfig]:
    plain = RoomConfig(name="tea", fingerprint=FINGERPRINT, nick="ann", via=("dir:/tmp/a",))
    full = msgspec.structs.replace(plain, via=("dir:/a", "dir:/b"), rule="auto", max_peers=7, created=10**12)
    return [plain, full]


def _saved_settings() -> list[bytes]:
    """As they are written, with their checksum, and as a person leaves them, without."""
    home, files = Home.at(scratch() / "saved"), []
    for settings in _settings():
        home.save(settings)
        files.append((home.config / "rooms" / FINGERPRINT / SETTINGS_FILE).read_bytes())
    by_hand = msgspec.json.format(msgspec.json.encode(_settings()[1]), indent=4)
    return [*files, by_hand]


def _settings_feed() -> Feed:
    home = _home()
    path = home.config / "rooms" / FINGERPRINT / SETTINGS_FILE

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        (room,) = home.rooms()
        assert home.find(FINGERPRINT) == room == home.room(FINGERPRINT[:8])
        home.save(room)
        assert home.room(None) == room
        return room

    return feed


def _keys() -> list[bytes]:
    files = []
    for purpose in ("identity", "vote"):
        seed = hashlib.sha256(purpose.encode()).digest()
        content = {
            "v": 1,
            "purpose": purpose,
            "seed": seed.hex(),
            "public": bytes(SigningKey(seed).verify_key).hex(),
        }
        files.append(msgspec.json.encode(content) + b"\n")
    return files


def _key_feed() -> Feed:
    path = scratch() / "identity.key"
    path.touch(mode=0o600)

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        try:
            return load_key(path, purpose="identity")
        except KeyFileError:
            return load_key(path, purpose="vote")

    return feed


def _lock_feed() -> Feed:
    """Somebody has the room open, and the file says who."""
    home = _home()
    path = home.lock_file(FINGERPRINT)

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            pid = lock_holder(home, FINGERPRINT)
            assert pid is not None and pid >= 0
            with _held_by_another(), room_lock(home, FINGERPRINT):
                pass
        if pid == 0:
            raise Refused
        return pid

    return feed


@contextmanager
def _held_by_another() -> Iterator[None]:
    try:
        yield
    except RoomLocked as locked:
        assert locked.pid >= 0
    else:
        raise Differs("a room that is open was opened again")


def _decoder(
    name: str,
    form: Form,
    samples: Callable[[], Sequence[bytes]],
    make: Callable[[], Feed],
    refuses: tuple[type[Exception], ...],
) -> Decoder:
    return Decoder(name=name, form=form, samples=samples, make=make, refuses=refuses)


DECODERS = [
    *(
        _decoder(
            f"row/{table}", MESSAGEPACK, partial(_rows_of, table), partial(_row_feed, table), (StoreError,)
        )
        for table in COLUMNS
    ),
    _decoder("store/check", SQLITE, lambda: [_stored()[STORE_FILE]], _check_feed, (StoreError,)),
    _decoder("store/open", SQLITE, lambda: [_stored()[STORE_FILE]], _open_feed, (StoreError,)),
    _decoder("store/salvage", SQLITE, lambda: [_stored()[STORE_FILE]], _salvage_feed, ()),
    _decoder("store/mark", BINARY, lambda: [_stored()[MARK_FILE]], _mark_feed, ()),
    _decoder(
        "settings",
        JSON,
        _saved_settings,
        _settings_feed,
        (NodeError,),
    ),
    _decoder("key", JSON, _keys, _key_feed, (KeyFileError,)),
    _decoder("lock", TEXT, lambda: [b"1234\n", b"1\n", b"4194304\n"], _lock_feed, ()),
]
