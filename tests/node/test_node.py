"""A node of a room of one: what is said is final at once and survives; what is on disk is not trusted."""

import shutil
import sqlite3
from pathlib import Path

import pytest
import trio
import trio.testing

from node.errors import Exit, Mismatch, NodeError, UsageError
from node.events import FinalEvent, PendingEvent, RoomEvent
from node.lock import RoomLocked
from node.node import create_room, open_node
from node.offline import check_store, queue_offline, read_log
from tests.node.rooms import Person


async def test_what_one_says_alone_is_final_at_once(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        final = await ann.says("hello")
        assert (final.index, final.height, final.nick, final.mine) == (0, 1, "ann", True)
        kinds = [type(event) for event in ann.told.events]
        assert kinds[:3] == [RoomEvent, PendingEvent, FinalEvent]
        status = await ann.node.status()
        assert (status.n, status.quorum, status.up, status.pending, status.index) == (1, 1, 1, 0, 1)


async def test_a_restarted_node_shows_what_was_said_before_and_goes_on(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        for text in ("one", "two"):
            await ann.says(text)
    async with ann.up():
        assert (await ann.says("three")).index == 2
        assert ann.told.finals() == [(0, "ann", "one"), (1, "ann", "two"), (2, "ann", "three")]


async def test_only_who_asks_for_history_gets_it(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        for text in ("one", "two", "three"):
            await ann.says(text)
        async with ann.node.events() as live, ann.node.events(since=2) as late:
            await ann.node.say("four")
            assert await finals(live, 1) == ["four"]
            assert await finals(late, 2) == ["three", "four"]


async def test_a_message_is_shown_as_pending_to_nobody_before_it_is_on_disk(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up(), trio.open_nursery() as nursery:
        assert ann.node._seat is not None
        async with ann.node._seat._shelf._lock:  # the disk is slow
            nursery.start_soon(ann.node.say, "not yet")
            await trio.testing.wait_all_tasks_blocked(0.05)
            async with ann.node.events() as late:
                assert isinstance(await anext(late), RoomEvent)
                with trio.move_on_after(0.1) as waited:
                    await anext(late)
                assert waited.cancelled_caught
            assert (await ann.node.status()).pending == 0
        await ann.hears("not yet")


async def test_who_gives_up_saying_something_before_it_was_queued_leaves_no_trace(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        with trio.CancelScope() as scope:
            scope.cancel()
            await ann.node.say("never mind")
        await ann.says("something else")
        status = await ann.node.status()
        assert (status.pending, status.waiting_for) == (0, [])
        assert [event.text for event in ann.told.events if isinstance(event, PendingEvent)] == [
            "something else"
        ]


async def finals(events: object, count: int) -> list[str]:
    found: list[str] = []
    with trio.fail_after(10):
        async for event in events:  # type: ignore[attr-defined]
            if isinstance(event, FinalEvent):
                found.append(event.text)
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


async def test_a_message_left_without_a_node_is_said_when_it_runs(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    said = await trio.to_thread.run_sync(queue_offline, ann.home, ann.room, "later")
    assert list(read_log(ann.home, ann.room)) == []
    async with ann.up():
        assert (await ann.hears("later")).id == said
    assert [event.text for event in read_log(ann.home, ann.room)] == ["later"]


async def test_the_record_can_be_read_while_the_node_runs(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        await ann.says("one")
        assert list(read_log(ann.home, ann.room)) == [await ann.hears("one")]
        assert check_store(ann.home, ann.room) == []
        await ann.says("two")
        assert [event.text for event in read_log(ann.home, ann.room, 1)] == ["two"]


async def test_a_second_node_on_the_same_home_is_refused(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        with pytest.raises(RoomLocked):
            async with open_node(ann.home, ann.room):
                pass
        with pytest.raises(RoomLocked):
            queue_offline(ann.home, ann.room, "no")
        await ann.says("the first goes on")


@pytest.mark.parametrize("text", ["", "x" * (16 * 1024 + 1), "\ud800"])
async def test_what_is_no_message_is_refused_and_nothing_is_queued(tmp_path: Path, text: str) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        with pytest.raises(UsageError):
            await ann.node.say(text)
        assert (await ann.node.status()).pending == 0
        await ann.says("fine")


async def test_a_store_of_another_room_is_a_mismatch(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    other = await create_room(ann.home, name="other", nick="ann", via=ann.via)
    for suffix in ("", ".mark"):
        source = Path(f"{ann.home.store_file(other.fingerprint)}{suffix}")
        if source.exists():
            shutil.copy(source, f"{ann.home.store_file(ann.room.fingerprint)}{suffix}")
    with pytest.raises(Mismatch) as caught:
        async with ann.up():
            pass
    assert caught.value.exit_code is Exit.MISMATCH
    with pytest.raises(Mismatch):
        check_store(ann.home, ann.room)


async def test_a_damaged_store_is_not_opened_and_the_check_names_the_block(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        for text in ("one", "two", "three"):
            await ann.says(text)
    damage(ann.home.store_file(ann.room.fingerprint), b"two", b"too")
    with pytest.raises(NodeError, match="verify --store"):
        async with ann.up():
            pass
    problems = check_store(ann.home, ann.room)
    assert problems
    assert {problem.height for problem in problems} == {2}


def damage(store: Path, old: bytes, new: bytes) -> None:
    sqlite3.connect(store).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = store.read_bytes()
    assert content.count(old) == 1
    store.write_bytes(content.replace(old, new))


async def test_an_old_copy_of_the_store_reads_and_signs_nothing(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        await ann.says("one")
    store = ann.home.store_file(ann.room.fingerprint)
    old = store.read_bytes()
    async with ann.up():
        await ann.says("two")
    store.write_bytes(old)
    async with ann.up():
        status = await ann.node.status()
        assert any("signs nothing" in note for note in status.notes)
        await ann.node.say("waits")
        await ann.told.wait(PendingEvent)
        assert (await ann.node.status()).pending == 1
        assert ann.told.finals() == [(0, "ann", "one")]


async def test_a_full_disk_ends_the_node_with_an_error_and_loses_nothing_shown(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    safe: list[str] = []
    with pytest.raises(NodeError, match=r"could not be written.*free some space"):
        async with ann.up():
            await ann.says("one")
            assert ann.node._seat is not None
            ann.node._seat._shelf._store._db.execute("PRAGMA max_page_count = 60")
            for number in range(100):
                text = f"{number} " + "x" * 8000
                await ann.node.say(text)
                safe.append(text)
    assert len(safe) < 100
    async with ann.up():
        for text in ("one", *safe):
            await ann.hears(text)


@pytest.mark.parametrize("name", ["", " r", "r\n", "r" * 65, "\x1b[31m"])
async def test_a_room_needs_a_plain_name(tmp_path: Path, name: str) -> None:
    ann = Person(tmp_path, "ann")
    with pytest.raises(UsageError):
        await create_room(ann.home, name=name, nick="ann", via=ann.via)
    assert ann.home.rooms() == []


async def test_an_unknown_carrier_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    ann = Person(tmp_path, "ann")
    with pytest.raises(UsageError, match="owl"):
        await create_room(ann.home, name="r", nick="ann", via=["owl:/x"])
    assert ann.home.rooms() == []


async def test_a_closed_node_leaves_no_socket_no_lock_and_nothing_in_the_lobby(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    socket = ann.home.socket_file(ann.room.fingerprint)
    async with ann.up():
        await ann.says("one")
        assert socket.exists()
    assert not socket.exists()
    assert not list((tmp_path / "lobby").glob("*.bin"))
    async with ann.up():
        pass


async def test_nobody_else_can_read_anything_of_a_home(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir(mode=0o755)
    ann = Person(tmp_path / "deep", "ann")
    ann = await ann.found()
    async with ann.up():
        await ann.says("private")
        found = [ann.home.data, *ann.home.data.rglob("*")]
        assert {path.name for path in found} >= {
            "identity.key",
            "vote.key",
            "store.sqlite",
            "lock",
            "room.json",
        }
        assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_dir()} == {"0o700"}
        assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_file()} == {"0o600"}


async def test_a_node_opens_without_writing_settings_that_did_not_change(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    settings = ann.home.config / "rooms" / ann.room.fingerprint / "room.json"
    before = settings.stat().st_ino  # another file after each write
    async with ann.up():
        assert settings.stat().st_ino == before
    async with open_node(ann.home, ann.room, via=[f"dir:{tmp_path / 'other'}"], loopback_only=True):
        pass
    changed = ann.home.find(ann.room.fingerprint)
    assert changed is not None
    assert changed.via == (f"dir:{tmp_path / 'other'}",)


async def test_cancelling_a_node_closes_it_as_cleanly(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    with trio.CancelScope() as scope:
        async with ann.up():
            await ann.says("one")
            scope.cancel()
            await trio.sleep_forever()
    assert not ann.home.socket_file(ann.room.fingerprint).exists()
    async with ann.up():
        assert await ann.hears("one")
