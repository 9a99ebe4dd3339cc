"""The record on disk: one SQLite file; every apply is one durable transaction, every read is verified.

Blocking, and used by one caller at a time (from whatever thread).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.block import Head
from chain.case import EXHIBIT, Exhibit, Fork, make_case
from chain.codec import decode, encode
from chain.committee import Committee
from chain.control import Control, Genesis
from chain.crypto import Verifier
from chain.errors import InvalidBlockError, StoreError
from chain.evidence import epoch_of
from chain.ids import BlockId, Hash, MemberId, RoomId, SlotId
from chain.ledger import first_cut
from chain.message import Committed, Final, Finals, Grounds, Message, SlotMessage
from chain.records import (
    Departure,
    KeepEvidence,
    KeepSlot,
    Record,
    Snapshot,
    grounds_key,
)
from chain.store_check import Problem, find_problems
from chain.store_file import Opened, create_file, open_file
from chain.store_replay import (
    Replay,
    all_or_none,
    bodies_of,
    bodies_without_check,
    chains_between,
)
from chain.store_rows import ROW_LIMIT, BlockRow, ItemRow, parse
from chain.store_verify import verify_rest
from chain.store_write import write

MAX_FINALS = 256
_ITEMS_AT_ONCE = 256
_AROUND = 16
"""Bytes around a row's content in a message, at most."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One ordered item as it can be shown."""

    index: int
    height: int
    author: MemberId
    nick: str
    """The one agreed as of this index."""
    slot: SlotId
    position: int
    content: Hash | Control
    """The commitment to a body, or a control item in clear."""
    data: bytes | None
    """The body's bytes, uuid first; None for control items and bodies that are not here."""
    claimed_time: int
    """Milliseconds since 1970 by the author's clock."""


class Store:
    """A room's record as one member keeps it. Make one with `create` or `open`."""

    def __init__(self, opened: Opened, *, verify: Verifier) -> None:
        self._file = opened
        self._db, self._rows = opened.db, opened.rows
        self._verify = verify
        self._number = opened.number
        self.genesis: Genesis = opened.genesis
        self.room: RoomId = opened.rows.room
        self.me: MemberId = opened.me
        self.rolled_back: bool = opened.lost > 0
        """Transactions that were committed once are gone: the journal may lack what was signed."""
        self.mark_fault: str = opened.mark_fault
        """What was wrong with the mark, which would tell of such a loss; it was made anew."""
        self._replay = Replay(self._rows, self.genesis, verify=verify)
        self._committees: dict[int, Committee] = {0: self._replay.tip.committee}

    @classmethod
    def create(cls, path: str | Path, *, genesis: Genesis, me: MemberId, verify: Verifier) -> "Store":
        """A new file (0600), durable with its directory entry; StoreError if there is one already."""
        return cls(create_file(path, genesis=genesis, me=me), verify=verify)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        room: RoomId | None = None,
        me: MemberId | None = None,
        verify: Verifier,
        read_only: bool = False,
    ) -> "Store":
        """Open and verify every hash; signatures are `check`'s.

        StoreError names the table and the block of what does not hold, ForeignStoreError says that the
        store is another room's or another member's. With `read_only` a node may be writing meanwhile.
        """
        opened = open_file(path, room=room, me=me, verify=verify, read_only=read_only)
        store = cls(opened, verify=verify)
        try:
            with opened.one_view():
                store.snapshot()
                verify_rest(store._rows, store.genesis, store._replay)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        self._file.close()

    # Writing

    def apply(self, records: Sequence[Record]) -> None:
        """Keep all of these in one durable transaction, or none; StoreError if that fails."""
        if not records:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                write(self._rows, records)
                self._rows.put_counter("number", self._number + 1)
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"The record could not be written: {error}. Is the disk full?") from error
        self._number += 1
        try:
            self._file.note(self._number)
        except OSError as error:  # the transaction stands, but nothing outside vouches for it
            what = error.strerror or error
            raise StoreError(f"The mark beside the record could not be written: {what}.") from error

    def forget_loss(self) -> None:
        """The key that signed what is lost signs no more, so the loss concerns nobody; StoreError."""
        try:
            self._file.forget_lost()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"The record could not be written: {error}. Is the disk full?") from error
        self.rolled_back = False

    # Reading

    def snapshot(self) -> Snapshot:
        """What a replica restarts from, everything derived anew from what is stored."""
        self._replay.advance()
        tip = self._replay.tip
        slots = []
        for row in self._rows.slots_of(tip.epoch):
            lane = row.slot.lane
            if lane >= tip.committee.n:
                raise StoreError(f"slot {row.slot.seq} of lane {lane} has no owner", where="slots")
            if row.slot.seq > tip.cut[lane].seq:
                author = tip.committee.members[lane].identity
                bodies = all_or_none(bodies_of(self._rows, row.slot, author=author))
                slots.append(KeepSlot(row.id, row.slot, bodies))
        last = None
        if (block := self._rows.block(tip.height)) is not None:
            last = self._committed(block)
        elif (start := self._rows.epoch(tip.epoch)) is not None:
            last = Committed(start.final, start.certificate)
        return Snapshot(
            tip=tip,
            history=self._replay.history,
            base=self._replay.base,
            slots=tuple(slots),
            journal=tuple(self._rows.journal()),
            queue=tuple(self._rows.queue()),
            evidence=tuple(self._rows.evidence()),
            committees=tuple(self._committee(epoch) for epoch in range(tip.epoch + 1)),
            last=last,
            departed=self._departed(tip.epoch),
        )

    def _departed(self, epoch: int) -> tuple[Departure, ...]:
        """Who was a member of an epoch before this one and is none now, by identity."""
        departed: dict[MemberId, Departure] = {}
        before = self._committee(0)
        for row in self._rows.epochs():
            if row.epoch > epoch:
                break
            after = self._committee(row.epoch)
            for member in before.members:
                if after.place(member.identity) is None:
                    gone = member.identity
                    final = row.final.id(self.room)
                    departed[gone] = Departure(gone, final, row.final.height, row.epoch)
            for member in after.members:
                departed.pop(member.identity, None)
            before = after
        return tuple(departed[gone] for gone in sorted(departed))

    def blocks_from(self, height: int, *, limit: int, last: int | None = None) -> list[Message]:
        """Committed blocks in a row from `height` on (none above `last`), each followed by its slots.

        About `limit` bytes of whole blocks; the first one whatever its size. Empty if it is not here.
        """
        messages: list[Message] = []
        size = 0
        before = self._rows.block(height - 1)
        while (last is None or height <= last) and (row := self._rows.block(height)) is not None:
            block = row.block
            old: tuple[Head, ...] = first_cut(len(block.cut), block.prev)
            if before is not None and before.block.epoch == block.epoch:
                old = before.block.cut
            committed = self._committed(row)
            batch: list[Message] = [committed]
            more = row.size + len(encode(committed.grounds)) + _AROUND
            for chain in chains_between(self._rows, old=old, new=block.cut).values():
                for kept in chain:
                    bodies, bytes_of_bodies = bodies_without_check(self._rows, kept.slot.commitments)
                    batch.append(SlotMessage(kept.slot, bodies))
                    more += kept.size + bytes_of_bodies + _AROUND
            if messages and size + more > limit:
                break
            messages += batch
            size += more
            height, before = height + 1, row
        return messages

    def _committed(self, row: BlockRow) -> Committed:
        """A block as it is served: one that took several rounds with what its proposals were justified by."""
        grounds: tuple[Grounds, ...] = ()
        if row.certificate.round > 0:
            for _, kept in self._rows.read("journal", "WHERE key = ?", grounds_key(row.block.height)):
                grounds = parse("journal", kept, tuple[Grounds, ...])
        return Committed(row.block, row.certificate, grounds)

    def height_of(self, block: BlockId) -> int | None:
        """Where this certified block stands, the room itself at 0; None if it is not here.

        For whoever reads that another room continues this one after `block`.
        """
        if block == BlockId(self.room):
            return 0
        return self._rows.number("blocks", "max(height)", "WHERE id = ?", block)

    def finals_from(self, epoch: int, *, limit: int) -> Finals:
        """The epoch-final blocks from the one that ends `epoch` on, and the state after the last of them.

        About `limit` bytes, at least one. Frontier and spent are empty where this store does not know them.
        """
        self._replay.advance()
        finals: list[Final] = []
        size, last, more = 0, epoch, False
        for row in self._rows.epochs(after=epoch):
            final = Final(row.final, row.certificate)
            size += len(encode(final))
            if finals and (size > limit or len(finals) == MAX_FINALS):
                more = True
                break
            finals.append(final)
            last = row.epoch
        start = self._replay.epoch_start(last)
        return Finals(
            epoch=epoch,
            genesis=encode(self.genesis) if epoch == 0 else b"",
            finals=tuple(finals),
            frontier=start.frontier.peaks if start else (),
            spent=start.spent if start else (),
            more=more,
        )

    def items(self, start: int = 0, *, stop: int | None = None) -> Iterator[StoredItem]:
        """The items from index `start` to below `stop`, as far as they follow one another here."""
        index = start
        while stop is None or index < stop:
            until = index + _ITEMS_AT_ONCE if stop is None else min(stop, index + _ITEMS_AT_ONCE)
            rows = self._rows.items(index, until)
            for row in rows:
                if row.index != index:
                    return
                yield self._shown(row)
                index += 1
            if index < until:
                return

    def complete_through(self) -> int:
        """How many items can be read in a row from index 0."""
        self._replay.advance()
        return self._replay.tips[0].frontier.size

    def log_size(self) -> int:
        """How many items the room has ordered up to the tip, whether or not they are here."""
        self._replay.advance()
        return self._replay.tip.frontier.size

    def evidence(self) -> list[KeepEvidence]:
        return list(self._rows.evidence())

    def case(self, found: KeepEvidence) -> bytes | None:
        """Evidence as a file that a stranger can check; None where it takes the slots to see it."""
        exhibit: Exhibit = decode(found.evidence, EXHIBIT, limit=ROW_LIMIT)
        epoch = exhibit.one.block.epoch if isinstance(exhibit, Fork) else epoch_of(exhibit)
        rows = [row for number in range(1, epoch + 1) if (row := self._rows.epoch(number)) is not None]
        if len(rows) < epoch:
            return None
        finals = tuple(Final(row.final, row.certificate) for row in rows)
        try:
            return make_case(
                genesis=encode(self.genesis), finals=finals, exhibit=exhibit, verify=self._verify
            )
        except InvalidBlockError:
            return None

    def check(self) -> list[Problem]:
        """Everything that is wrong with this store, signatures included; never raises on damage."""
        with self._file.one_view():
            return find_problems(self._file, verify=self._verify)

    def _shown(self, item: ItemRow) -> StoredItem:
        leaf = item.leaf
        kept = self._rows.slot(leaf.slot)
        if kept is None:
            message = f"block {item.height}: the slot of item {item.index} is missing"
            raise StoreError(message, where="slots", height=item.height)
        place = self._committee(kept.slot.epoch).place(leaf.author)
        data = None
        if isinstance(leaf.content, bytes):
            body = self._rows.body(leaf.content)
            data = body.body.data if body is not None and body.body is not None else None
        return StoredItem(
            index=item.index,
            height=item.height,
            author=leaf.author,
            nick="" if place is None else self._committee(kept.slot.epoch).members[place].nick,
            slot=leaf.slot,
            position=leaf.position,
            content=leaf.content,
            data=data,
            claimed_time=kept.slot.claimed_time,
        )

    def _committee(self, epoch: int) -> Committee:
        if epoch not in self._committees:
            row = self._rows.epoch(epoch)
            if row is None or row.final.next_committee is None:
                raise StoreError(f"the start of epoch {epoch} is missing", where="epochs")
            self._committees[epoch] = row.final.next_committee
        return self._committees[epoch]
