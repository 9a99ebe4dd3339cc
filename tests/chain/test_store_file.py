"""The store as a file: made whole or not at all, recognised or refused in a sentence, watched by its mark."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chain.crypto import ed25519_verify
from chain.errors import ForeignStoreError, StoreError
from chain.records import Dequeue, Enqueue, Journal, Record
from chain.store import Store
from chain.store_check import check_store
from tests.chain.drawing import Person, Room, body, grown_room, talk
from tests.chain.test_store import merged

ROOM = grown_room(nicks=["bob"], blocks=2)


def made(path: Path, room: Room = ROOM, records: list[list[Record]] | None = None) -> Store:
    store = Store.create(path, genesis=room.genesis, me=room.me, verify=ed25519_verify)
    for batch in merged(room.history) if records is None else records:
        store.apply(batch)
    return store


def opened(path: Path, *, read_only: bool = False) -> Store:
    return Store.open(path, room=ROOM.id, me=ROOM.me, verify=ed25519_verify, read_only=read_only)


def test_what_was_kept_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    store.apply([Enqueue(body("later")), Journal("ack", b"x")])
    before = store.snapshot()
    store.close()
    again = opened(tmp_path / "store")
    assert again.snapshot() == before
    assert (again.room, again.me, again.genesis) == (ROOM.id, ROOM.me, ROOM.genesis)
    assert not again.rolled_back
    assert again.check() == []
    again.close()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()
    assert modes == dict.fromkeys(["store", "store-wal", "store-shm", "store.mark"], 0o600)


def test_a_second_store_is_not_made_over_the_first(tmp_path: Path) -> None:
    made(tmp_path / "store").close()
    with pytest.raises(StoreError, match="There is a store at"):
        made(tmp_path / "store")


def test_leftovers_of_a_making_that_was_cut_off_do_not_matter(tmp_path: Path) -> None:
    for name in ("store.new", "store.new-wal", "store-wal", "store-shm", "store.mark"):
        (tmp_path / name).write_bytes(b"left over")
    made(tmp_path / "store").close()
    opened(tmp_path / "store").close()
    assert {path.name for path in tmp_path.iterdir()} == {"store", "store.mark"}


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not be made"):
        made(tmp_path / "nowhere" / "store")


def an_absent_file(path: Path) -> None:
    pass


def an_empty_file(path: Path) -> None:
    path.touch()


def a_directory(path: Path) -> None:
    path.mkdir()


def a_text(path: Path) -> None:
    path.write_text("dear diary, " * 1000)


def a_short_text(path: Path) -> None:
    path.write_text("hello")


def another_database(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE songs (name TEXT)")
    db.commit()
    db.close()


def a_newer_store(path: Path) -> None:
    store = made(path)
    store._rows.put_counter("format", 3)
    store.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (an_absent_file, "There is no store at"),
        (an_empty_file, "is empty, so it is no store"),
        (a_directory, "is not a file, so it is no store"),
        (a_text, "cannot be read as a store: file is not a database"),
        (a_short_text, "cannot be read as a store"),
        (another_database, "is a database, but no store of pigeon's"),
        (a_newer_store, r"newer pigeon \(format 3, not 2\)"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_store_is_refused_in_a_sentence(tmp_path: Path, thing, sentence, read_only: bool) -> None:
    path = tmp_path / "store"
    thing(path)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=sentence):
        opened(path, read_only=read_only)
    if not read_only:
        assert contents(tmp_path) == before


def test_another_rooms_or_another_members_store_is_foreign(tmp_path: Path) -> None:
    made(tmp_path / "store").close()
    other = Room("zoe")
    with pytest.raises(ForeignStoreError, match="the record of another room"):
        Store.open(tmp_path / "store", room=other.id, verify=ed25519_verify)
    with pytest.raises(ForeignStoreError, match="kept by another identity"):
        Store.open(tmp_path / "store", me=Person("zoe").id, verify=ed25519_verify)
    with pytest.raises(ForeignStoreError):
        check_store(tmp_path / "store", room=other.id, verify=ed25519_verify)
    Store.open(tmp_path / "store", verify=ed25519_verify).close()


def test_a_database_that_lost_its_last_transactions_is_rolled_back_for_good(tmp_path: Path) -> None:
    path = tmp_path / "store"
    batches = merged(ROOM.history)
    made(path, records=batches[:2]).close()
    old = path.read_bytes()
    path.unlink()
    made(path, records=batches[:5]).close()
    path.write_bytes(old)
    store = opened(path)
    assert store.rolled_back
    assert [problem.sentence for problem in store.check()] == [
        "the last 3 transactions that were written are gone: "
        "the record ends at block 2, and what was signed since is not known"
    ]
    for batch in batches[2:]:
        store.apply(batch)
    store.close()
    later = opened(path)
    assert later.rolled_back
    later.close()
    assert opened(path, read_only=True).rolled_back


def test_a_flipped_bit_in_the_write_ahead_log_does_not_go_unnoticed(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    for name in ("store", "store-wal", "store.mark"):
        shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")
    store.close()
    copy = tmp_path / "copy-store"
    log = bytearray((tmp_path / "copy-store-wal").read_bytes())
    log[len(log) * 2 // 3] ^= 1
    (tmp_path / "copy-store-wal").write_bytes(log)
    (problem,) = check_store(copy, verify=ed25519_verify)
    assert "transactions that were written are gone" in problem.sentence
    store = Store.open(copy, verify=ed25519_verify)
    assert store.rolled_back
    assert store.snapshot().tip.height < ROOM.tip.height
    store.close()


def test_a_lost_or_damaged_mark_is_said_once_and_made_anew(tmp_path: Path) -> None:
    made(tmp_path / "store").close()
    mark = tmp_path / "store.mark"
    whole = mark.read_bytes()
    assert len(whole) == 128
    for content in (b"", b"\0" * 128, whole[:100], whole + b"\0", whole[64:] + whole[:64] + b"more"):
        mark.write_bytes(content)
        assert [problem.where for problem in check_store(tmp_path / "store", verify=ed25519_verify)] == [
            "mark"
        ]
        store = opened(tmp_path / "store")
        assert store.mark_fault == "the mark beside the store is damaged"
        assert not store.rolled_back
        store.close()
        assert len(mark.read_bytes()) == 128
    mark.unlink()
    store = opened(tmp_path / "store")
    assert store.mark_fault == "the mark beside the store is missing"
    store.close()
    store = opened(tmp_path / "store")
    assert store.mark_fault == ""
    assert store.check() == []
    store.close()


def test_any_flipped_bit_of_the_mark_is_noticed_and_the_other_record_still_witnesses(tmp_path: Path) -> None:
    batches = merged(ROOM.history)
    made(tmp_path / "store", records=batches[:2]).close()
    old = (tmp_path / "store").read_bytes()
    (tmp_path / "store").unlink()
    made(tmp_path / "store", records=batches[:6]).close()
    mark = (tmp_path / "store.mark").read_bytes()
    for position in range(len(mark)):
        flipped = bytearray(mark)
        flipped[position] ^= 1 << position % 8
        (tmp_path / "store.mark").write_bytes(flipped)
        store = opened(tmp_path / "store", read_only=True)
        assert store.mark_fault == "the mark beside the store is damaged"
        store.close()
    (tmp_path / "store").write_bytes(old)
    assert opened_and_closed(tmp_path / "store").rolled_back


def opened_and_closed(path: Path) -> Store:
    store = opened(path)
    store.close()
    return store


def test_a_store_is_never_without_a_mark_however_its_making_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError("pulled the plug")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="could not be made"):
        made(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert (tmp_path / "store.mark").exists()
    monkeypatch.undo()
    made(tmp_path / "store").close()
    assert opened_and_closed(tmp_path / "store").mark_fault == ""


def test_a_loss_is_forgotten_once_its_key_signs_no_more(tmp_path: Path) -> None:
    path = tmp_path / "store"
    batches = merged(ROOM.history)
    made(path, records=batches[:2]).close()
    old = path.read_bytes()
    path.unlink()
    made(path, records=batches[:5]).close()
    path.write_bytes(old)
    store = opened(path)
    assert store.rolled_back
    store.forget_loss()
    assert not store.rolled_back
    assert store.check() == []
    store.apply(batches[2])
    store.close()
    again = opened_and_closed(path)
    assert not again.rolled_back
    assert again.mark_fault == ""


def test_a_mark_that_cannot_be_written_is_an_error_though_the_transaction_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError("No space left on device")

    store = made(tmp_path / "store")
    monkeypatch.setattr("os.pwrite", refuse)
    with pytest.raises(StoreError, match="The mark beside the record could not be written: No space left"):
        store.apply([Journal("a", b"b")])
    monkeypatch.undo()
    store.close()
    store = opened(tmp_path / "store")
    assert store.snapshot().journal == (("a", b"b"),)
    assert (store.rolled_back, store.mark_fault) == (False, "")
    store.close()


def test_a_body_that_left_the_queue_leaves_no_copy_behind(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    secret = body("between you and me")
    store.apply([Enqueue(secret)])
    store.apply([Dequeue(secret.data[:16])])
    store.close()
    assert b"between you and me" not in (tmp_path / "store").read_bytes()


READER = """
import json, sys
from pathlib import Path
from chain.crypto import ed25519_verify
from chain.store import Store
for line in sys.stdin:
    store = Store.open(sys.argv[1], verify=ed25519_verify, read_only=True)
    texts = [item.data[16:].decode() for item in store.items() if item.data]
    print(json.dumps([store.rolled_back, store.snapshot().tip.height, texts]), flush=True)
    store.close()
"""


def test_another_process_can_read_while_a_node_writes(tmp_path: Path) -> None:
    room = Room()
    store = made(tmp_path / "store", room=room)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with reader:
        assert reader.stdin
        assert reader.stdout
        said = []
        for round_ in range(5):
            before = len(room.history)
            talk(room, 3, text=lambda nick, height: f"{nick} {height}")
            for batch in merged(room.history[before:]):
                store.apply(batch)
            said = [f"ann {height}" for height in range(1, 3 * (round_ + 1) + 1)]
            print(file=reader.stdin, flush=True)
            assert json.loads(reader.stdout.readline()) == [False, 3 * (round_ + 1), said]
        store.close()
        print(file=reader.stdin, flush=True)
        assert json.loads(reader.stdout.readline()) == [False, 15, said]
        reader.stdin.close()
    assert reader.returncode == 0


WRITER = """
import sys
from pathlib import Path
from chain.crypto import ed25519_verify
from chain.records import Journal
from chain.store import Store
store = Store.open(sys.argv[1], verify=ed25519_verify)
for number in range(10**9):
    store.apply([Journal("last", str(number).encode()), Journal(f"{number % 50}", bytes(500))])
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 20, 130])
def test_what_was_applied_survives_a_kill_at_any_moment(tmp_path: Path, lines: int) -> None:
    made(tmp_path / "store").close()
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        for _ in range(lines):
            writer.stdout.readline()
        writer.kill()
        said = lines - 1 + len([line for line in writer.stdout if line.endswith("\n")])
    store = opened(tmp_path / "store")
    kept = int(dict(store.snapshot().journal)["last"])
    assert kept in (said, said + 1)
    assert not store.rolled_back
    assert store.check() == []
    store.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    made(tmp_path / "store").close()
    store = opened(tmp_path / "store", read_only=True)
    with pytest.raises(StoreError, match="could not be written"):
        store.apply([Journal("a", b"b")])
    store.close()


def test_a_store_in_a_folder_that_cannot_be_written_to_can_be_read(tmp_path: Path) -> None:
    made(tmp_path / "store").close()
    (tmp_path / "store").chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        store = opened(tmp_path / "store", read_only=True)
        assert store.snapshot().tip == ROOM.tip
        store.close()
    finally:
        tmp_path.chmod(0o700)


FULL = """
import resource, sys
from chain.crypto import ed25519_verify
from chain.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
store = Store.open(sys.argv[1], verify=ed25519_verify, read_only=True)
print(store.snapshot().tip.height)
"""


def test_a_store_that_nobody_has_open_can_be_read_on_a_full_disk(tmp_path: Path) -> None:
    made(tmp_path / "store").close()
    for _ in range(2):  # a reader may leave an empty log behind
        command = [sys.executable, "-c", FULL, str(tmp_path / "store")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == f"{ROOM.tip.height}\n", done.stderr


def test_a_full_disk_is_said_so_and_nothing_half_written_stays(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    before = store.snapshot()
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="Is the disk full"):
        store.apply([Enqueue(body("x" * 60_000)), Journal("a", b"b")])
    assert store.snapshot() == before
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.apply([Journal("a", b"b")])
    assert store.snapshot().journal == (("a", b"b"),)
    store.close()
    opened(tmp_path / "store").close()
