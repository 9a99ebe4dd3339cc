"""Writes records into the store's tables, within the transaction that its caller has begun."""

from collections.abc import Sequence
from typing import assert_never

from chain.codec import encode
from chain.errors import StoreError
from chain.records import (
    Dequeue,
    Enqueue,
    Forget,
    Journal,
    KeepBlock,
    KeepEpoch,
    KeepEvidence,
    KeepSlot,
    Record,
)
from chain.store_replay import base_epochs
from chain.store_rows import BODY_AWAITED, BODY_HERE, Rows


def write(rows: Rows, records: Sequence[Record]) -> None:
    """Write all of these; StoreError where one contradicts what is kept."""
    in_front = sum(isinstance(record, Enqueue) and record.front for record in records)
    front = (rows.number("queue", "min(place)") or 0) - in_front if in_front else 0
    bases: list[int] = []
    for record in records:
        match record:
            case KeepSlot():
                _write_slot(rows, record)
            case KeepBlock():
                _write_block(rows, record)
            case KeepEpoch():
                _write_epoch(rows, record)
                if record.frontier is not None and record.spent is not None:
                    bases.append(record.epoch)
            case Enqueue(body=body, front=True):
                rows.execute("DELETE FROM queue WHERE uuid = ?", body.uuid)
                rows.put("queue", front, body.uuid, encode(body))
                front += 1
            case Enqueue(body=body):
                if not rows.read("queue", "WHERE uuid = ?", body.uuid):
                    place = rows.number("queue", "max(place)")
                    rows.put("queue", (place or 0) + 1, body.uuid, encode(body))
            case Dequeue(uuid=uuid):
                rows.execute("DELETE FROM queue WHERE uuid = ?", uuid)
            case Journal(key=key, message=message):
                rows.put("journal", key, message)
            case Forget(prefix=prefix):
                rows.execute("DELETE FROM journal WHERE substr(key, 1, ?) = ?", len(prefix), prefix)
            case KeepEvidence():
                _write_evidence(rows, record)
            case _:
                assert_never(record)
    for epoch in bases:
        _note_base(rows, epoch)


def _write_slot(rows: Rows, record: KeepSlot) -> None:
    slot = record.slot
    if record.bodies and len(record.bodies) != len(slot.commitments):
        raise ValueError("a slot is kept with all its bodies or with none")
    if not rows.raw("slots", "SELECT 1 FROM slots WHERE id = ?", record.id):
        rows.put("slots", record.id, slot.epoch, slot.lane, slot.seq, encode(slot))
    for place, commitment in enumerate(slot.commitments):
        known = rows.body(commitment)
        if record.bodies and (known is None or known.state == BODY_AWAITED):
            rows.put("bodies", commitment, BODY_HERE, encode(record.bodies[place]))
        elif known is None:
            rows.put("bodies", commitment, BODY_AWAITED, None)


def _write_block(rows: Rows, record: KeepBlock) -> None:
    block = record.block
    known = rows.block(block.height)
    if known is not None:
        if known.id != record.id:
            raise StoreError(f"block {block.height} is final already, and another one", where="blocks")
        return
    rows.put("blocks", block.height, record.id, encode(block), encode(record.certificate))
    for index, leaf in record.items:
        rows.put("items", index, block.height, encode(leaf))
    if block.next_committee is not None:
        _write_epoch(rows, KeepEpoch(block.epoch + 1, block, record.certificate, None, None))


def _write_epoch(rows: Rows, record: KeepEpoch) -> None:
    known = rows.epoch(record.epoch)
    frontier, spent = record.frontier, record.spent
    if known is not None:
        if known.final != record.final:
            message = f"epoch {record.epoch} starts from another block already"
            raise StoreError(message, where="epochs")
        if known.frontier is not None or frontier is None:
            return
    rows.put(
        "epochs",
        record.epoch,
        encode(record.final),
        encode(record.certificate),
        None if frontier is None else encode(frontier),
        None if spent is None else encode(spent),
    )


def _note_base(rows: Rows, epoch: int) -> None:
    """An epoch whose final block is not here is where this store begins anew."""
    row = rows.epoch(epoch)
    assert row is not None, "written just before"
    bases = base_epochs(rows)
    if epoch not in bases and rows.block(row.final.height) is None:
        rows.put("meta", "bases", b"".join(base.to_bytes(8, "big") for base in (*bases, epoch)))


def _write_evidence(rows: Rows, record: KeepEvidence) -> None:
    columns = (record.member, record.vote_key, record.kind, record.evidence)
    if not rows.read("evidence", "WHERE member = ? AND vote_key = ? AND kind = ? AND evidence = ?", *columns):
        number = (rows.number("evidence", "max(number)") or 0) + 1
        rows.put("evidence", number, *columns)
