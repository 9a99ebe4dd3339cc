"""Rooms with a password, real nodes over real links: who lies about what it is gets no link."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.attempt import Attempt, Attempts
from node.config import Home
from node.errors import KeyFileError
from node.lobby import OpenLobby, look_into
from node.node import Node, Way, create_room, open_node, read_invitation
from node.password import PASSWORD_FILE, kept_password
from signaling.description import Identity
from signaling.handshake import Role
from tests.node.rooms import DEADLINE, Person

PASSWORD = "open sesame"


def knows(password: str) -> Callable[[], Awaitable[str | None]]:
    async def ask() -> str | None:
        return password

    return ask


async def founded(directory: Path) -> Person:
    ann = Person(directory, "ann")
    ann.room = await create_room(ann.home, name="r", nick="ann", rule="auto", via=ann.via, password=PASSWORD)
    return ann


@asynccontextmanager
async def arriving(person: Person, way: Way, password: str) -> AsyncIterator[Node]:
    async with open_node(
        person.home, way, nick=person.nick, via=person.via, password=knows(password), loopback_only=True
    ) as node:
        yield node


async def counted(node: Node, fault: str, *, times: int = 1) -> None:
    """Until the node has counted this fault so often."""
    with trio.fail_after(DEADLINE):
        while node.faults[fault] < times:
            await trio.sleep(0.05)


async def test_an_invited_stranger_who_says_that_it_is_a_member_gets_no_link(tmp_path: Path) -> None:
    ann = await founded(tmp_path)
    async with ann.up():
        token = (await ann.node.invite()).token
        async with arriving(Person(tmp_path, "eve"), read_invitation(token), PASSWORD) as eve:
            object.__setattr__(eve._threshold.reception, "is_guest", lambda: False)
            await counted(ann.node, "reception: a stranger came as a member")
            assert ann.node._mesh.guests() == 0
            assert (await ann.node.status()).n == 1


async def test_a_lobby_lets_in_who_knows_the_password_and_it_guards_the_next_door(tmp_path: Path) -> None:
    ann = await founded(tmp_path)
    async with ann.up():
        lobby = await shown(ann)
        assert lobby.protected
        bob = Person(tmp_path, "bob")
        async with arriving(bob, lobby, PASSWORD) as node:
            with trio.fail_after(DEADLINE):
                await node.wait_admitted()
            fingerprint = ann.room.fingerprint
            assert kept_password(bob.home, fingerprint) == kept_password(ann.home, fingerprint) is not None


async def test_another_room_put_into_the_lobby_catches_nobody_who_knows_the_password(tmp_path: Path) -> None:
    """Eve shows a room of hers as the lobby's, and is there to be asked: she does not know the password."""
    eve = Person(tmp_path, "eve")
    eve.room = await create_room(
        eve.home, name="r", nick="ann", rule="auto", via=eve.via, password="something else"
    )
    async with eve.up():
        lobby = await shown(eve)
        with pytest.raises(Exception, match="password is wrong"):
            async with arriving(Person(tmp_path, "bob"), lobby, PASSWORD) as node:
                await node.wait_admitted()
        assert eve.node.faults["reception: wrong password"] == 1


async def test_a_room_that_asks_for_nothing_is_not_the_one_that_the_lobby_promised(tmp_path: Path) -> None:
    """Eve's room has a password, so that strangers come; and then she lets them in without any."""
    eve = Person(tmp_path, "eve")
    eve.room = await create_room(
        eve.home, name="r", nick="ann", rule="auto", via=eve.via, password="something else"
    )
    async with eve.up():
        lobby = await shown(eve)
        eve.node._threshold.reception.host.password = lambda: None
        async with arriving(Person(tmp_path, "bob"), lobby, PASSWORD) as node:
            await counted(node, "reception: a member broke the rules")
            assert not node._mesh.linked()


async def shown(host: Person) -> OpenLobby:
    """What the folder shows, once it does."""
    with trio.fail_after(DEADLINE):
        while (lobby := await look_into(host.via)) is None:
            await trio.sleep(0.05)
    return lobby


@pytest.mark.parametrize("at", [30, -20])
async def test_what_is_kept_of_the_password_is_not_used_when_it_is_damaged(tmp_path: Path, at: int) -> None:
    ann = await founded(tmp_path)
    path = ann.home.room_directory(ann.room.fingerprint) / PASSWORD_FILE
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"password.* is damaged|another purpose"):
        async with ann.up():
            pytest.fail("the door would stand open")


async def test_a_folder_without_a_lobby_or_with_an_old_one_shows_nothing(tmp_path: Path) -> None:
    assert await look_into([f"dir:{tmp_path / 'nothing'}"]) is None
    (tmp_path / "old").mkdir()
    old = '{"name": "r", "url": "%s", "last_update": 1, "protected": true}' % ("ab" * 32)
    (tmp_path / "old" / "session.json").write_text(old)
    assert await look_into([f"dir:{tmp_path / 'old'}"]) is None


async def test_a_room_without_a_password_keeps_none(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "ann")
    room = await create_room(home, name="r", nick="ann", via=(f"dir:{tmp_path}",))
    assert kept_password(home, room.fingerprint) is None


def test_strangers_who_are_slow_to_type_leave_room_for_the_invited_and_those_for_members() -> None:
    attempts, left = Attempts(), []
    for number in range(100):
        mine = {"stranger": (True, False), "invited": (True, True), "member": (False, False)}
        room = {
            who for who, (guest, invited) in mine.items() if attempts.has_room(guest=guest, invited=invited)
        }
        left.append(room)
        attempts.put(Attempt(Identity(number.to_bytes(32, "big")), Role.ANSWERER, 0.0))
    assert [len(room) for room in left] == [3] * 12 + [2] * 12 + [1] * 40 + [0] * 36
    assert left[12] == {"invited", "member"}
    assert left[24] == {"member"}
