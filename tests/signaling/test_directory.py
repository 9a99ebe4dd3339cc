"""The lobby folder: parcels and JSON go through it; whatever else lies there is counted and left alone."""

import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.carriers import carrier_from_spec
from signaling.directory import DirectoryCarrier
from signaling.errors import CarrierError
from signaling.lobby import Lobby, LobbyProfile, LobbySession, keep_session
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
