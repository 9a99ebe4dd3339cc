"""What holds of a damaged store is carried over whole; what does not is left, and nothing is made up."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from chain.block import Certificate
from chain.codec import encode
from chain.crypto import ed25519_verify
from chain.errors import StoreError
from chain.ids import MemberId, VoteKey
from chain.records import Enqueue, Journal, KeepBlock, KeepEpoch, KeepEvidence, KeepSlot
from chain.store import Store
from chain.store_check import check_store
from chain.store_salvage import Salvaged, read_genesis, salvage
from tests.chain.drawing import Room, body, grown_room
from tests.chain.test_store import batches_of, merged, newcomer, walk_of


def a_room() -> Room:
    room = grown_room(nicks=["bob", "cal"], blocks=3)
    room.say("ann", "above the cut")
    room.say("bob", "another's above the cut")
    return room


ROOM = a_room()
BLOCKS = [record for record in ROOM.history if isinstance(record, KeepBlock)]
STARTS = [record for record in ROOM.history if isinstance(record, KeepEpoch)]
TEXTS = ["above the cut", "first in the queue", "second in the queue"]


def old_store(path: Path) -> Path:
    store = Store.create(path, genesis=ROOM.genesis, me=ROOM.me, verify=ed25519_verify)
    for batch in merged(ROOM.history):
        store.apply(batch)
    store.apply([Enqueue(body(text)) for text in TEXTS[1:]])
    store.apply([Journal("vote:1", b"a vote"), Journal("stopped:fork:00", b"9")])
    store.apply([KeepEvidence(ROOM.me, VoteKey(b"k" * 32), "slot", b"evidence")])
    store.close()
    return path


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_store(tmp_path_factory.mktemp("pristine") / "store")


def carried_over(damaged: Path, to: Path, *, me: MemberId = ROOM.me) -> tuple[Salvaged, Store]:
    store = Store.create(to, genesis=ROOM.genesis, me=me, verify=ed25519_verify)
    kept = salvage(damaged, store, verify=ed25519_verify)
    assert store.check() == []
    return kept, store


def texts(store: Store) -> list[str]:
    return [queued.data[16:].decode() for queued in store.snapshot().queue]


def test_of_a_sound_store_everything_but_the_journal_is_carried_over(pristine: Path, tmp_path: Path) -> None:
    kept, store = carried_over(pristine, tmp_path / "new")
    assert kept == Salvaged(blocks=len(BLOCKS), unsent=3)
    assert store.snapshot().tip == ROOM.tip
    assert store.snapshot().journal == (("stopped:fork:00", b"9"),)
    assert store.evidence() == [KeepEvidence(ROOM.me, VoteKey(b"k" * 32), "slot", b"evidence")]
    old = Store.open(pristine, verify=ed25519_verify, read_only=True)
    assert list(store.items()) == list(old.items())
    assert store.finals_from(0, limit=10**9) == old.finals_from(0, limit=10**9)
    old.close()
    assert texts(store) == TEXTS


def edited(pristine: Path, to: Path, *statements: str) -> Path:
    path = Path(shutil.copy(pristine, to / "old"))
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    return path


def test_with_an_early_block_lost_it_goes_on_from_the_last_epoch_as_a_newcomer_does(
    pristine: Path, tmp_path: Path
) -> None:
    damaged = edited(pristine, tmp_path, "DELETE FROM blocks WHERE height = 2")
    _, store = carried_over(damaged, tmp_path / "new")
    snapshot = store.snapshot()
    assert snapshot.tip == ROOM.tip
    assert snapshot.history is not None
    assert snapshot.base is not None
    assert (snapshot.history.height, snapshot.base.height) == (1, STARTS[-1].final.height)
    assert texts(store) == TEXTS


def test_with_a_block_of_the_last_epoch_lost_the_record_ends_before_it(
    pristine: Path, tmp_path: Path
) -> None:
    top = BLOCKS[-1].block.height
    damaged = edited(pristine, tmp_path, f"UPDATE blocks SET id = x'00' WHERE height = {top}")
    kept, store = carried_over(damaged, tmp_path / "new")
    assert kept.blocks == len(BLOCKS) - 1
    assert store.snapshot().tip.height == top - 1
    assert texts(store) == TEXTS, "what that block orders is known to be ordered"


def test_with_the_starts_of_the_epochs_lost_the_record_ends_with_the_first(
    pristine: Path, tmp_path: Path
) -> None:
    damaged = edited(pristine, tmp_path, "DELETE FROM epochs")
    _, store = carried_over(damaged, tmp_path / "new")
    assert store.snapshot().tip.height == STARTS[0].final.height - 1
    assert texts(store) == TEXTS


def test_a_start_with_a_forged_certificate_is_not_begun_from(pristine: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(pristine, tmp_path / "old"))
    store = Store.open(path, verify=ed25519_verify)
    row = store._rows.epoch(len(STARTS))
    assert row is not None
    store._rows.put(
        "epochs",
        row.epoch,
        encode(row.final),
        encode(Certificate(0, ())),
        encode(row.frontier),
        encode(row.spent),
    )
    store._rows.execute("DELETE FROM blocks")
    store.close()
    _, new = carried_over(path, tmp_path / "new")
    assert new.snapshot().tip.height == STARTS[-2].final.height


def test_a_damaged_index_hides_no_message(pristine: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(pristine, tmp_path / "old"))
    db = sqlite3.connect(path)
    ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'slots_by_place'")
    ((size,),) = db.execute("PRAGMA page_size")
    db.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : page * size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(StoreError):
        Store.open(path, verify=ed25519_verify).close()
    kept, store = carried_over(path, tmp_path / "new")
    assert kept == Salvaged(blocks=len(BLOCKS), unsent=3)
    assert texts(store) == TEXTS


def test_a_newcomers_store_keeps_both_its_pieces(tmp_path: Path) -> None:
    room = grown_room(nicks=["bob"], blocks=2)
    base = starts_of(room)[-1].final.height
    me = newcomer(room, epoch=1).me
    old = Store.create(tmp_path / "old", genesis=room.genesis, me=me, verify=ed25519_verify)
    old.apply(walk_of(room, 1))
    for batch in [*batches_of(room, above=0, through=2), *batches_of(room, above=base, through=base + 2)]:
        old.apply(batch)
    before = old.snapshot()
    old.close()
    new = Store.create(tmp_path / "new", genesis=room.genesis, me=me, verify=ed25519_verify)
    salvage(tmp_path / "old", new, verify=ed25519_verify)
    assert new.snapshot() == before
    assert new.check() == []


def starts_of(room: Room) -> list[KeepEpoch]:
    return [record for record in room.history if isinstance(record, KeepEpoch)]


@pytest.mark.parametrize("content", [None, b"", b"SQLite format 3\0" + bytes(5000), b"nothing" * 999])
def test_what_is_no_database_gives_nothing_and_breaks_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "old").write_bytes(content)
    kept, store = carried_over(tmp_path / "old", tmp_path / "new")
    assert kept == Salvaged(0, 0)
    assert store.snapshot().tip.height == 0
    assert read_genesis(tmp_path / "old") == b""


@pytest.mark.parametrize("seed", range(4))
def test_however_many_bits_flip_what_is_carried_over_is_part_of_the_record(
    pristine: Path, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    whole = pristine.read_bytes()
    true = {(kept.block.height, kept.id) for kept in BLOCKS}
    slots = [kept for kept in ROOM.history if isinstance(kept, KeepSlot)]
    said = {said.data[16:].decode() for kept in slots for said in kept.bodies}
    reached = set()
    for number in range(12):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 3, 20])):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        damaged = tmp_path / f"old{number}"
        damaged.write_bytes(data)
        _, store = carried_over(damaged, tmp_path / f"new{number}")
        assert set(store._db.execute("SELECT height, id FROM blocks")) <= true
        assert set(texts(store)) <= said | set(TEXTS)
        reached.add(store.snapshot().tip.height)
        store.close()
    assert max(reached) > 0


def test_the_damaged_store_is_only_read(pristine: Path, tmp_path: Path) -> None:
    before = pristine.read_bytes()
    carried_over(pristine, tmp_path / "new")
    assert pristine.read_bytes() == before
    assert check_store(pristine, verify=ed25519_verify) == []
    assert read_genesis(pristine) == encode(ROOM.genesis)
