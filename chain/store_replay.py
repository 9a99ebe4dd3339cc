"""Derives every stored block again from the one before, so that what is read is what was agreed.

A newcomer's store holds its record in pieces: from genesis up (history) and from where it began.
"""

from collections.abc import Iterable

from chain.block import Body, Head, Slot
from chain.control import Genesis
from chain.crypto import Verifier
from chain.errors import InvalidBlockError, StoreError
from chain.ids import Hash, MemberId, SlotId
from chain.ledger import Tip, extend, genesis_tip, tip_after_final
from chain.merkle import Frontier
from chain.store_rows import BODY_HERE, BlockRow, Rows, SlotRow

Chains = dict[int, list[SlotRow]]
"""For each lane that moved, its slots after the old cut up to the new one."""


class Replay:
    """How far the record is derived; moves on when asked, reading only blocks it has not seen."""

    def __init__(self, rows: Rows, genesis: Genesis, *, verify: Verifier) -> None:
        self._rows = rows
        self._verify = verify
        self._starts = [genesis_tip(genesis)]
        self.tips = [self._starts[0]]
        """The end of each unbroken piece, ascending; one when nothing is missing."""
        self._bases = 0
        self._epochs = {0: self._starts[0]}

    @property
    def tip(self) -> Tip:
        return self.tips[-1]

    @property
    def history(self) -> Tip | None:
        """The end of the piece that begins at genesis, while another one lies above it."""
        return self.tips[0] if len(self.tips) > 1 else None

    @property
    def base(self) -> Tip | None:
        """The start of the piece that the history has to reach; None when nothing is missing."""
        return self._starts[1] if len(self._starts) > 1 else None

    def epoch_start(self, epoch: int) -> Tip | None:
        """The state an epoch starts from, if the pieces derived so far hold it."""
        return self._epochs.get(epoch)

    @property
    def block_count(self) -> int:
        """How many blocks the pieces hold."""
        return sum(tip.height - start.height for tip, start in zip(self.tips, self._starts, strict=True))

    @property
    def item_count(self) -> int:
        """How many items the pieces hold."""
        return sum(
            tip.frontier.size - start.frontier.size
            for tip, start in zip(self.tips, self._starts, strict=True)
        )

    def start_height(self, piece: int) -> int:
        """The height of the state that a piece starts from; out of reach for the one after the last."""
        return self._starts[piece].height if piece < len(self._starts) else 2**53

    def advance(self) -> None:
        """Take in everything stored since; StoreError names the first block that does not follow."""
        self._find_bases()
        piece = 0
        while piece < len(self.tips):
            self._extend(piece)
            if self.tips[piece].height >= self.start_height(piece + 1):
                self._join(piece)
            else:
                piece += 1

    def _find_bases(self) -> None:
        """A base is the start of an epoch that was taken over whole, its blocks not being here."""
        bases = base_epochs(self._rows)
        for epoch in bases[self._bases :]:
            base = base_tip(self._rows, epoch)
            self._starts.append(base)
            self.tips.append(base)
            self._epochs[epoch] = base
        self._bases = len(bases)

    def _extend(self, piece: int) -> None:
        while self.tips[piece].height < self.start_height(piece + 1):
            tip = self.tips[piece]
            try:
                row = self._rows.block(tip.height + 1)
                if row is None:
                    return
                after = derive(self._rows, tip, row, verify=self._verify)
            except StoreError as error:
                raise at_height(error, tip.height + 1) from error
            self.tips[piece] = after
            if after.epoch != tip.epoch:
                self._epochs[after.epoch] = after

    def _join(self, piece: int) -> None:
        """This piece has reached the next one's start: they become one."""
        assert self.tips[piece] == self._starts[piece + 1], "the final block vouches for all of this state"
        del self.tips[piece]
        del self._starts[piece + 1]


def at_height(error: StoreError, height: int) -> StoreError:
    """The same error, naming the block."""
    if error.height is not None:
        return error
    return StoreError(f"block {height}: {error}", where=error.where, height=height)


def base_epochs(rows: Rows) -> list[int]:
    """The epochs this store began from, in the order it did; none for a founder's."""
    packed = rows.meta("bases") or b""
    return [int.from_bytes(packed[at : at + 8], "big") for at in range(0, len(packed), 8)]


def base_tip(rows: Rows, epoch: int) -> Tip:
    row = rows.epoch(epoch)
    if row is None or row.frontier is None or row.spent is None:
        raise StoreError(f"the state that epoch {epoch} starts from is missing", where="epochs")
    frontier = Frontier(row.final.log_size, row.frontier)
    try:
        return tip_after_final(room=rows.room, block=row.final, frontier=frontier, spent=row.spent)
    except InvalidBlockError as error:
        raise StoreError(str(error), where="epochs", height=row.final.height) from error


def derive(rows: Rows, tip: Tip, row: BlockRow, *, verify: Verifier) -> Tip:
    """The state after a stored block, everything it stands on read, hashed and compared."""
    if row.block.epoch != tip.epoch or len(row.block.cut) != tip.committee.n:
        raise StoreError("it does not belong to the epoch that stands here", where="blocks")
    chains = chains_between(rows, old=tip.cut, new=row.block.cut)
    for lane, chain in chains.items():
        author = tip.committee.members[lane].identity
        for kept in chain:
            bodies_of(rows, kept.slot, author=author, where="its")
    try:
        derived = extend(
            tip, cut=row.block.cut, leader=row.block.leader, slots=as_slots(chains), verify=verify
        )
    except InvalidBlockError as error:
        raise StoreError(str(error), where="slots") from error
    if derived.block != row.block or derived.tip.block != row.id:
        raise StoreError("it does not follow from its slots and the block before", where="blocks")
    items = [(item.index, item.leaf) for item in rows.items(tip.frontier.size, row.block.log_size)]
    if items != list(derived.items):
        raise StoreError("its items are not those of its slots", where="items")
    if derived.tip.epoch != tip.epoch:
        start = rows.epoch(derived.tip.epoch)
        if start is None or start.final != row.block:
            raise StoreError("the epoch that it begins is not recorded", where="epochs")
    return derived.tip


def chains_between(rows: Rows, *, old: tuple[Head, ...], new: tuple[Head, ...]) -> Chains:
    """The slots that a block orders, walked back from the heads of its cut to those of the one before."""
    chains: Chains = {}
    for lane, (begin, end) in enumerate(zip(old, new, strict=True)):
        chain: list[SlotRow] = []
        head = end
        while head.seq > begin.seq:
            kept = rows.slot(head.id)
            if kept is None or (kept.slot.lane, kept.slot.seq) != (lane, head.seq):
                raise StoreError(f"slot {head.seq} of lane {lane} is missing", where="slots")
            chain.append(kept)
            head = Head(head.seq - 1, kept.slot.prev)
        if head != begin:
            raise StoreError(f"lane {lane} does not lead back to the block before", where="slots")
        if chain:
            chains[lane] = chain[::-1]
    return chains


def as_slots(chains: Chains) -> dict[int, list[tuple[SlotId, Slot]]]:
    return {lane: [(kept.id, kept.slot) for kept in chain] for lane, chain in chains.items()}


def bodies_of(rows: Rows, slot: Slot, *, author: MemberId, where: str = "a") -> list[Body | None]:
    """A slot's bodies, each checked against its commitment; None for one that is rightly not here."""
    found: list[Body | None] = []
    for commitment in slot.commitments:
        row = rows.body(commitment)
        if row is None or (row.state == BODY_HERE) != (row.body is not None):
            message = f"{where} body of slot {slot.seq} of lane {slot.lane} is missing"
            raise StoreError(message, where="bodies")
        if row.body is not None and row.body.commitment(room=rows.room, author=author) != commitment:
            message = f"{where} body of slot {slot.seq} of lane {slot.lane} does not match its commitment"
            raise StoreError(message, where="bodies")
        found.append(row.body)
    return found


def all_or_none(bodies: Iterable[Body | None]) -> tuple[Body, ...]:
    """A slot's bodies where every one is here, otherwise none: a slot travels with all or without."""
    whole: list[Body] = []
    for body in bodies:
        if body is None:
            return ()
        whole.append(body)
    return tuple(whole)


def bodies_without_check(rows: Rows, commitments: Iterable[Hash]) -> tuple[tuple[Body, ...], int]:
    """The same without hashing anew, for what was verified before; with the bytes they take."""
    found = [rows.body(commitment) for commitment in commitments]
    size = sum(row.size for row in found if row is not None)
    return all_or_none(row.body if row else None for row in found), size
