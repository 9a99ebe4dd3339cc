"""A vote key that may sign no more, in real rooms: retired, replaced, agreed to, and nothing said is lost."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from node.disk import vote_key_of
from node.events import AsksEvent, FinalEvent, NoticeEvent
from node.offline import check_store
from tests.node.rooms import Person, room_of

FOUR = ("ann", "bob", "cal", "dee")


def keep(person: Person, where: Path) -> None:
    """Copy a home as it is now; its node does not run."""
    shutil.copytree(person.home.data, where)


def put_back(person: Person, copy: Path, *, mark: bool) -> None:
    """The old home in place of the one of today; `mark`: with the number beside the store, or without."""
    store = person.home.store_file(person.room.fingerprint)
    of_today = Path(f"{store}.mark").read_bytes()
    shutil.rmtree(person.home.data)
    shutil.copytree(copy, person.home.data)
    if not mark:
        Path(f"{store}.mark").write_bytes(of_today)


async def test_an_old_copy_of_a_home_signs_nothing_and_comes_back_with_a_new_key_by_the_auto_rule(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, *FOUR[:3]) as (ann, bob, cal):
        dee = Person(tmp_path, "dee")
        async with dee.joining((await ann.node.invite()).token):
            await dee.admitted()
            await dee.says("one")
        keep(dee, tmp_path / "old")
        former = vote_key_of(dee.home, dee.room.fingerprint)
        async with dee.up():
            await dee.says("back")
            await ann.says("two")
            await dee.hears("two")  # and acked it, of which the old copy knows nothing
        await ann.says("dee is away")
        put_back(dee, tmp_path / "old", mark=True)
        async with dee.up():
            await dee.told.wait(NoticeEvent, lambda event: "signs nothing more" in event.message)
            await dee.told.wait(NoticeEvent, lambda event: "asks the members" in event.message)
            await dee.told.wait(NoticeEvent, lambda event: "signs again" in event.message)
            await dee.says("three")
            for person in (ann, bob, cal):
                await person.hears("three")
            assert not any("vote key" in note for note in (await dee.node.status()).notes)
            assert [text for _, _, text in dee.told.finals()] == [
                "one",
                "back",
                "two",
                "dee is away",
                "three",
            ]
            assert dee.told.finals() == ann.told.finals()
        assert vote_key_of(dee.home, dee.room.fingerprint) != former
        (kept,) = dee.home.room_directory(dee.room.fingerprint).glob("retired-*/vote.key")
        assert bytes(former.verify_key).hex() in kept.read_text()
        async with dee.up():  # and the new key is an ordinary one from now on
            await dee.says("four")
            await ann.hears("four")
        assert check_store(dee.home, dee.room) == []


@asynccontextmanager
async def room_by_hand(directory: Path, *nicks: str) -> AsyncIterator[list[Person]]:
    """A room under the `ask` rule in which everybody let everybody in."""
    async with AsyncExitStack() as stack:
        founder = await Person(directory, nicks[0]).found(rule="ask")
        people = [await stack.enter_async_context(founder.up())]
        for nick in nicks[1:]:
            token = (await founder.node.invite()).token
            newcomer = await stack.enter_async_context(Person(directory, nick).joining(token))
            for person in people:
                await person.is_asked_by(nick)
                await person.node.admit(nick)
            people.append(await newcomer.admitted())
        yield people


async def test_a_store_behind_its_mark_comes_back_when_a_quorum_says_yes_by_hand(tmp_path: Path) -> None:
    async with room_by_hand(tmp_path, *FOUR) as people:
        await people[3].says("one")
    for person in people:
        keep(person, tmp_path / f"old-{person.nick}")
    ann, bob, cal, dee = people
    async with AsyncExitStack() as stack:
        for person in people:
            await stack.enter_async_context(person.up())
        await dee.says("two")
    put_back(dee, tmp_path / "old-dee", mark=False)
    async with AsyncExitStack() as stack:
        for person in people:
            await stack.enter_async_context(person.up())
        await dee.told.wait(NoticeEvent, lambda event: "lost its latest changes" in event.message)
        await dee.told.wait(NoticeEvent, lambda event: "asks the members" in event.message)
        waiting = await dee.node.say("three")
        for have, person in enumerate((ann, bob, cal)):
            asks = await person.told.wait(AsksEvent, lambda event, have=have: event.have >= have)
            assert (asks.nick, asks.rekey, asks.need) == ("dee", True, 3)
            assert any(member.rekey for member in await person.node.who())
            await person.node.admit("dee")
        await dee.told.wait(NoticeEvent, lambda event: "signs again" in event.message)
        for person in people:
            await person.told.wait(FinalEvent, lambda event: event.id == waiting)
        assert not any(member.rekey for member in await ann.node.who())
        await ann.says("all of us")
        await dee.hears("all of us")
        assert dee.told.finals() == ann.told.finals()


async def test_in_a_room_of_two_there_is_no_way_back_and_the_node_says_where_to_go_on(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob):
        await bob.says("one")
    keep(bob, tmp_path / "old")
    async with ann.up():
        async with bob.up():
            await bob.says("two")
        put_back(bob, tmp_path / "old", mark=False)
        async with bob.up():
            notice = await bob.told.wait(NoticeEvent, lambda event: "everybody's is needed" in event.message)
            assert "pigeon new NAME --continues r" in notice.message
            assert notice.message in (await bob.node.status()).notes
            await bob.hears("two")  # it reads what it lost
            status = await ann.node.status()
            assert status.n == 2
