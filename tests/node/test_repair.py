"""A damaged home comes back: what holds stays, the rest is set aside, and the old vote key signs no more."""

import shutil
from pathlib import Path

import pytest

from chain.crypto import ed25519_verify
from chain.store import Store
from node.content import body_text
from node.disk import vote_key_of
from node.errors import KeyFileError, NodeError
from node.lock import RoomLocked, room_lock
from node.offline import check_store, queue_offline, read_log
from node.repair import Repaired, repair
from tests.node.rooms import Person


async def a_room(directory: Path) -> Person:
    ann = await Person(directory, "ann").found()
    async with ann.up():
        for text in ("one", "two", "three"):
            await ann.says(text)
    queue_offline(ann.home, ann.room, "never sent")
    return ann


def store_of(person: Person) -> Path:
    return person.home.store_file(person.room.fingerprint)


def vote_of(person: Person) -> bytes:
    return bytes(vote_key_of(person.home, person.room.fingerprint).verify_key)


def damage_block(person: Person, height: int) -> None:
    store = Store.open(store_of(person), verify=ed25519_verify)
    store._rows.execute("UPDATE blocks SET certificate = x'00' WHERE height = ?", height)
    store.close()


def queued(person: Person) -> list[str | None]:
    store = Store.open(store_of(person), verify=ed25519_verify, read_only=True)
    texts = [body_text(body.data) for body in store.snapshot().queue]
    store.close()
    return texts


def log_of(person: Person) -> list[str]:
    return [event.text for event in read_log(person.home, person.room)]


async def test_a_sound_room_is_left_as_it_is(tmp_path: Path) -> None:
    ann = await a_room(tmp_path)
    key = vote_of(ann)
    assert repair(ann.home, ann.room) == Repaired((), None, height=3, unsent=0, members=1)
    assert vote_of(ann) == key
    assert queued(ann) == ["never sent"]


async def test_a_damaged_store_is_set_aside_and_what_holds_is_kept(tmp_path: Path) -> None:
    ann = await a_room(tmp_path)
    key, before = vote_of(ann), store_of(ann).read_bytes()
    damage_block(ann, 3)
    damaged = store_of(ann).read_bytes()
    assert damaged != before
    done = repair(ann.home, ann.room)
    aside = store_of(ann).parent / "damaged-1"
    assert done == Repaired(
        ("block 3: a row of the table blocks does not match its checksum",),
        aside,
        height=2,
        unsent=1,
        members=1,
    )
    assert (aside / "store.sqlite").read_bytes() == damaged
    assert vote_of(ann) != key
    assert log_of(ann) == ["one", "two"]
    assert queued(ann) == ["never sent"]
    assert check_store(ann.home, ann.room) == []
    assert repair(ann.home, ann.room).found == ()


async def test_what_was_done_is_told_and_a_room_too_small_for_a_new_key_is_told_the_way_out(
    tmp_path: Path,
) -> None:
    ann = await a_room(tmp_path)
    damage_block(ann, 3)
    told = repair(ann.home, ann.room).told()
    assert "block 3: a row of the table blocks does not match its checksum" in told
    assert str(store_of(ann).parent / "damaged-1") in told
    assert "1 of your messages are queued again" in told
    assert "`pigeon new NAME --continues ROOM`" in told
    assert "pigeon admit" in Repaired(("x",), tmp_path, height=1, unsent=0, members=4).told()


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 1000])
async def test_a_lost_store_is_begun_anew_from_the_genesis(tmp_path: Path, content: bytes | None) -> None:
    ann = await a_room(tmp_path)
    store_of(ann).unlink()
    if content is not None:
        store_of(ann).write_bytes(content)
    done = repair(ann.home, ann.room)
    assert (done.height, done.unsent) == (0, 0)
    assert log_of(ann) == []
    assert check_store(ann.home, ann.room) == []


async def test_without_the_genesis_file_the_damaged_store_may_still_have_it(tmp_path: Path) -> None:
    ann = await a_room(tmp_path)
    ann.home.genesis_file(ann.room.fingerprint).write_bytes(b"damaged too")
    damage_block(ann, 3)
    assert repair(ann.home, ann.room).height == 2


async def test_without_any_genesis_nothing_is_touched_and_the_way_out_is_told(tmp_path: Path) -> None:
    ann = await a_room(tmp_path)
    ann.home.genesis_file(ann.room.fingerprint).unlink()
    store_of(ann).write_bytes(b"garbage" * 1000)
    key = vote_of(ann)
    with pytest.raises(NodeError, match="Copy that file from any other member"):
        repair(ann.home, ann.room)
    assert vote_of(ann) == key
    assert store_of(ann).read_bytes() == b"garbage" * 1000


@pytest.mark.parametrize("lost", [True, False])
async def test_a_lost_or_damaged_vote_key_is_replaced_and_the_record_stays(
    tmp_path: Path, lost: bool
) -> None:
    ann = await a_room(tmp_path)
    key, path = vote_of(ann), ann.home.vote_file(ann.room.fingerprint)
    if lost:
        path.unlink()
    else:
        path.write_bytes(b"damaged")
    with pytest.raises(KeyFileError, match="--repair"):
        vote_of(ann)
    done = repair(ann.home, ann.room)
    assert (len(done.found), done.height, done.aside is None) == (1, 3, lost)
    assert ("damaged files are in" in done.told()) == (not lost)
    assert vote_of(ann) != key
    assert log_of(ann) == ["one", "two", "three"]
    assert queued(ann) == ["never sent"]


async def test_nothing_is_repaired_under_a_running_node(tmp_path: Path) -> None:
    ann = await a_room(tmp_path)
    damage_block(ann, 3)
    with room_lock(ann.home, ann.room.fingerprint), pytest.raises(RoomLocked):
        repair(ann.home, ann.room)


class PulledPlug(Exception):
    pass


async def test_a_repair_cut_off_anywhere_is_done_again_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await a_room(tmp_path / "whole")
    key = vote_of(ann)
    damage_block(ann, 3)
    cuts = 0
    while True:
        place = tmp_path / f"cut{cuts}"
        shutil.copytree(tmp_path / "whole", place)
        person = Person(place, "ann")
        person.room = ann.room
        left = cuts

        def step(real, *arguments, **options):
            nonlocal left
            if left == 0:
                raise PulledPlug
            left -= 1
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            for name in ("link", "unlink", "rename", "fsync", "open"):
                real = getattr(__import__("os"), name)
                patch.setattr(f"os.{name}", lambda *a, _real=real, **o: step(_real, *a, **o))
            try:
                repair(person.home, person.room)
            except PulledPlug:
                done = False
            else:
                done = True
        repair(person.home, person.room)
        assert vote_of(person) != key
        assert log_of(person) == ["one", "two"]
        assert queued(person) == ["never sent"]
        assert check_store(person.home, person.room) == []
        cuts += 1
        if done:
            break
    assert cuts > 30
