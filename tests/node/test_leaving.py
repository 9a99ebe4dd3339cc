"""Leaving a room of two: the vote that lets one go is needed by the other, and may be lost on its way."""

import shutil
from pathlib import Path

import pytest
import trio

from node.errors import Exit, NotAMember
from node.events import RemovedEvent, RoomEvent
from tests.node.rooms import DEADLINE, room_of


async def test_who_left_tells_the_other_at_its_next_start_if_that_one_never_got_the_last_vote(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob):
        await ann.says("one")
        await bob.hears("one")
    shutil.copytree(ann.home.data, tmp_path / "before")
    async with ann.up():
        async with bob.up():
            await bob.node.leave()
            await bob.told.wait(RemovedEvent)
        await ann.told.wait(RoomEvent, lambda event: event.n == 1)
    # What ann had of the last votes is lost, as if she had been killed before they came.
    shutil.rmtree(ann.home.data)
    shutil.copytree(tmp_path / "before", ann.home.data)
    async with ann.up():
        assert (await ann.node.room()).n == 2
        with trio.fail_after(DEADLINE), pytest.raises(NotAMember, match="you left it") as gone:
            async with bob.up():
                with pytest.raises(NotAMember):
                    await bob.node.say("not here any more")
                await trio.sleep_forever()
        assert gone.value.exit_code is Exit.MISMATCH
        left = await ann.told.wait(RemovedEvent)
        assert (left.nick, left.n) == ("bob", 1)
        await ann.says("alone")


async def test_where_the_others_do_without_it_a_former_member_is_refused_at_once(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal", "dee") as people:
        dee = people[3]
        await dee.node.leave()
        await people[0].told.wait(RemovedEvent)
        await dee.told.wait(RemovedEvent)
    with pytest.raises(NotAMember):
        async with dee.up():
            raise AssertionError("it must not open")


async def test_a_former_member_whose_former_companion_is_away_waits_ten_seconds_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.node._LAST_CALL", 0.2)
    async with room_of(tmp_path, "ann", "bob") as (_, bob):
        await bob.node.leave()
        await bob.told.wait(RemovedEvent)
    with trio.fail_after(DEADLINE), pytest.raises(NotAMember):
        async with bob.up():
            await trio.sleep_forever()
