"""What a node finds on disk: which key may sign, and whether it is a member, a former one, or a newcomer."""

from pathlib import Path

import pytest

from node.config import Home
from node.create import create_room
from node.disk import vote_key_of
from node.errors import KeyFileError, NotAMember
from node.events import RemovedEvent
from node.opening import find_belongings, renew_vote_key, retire_vote_key
from tests.node.rooms import Person, room_of


async def new_room(directory: Path) -> tuple[Home, str]:
    home = Home.at(directory)
    return home, (await create_room(home, name="r", nick="ann", via=[])).fingerprint


async def test_a_renewed_vote_key_is_another_one_and_the_old_is_kept_where_nothing_signs(
    tmp_path: Path,
) -> None:
    home, room = await new_room(tmp_path)
    keys = [vote_key_of(home, room)]
    for _ in range(2):
        keys.append(renew_vote_key(home, room))
        assert vote_key_of(home, room) == keys[-1]
    assert len({bytes(key) for key in keys}) == 3
    kept = sorted(home.room_directory(room).glob("retired-*/vote.key"))
    assert [path.parent.name for path in kept] == ["retired-1", "retired-2"]
    for path, key in zip(kept, keys, strict=False):
        assert bytes(key.verify_key).hex() in path.read_text()


async def test_a_renewal_cut_off_in_the_middle_is_finished_at_the_next_start(tmp_path: Path) -> None:
    home, room = await new_room(tmp_path)
    before = vote_key_of(home, room)
    retire_vote_key(home, room)
    mine = find_belongings(home, room, config=home.find(room), invited=False)
    assert mine.store is not None
    mine.store.close()
    assert mine.fresh and mine.vote != before
    assert vote_key_of(home, room) == mine.vote


async def test_a_vote_key_that_is_missing_for_no_reason_we_know_is_not_made_up(tmp_path: Path) -> None:
    home, room = await new_room(tmp_path)
    home.vote_file(room).unlink()
    with pytest.raises(KeyFileError, match="missing"):
        find_belongings(home, room, config=home.find(room), invited=False)
    assert not home.vote_file(room).exists()


async def test_a_store_behind_its_mark_costs_the_vote_key_once(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    home, room = ann.home, ann.room.fingerprint
    old = home.store_file(room).read_bytes()
    async with ann.up():
        await ann.says("one")
    home.store_file(room).write_bytes(old)
    before = vote_key_of(home, room)
    first = find_belongings(home, room, config=ann.room, invited=False)
    assert first.store is not None
    first.store.close()
    assert first.lost and first.fresh and first.vote != before
    again = find_belongings(home, room, config=ann.room, invited=False)
    assert again.store is not None
    again.store.close()
    assert not again.lost and not again.fresh and again.vote == first.vote


async def test_a_former_member_comes_in_with_an_invitation_only_and_with_a_key_that_is_not_used_up(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal", "dee") as people:
        dee = people[3]
        await dee.node.leave()
        await dee.told.wait(RemovedEvent)
    home, room = dee.home, dee.room.fingerprint
    with pytest.raises(NotAMember):
        find_belongings(home, room, config=dee.room, invited=False)
    used = vote_key_of(home, room)
    mine = find_belongings(home, room, config=dee.room, invited=True)
    assert mine.store is None and mine.fresh and mine.vote != used
    again = find_belongings(home, room, config=dee.room, invited=True)
    assert again.vote == mine.vote, "killed while it waits, it asks with the same key again"


async def test_a_former_member_whose_vote_may_be_waited_for_opens_its_room_once_more(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (_, bob):
        await bob.node.leave()
        await bob.told.wait(RemovedEvent)
    mine = find_belongings(bob.home, bob.room.fingerprint, config=bob.room, invited=False)
    assert mine.store is not None and mine.removed and not mine.fresh
    mine.store.close()
