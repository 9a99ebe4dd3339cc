"""The lobby folder: parcels and JSON go through it; whatever else lies there is counted and left alone."""

import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.carriers import carrier_from_spec
from signaling.directory import DirectoryCarrier
from signaling.directory_scan import Mine, Scan
from signaling.errors import CarrierError
from signaling.folder import Complaints, opened
from signaling.lobby import Lobby, LobbyFriend, LobbyProfile, LobbySession, keep_session
from signaling.seal import BUCKET


def parcel(number: int, *, kind: ParcelKind = ParcelKind.OFFER, fill: bytes = b"p") -> Parcel:
    return Parcel(kind=kind, key=number.to_bytes(32, "big"), payload=fill * BUCKET)


async def take(parcels: AsyncIterator[Parcel], count: int) -> list[Parcel]:
    with trio.fail_after(10):
        return [await anext(parcels) for _ in range(count)]


async def test_a_parcel_sent_by_one_carrier_comes_out_of_another(tmp_path: Path) -> None:
    here, there = (carrier_from_spec(f"dir:{tmp_path / 'lobby'}") for _ in range(2))
    arriving = there.parcels()
    for sent in (parcel(1), parcel(1, kind=ParcelKind.ANSWER), parcel(2)):
        await here.send(sent)
        assert await take(arriving, 1) == [sent]


async def test_a_newer_parcel_replaces_the_former_and_comes_out_again(tmp_path: Path) -> None:
    carrier = DirectoryCarrier(str(tmp_path))
    arriving = carrier.parcels()
    await carrier.send(parcel(1))
    assert await take(arriving, 1) == [parcel(1)]
    await carrier.send(parcel(1, fill=b"q"))
    assert await take(arriving, 1) == [parcel(1, fill=b"q")]
    assert len(list(tmp_path.iterdir())) == 1


async def test_closing_withdraws_what_we_left_and_nothing_else(tmp_path: Path) -> None:
    ours, theirs = DirectoryCarrier(str(tmp_path)), DirectoryCarrier(str(tmp_path))
    await ours.send(parcel(1))
    await ours.send(parcel(2))
    await ours.send(parcel(3))
    await theirs.send(parcel(2, fill=b"t"))  # took our place
    await theirs.send(parcel(4))
    await ours.withdraw(ParcelKind.OFFER, parcel(3).key)
    await ours.aclose()
    assert sorted(path.name[62:66] for path in tmp_path.iterdir()) == ["02.o", "04.o"]


async def test_the_presence_has_the_name_a_stranger_looks_for(tmp_path: Path) -> None:
    carrier = DirectoryCarrier(str(tmp_path))
    sent = Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"here")
    await carrier.send(sent)
    assert [path.name for path in tmp_path.iterdir()] == ["host.offer.bin"]
    assert await take(carrier.parcels(), 1) == [sent]


async def test_session_and_profile_are_json_beside_the_parcels(tmp_path: Path) -> None:
    carrier = DirectoryCarrier(str(tmp_path))
    assert await carrier.read_session() is None
    session = LobbySession(name="team", url="ab" * 32, peers=2, max_peers=10)
    await carrier.publish_session(session)
    found = await carrier.read_session()
    assert found is not None
    assert (found.name, found.url, found.peers, found.max_peers) == ("team", "ab" * 32, 2, 10)
    assert not found.is_stale(now=found.last_update / 1000 + 599)
    assert found.is_stale(now=found.last_update / 1000 + 601)
    await carrier.publish_profile(b"m" * 32, LobbyProfile(name="ann", created=1))
    assert (tmp_path / "profile" / f"{(b'm' * 32).hex()}.json").is_file()


async def test_the_session_is_kept_true_with_one_write_a_change(tmp_path: Path) -> None:
    carrier = DirectoryCarrier(str(tmp_path))
    assert isinstance(carrier, Lobby)
    peers = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            keep_session, [carrier], lambda: LobbySession(name="team", url="ab" * 32, peers=peers)
        )
        for peers in (1, 2):
            with trio.fail_after(5):
                while (found := await carrier.read_session()) is None or found.peers != peers:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_a_session_that_is_no_session_is_counted_not_raised(tmp_path: Path) -> None:
    carrier = DirectoryCarrier(str(tmp_path))
    for junk in (b"", b"[", b"{}", b'{"name": 1, "url": 2}', b"[" * 50_000, b"x" * 70_000):
        (tmp_path / "session.json").write_bytes(junk)
        assert await carrier.read_session() is None
    assert carrier.faults["lobby: unreadable session"] == 5


async def test_hostile_and_foreign_files_are_counted_once_and_only_the_parcel_comes_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_bytes(b"k" * BUCKET)
    lobby = tmp_path / "lobby"
    lobby.mkdir()

    def name(number: int) -> Path:
        return lobby / f"{number:064x}.offer.bin"

    name(1).symlink_to(secret)
    os.mkfifo(name(2))
    name(3).mkdir()
    name(4).write_bytes(b"")
    name(5).write_bytes(b"x" * (BUCKET + 1))
    with name(6).open("wb") as sparse:
        sparse.truncate(1 << 40)
    (lobby / f"{7:064x}.offer (Bob's conflicted copy).bin").write_bytes(b"y" * BUCKET)
    (lobby / f"{'A' * 64}.offer.bin").write_bytes(b"y" * BUCKET)
    (lobby / "holiday\n\x1b[31m.jpg").write_bytes(b"z")
    (lobby / os.fsdecode(b"\xff\xfe.bin")).write_bytes(b"z")
    os.mkfifo(lobby / "host.offer.bin")

    faults: Counter[str] = Counter()
    carrier = DirectoryCarrier(str(lobby), CarrierContext(faults=faults))
    arriving = carrier.parcels()
    caplog.set_level(logging.WARNING)
    for number in (8, 9):  # the second one shows that nothing is counted twice
        await carrier.send(parcel(number))
        assert await take(arriving, 1) == [parcel(number)]
    assert faults == {
        "lobby: not a plain file": 4,
        "lobby: size of no parcel": 3,
        "lobby: foreign file": 4,
    }
    assert "\x1b" not in caplog.text


async def test_a_folder_full_of_junk_neither_blocks_the_loop_nor_hides_a_parcel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    source = tmp_path / "source"
    source.write_bytes(b"j" * BUCKET)
    lobby = tmp_path / "lobby"
    lobby.mkdir()
    for number in range(3000):
        os.link(source, lobby / f"{number:064x}.offer.bin")
        os.link(source, lobby / f"junk-{number}")
    carrier = DirectoryCarrier(str(lobby))
    arriving = carrier.parcels()
    await carrier.send(parcel(5000, fill=b"!"))
    longest = 0.0

    async def watch_the_loop() -> None:
        nonlocal longest
        while True:
            began = trio.current_time()
            await trio.sleep(0.005)
            longest = max(longest, trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_the_loop)
        with trio.fail_after(20):
            async for found in arriving:
                if found == parcel(5000, fill=b"!"):
                    break
        nursery.cancel_scope.cancel()
    assert carrier.faults["lobby: foreign file"] <= 3000
    assert longest < 1.0  # noisy machines; a scan on the loop would take longer at 100,000 files


async def test_a_folder_that_comes_later_is_waited_for_and_one_that_cannot_be_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    carrier = DirectoryCarrier(str(blocked))
    with pytest.raises(CarrierError, match="cannot be used"):
        await carrier.send(parcel(1))
    arriving = carrier.parcels()
    with trio.move_on_after(0.1):
        await anext(arriving)
    assert carrier.faults["lobby: folder away"] == 1
    blocked.unlink()
    await carrier.send(parcel(1))
    assert await take(arriving, 1) == [parcel(1)]
    await carrier.aclose()


def test_an_unknown_carrier_names_those_there_are() -> None:
    with pytest.raises(CarrierError, match="no carrier called 'ftp'"):
        carrier_from_spec("ftp:/x")
    with pytest.raises(CarrierError, match="needs a folder"):
        carrier_from_spec("dir:")


def test_a_folder_that_no_system_can_have_is_refused_before_anything_is_touched() -> None:
    for spec in ("dir:", "dir:/tmp/lob\0by", "dir:\0", "dir:~nobody-has-this-name/lobby"):
        with pytest.raises(CarrierError):
            carrier_from_spec(spec)


def test_a_parcel_has_a_fixed_key_and_a_bounded_payload() -> None:
    with pytest.raises(ValueError, match="16 KiB"):
        Parcel(kind=ParcelKind.OFFER, key=b"short", payload=b"")
    with pytest.raises(ValueError, match="16 KiB"):
        Parcel(kind=ParcelKind.OFFER, key=bytes(32), payload=bytes(MAX_PAYLOAD + 1))


ROOM, OTHER = b"r" * 32, b"o" * 32
HERE = Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"here")


def of_room(path: Path, room: bytes) -> DirectoryCarrier:
    return DirectoryCarrier(str(path), CarrierContext(room=room))


def shown(room: bytes, name: str) -> LobbySession:
    return LobbySession(name=name, url=room.hex(), peers=1)


async def test_two_rooms_in_one_folder_keep_their_own_session_presence_and_profiles(tmp_path: Path) -> None:
    tea, beer = of_room(tmp_path, ROOM), of_room(tmp_path, OTHER)
    assert await tea.publish_session(shown(ROOM, "tea")) is None
    note = await beer.publish_session(shown(OTHER, "beer"))
    assert note is not None
    assert "the lobby of another room, too: 'tea'" in note
    for carrier, word in ((tea, b"tea"), (beer, b"beer")):
        await carrier.send(Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=word))
        await carrier.publish_profile(b"m" * 32, LobbyProfile(name=word.decode()))
        found = await carrier.read_session()
        assert found is not None
        assert found.name == word.decode()
    assert (await tea.read_profiles())[b"m" * 32].name == "tea"
    assert (await beer.read_profiles())[b"m" * 32].name == "beer"
    # Whoever looks for the second room looks in both places.
    came = {each.payload for each in await take(of_room(tmp_path, OTHER).parcels(), 2)}
    assert came == {b"tea", b"beer"}
    assert (await take(of_room(tmp_path, ROOM).parcels(), 1))[0].payload == b"tea"
    await beer.aclose()
    await tea.aclose()
    left = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file())
    profile, aside = f"profile/{(b'm' * 32).hex()}.json", OTHER.hex()
    assert left == sorted((f"{aside}/{profile}", f"{aside}/session.json", profile, "session.json"))


async def test_a_folder_whose_room_is_gone_is_the_next_rooms(tmp_path: Path) -> None:
    old = LobbySession(name="tea", url=ROOM.hex(), last_update=int((time.time() - 700) * 1000))
    (tmp_path / "session.json").write_bytes(msgspec.json.encode(old))
    beer = of_room(tmp_path, OTHER)
    assert await beer.publish_session(shown(OTHER, "beer"), over=False) is None
    await beer.send(HERE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["host.offer.bin", "session.json"]
    tea = of_room(tmp_path, ROOM)
    assert await tea.publish_session(shown(ROOM, "tea")) is not None, "and it is the guest when it comes back"


async def test_a_presence_moves_with_its_rooms_place(tmp_path: Path) -> None:
    beer = of_room(tmp_path, OTHER)
    await beer.send(HERE)
    await of_room(tmp_path, ROOM).publish_session(shown(ROOM, "tea"))  # both began at once; the other won
    await beer.send(HERE)
    assert not (tmp_path / "host.offer.bin").exists()
    assert (tmp_path / OTHER.hex() / "host.offer.bin").exists()
    await beer.withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)
    assert [each.name for each in tmp_path.iterdir()] == ["session.json"]


async def test_members_leave_a_fresh_session_of_their_room_alone(tmp_path: Path) -> None:
    ann, bob = of_room(tmp_path, ROOM), of_room(tmp_path, ROOM)
    await ann.publish_session(shown(ROOM, "tea"))
    written = (tmp_path / "session.json").stat().st_ino
    await bob.publish_session(shown(ROOM, "tea"), over=False)
    assert (tmp_path / "session.json").stat().st_ino == written
    for seconds in (-301, 3600):  # old, or written by a clock that is an hour ahead
        wrong = LobbySession(name="tea", url=ROOM.hex(), last_update=int((time.time() + seconds) * 1000))
        (tmp_path / "session.json").write_bytes(msgspec.json.encode(wrong))
        await bob.publish_session(shown(ROOM, "tea"), over=False)
        found = await ann.read_session()
        assert found is not None
        assert abs(found.last_update / 1000 - time.time()) < 60


def test_a_room_is_full_when_its_members_are_as_many_as_may_be() -> None:
    for peers, most, full in ((1, 2, False), (2, 2, True), (3, 2, True), (5, 0, False)):
        assert LobbySession(name="", url="", peers=peers, max_peers=most).is_full is full


async def test_profiles_come_as_they_were_written_and_hostile_ones_are_counted(tmp_path: Path) -> None:
    carrier = of_room(tmp_path, ROOM)
    assert await carrier.read_profiles() == {}
    friend = LobbyFriend(room="ab" * 32, carriers=("dir:/x", "hub:https://hub.example"))
    ann = LobbyProfile(name="ann", created=7, friends=(friend,))
    await carrier.publish_profile(b"a" * 32, ann)
    profiles = tmp_path / "profile"
    assert b'"friends":[{"room":"abab' in (profiles / f"{(b'a' * 32).hex()}.json").read_bytes()
    for number, junk in enumerate(
        (
            b"",
            b"[",
            b"[" * 50_000,
            b'{"name": 7}',
            b'{"name": "' + b"x" * 300 + b'"}',
            b'{"name": "e", "friends": [{"room": "../../etc"}]}',
            b'{"name": "e", "friends": [{"room": "' + b"ab" * 32 + b'\\n"}]}',
            b'{"name": "e", "friends": [' + b'{"room": "' + b"ab" * 32 + b'"},' * 17 + b"]}",
        )
    ):
        (profiles / f"{number:064x}.json").write_bytes(junk)
    (tmp_path / "elsewhere").write_bytes(msgspec.json.encode(ann))
    (profiles / f"{100:064x}.json").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(profiles / f"{101:064x}.json")
    (profiles / "x.json").write_bytes(b"{}")
    assert await carrier.read_profiles() == {b"a" * 32: ann}
    assert carrier.faults == {"lobby: unreadable profile": 10}
    for number in range(1000, 1200):
        (profiles / f"{number:064x}.json").write_bytes(msgspec.json.encode(ann))
    assert len(await carrier.read_profiles()) == 64


async def test_a_profile_is_not_written_through_a_link(tmp_path: Path) -> None:
    lobby, elsewhere = tmp_path / "lobby", tmp_path / "elsewhere"
    lobby.mkdir()
    elsewhere.mkdir()
    (lobby / "profile").symlink_to(elsewhere)
    carrier = of_room(lobby, ROOM)
    with pytest.raises(CarrierError):
        await carrier.publish_profile(b"a" * 32, LobbyProfile(name="ann"))
    assert await carrier.read_profiles() == {}
    (lobby / OTHER.hex()).symlink_to(elsewhere)
    await carrier.publish_session(shown(ROOM, "tea"))
    with pytest.raises(CarrierError):
        await of_room(lobby, OTHER).send(HERE)
    assert list(elsewhere.iterdir()) == []


async def test_what_vanished_from_the_folder_is_left_again_until_it_is_withdrawn(tmp_path: Path) -> None:
    lobby = tmp_path / "stick"
    ours, theirs = DirectoryCarrier(str(lobby)), DirectoryCarrier(str(lobby))
    await ours.send(parcel(1))
    await ours.send(parcel(2))
    await ours.send(HERE)
    await ours.withdraw(ParcelKind.OFFER, parcel(2).key)
    shutil.rmtree(lobby)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for _ in ours.parcels():
                pass

        nursery.start_soon(read)
        came = await take(theirs.parcels(), 2)
        nursery.cancel_scope.cancel()
    assert sorted(came, key=lambda each: each.kind.value) == [parcel(1), HERE]
    await ours.aclose()
    assert list(lobby.iterdir()) == []


def look(carrier_path: Path, faults: Counter[str]) -> list[Parcel]:
    complaints = Complaints(carrier_path, kind="lobby", faults=faults, quiet=True)
    with opened(carrier_path, make=False) as folder:
        return Scan(complaints, mine=Mine(), aside=None)(folder)[0]


def test_what_outlived_every_offer_is_swept_and_nothing_else(tmp_path: Path) -> None:
    now, day = time.time(), 24 * 3600
    for number, age in ((1, day + 3700), (2, day + 3500), (3, 0), (4, -day), (5, 50 * 365 * day)):
        path = tmp_path / f"{number:064x}.offer.bin"
        path.write_bytes(b"p" * BUCKET)
        os.utime(path, (now - age, now - age))
    holiday, host = tmp_path / "holiday.jpg", tmp_path / "host.offer.bin"
    for path in (holiday, host):
        path.write_bytes(b"z")
        os.utime(path, (0, 0))
    os.mkfifo(tmp_path / f"{6:064x}.offer.bin")
    os.utime(tmp_path / f"{6:064x}.offer.bin", (0, 0))
    found = look(tmp_path, Counter())
    assert sorted(each.key[-1] for each in found) == [0, 2, 3, 4]
    assert sorted(each.name[62:66] for each in tmp_path.glob("*.bin")) == ["", "02.o", "03.o", "04.o", "06.o"]
    assert holiday.exists()


def test_where_the_file_servers_clock_stands_in_another_year_nothing_living_is_swept(tmp_path: Path) -> None:
    path = tmp_path / f"{1:064x}.offer.bin"
    path.write_bytes(b"p" * BUCKET)
    os.utime(path, (1000, 1000))
    os.utime(tmp_path, (1060, 1060))  # the server counts from its last power cut
    assert [each.key[-1] for each in look(tmp_path, Counter())] == [1]


def test_a_file_that_another_user_keeps_to_himself_is_read_once_he_lets_us(tmp_path: Path) -> None:
    path = tmp_path / f"{1:064x}.offer.bin"
    path.write_bytes(b"p" * BUCKET)
    path.chmod(0)
    tmp_path.chmod(0o777)
    faults: Counter[str] = Counter()
    root = os.geteuid() == 0
    with opened(tmp_path, make=False) as folder:
        scan = Scan(Complaints(tmp_path, kind="lobby", faults=faults, quiet=True), mine=Mine(), aside=None)
        try:
            if root:  # who may read everything becomes somebody else for a moment
                os.seteuid(65534)
            assert scan(folder) == ([], True)
            assert scan(folder) == ([], True)
        finally:
            if root:
                os.seteuid(0)
        assert faults == {"lobby: unreadable file": 1}
        path.chmod(0o644)
        assert [each.key[-1] for each in scan(folder)[0]] == [1]


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that may only be read, with a parcel in it. Root is somebody else meanwhile."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="pigeon-test-") as name:
        folder = Path(name)
        trio.run(DirectoryCarrier(name).send, parcel(1))
        folder.chmod(0o555)
        try:
            if root:
                os.seteuid(65534)
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


async def test_a_folder_that_may_only_be_read_is_read_and_the_rest_is_said(read_only: Path) -> None:
    carrier = DirectoryCarrier(str(read_only))
    assert await take(carrier.parcels(), 1) == [parcel(1)]
    with pytest.raises(CarrierError, match="Permission denied"):
        await carrier.send(parcel(2))
    await carrier.aclose()
