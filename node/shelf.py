"""The store as trio sees it: one call at a time, each in a worker thread, never given up half-way."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from chain.errors import StoreError
from chain.ids import MemberId
from chain.message import Final, pack
from node.disk import in_words
from node.events import FinalEvent
from node.record import View

if TYPE_CHECKING:
    from chain.records import Record
    from chain.store import Store, StoredItem

T = TypeVar("T")

READ_BATCH = 256  # items
SERVE_BYTES = 256 * 1024


class Shelf:
    """Owns an open store; NodeError when that fails. Who is cancelled waits until the disk has answered."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._lock = trio.Lock()  # fair: who serves history cannot starve who keeps a vote

    async def _do(self, work: Callable[[], T]) -> T:
        async with self._lock:
            try:
                return await trio.to_thread.run_sync(work)
            except StoreError as error:
                raise in_words(error) from error

    async def keep(self, records: "tuple[Record, ...]") -> None:
        """One durable transaction."""
        await self._do(lambda: self._store.apply(records))

    async def blocks(self, height: int, *, last: int | None = None) -> list[bytes]:
        """Envelopes with the committed blocks from this height on, about SERVE_BYTES of them."""
        return await self._do(lambda: pack(self._store.blocks_from(height, limit=SERVE_BYTES, last=last)))

    async def finals(self, epoch: int) -> list[bytes]:
        """Envelopes with the epoch-final blocks from this epoch on."""
        return await self._do(lambda: pack([self._store.finals_from(epoch, limit=SERVE_BYTES)]))

    async def items(self, start: int) -> "list[StoredItem]":
        """The next READ_BATCH items from this index on, without a hole."""
        return await self._do(lambda: list(self._store.items(start, stop=start + READ_BATCH)))

    async def read(self, view: View, start: int) -> tuple[int, list[FinalEvent]]:
        """What a batch of items says to people, and the index after it (`start` when there is none yet)."""
        items = await self.items(start)
        return (items[-1].index + 1 if items else start), list(view.show(items))

    async def latest_final(self, epoch: int) -> Final | None:
        """The block that began this epoch; None for epoch 0."""
        if epoch == 0:
            return None
        finals = await self._do(lambda: self._store.finals_from(epoch - 1, limit=1))
        return finals.finals[0] if finals.finals else None

    async def admission_heights(self) -> dict[MemberId, int]:
        """The height of the block that last admitted each member, past ones too; 0 for the founder."""

        def walk() -> dict[MemberId, int]:
            before = {self._store.genesis.founder}
            heights, epoch, more = dict.fromkeys(before, 0), 0, True
            while more:
                finals = self._store.finals_from(epoch, limit=SERVE_BYTES)
                for final in finals.finals:
                    after = final.block.next_committee
                    members = {member.identity for member in after.members} if after else before
                    heights |= dict.fromkeys(members - before, final.block.height)
                    before = members
                epoch, more = epoch + len(finals.finals), finals.more
            return heights

        return await self._do(walk)

    async def complete_through(self) -> int:
        """How many items can be read in a row from index 0."""
        return await self._do(self._store.complete_through)

    async def evidence(self, member: MemberId, kind: str) -> bytes | None:
        """The latest evidence of a kind against a member, as a file that a stranger can check."""

        def find() -> bytes | None:
            for kept in reversed(self._store.evidence()):
                if kept.member == member and kept.kind == kind:
                    return self._store.case(kept)
            return None

        return await self._do(find)

    async def aclose(self) -> None:
        await self._do(self._store.close)
