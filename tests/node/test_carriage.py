"""What a node shows in lobbies, and what it tells its user of what others show there."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio
from nacl.signing import SigningKey

from node.bus import Bus
from node.carriage import Carriage, friends_of, writer_key
from node.config import Home, RoomConfig
from node.events import AnyEvent, NoticeEvent
from signaling.directory import DirectoryCarrier
from signaling.lobby import LobbyFriend, LobbyProfile, LobbySession

ANN = SigningKey(b"a" * 32)
ROOM, OTHER = b"r" * 32, b"o" * 32


def settings(room: bytes, *, listed: bool = False, via: str = "dir:/x") -> RoomConfig:
    return RoomConfig(name="tea", fingerprint=room.hex(), nick="ann", via=(via,), listed=listed, created=7)


def carriage(place: Path, bus: Bus) -> Carriage:
    return Carriage([f"dir:{place}"], bus=bus, faults=Counter(), identity=ANN, room=ROOM)


async def told(place: Path, work: Callable[[Carriage], object]) -> list[str]:
    """The sentences said while `work` was done."""
    bus, said = Bus(), list[AnyEvent]()
    with bus.subscribe() as events:
        await work(carriage(place, bus))  # type: ignore[misc]
        bus.end()
        said = [event async for event in events]
    return [event.message for event in said if isinstance(event, NoticeEvent)]


def test_a_logs_writer_is_another_in_each_room_and_for_each_member_and_no_identity() -> None:
    keys = [writer_key(who, room) for who in (ANN, SigningKey(b"b" * 32)) for room in (ROOM, OTHER)]
    assert len({bytes(key.verify_key) for key in [*keys, ANN]}) == 5
    assert writer_key(ANN, ROOM) == keys[0]


def test_only_rooms_that_their_user_listed_are_shown_and_never_this_one(tmp_path: Path) -> None:
    home, here = Home.at(tmp_path), settings(ROOM, listed=True)
    for room in (here, settings(OTHER, listed=True, via="log:/y"), settings(b"p" * 32)):
        home.save(room)
    assert friends_of(home, here) == (LobbyFriend(room=OTHER.hex(), carriers=("log:/y",)),)
    (tmp_path / "rooms" / ("ab" * 32)).mkdir()
    (tmp_path / "rooms" / ("ab" * 32) / "room.json").write_bytes(b"{")
    assert friends_of(home, here) == ()


async def test_a_member_shows_its_room_and_itself(tmp_path: Path) -> None:
    bus = Bus()
    mine, reader = carriage(tmp_path, bus), DirectoryCarrier(str(tmp_path))
    friends = (LobbyFriend(room=OTHER.hex()),)
    async with trio.open_nursery() as nursery:

        async def show() -> None:
            await mine.show(
                bytes(ANN.verify_key), settings(ROOM), members=lambda: 3, protected=True, friends=friends
            )

        nursery.start_soon(show)
        with trio.fail_after(10):
            while (session := await reader.read_session()) is None:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert (session.name, session.url, session.peers, session.protected) == ("tea", ROOM.hex(), 3, True)
    shown = await reader.read_profiles()
    assert shown == {bytes(ANN.verify_key): LobbyProfile(name="ann", created=7, friends=friends)}


async def test_a_newcomer_hears_that_the_room_is_full_and_a_member_does_not(tmp_path: Path) -> None:
    full = LobbySession(name="tea", url=ROOM.hex(), peers=2, max_peers=2)
    await DirectoryCarrier(str(tmp_path)).publish_session(full)
    assert await told(tmp_path, lambda mine: mine.look(newcomer=True)) == [
        "It says there that this room is full: 2 of 2 members. Nobody is let in before somebody leaves."
    ]
    assert await told(tmp_path, lambda mine: mine.look(newcomer=False)) == []
    for other in (
        msgspec.structs.replace(full, max_peers=3),
        msgspec.structs.replace(full, url=OTHER.hex()),
    ):
        await DirectoryCarrier(str(tmp_path)).publish_session(other)
        assert await told(tmp_path, lambda mine: mine.look(newcomer=True)) == []
    old = msgspec.structs.replace(full, last_update=int((time.time() - 700) * 1000))
    (tmp_path / "session.json").write_bytes(msgspec.json.encode(old))
    assert await told(tmp_path, lambda mine: mine.look(newcomer=True)) == []


async def test_friends_are_told_once_in_quotes_and_only_a_few(tmp_path: Path) -> None:
    place = DirectoryCarrier(str(tmp_path))
    hostile = LobbyProfile(
        name="bob\x1b[31m\u202e" + "x" * 200,
        friends=tuple(LobbyFriend(room=f"{n:064x}", carriers=("dir:/\n\x07",)) for n in range(12)),
    )
    await place.publish_profile(b"b" * 32, hostile)
    await place.publish_profile(b"c" * 32, hostile)
    await place.publish_profile(bytes(ANN.verify_key), LobbyProfile(name="me", friends=hostile.friends))
    said = await told(tmp_path, lambda mine: mine.look(newcomer=False))
    assert len(said) == 8
    assert all(sentence.isprintable() and len(sentence) < 250 for sentence in said)
    assert "is in another room as well, 000000000000, at 'dir:/\\n\\x07': ask there" in said[0]


async def test_that_a_folder_is_another_rooms_as_well_is_said_once(tmp_path: Path) -> None:
    await DirectoryCarrier(str(tmp_path)).publish_session(LobbySession(name="beer", url=OTHER.hex()))

    async def show(mine: Carriage) -> None:
        with trio.move_on_after(1.5):
            await mine.show(bytes(ANN.verify_key), settings(ROOM), members=lambda: 1)

    (said,) = await told(tmp_path, show)
    assert "is the lobby of another room, too: 'beer', 6f6f6f6f6f6f." in said
