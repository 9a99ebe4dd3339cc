"""The store's tables, and rows that cannot lie unnoticed: each carries a checksum over its key and value."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chain.block import Block, Body, Certificate, Leaf, Slot
from chain.codec import decode, encode
from chain.crypto import tagged_hash
from chain.errors import MalformedError, StoreError
from chain.ids import BlockId, Hash, MemberId, RoomId, SlotId, VoteKey
from chain.records import KeepEvidence

FORMAT = 2
APPLICATION_ID = 0x7069676E
"""What SQLite's header names the kind of file by: "pign"."""

BODY_HERE, BODY_AWAITED, BODY_DROPPED = 0, 1, 2
"""A body's row says why there is no body: it has not come yet, or was dropped on purpose. No row: damage."""

COLUMNS = {
    "meta": "key TEXT PRIMARY KEY, value BLOB",
    "epochs": "epoch INTEGER PRIMARY KEY, final BLOB, certificate BLOB, frontier BLOB, spent BLOB",
    "blocks": "height INTEGER PRIMARY KEY, id BLOB, block BLOB, certificate BLOB",
    "slots": "id BLOB PRIMARY KEY, epoch INTEGER, lane INTEGER, seq INTEGER, slot BLOB",
    "bodies": "commitment BLOB PRIMARY KEY, state INTEGER, body BLOB",
    "items": "idx INTEGER PRIMARY KEY, height INTEGER, leaf BLOB",
    "journal": "key TEXT PRIMARY KEY, message BLOB",
    "queue": "place INTEGER PRIMARY KEY, uuid BLOB UNIQUE, body BLOB",
    "evidence": "number INTEGER PRIMARY KEY, member BLOB, vote_key BLOB, kind TEXT, evidence BLOB",
}
SCHEMA = [
    *(f"CREATE TABLE {table} ({columns}, sum BLOB)" for table, columns in COLUMNS.items()),
    "CREATE INDEX slots_by_place ON slots (epoch, lane, seq)",
]
NAMES = {
    table: ", ".join([column.split()[0] for column in columns.split(", ")] + ["sum"])
    for table, columns in COLUMNS.items()
}
_PUT = {
    table: f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({', '.join('?' * (names.count(',') + 1))})"
    for table, names in NAMES.items()
}

ROW_LIMIT = 8 * 1024 * 1024
"""Bytes of one decoded value: far above a slot with its evidence, far below what would hurt."""

T = TypeVar("T")
Value = int | bytes | str | None


@dataclass(frozen=True, slots=True)
class BlockRow:
    id: BlockId
    block: Block
    certificate: Certificate
    size: int
    """Encoded bytes of both."""


@dataclass(frozen=True, slots=True)
class EpochRow:
    """The final block that `epoch` starts from; frontier and spent where they were known."""

    epoch: int
    final: Block
    certificate: Certificate
    frontier: tuple[Hash, ...] | None
    spent: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True)
class SlotRow:
    id: SlotId
    slot: Slot
    size: int
    """Encoded bytes of the header."""


@dataclass(frozen=True, slots=True)
class BodyRow:
    state: int
    body: Body | None
    size: int


@dataclass(frozen=True, slots=True)
class ItemRow:
    index: int
    height: int
    leaf: Leaf


class Rows:
    """Typed reading and writing of one connection's tables; StoreError names the table of what is damaged."""

    def __init__(self, db: sqlite3.Connection, room: RoomId) -> None:
        self._db = db
        self.room = room

    def seal(self, table: str, columns: Sequence[Value]) -> Hash:
        """The checksum of a row: over the table's name, the room, and every column but itself."""
        return tagged_hash("row", room=self.room, epoch=0, payload=encode((table, *columns)))

    # Writing: inside the caller's transaction

    def put(self, table: str, *columns: Value) -> None:
        self._db.execute(_PUT[table], (*columns, self.seal(table, columns)))

    def execute(self, sql: str, *parameters: Value) -> None:
        self._db.execute(sql, parameters)

    # Reading

    def read(self, table: str, tail: str = "", *parameters: Value) -> list[tuple[Value, ...]]:
        """The columns of the rows that `tail` selects, their checksums verified and cut off."""
        rows = self.raw(table, f"SELECT {NAMES[table]} FROM {table} {tail}", *parameters)
        return [self.unsealed(table, row) for row in rows]

    def raw(self, table: str, sql: str, *parameters: Value) -> list[tuple[Value, ...]]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # The latter when SQLite quotes damaged text in its message.
            message = f"the table {table} cannot be read ({error})"
            raise StoreError(message, where=table) from error

    def unsealed(self, table: str, row: tuple[Value, ...]) -> tuple[Value, ...]:
        if row[-1] != self.seal(table, row[:-1]):
            raise StoreError(f"a row of the table {table} does not match its checksum", where=table)
        return row[:-1]

    def number(self, table: str, expression: str, tail: str = "", *parameters: Value) -> int | None:
        """One aggregate, such as max(height)."""
        value = self.raw(table, f"SELECT {expression} FROM {table} {tail}", *parameters)[0][0]
        return value if isinstance(value, int) else None

    def meta(self, key: str) -> bytes | None:
        rows = self.read("meta", "WHERE key = ?", key)
        return _blob(rows[0][1]) if rows else None

    def counter(self, key: str) -> int:
        """A number kept in meta; 0 when it is not there."""
        value = self.meta(key)
        return int.from_bytes(value, "big") if value else 0

    def put_counter(self, key: str, value: int) -> None:
        self.put("meta", key, value.to_bytes(8, "big"))

    def block(self, height: int) -> BlockRow | None:
        rows = self.read("blocks", "WHERE height = ?", height)
        if not rows:
            return None
        _, block_id, block, certificate = rows[0]
        return BlockRow(
            BlockId(_blob(block_id)),
            parse("blocks", block, Block),
            parse("blocks", certificate, Certificate),
            len(_blob(block)) + len(_blob(certificate)),
        )

    def epochs(self, after: int = 0) -> list[EpochRow]:
        """The starts of the epochs above `after`, ascending."""
        rows = self.read("epochs", "WHERE epoch > ? ORDER BY epoch", after)
        return [_epoch_row(row) for row in rows]

    def epoch(self, number: int) -> EpochRow | None:
        rows = self.read("epochs", "WHERE epoch = ?", number)
        return _epoch_row(rows[0]) if rows else None

    def slot(self, slot_id: SlotId) -> SlotRow | None:
        rows = self.read("slots", "WHERE id = ?", slot_id)
        return self.slot_row(rows[0]) if rows else None

    def slots_of(self, epoch: int) -> list[SlotRow]:
        """Every slot kept of an epoch, by lane and seq."""
        rows = self.read("slots", "WHERE epoch = ? ORDER BY lane, seq, id", epoch)
        return [self.slot_row(row) for row in rows]

    def slot_row(self, row: tuple[Value, ...]) -> SlotRow:
        slot_id, epoch, lane, seq, data = row
        slot = parse("slots", data, Slot)
        if slot.id(self.room) != slot_id or (slot.epoch, slot.lane, slot.seq) != (epoch, lane, seq):
            message = f"slot {slot.seq} of lane {slot.lane} does not hash to its id"
            raise StoreError(message, where="slots")
        return SlotRow(SlotId(slot_id), slot, len(_blob(data)))

    def body(self, commitment: Hash) -> BodyRow | None:
        rows = self.read("bodies", "WHERE commitment = ?", commitment)
        if not rows:
            return None
        _, state, data = rows[0]
        if data is None:
            return BodyRow(state if isinstance(state, int) else BODY_HERE, None, 0)
        return BodyRow(BODY_HERE, parse("bodies", data, Body), len(_blob(data)))

    def items(self, start: int, stop: int) -> list[ItemRow]:
        """The items of the indices from `start` to below `stop`, as far as they are there, ascending."""
        rows = self.read("items", "WHERE idx >= ? AND idx < ? ORDER BY idx", start, stop)
        return [
            ItemRow(_number(index), _number(height), parse("items", leaf, Leaf))
            for index, height, leaf in rows
        ]

    def journal(self) -> list[tuple[str, bytes]]:
        return [(str(key), _blob(message)) for key, message in self.read("journal", "ORDER BY key")]

    def queue(self) -> list[Body]:
        rows = self.read("queue", "ORDER BY place")
        return [parse("queue", body, Body) for _, _, body in rows]

    def evidence(self) -> Iterator[KeepEvidence]:
        for _, member, vote_key, kind, evidence in self.read("evidence", "ORDER BY number"):
            yield KeepEvidence(MemberId(_blob(member)), VoteKey(_blob(vote_key)), str(kind), _blob(evidence))


def parse(table: str, data: Value, kind: type[T]) -> T:
    """Decode one column, or say which table holds what cannot be decoded."""
    try:
        return decode(_blob(data), kind, limit=ROW_LIMIT)
    except MalformedError as error:
        raise StoreError(f"a row of the table {table} is {error}", where=table) from error


def _epoch_row(row: tuple[Value, ...]) -> EpochRow:
    epoch, final, certificate, frontier, spent = row
    return EpochRow(
        _number(epoch),
        parse("epochs", final, Block),
        parse("epochs", certificate, Certificate),
        None if frontier is None else parse("epochs", frontier, tuple[Hash, ...]),
        None if spent is None else parse("epochs", spent, tuple[bytes, ...]),
    )


def _blob(value: Value) -> bytes:
    return value if isinstance(value, bytes) else b""


def _number(value: Value) -> int:
    return value if isinstance(value, int) else -1
