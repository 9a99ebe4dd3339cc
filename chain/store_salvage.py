"""What still verifies of a damaged store, written into a new one: blocks, epochs, and what was never ordered.

Nothing is believed because it stands there: blocks need their certificates, slots and bodies their hashes,
everything else its checksum. The journal is left behind: whoever does not know what it signed signs no more.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chain.block import Body, certificate_holds
from chain.crypto import Verifier
from chain.errors import InvalidBlockError, StoreError
from chain.ids import MemberId, SlotId, VoteKey
from chain.ledger import Tip, tip_after_final
from chain.merkle import Frontier
from chain.records import (
    FOR_GOOD,
    Enqueue,
    Journal,
    KeepBlock,
    KeepEpoch,
    KeepEvidence,
    KeepSlot,
    Record,
)
from chain.store import Store
from chain.store_file import connect_to_read
from chain.store_replay import all_or_none, bodies_of, chains_between, derive
from chain.store_rows import NAMES, BlockRow, EpochRow, Rows, SlotRow, Value, parse
from chain.walk import Walk

_RECORDS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How much was carried over."""

    blocks: int
    unsent: int
    """Messages of ours that no block is known to order; they are queued again, with their ids."""


def salvage(damaged: Path, new: Store, *, verify: Verifier) -> Salvaged:
    """Carry over what holds from a store of the same room and member, which is only read.

    Never raises on damage there; StoreError when `new`, which must be empty, cannot be written.
    """
    try:
        db = connect_to_read(damaged)
    except (OSError, sqlite3.Error):
        return Salvaged(0, 0)
    try:
        return _Salvage(db, new, verify=verify).run()
    finally:
        db.close()


def read_genesis(damaged: Path) -> bytes:
    """What stands there as the genesis, to be checked; empty if nothing does."""
    try:
        db = connect_to_read(damaged)
    except (OSError, sqlite3.Error):
        return b""
    try:
        found = db.execute("SELECT value FROM meta WHERE key = 'genesis'").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        found = None
    finally:
        db.close()
    return found[0] if found is not None and isinstance(found[0], bytes) else b""


class _Salvage:
    def __init__(self, db: sqlite3.Connection, new: Store, *, verify: Verifier) -> None:
        self._db = db
        self._rows = Rows(db, new.room)
        self._new = new
        self._verify = verify
        self._blocks = 0

    def run(self) -> Salvaged:
        tip = self._copy_blocks(self._new.snapshot().tip)
        starts = self._starts_after(tip)
        if starts:
            # The blocks before the last start have a hole: this store begins there, as a newcomer's does.
            self._new.apply(starts)
            self._copy_blocks(self._new.snapshot().tip)
        unsent = self._unsent()
        self._new.apply([Enqueue(body) for body in unsent])
        self._new.apply(list(self._kept_for_good()))
        return Salvaged(self._blocks, len(unsent))

    # The record

    def _copy_blocks(self, tip: Tip) -> Tip:
        """Every block after `tip` up to the first that does not hold."""
        waiting: list[Record] = []
        for records, after in self._blocks_after(tip):
            waiting += records
            tip = after
            self._blocks += 1
            if len(waiting) >= _RECORDS_AT_ONCE:
                self._new.apply(waiting)
                waiting = []
        self._new.apply(waiting)
        return tip

    def _blocks_after(self, tip: Tip) -> Iterator[tuple[list[Record], Tip]]:
        while True:
            try:
                row = self._rows.block(tip.height + 1)
                if row is None or not self._is_certified(row, tip):
                    return
                after = derive(self._rows, tip, row, verify=self._verify)
                records = self._records_of(row, tip, after)
            except StoreError:
                return
            yield records, after
            tip = after

    def _is_certified(self, row: BlockRow, tip: Tip) -> bool:
        return certificate_holds(
            row.certificate, row.block, room=tip.room, committee=tip.committee, verify=self._verify
        )

    def _records_of(self, row: BlockRow, before: Tip, after: Tip) -> list[Record]:
        records: list[Record] = []
        for lane, chain in chains_between(self._rows, old=before.cut, new=row.block.cut).items():
            author = before.committee.members[lane].identity
            for kept in chain:
                bodies = all_or_none(bodies_of(self._rows, kept.slot, author=author))
                records.append(KeepSlot(kept.id, kept.slot, bodies))
        items = self._rows.items(before.frontier.size, row.block.log_size)
        leaves = tuple((item.index, item.leaf) for item in items)
        records.append(KeepBlock(row.id, row.block, row.certificate, leaves))
        if after.epoch != before.epoch:
            peaks = after.frontier.peaks
            records.append(KeepEpoch(after.epoch, row.block, row.certificate, peaks, after.spent))
        return records

    def _starts_after(self, tip: Tip) -> list[KeepEpoch]:
        """The starts of later epochs up to the last one that can be begun from, as a newcomer keeps them."""
        walk = Walk(
            room=tip.room,
            epoch=tip.epoch,
            height=tip.height,
            block=tip.block,
            committee=tip.committee,
            verify=self._verify,
        )
        walked: list[KeepEpoch] = []
        usable: list[KeepEpoch] = []
        try:
            while (row := self._rows.epoch(walk.epoch + 1)) is not None:
                walk.follow(row.final, row.certificate)
                if self._can_begin(row):
                    start = KeepEpoch(row.epoch, row.final, row.certificate, row.frontier, row.spent)
                    usable = [*walked, start]
                walked.append(KeepEpoch(row.epoch, row.final, row.certificate, None, None))
        except (StoreError, InvalidBlockError):
            return usable
        return usable

    def _can_begin(self, row: EpochRow) -> bool:
        if row.frontier is None or row.spent is None:
            return False
        frontier = Frontier(row.final.log_size, row.frontier)
        try:
            tip_after_final(room=self._rows.room, block=row.final, frontier=frontier, spent=row.spent)
        except InvalidBlockError:
            return False
        return True

    # What is ours, and in no block

    def _unsent(self) -> list[Body]:
        """Bodies in slots of ours that nothing orders, then the queue; each once, by its uuid.

        Where the items themselves are damaged one may be queued that was ordered: it then stands in the
        log twice under one id, and is shown once.
        """
        ordered_slots = self._ordered_slots()
        ordered: set[bytes] = set()
        found: dict[bytes, Body] = {}
        for slot_id, body in self._own_bodies():
            if slot_id in ordered_slots:
                ordered.add(body.uuid)
            else:
                found.setdefault(body.uuid, body)
        for row in self._sound("queue"):
            with suppress(StoreError):
                body = parse("queue", row[2], Body)
                found.setdefault(body.uuid, body)
        return [body for uuid, body in found.items() if uuid not in ordered]

    def _ordered_slots(self) -> set[SlotId]:
        ordered: set[SlotId] = set()
        for row in self._sound("items"):
            index = row[0]
            if isinstance(index, int):
                with suppress(StoreError):
                    ordered.update(item.leaf.slot for item in self._rows.items(index, index + 1))
        return ordered

    def _own_bodies(self) -> Iterator[tuple[SlotId, Body]]:
        """By epoch and seq. A commitment covers its author, so what matches under our name is ours."""
        slots: list[SlotRow] = []
        for row in self._sound("slots"):
            with suppress(StoreError):
                slots.append(self._rows.slot_row(row))
        for kept in sorted(slots, key=lambda kept: (kept.slot.epoch, kept.slot.seq)):
            try:
                bodies = [self._rows.body(commitment) for commitment in kept.slot.commitments]
            except StoreError:
                continue
            for commitment, held in zip(kept.slot.commitments, bodies, strict=True):
                body = held.body if held is not None else None
                if (
                    body is not None
                    and body.commitment(room=self._rows.room, author=self._new.me) == commitment
                ):
                    yield kept.id, body

    def _kept_for_good(self) -> Iterator[Record]:
        """Evidence, and which of our keys had stopped."""
        for _, member, vote_key, kind, evidence in self._sound("evidence"):
            if isinstance(member, bytes) and isinstance(vote_key, bytes) and isinstance(evidence, bytes):
                yield KeepEvidence(MemberId(member), VoteKey(vote_key), str(kind), evidence)
        for key, message in self._sound("journal"):
            for_good = isinstance(key, str) and key.startswith(FOR_GOOD)
            if isinstance(key, str) and for_good and isinstance(message, bytes):
                yield Journal(key, message)

    def _sound(self, table: str) -> Iterator[tuple[Value, ...]]:
        """The rows that match their checksums: from both ends, up to where the table cannot be read."""
        rows: dict[Value, tuple[Value, ...]] = {}
        for order in ("ASC", "DESC"):
            try:
                # By row number: an index may be damaged while the rows are whole.
                for row in self._db.execute(f"SELECT {NAMES[table]} FROM {table} ORDER BY rowid {order}"):
                    rows.setdefault(row[0], row)
                break
            except (sqlite3.Error, UnicodeDecodeError):
                continue
        for row in rows.values():
            with suppress(StoreError):
                yield self._rows.unsealed(table, row)
