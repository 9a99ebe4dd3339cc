"""No flipped byte changes what is read: a damaged block is named by height, everything else by its table."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from chain.block import Certificate
from chain.codec import encode
from chain.crypto import ed25519_verify
from chain.errors import StoreError
from chain.ids import Signature, VoteKey
from chain.message import UNSIGNED, Prevote, signed
from chain.records import Enqueue, Journal, KeepBlock, KeepEpoch, KeepEvidence, KeepSlot
from chain.store import Store
from chain.store_check import Problem, check_store
from tests.chain.drawing import Room, body, grown_room, seed
from tests.chain.test_store import batches_of, merged, newcomer, walk_of


def a_room() -> Room:
    room = grown_room(nicks=["bob"], blocks=2)
    room.say("ann", "above the cut")
    return room


ROOM = a_room()


def a_vote(room: Room, *, lane: int = 0) -> Prevote:
    vote = Prevote(
        room.tip.epoch, room.tip.height + 1, 0, lane, room.tip.block, seed("justification"), UNSIGNED
    )
    return signed(vote, room=room.id, key=room.person_at(lane).vote)


def fill(store: Store) -> None:
    for batch in merged(ROOM.history):
        store.apply(batch)
    store.apply([Enqueue(body("queued text")), Journal("vote", encode(a_vote(ROOM)))])
    store.apply([KeepEvidence(ROOM.me, VoteKey(b"k" * 32), "slot", b"evidence" * 9)])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pristine") / "store"
    store = Store.create(path, genesis=ROOM.genesis, me=ROOM.me, verify=ed25519_verify)
    fill(store)
    store.close()
    return path


def everything(store: Store) -> tuple[object, ...]:
    return (
        store.snapshot(),
        store.blocks_from(1, limit=10**9),
        store.finals_from(0, limit=10**9),
        list(store.items()),
        store.evidence(),
    )


def flipped(pristine: Path, to: Path, position: int, bit: int = 0) -> Path:
    data = bytearray(pristine.read_bytes())
    data[position] ^= 1 << bit
    path = to / "store"
    for old in to.iterdir():
        old.unlink()
    path.write_bytes(data)
    shutil.copy(pristine.with_name("store.mark"), to / "store.mark")
    return path


def flip_in(pristine: Path, to: Path, needle: bytes) -> list[Problem]:
    """What is found when the middle byte of the only occurrence of `needle` flips; opening must fail too."""
    data = pristine.read_bytes()
    assert data.count(needle) == 1, "the needle must stand in one row only"
    path = flipped(pristine, to, data.index(needle) + len(needle) // 2)
    with pytest.raises(StoreError) as caught:
        Store.open(path, verify=ed25519_verify)
    problems = check_store(path, verify=ed25519_verify)
    assert (caught.value.where, caught.value.height) in [(found.where, found.height) for found in problems]
    return problems


def test_an_undamaged_store_has_no_problems(pristine: Path) -> None:
    assert check_store(pristine, room=ROOM.id, me=ROOM.me, verify=ed25519_verify) == []


BLOCKS = [record for record in ROOM.history if isinstance(record, KeepBlock)]
SLOTS = [record for record in ROOM.history if isinstance(record, KeepSlot)]


@pytest.mark.parametrize("kept", BLOCKS, ids=lambda kept: f"block-{kept.block.height}")
def test_a_flipped_byte_of_a_block_or_its_certificate_names_the_block(
    pristine: Path, tmp_path: Path, kept: KeepBlock
) -> None:
    height = kept.block.height
    # The row holds id, block, certificate in a row; a final block stands among the epochs once more.
    row = kept.id + encode(kept.block)
    assert flip_in(pristine, tmp_path, row) == [
        Problem(f"block {height}: a row of the table blocks does not match its checksum", "blocks", height)
    ]
    row += encode(kept.certificate)
    middle = pristine.read_bytes().index(row) + len(row) - 10
    problems = check_store(flipped(pristine, tmp_path, middle), verify=ed25519_verify)
    assert [found.height for found in problems] == [height]


@pytest.mark.parametrize("item", range(7))
def test_a_flipped_byte_of_an_item_names_its_block(pristine: Path, tmp_path: Path, item: int) -> None:
    height, leaf = [(kept.block.height, leaf) for kept in BLOCKS for _, leaf in kept.items][item]
    problems = flip_in(pristine, tmp_path, encode(leaf))
    assert {(found.where, found.height) for found in problems} == {("items", height)}


@pytest.mark.parametrize("number", range(len(SLOTS)))
def test_a_flipped_byte_of_a_slot_or_a_body_names_its_block(
    pristine: Path, tmp_path: Path, number: int
) -> None:
    kept = SLOTS[number]
    height = next(
        (
            block.block.height
            for block in BLOCKS
            if block.block.epoch == kept.slot.epoch and block.block.cut[kept.slot.lane].seq >= kept.slot.seq
        ),
        None,
    )
    problems = flip_in(pristine, tmp_path, encode(kept.slot))
    assert {(found.where, found.height) for found in problems} == {("slots", height)}
    for said in kept.bodies:
        problems = flip_in(pristine, tmp_path, said.data)
        assert {(found.where, found.height) for found in problems} == {("bodies", height)}


@pytest.mark.parametrize(
    ("needle", "where"),
    [
        (b"queued text", "queue"),
        (encode(a_vote(ROOM)), "journal"),
        (b"evidence" * 9, "evidence"),
        (encode(ROOM.genesis), "meta"),
    ],
)
def test_a_flipped_byte_outside_the_blocks_names_the_table(
    pristine: Path, tmp_path: Path, needle: bytes, where: str
) -> None:
    assert [(found.where, found.height) for found in flip_in(pristine, tmp_path, needle)] == [(where, None)]


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_whatever_byte_flips_it_is_found_or_changes_nothing(
    pristine: Path, tmp_path: Path, start: int
) -> None:
    before = Store.open(pristine, verify=ed25519_verify, read_only=True)
    expected = everything(before)
    before.close()
    dice = random.Random(start)
    size = pristine.stat().st_size
    found = 0
    for _ in range(start, start + 50):
        position, bit = dice.randrange(size), dice.randrange(8)
        path = flipped(pristine, tmp_path, position, bit)
        try:
            problems = check_store(path, verify=ed25519_verify)
        except StoreError as error:
            pytest.fail(f"byte {position} bit {bit}: {error}")
        opens = True
        try:
            store = Store.open(path, verify=ed25519_verify)
        except StoreError:
            opens = False
        else:
            assert everything(store) == expected, f"byte {position} bit {bit}"
            store.close()
        assert problems or opens, f"byte {position} bit {bit}: refused, but without a reason"
        found += bool(problems)
    assert found


@pytest.mark.parametrize(
    ("text", "at", "sentence"),
    [
        # INTEGES PRIMARY KEY is no row number any more, and every height reads as nothing.
        (b"blocks (height INTEGER", -1, "the description of the tables is damaged"),
        # SQLite quotes what it cannot parse, and the quotation is not UTF-8.
        (b"CREATE TABLE items", 11, "cannot be read as a store"),
        (b"SQLite format 3", 3, "file is not a database"),
    ],
)
def test_a_damaged_description_of_the_tables_is_a_problem_of_the_file(
    pristine: Path, tmp_path: Path, text: bytes, at: int, sentence: str
) -> None:
    position = pristine.read_bytes().index(text) + (at if at >= 0 else len(text) + at)
    path = flipped(pristine, tmp_path, position, bit=7 if at == 11 else 0)
    with pytest.raises(StoreError, match=sentence):
        Store.open(path, verify=ed25519_verify)
    (problem,) = check_store(path, verify=ed25519_verify)
    assert sentence in problem.sentence
    assert problem.where == "database"


def edit(path: Path, statement: str, *parameters: object) -> None:
    db = sqlite3.connect(path)
    db.execute(statement, parameters)
    db.commit()
    db.close()


def copy_of(pristine: Path, to: Path) -> Path:
    return Path(shutil.copy(pristine, to / "store"))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM blocks WHERE height = 3", Problem("block 3: it is missing", "blocks", 3)),
        ("DELETE FROM items WHERE idx = 1", Problem("block 2: item 1 is missing", "items", 2)),
        ("DELETE FROM epochs WHERE epoch = 1", None),
        ("DELETE FROM bodies", None),
        ("DELETE FROM slots WHERE lane = 1", None),
        ("DROP TABLE items", None),
        ("DELETE FROM meta WHERE key = 'format'", None),
    ],
)
def test_what_is_missing_is_missed(
    pristine: Path, tmp_path: Path, statement: str, problem: Problem | None
) -> None:
    path = copy_of(pristine, tmp_path)
    edit(path, statement)
    with pytest.raises(StoreError) as caught:
        Store.open(path, verify=ed25519_verify)
    problems = check_store(path, verify=ed25519_verify)
    assert problems
    if problem is not None:
        assert problem in problems
        assert caught.value.height == problem.height


def forge(path: Path, change: Callable[[Store], None]) -> list[Problem]:
    """Somebody who knows the checksums writes to the store; only signatures and hashes can tell."""
    store = Store.open(path, verify=ed25519_verify)
    store._db.execute("BEGIN")
    change(store)
    store._db.execute("COMMIT")
    store.close()
    return check_store(path, verify=ed25519_verify)


def test_a_certificate_by_too_few_or_by_others_is_found_by_its_signatures(
    pristine: Path, tmp_path: Path
) -> None:
    last = BLOCKS[-1]
    first, second = last.certificate.signatures
    for signatures in ([first], [first, first], [first, (1, Signature(bytes(64)))], [(0, second[1]), second]):
        forged = Certificate(last.certificate.round, tuple(signatures))
        columns = (last.block.height, last.id, encode(last.block), encode(forged))
        path = copy_of(pristine, tmp_path)
        height = last.block.height
        assert forge(path, lambda store, columns=columns: store._rows.put("blocks", *columns)) == [
            Problem(f"block {height}: its certificate lacks a quorum's signatures", "blocks", height)
        ]


def test_a_slots_signature_is_checked_though_its_id_does_not_cover_it(pristine: Path, tmp_path: Path) -> None:
    for kept in (SLOTS[0], SLOTS[-1]):
        forged = msgspec.structs.replace(kept.slot, signature=UNSIGNED)
        columns = (kept.id, forged.epoch, forged.lane, forged.seq, encode(forged))
        path = copy_of(pristine, tmp_path)
        (problem,) = forge(path, lambda store, columns=columns: store._rows.put("slots", *columns))
        assert problem.height == (1 if kept is SLOTS[0] else None)
        assert "is not signed by its owner" in problem.sentence


def test_a_vote_in_the_journal_that_its_signer_did_not_sign_is_found(pristine: Path, tmp_path: Path) -> None:
    path = copy_of(pristine, tmp_path)
    forged = encode(msgspec.structs.replace(a_vote(ROOM), round=5))
    assert forge(path, lambda store: store._rows.put("journal", "vote", forged)) == [
        Problem("the entry 'vote' of the journal is not signed by who it names", "journal")
    ]


def reopened(path: Path) -> None:
    Store.open(path, verify=ed25519_verify).close()


def test_a_slot_rewritten_with_its_checksum_does_not_hash_to_its_id(pristine: Path, tmp_path: Path) -> None:
    kept = SLOTS[0]
    later = msgspec.structs.replace(kept.slot, claimed_time=kept.slot.claimed_time + 1)
    columns = (kept.id, later.epoch, later.lane, later.seq, encode(later))
    path = copy_of(pristine, tmp_path)
    (problem,) = forge(path, lambda store: store._rows.put("slots", *columns))
    assert (problem.where, problem.height) == ("slots", 1)
    with pytest.raises(StoreError, match="block 1: slot 1 of lane 0 does not hash to its id"):
        reopened(path)


def test_a_block_rewritten_with_its_id_does_not_follow_from_its_slots(pristine: Path, tmp_path: Path) -> None:
    last = BLOCKS[-1]
    other = msgspec.structs.replace(last.block, log_root=BLOCKS[0].block.log_root)
    columns = (other.height, other.id(ROOM.id), encode(other), encode(last.certificate))
    path = copy_of(pristine, tmp_path)
    assert forge(path, lambda store: store._rows.put("blocks", *columns))
    with pytest.raises(StoreError, match="does not follow from its slots and the block before"):
        reopened(path)


def test_the_start_of_an_epoch_needs_its_quorum_too(pristine: Path, tmp_path: Path) -> None:
    start = next(record for record in ROOM.history if isinstance(record, KeepEpoch))
    columns = (1, encode(start.final), encode(Certificate(0, ())), None, None)
    path = copy_of(pristine, tmp_path)
    (problem,) = forge(path, lambda store: store._rows.put("epochs", *columns))
    assert (problem.where, problem.height) == ("epochs", start.final.height)


def test_rows_that_stand_nowhere_are_noticed(pristine: Path, tmp_path: Path) -> None:
    last = BLOCKS[-1]
    block = (-5, last.id, encode(last.block), encode(last.certificate))
    for table, columns in [
        ("items", (999, 1, encode(last.items[0][1]))),
        ("blocks", block),
        ("epochs", (-1, *block[2:], None, None)),
    ]:
        path = copy_of(pristine, tmp_path)
        (problem,) = forge(path, lambda store, table=table, columns=columns: store._rows.put(table, *columns))
        assert problem == Problem(f"the table {table} holds rows that stand nowhere", table)
        with pytest.raises(StoreError, match="stand nowhere"):
            reopened(path)


def test_a_height_that_is_any_number_is_a_gap_like_others(pristine: Path, tmp_path: Path) -> None:
    path = copy_of(pristine, tmp_path)
    last, wrong = BLOCKS[-1].block.height, 2**50
    row = (wrong, BLOCKS[-1].id, encode(BLOCKS[-1].block), encode(BLOCKS[-1].certificate))
    problems = forge(path, lambda store: store._rows.put("blocks", *row))
    named = [problem.height for problem in problems if "it is missing" in problem.sentence]
    assert named == list(range(last + 1, last + 102))
    assert Problem(f"block {wrong}: it does not hash to its id", "blocks", wrong) in problems


def test_a_body_that_is_gone_for_no_reason_is_missing(pristine: Path, tmp_path: Path) -> None:
    kept = next(kept for kept in ROOM.history if isinstance(kept, KeepSlot) and kept.bodies)
    path = copy_of(pristine, tmp_path)
    problems = forge(
        path, lambda store: store._rows.put("bodies", kept.slot.commitments[0], "no number", None)
    )
    assert {problem.where for problem in problems} == {"bodies"}


def test_a_damaged_index_is_noticed_though_every_row_is_whole(pristine: Path, tmp_path: Path) -> None:
    db = sqlite3.connect(pristine)
    ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'slots_by_place'")
    ((size,),) = db.execute("PRAGMA page_size")
    db.close()
    # Cells fill a page from its end: there stands an entry that no row of the table looks at.
    path = flipped(pristine, tmp_path, page * size - 2, bit=1)
    with pytest.raises(StoreError, match="SQLite finds the file damaged"):
        reopened(path)
    assert {problem.where for problem in check_store(path, verify=ed25519_verify)} == {"database"}


def test_a_lane_that_does_not_lead_back_to_the_block_before_is_no_block() -> None:
    room = Room()
    room.say("ann", "one")
    room.block()
    torn = msgspec.structs.replace(room.say("ann", "two").slot, prev=seed("elsewhere"))
    torn = signed(torn, room=room.id, key=room.people["ann"].vote)
    kept = KeepSlot(torn.id(room.id), torn, (body("two"),))
    room._chains[0] = [(kept.id, torn)]
    store = Store.create(":memory:", genesis=room.genesis, me=room.me, verify=ed25519_verify)
    store.apply([kept, *room.history[:2], *room.block()])
    with pytest.raises(StoreError, match="block 2: lane 0 does not lead back to the block before"):
        store.snapshot()


def test_an_item_rewritten_with_its_checksum_is_found_by_the_log_root(pristine: Path, tmp_path: Path) -> None:
    last = BLOCKS[-1]
    (index, leaf), *_ = last.items
    other = BLOCKS[0].items[0][1]
    assert leaf != other
    path = copy_of(pristine, tmp_path)
    height = last.block.height
    problems = forge(path, lambda store: store._rows.put("items", index, height, encode(other)))
    assert problems == [Problem(f"block {height}: its items are not those of its slots", "items", height)]


def test_a_newcomers_store_is_checked_in_both_its_pieces(tmp_path: Path) -> None:
    room = grown_room(nicks=["bob"], blocks=2)
    base = max(record.final.height for record in room.history if isinstance(record, KeepEpoch))
    made = newcomer(room, epoch=1)
    path = tmp_path / "store"
    store = Store.create(path, genesis=room.genesis, me=made.me, verify=ed25519_verify)
    store.apply(walk_of(room, 1))
    for batch in [*batches_of(room, above=0, through=2), *batches_of(room, above=base, through=base + 2)]:
        store.apply(batch)
    assert store.check() == []
    store.close()
    Store.open(path, verify=ed25519_verify).close()
    for height in (1, base + 1):
        path.with_name("copy").unlink(missing_ok=True)
        copy = Path(shutil.copy(path, path.with_name("copy")))
        edit(copy, "DELETE FROM blocks WHERE height = ?", height)
        with pytest.raises(StoreError) as caught:
            Store.open(copy, verify=ed25519_verify)
        assert caught.value.height == height
        assert Problem(f"block {height}: it is missing", "blocks", height) in check_store(
            copy, verify=ed25519_verify
        )
