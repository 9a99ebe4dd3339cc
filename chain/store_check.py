"""Finds all that is wrong with a store: every hash, every signature, and what SQLite itself cannot read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from chain.block import SLOT_BODIES, SLOT_CONTROL, Block, Certificate, Head, Slot, certificate_holds
from chain.codec import decode
from chain.committee import MAX_MEMBERS, Committee
from chain.crypto import Verifier
from chain.errors import ForeignStoreError, MalformedError, StoreError
from chain.ids import BlockId, MemberId, RoomId
from chain.ledger import Tip, first_cut, genesis_tip
from chain.message import Ack, Message, Precommit, Prevote, Propose, RoundChange, SlotMessage
from chain.store_file import Opened, open_file
from chain.store_replay import base_epochs, base_tip, bodies_of, chains_between, derive
from chain.store_rows import COLUMNS, NAMES, ROW_LIMIT, BlockRow, Value
from chain.store_verify import follow_epoch, integrity

_ITEMS_A_BLOCK = 2 * 64 * MAX_MEMBERS * (SLOT_BODIES + SLOT_CONTROL)
"""No block orders more, whatever a damaged header says."""
_MISSING_NAMED = 100
"""So many missing blocks in a row are named one by one: a damaged height may be any number."""
_ANY_MESSAGE = cast(type[Message], Message)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, in a sentence."""

    sentence: str
    where: str
    """The table, "database" for the file as a whole, or "mark" for what the one beside it says or is."""
    height: int | None = None
    """The block that is affected, where there is one."""


def check_store(
    path: str | Path, *, room: RoomId | None = None, me: MemberId | None = None, verify: Verifier
) -> list[Problem]:
    """Check a store file, which a node may have open; nothing is written to it.

    ForeignStoreError for another room's or member's store, StoreError where there is nothing to check:
    no file, no store, or a newer format. Damage is never an exception.
    """
    try:
        opened = open_file(path, room=room, me=me, verify=verify, read_only=True)
    except ForeignStoreError:
        raise
    except StoreError as error:
        if not error.where:
            raise
        return [Problem(str(error), error.where, error.height)]
    try:
        with opened.one_view():
            return find_problems(opened, verify=verify)
    finally:
        opened.close()


def find_problems(opened: Opened, *, verify: Verifier) -> list[Problem]:
    """Everything wrong with an open store, signatures included; never raises on damage."""
    return _Check(opened, verify=verify).run()


@dataclass(frozen=True, slots=True)
class _Edge:
    """What the next block must connect to."""

    block: BlockId
    cut: tuple[Head, ...]
    size: int


def _edge_after(row: BlockRow) -> _Edge:
    block = row.block
    cut = block.cut if block.next_committee is None else first_cut(block.next_committee.n, row.id)
    return _Edge(row.id, cut, block.log_size)


class _Check:
    """One walk over all tables: the blocks with all they order first, then whatever is left."""

    def __init__(self, opened: Opened, *, verify: Verifier) -> None:
        self._opened = opened
        self._rows = opened.rows
        self._verify = verify
        self._problems: dict[Problem, None] = {}
        self._genesis = genesis_tip(opened.genesis)
        self._committees: dict[int, Committee] = {0: self._genesis.committee}
        self._blocks: list[Block] = []
        """Those that could be read."""
        self._walked: set[tuple[str, Value]] = set()
        """Table and key of what a block led to."""

    def run(self) -> list[Problem]:
        self._find_lost()
        if self._opened.mark is not None and self._opened.mark_fault:
            # A copy of a store needs no mark; one that is there must be whole.
            self._add(self._opened.mark_fault, "mark")
        for finding in integrity(self._rows):
            self._add(finding, "database")
        self._check_epochs()
        starts = [self._genesis]
        with self._noting():
            starts += [base_tip(self._rows, epoch) for epoch in base_epochs(self._rows)]
        heights = self._numbers("blocks", "height")
        for place, start in enumerate(starts):
            stop = starts[place + 1].height if place + 1 < len(starts) else 2**53
            self._check_piece(start, heights=[each for each in heights if start.height < each <= stop])
        sound = not self._problems
        for table in COLUMNS:
            self._check_rows(table)
            if sound and table in ("epochs", "blocks", "items"):
                self._check_count(table)
        return list(self._problems)

    # Noting

    def _add(self, sentence: str, where: str, height: int | None = None) -> None:
        if height is not None and not sentence.startswith("block "):
            sentence = f"block {height}: {sentence}"
        self._problems.setdefault(Problem(sentence, where, height))

    @contextmanager
    def _noting(self, height: int | None = None) -> Iterator[None]:
        """Damage found inside is noted, and what follows goes on."""
        try:
            yield
        except StoreError as error:
            known = error.height if error.height is not None else height
            self._add(str(error), error.where or "database", known)

    # The record

    def _find_lost(self) -> None:
        if self._opened.lost:
            top = 0
            with self._noting():
                top = self._rows.number("blocks", "max(height)") or 0
            sentence = (
                f"the last {self._opened.lost} transactions that were written are gone: "
                f"the record ends at block {top}, and what was signed since is not known"
            )
            self._add(sentence, "mark")

    def _check_epochs(self) -> None:
        for number in range(1, max(self._numbers("epochs", "epoch"), default=0) + 1):
            with self._noting():
                row = self._rows.epoch(number)
                if row is None:
                    raise StoreError(f"the start of epoch {number} is missing", where="epochs")
                committee = follow_epoch(row, self._committees)
                self._check_certificate("epochs", row.final, row.certificate)
                self._committees[number] = committee
                self._walked.add(("epochs", number))
            if number not in self._committees:
                return

    def _check_certificate(self, table: str, block: Block, certificate: Certificate) -> None:
        committee = self._committees.get(block.epoch)
        if committee is not None and not certificate_holds(
            certificate, block, room=self._rows.room, committee=committee, verify=self._verify
        ):
            self._add("its certificate lacks a quorum's signatures", table, block.height)

    def _check_piece(self, start: Tip, *, heights: list[int]) -> None:
        """Blocks that must follow one another from `start` up to the highest of `heights`."""
        tip: Tip | None = start
        before: _Edge | None = _Edge(start.block, start.cut, start.frontier.size)
        height, top, missing = start.height, max(heights, default=0), 0
        while height < top:
            if missing == _MISSING_NAMED:
                following = min(each for each in heights if each > height)
                self._add(f"it is missing, as all below block {following}", "blocks", height + 1)
                height, missing = following - 1, 0
            height += 1
            faults = len(self._problems)
            row = None
            with self._noting(height):
                row = self._rows.block(height)
                if row is None:
                    raise StoreError("it is missing", where="blocks")
            if row is not None:
                self._check_block(row, height=height, before=before)
                if tip is not None and len(self._problems) == faults:
                    with self._noting(height):
                        tip = derive(self._rows, tip, row, verify=self._verify)
            if len(self._problems) > faults:
                tip = None
            before = _edge_after(row) if row is not None else None
            missing = missing + 1 if row is None else 0

    def _check_block(self, row: BlockRow, *, height: int, before: "_Edge | None") -> None:
        """What can be said of one block even if those before it are damaged."""
        block = row.block
        self._blocks.append(block)
        self._walked.add(("blocks", height))
        if block.id(self._rows.room) != row.id or block.height != height:
            self._add("it does not hash to its id", "blocks", height)
        self._check_certificate("blocks", block, row.certificate)
        if before is None:
            return
        if block.prev != before.block or len(block.cut) != len(before.cut):
            self._add("it does not follow the block before", "blocks", height)
            return
        with self._noting(height):
            for chain in chains_between(self._rows, old=before.cut, new=block.cut).values():
                for kept in chain:
                    self._walked.add(("slots", kept.id))
                    self._check_slot(kept.slot, height=height)
        for index in range(before.size, min(block.log_size, before.size + _ITEMS_A_BLOCK)):
            self._walked.add(("items", index))
            with self._noting(height):
                if not self._rows.items(index, index + 1):
                    raise StoreError(f"item {index} is missing", where="items")

    def _check_slot(self, slot: Slot, *, height: int | None) -> None:
        committee = self._committees.get(slot.epoch)
        if committee is None:
            return
        if slot.lane >= committee.n:
            self._add(f"slot {slot.seq} of lane {slot.lane} has no owner", "slots", height)
            return
        owner = committee.members[slot.lane]
        if not self._verify(owner.vote_key, slot.preimage(self._rows.room), slot.signature):
            sentence = f"slot {slot.seq} of lane {slot.lane} is not signed by its owner"
            self._add(sentence, "slots", height)
        self._walked.update(("bodies", commitment) for commitment in slot.commitments)
        for commitment in slot.commitments:
            with self._noting(height):
                only = msgspec.structs.replace(slot, commitments=(commitment,))
                bodies_of(self._rows, only, author=owner.identity)

    # Whatever no block led to

    def _check_rows(self, table: str) -> None:
        for raw in self._every(table):
            if (table, raw[0]) in self._walked:
                continue
            with self._noting(self._height_of(table, raw)):
                row = self._rows.unsealed(table, raw)
                if table == "slots":
                    self._check_slot(self._rows.slot_row(row).slot, height=None)
                elif table == "journal":
                    self._check_vote(str(row[0]), row[1])

    def _check_count(self, table: str) -> None:
        """With all else sound, there are no rows that nothing leads to."""
        with self._noting():
            walked = sum(name == table for name, _ in self._walked)
            if self._rows.number(table, "count(*)") != walked:
                raise StoreError(f"the table {table} holds rows that stand nowhere", where=table)

    def _height_of(self, table: str, raw: tuple[Value, ...]) -> int | None:
        """The block that a row belongs to, as far as it can be told from a row that may be damaged."""
        match table, raw:
            case ("blocks", (int(height), *_)) | ("items", (_, int(height), *_)):
                return height
            case "slots", (_, int(epoch), int(lane), int(seq), *_):
                heights = [
                    block.height
                    for block in self._blocks
                    if block.epoch == epoch and lane < len(block.cut) and block.cut[lane].seq >= seq > 0
                ]
                return min(heights, default=None)
        return None

    def _check_vote(self, key: str, data: Value) -> None:
        """A journal entry that is a signed message must be signed by the member that it names."""
        try:
            message = decode(data if isinstance(data, bytes) else b"", _ANY_MESSAGE, limit=ROW_LIMIT)
        except MalformedError:
            return
        signed = message.slot if isinstance(message, SlotMessage) else message
        if not isinstance(signed, Slot | Ack | Prevote | Precommit | RoundChange | Propose):
            return
        committee = self._committees.get(signed.epoch)
        place = signed.lane if isinstance(signed, Slot) else signed.signer
        if committee is None:
            return
        text = signed.preimage(self._rows.room)
        if place >= committee.n or not self._verify(
            committee.members[place].vote_key, text, signed.signature
        ):
            self._add(f"the entry {key!r} of the journal is not signed by who it names", "journal")

    # Reading what may be unreadable

    def _every(self, table: str) -> Iterator[tuple[Value, ...]]:
        """All rows with their checksums, up to where the table cannot be read."""
        names = NAMES[table]
        with self._noting():
            yield from self._rows.raw(table, f"SELECT {names} FROM {table}")

    def _numbers(self, table: str, column: str) -> list[int]:
        """The numbers in a key column; if it cannot be read through, at least its highest."""
        try:
            found = self._rows.raw(table, f"SELECT {column} FROM {table}")
        except StoreError:
            found = []
            with self._noting():
                found = self._rows.raw(table, f"SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 1")
        return [number for (number,) in found if isinstance(number, int)]
