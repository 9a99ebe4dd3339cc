"""What opening a store verifies beyond the replay of its blocks: hashes and checksums, no signatures."""

from collections.abc import Mapping

from chain.committee import Committee
from chain.control import Genesis
from chain.errors import StoreError
from chain.ledger import genesis_tip
from chain.store_replay import Replay
from chain.store_rows import EpochRow, Rows


def verify_rest(rows: Rows, genesis: Genesis, replay: Replay) -> None:
    """Everything that an advanced replay has not read; StoreError for the first thing that is wrong."""
    for finding in integrity(rows):
        raise StoreError(finding, where="database")
    committees = {0: genesis_tip(genesis).committee}
    for row in rows.epochs():
        committees[len(committees)] = follow_epoch(row, committees)
    gap = first_gap(rows, replay)
    if gap is not None:
        raise StoreError(f"block {gap} is missing", where="blocks", height=gap)
    held = {"epochs": len(committees) - 1, "blocks": replay.block_count, "items": replay.item_count}
    for table, count in held.items():
        if rows.number(table, "count(*)") != count:
            raise StoreError(f"the table {table} holds rows that stand nowhere", where=table)
    list(rows.evidence())


def integrity(rows: Rows) -> list[str]:
    """SQLite's own findings about its pages and indices."""
    try:
        lines = [str(line) for (line,) in rows.raw("database", "PRAGMA integrity_check(20)")]
    except StoreError as error:
        return [f"SQLite cannot read the file: {error}"]
    return [f"SQLite finds the file damaged: {line}" for line in lines if line != "ok"]


def follow_epoch(row: EpochRow, committees: Mapping[int, Committee]) -> Committee:
    """The committee of the next epoch after `committees`, by headers alone."""
    expected = len(committees)
    before, committee = committees[expected - 1], row.final.next_committee
    if row.epoch != expected:
        raise StoreError(f"the start of epoch {expected} is missing", where="epochs")
    follows = row.final.epoch == expected - 1 and row.final.committee == before.digest
    if committee is None or not follows or not committee.is_well_formed():
        message = f"the start of epoch {expected} does not follow from the one before"
        raise StoreError(message, where="epochs", height=row.final.height)
    return committee


def first_gap(rows: Rows, replay: Replay) -> int | None:
    """The lowest height whose block is missing below others that are there; None if all is well."""
    for place, tip in enumerate(replay.tips):
        stop = replay.start_height(place + 1)
        if rows.number("blocks", "max(height)", "WHERE height > ? AND height <= ?", tip.height, stop):
            return tip.height + 1
    return None
