"""Who lost its disk, or put back an old copy of it, is stopped in words and let in again by the others."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from console.children import family
from tests.e2e.homes import NAMES, PATIENCE, Homes, one_log

LONG = 2 * PATIENCE


@asynccontextmanager
async def room_of(directory: Path, count: int) -> AsyncIterator[Homes]:
    async with family() as children:
        homes = Homes(children, directory)
        await homes.grow(count)
        yield homes


def room_directory(homes: Homes, name: str) -> Path:
    (settings,) = (homes.place / name).glob("rooms/*/room.json")
    return settings.parent


async def all_say(homes: Homes, what: str) -> None:
    for name, node in homes.nodes.items():
        await node.say(f"{what}, says {name}")
    await homes.everyone_sees({f"{what}, says {name}" for name in homes.nodes})


async def stop(homes: Homes, name: str) -> None:
    await homes.nodes.pop(name).stop()


async def is_back(homes: Homes, name: str) -> None:
    """It is a member that signs again: something it says becomes final for everybody."""
    await homes.nodes[name].say(f"{name} is back")
    await homes.everyone_sees({f"{name} is back"})
    await all_say(homes, "after it all")
    log = await one_log(homes, NAMES)
    assert len({event["id"] for event in log}) == len(log)
    for each in NAMES:
        code, (verdict,), _ = await homes.run(each, "verify", "--store")
        assert (code, verdict["ok"]) == (0, True)


async def hears(homes: Homes, name: str, words: str) -> None:
    await homes.nodes[name].wait_for("notice", within=LONG, where=lambda event: words in event["message"])


async def test_a_member_with_a_damaged_store_comes_back_under_a_new_key_and_with_all_its_words(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, 4) as homes:
        await all_say(homes, "before")
        await stop(homes, "bob")
        assert (await homes.run("bob", "send", "never sent", "--wait", "pending"))[0] == 0
        directory = room_directory(homes, "bob")
        with closing(sqlite3.connect(directory / "store.sqlite")) as db:
            db.execute("UPDATE slots SET slot = x'00' WHERE rowid = 1")
            db.commit()
        key = (directory / "vote.key").read_bytes()
        code, events, _ = await homes.run("bob", "up")
        assert code == 8
        assert "checksum" in events[-1]["message"]
        assert "--repair" in events[-1]["hint"]
        for name, node in homes.nodes.items():
            await node.say(f"meanwhile, says {name}")
        await homes.start("bob", "chat", "--repair")
        await hears(homes, "bob", "asks the members")
        assert b"the damaged files are in" in homes.nodes["bob"].complaints
        await homes.everyone_sees({"never sent", "meanwhile, says ann"})
        await is_back(homes, "bob")
        assert (directory / "damaged-1" / "vote.key").read_bytes() == key
        assert (directory / "vote.key").read_bytes() != key


async def test_a_member_that_lost_its_whole_store_gets_the_record_back_from_the_others(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, 4) as homes:
        await all_say(homes, "before")
        before = await homes.log("ann")
        await stop(homes, "dee")
        for file in room_directory(homes, "dee").glob("store.sqlite*"):
            file.unlink()
        await homes.start("dee", "chat", "--repair")
        await is_back(homes, "dee")
        assert (await homes.log("dee"))[: len(before)] == before


async def test_the_founder_that_lost_its_whole_store_does_not_begin_its_room_anew(tmp_path: Path) -> None:
    async with room_of(tmp_path, 4) as homes:
        await all_say(homes, "before")
        before = await homes.log("bob")
        await stop(homes, "ann")
        for file in room_directory(homes, "ann").glob("store.sqlite*"):
            file.unlink()
        await homes.start("ann", "chat", "--repair")
        await is_back(homes, "ann")
        assert (await homes.log("ann"))[: len(before)] == before


async def test_a_restored_old_copy_of_a_home_is_noticed_stops_and_comes_back(tmp_path: Path) -> None:
    async with room_of(tmp_path, 4) as homes:
        await all_say(homes, "before")
        await stop(homes, "cal")
        shutil.copytree(tmp_path / "cal", tmp_path / "copy", symlinks=True)
        await homes.start("cal", "chat")
        await stop(homes, "dee")  # so that nothing is final without acks and votes of this one
        await all_say(homes, "since the copy")
        await homes.start("dee", "chat")
        await stop(homes, "cal")
        shutil.rmtree(tmp_path / "cal")
        (tmp_path / "copy").rename(tmp_path / "cal")
        key = (room_directory(homes, "cal") / "vote.key").read_bytes()
        await homes.start("cal", "chat")
        await hears(homes, "cal", "signs nothing more")
        await hears(homes, "cal", "asks the members")
        await homes.everyone_sees({"since the copy, says cal"})
        await is_back(homes, "cal")
        assert (room_directory(homes, "cal") / "vote.key").read_bytes() != key
        for name in NAMES:
            code, _, _ = await homes.run(name, "verify", "--store")
            assert code == 0, "nobody looks guilty: it stopped before it signed twice"


@pytest.mark.parametrize("count", [1, 3])
async def test_in_a_room_too_small_for_a_new_key_the_way_out_is_told(tmp_path: Path, count: int) -> None:
    async with room_of(tmp_path, count) as homes:
        name = NAMES[count - 1]
        await stop(homes, name)
        (room_directory(homes, name) / "vote.key").unlink()
        code, events, _ = await homes.run(name, "up")
        assert code == 8
        assert "--repair" in events[-1]["hint"]
        await homes.start(name, "chat", "--repair")
        await hears(homes, name, "--continues")
