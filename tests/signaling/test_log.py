"""One log a writer: what is read of it while sync tools, crashes and strangers deal with its files."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey

from signaling.carrier import PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.errors import BadSignature, CarrierError, Malformed, Oversize, SignalError, WrongVersion
from signaling.folder import Complaints, opened
from signaling.lobby import Lobby, LobbyProfile, LobbySession
from signaling.log import LogCarrier
from signaling.log_entry import MAX_ENTRY, NO_ENTRY, EntryKind, Segment, make_entry, next_entry
from signaling.log_names import MAX_SEGMENT, segment_of
from signaling.log_scan import LogScan
from signaling.log_writer import LogWriter

ANN = SigningKey(b"a" * 32)
BOB = SigningKey(b"b" * 32)
OFFER, ANSWER = ParcelKind.OFFER, ParcelKind.ANSWER


def parcel(number: int, *, kind: ParcelKind = OFFER, fill: bytes = b"p") -> Parcel:
    return Parcel(kind=kind, key=number.to_bytes(32, "big"), payload=fill * 512)


def carrier(place: Path, key: SigningKey | None = ANN) -> LogCarrier:
    return LogCarrier(str(place), CarrierContext(writer=key))


class Reader:
    """Somebody who looks into a folder now and then."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.faults: Counter[str] = Counter()
        self.scan = LogScan(Complaints(place, kind="log", faults=self.faults, quiet=True))

    def look(self) -> list[Parcel]:
        found: list[Parcel] = []
        with opened(self.place, make=False) as folder:
            for _ in range(100):
                more, whole = self.scan(folder)
                found += more
                if whole:
                    return found
        raise AssertionError("a look that never ends")


def files(place: Path) -> list[Path]:
    return sorted(place.glob("*.log"))


async def take(parcels: AsyncIterator[Parcel], count: int) -> list[Parcel]:
    with trio.fail_after(10):
        return [await anext(parcels) for _ in range(count)]


async def test_what_one_writes_another_reads_and_a_later_reader_not_what_is_withdrawn(
    tmp_path: Path,
) -> None:
    ann, bob = carrier(tmp_path), carrier(tmp_path, BOB)
    arriving = bob.parcels()
    await ann.send(parcel(1))
    await ann.send(parcel(2, kind=ANSWER))
    assert sorted(each.key for each in await take(arriving, 2)) == [parcel(1).key, parcel(2).key]
    await ann.send(parcel(1, fill=b"q"))
    assert await take(arriving, 1) == [parcel(1, fill=b"q")]
    await ann.withdraw(OFFER, parcel(1).key)
    assert Reader(tmp_path).look() == [parcel(2, kind=ANSWER)]


async def test_a_log_only_grows_and_each_entry_names_the_one_before(tmp_path: Path) -> None:
    ann = carrier(tmp_path)
    content = b""
    for number in range(5):
        await ann.send(parcel(number))
        (file,) = files(tmp_path)
        assert file.read_bytes().startswith(content)
        content = file.read_bytes()
    segment = segment_of(file.name)
    assert segment is not None
    assert segment.writer == bytes(ANN.verify_key)
    at, head, kinds = 0, NO_ENTRY, []
    while (found := next_entry(content, at, segment)) is not None:
        entry, at = found
        assert entry.prev == head
        assert entry.seq == len(kinds)
        head = entry.hash
        kinds.append(entry.kind)
    assert kinds == [EntryKind.BEGIN, *[EntryKind.OFFER] * 5]


async def test_closing_leaves_a_log_only_where_it_shows_something(tmp_path: Path) -> None:
    ann, bob = carrier(tmp_path), carrier(tmp_path, BOB)
    await ann.send(parcel(1))
    await bob.send(parcel(2))
    await bob.publish_profile(b"m" * 32, LobbyProfile(name="bob"))
    await ann.aclose()
    await bob.aclose()
    assert [segment_of(file.name).writer for file in files(tmp_path)] == [bytes(BOB.verify_key)]  # type: ignore[union-attr]
    reader = Reader(tmp_path)
    assert reader.look() == []
    assert [key for key, _ in reader.scan.profiles.items()] == [b"m" * 32]


async def test_a_killed_writer_begins_a_new_segment_and_its_former_offers_are_over(
    tmp_path: Path,
) -> None:
    await carrier(tmp_path).send(parcel(1))
    (former,) = files(tmp_path)
    kept = former.read_bytes()
    again = carrier(tmp_path)
    await again.send(parcel(2))
    (file,) = files(tmp_path)
    assert file != former
    former.write_bytes(kept)  # the sync tool brings it back
    assert Reader(tmp_path).look() == [parcel(2)]
    await carrier(tmp_path).withdraw(ANSWER, parcel(7).key)  # swept, before anything is sent
    assert Reader(tmp_path).look() == []


async def test_a_new_segment_names_the_last_entry_of_the_former_life(tmp_path: Path) -> None:
    await carrier(tmp_path).send(parcel(1))
    (former,) = files(tmp_path)
    content, segment, at, head = former.read_bytes(), segment_of(former.name), 0, NO_ENTRY
    assert segment is not None
    while (found := next_entry(content, at, segment)) is not None:
        head, at = found[0].hash, found[1]
    await carrier(tmp_path).send(parcel(2))
    (file,) = files(tmp_path)
    found = next_entry(file.read_bytes(), 0, segment_of(file.name))  # type: ignore[arg-type]
    assert found is not None
    assert found[0].prev == head


async def test_a_torn_tail_hides_nothing_before_it_and_is_read_once_it_is_whole(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    ann = carrier(here)
    for number in range(3):
        await ann.send(parcel(number))
    (file,) = files(here)
    content, copy, reader = file.read_bytes(), there / file.name, Reader(there)
    seen: list[Parcel] = []
    for cut in sorted({*range(0, len(content), 97), len(content)}):
        copy.write_bytes(content[:cut])
        seen += reader.look()
    assert seen == [parcel(number) for number in range(3)]
    assert reader.faults == {}


async def test_a_file_that_is_filled_with_zeros_first_is_read_when_it_is_there(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    ann = carrier(here)
    for number in range(3):
        await ann.send(parcel(number))
    (file,) = files(here)
    content, copy, reader = file.read_bytes(), there / file.name, Reader(there)
    for done in (0, 400, 1000, len(content)):
        copy.write_bytes(content[:done] + bytes(len(content) - done))
        os.utime(copy, ns=(done, done))  # a clock that stands does not hide it either
        seen = reader.look()
    assert seen[-1] == parcel(2)


async def test_order_is_by_hash_and_no_clock_is_asked(tmp_path: Path) -> None:
    skewed = Segment(bytes(ANN.verify_key), b"s" * 8)
    data, prev = b"", NO_ENTRY
    steps = [
        (EntryKind.BEGIN, NO_ENTRY, b"", 5_000),
        (EntryKind.OFFER, b"k" * 32, b"first", 9_000_000_000_000),
        (EntryKind.OFFER, b"k" * 32, b"second", 0),
        (EntryKind.OFFER, b"l" * 32, b"third", 1),
        (EntryKind.WITHDRAWN, b"l" * 32, bytes((EntryKind.OFFER,)), 0),
    ]
    for seq, (kind, key, payload, when) in enumerate(steps):
        entry, prev = make_entry(
            key=ANN,
            segment=skewed.id,
            kind=kind,
            seq=seq,
            time=when,
            prev=prev,
            slot_key=key,
            payload=payload,
        )
        data += entry
    (tmp_path / skewed.file_name).write_bytes(data)
    assert [each.payload for each in Reader(tmp_path).look()] == [b"second"]


@pytest.mark.parametrize(
    "copy",
    [
        "{stem}.sync-conflict-20261120-103000-ABCDEFG.log",
        "{stem} (conflicted copy 2026-11-20 103000).log",
        "{stem} (Bob's conflicted copy 2026-11-20).log",
        "{stem}-DESKTOP.log",
    ],
)
async def test_a_conflict_copy_neither_hides_nor_revives_anything(tmp_path: Path, copy: str) -> None:
    ann = carrier(tmp_path)
    await ann.send(parcel(1))
    (file,) = files(tmp_path)
    early = file.read_bytes()
    await ann.withdraw(OFFER, parcel(1).key)
    await ann.send(parcel(2))
    late = file.read_bytes()
    conflict = tmp_path / copy.format(stem=file.stem)
    for branch, other in ((early, late), (late, early)):
        file.write_bytes(branch)
        conflict.write_bytes(other)
        reader = Reader(tmp_path)
        # Which of the two is read first is not ours to say; the later look makes it whole.
        assert parcel(2) in reader.look()
        assert reader.look() == []
        assert reader.faults == {}
    file.unlink()
    assert Reader(tmp_path).look() == [parcel(1)], "all that is left is the early copy"


async def test_a_writer_whose_log_was_rolled_back_does_not_fork(tmp_path: Path) -> None:
    ann, reader = carrier(tmp_path), Reader(tmp_path)
    await ann.send(parcel(1))
    (file,) = files(tmp_path)
    early = file.read_bytes()
    await ann.send(parcel(2))
    assert reader.look() == [parcel(1), parcel(2)]
    file.write_bytes(early)
    await ann.send(parcel(3))
    assert {each.key for each in reader.look()} == {parcel(number).key for number in (1, 2, 3)}
    assert reader.faults == {}
    assert not file.exists(), "the segment it could not be sure of is over"
    file.write_bytes(early)  # and comes back once more
    late = Reader(tmp_path)
    assert {each.key for each in late.look()} == {parcel(number).key for number in (1, 2, 3)}
    assert reader.look() == []
    assert late.faults == {}


@pytest.mark.parametrize("harm", ["truncated", "appended", "replaced", "gone", "a link", "a folder"])
async def test_a_writer_notices_what_became_of_its_file_and_says_all_anew(tmp_path: Path, harm: str) -> None:
    place = tmp_path / "place"
    ann = carrier(place)
    await ann.send(parcel(1))
    (file,) = files(place)
    content = file.read_bytes()
    match harm:
        case "truncated":
            os.truncate(file, len(content) - 1)
        case "appended":
            file.write_bytes(content + b"junk")
        case "replaced":
            file.write_bytes(os.urandom(len(content)))
        case "gone":
            file.unlink()
        case "a link":
            elsewhere = tmp_path / "elsewhere"
            elsewhere.write_bytes(content)
            file.unlink()
            file.symlink_to(elsewhere)
        case _:
            file.unlink()
            file.mkdir()
    await ann.send(parcel(2))
    assert sorted(each.key for each in Reader(place).look()) == [parcel(1).key, parcel(2).key]
    if harm == "a link":
        assert elsewhere.read_bytes() == content


async def test_a_folder_that_was_emptied_gets_back_what_is_still_open(tmp_path: Path) -> None:
    place = tmp_path / "stick"
    ann = carrier(place)
    await ann.send(parcel(1))
    shutil.rmtree(place)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for _ in ann.parcels():
                pass

        nursery.start_soon(read)
        with trio.fail_after(10):
            while not (place.exists() and Reader(place).look() == [parcel(1)]):
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()


def test_a_log_that_grows_is_cut_into_segments_with_only_what_is_open(tmp_path: Path) -> None:
    writer, reader = LogWriter(ANN), Reader(tmp_path)
    seen: Counter[bytes] = Counter()
    sizes = set()
    with opened(tmp_path, make=False) as folder:
        for number in range(300):
            writer.put(folder, EntryKind.OFFER, b"k" * 32, number.to_bytes(4, "big") * 1024)
            (file,) = files(tmp_path)
            sizes.add(file.stat().st_size)
            seen.update(each.payload[:4] for each in reader.look())
    assert len(seen) == 300
    assert max(sizes) <= 256 * 1024
    assert reader.faults == {}


def test_more_than_fits_is_refused_and_spoils_nothing(tmp_path: Path) -> None:
    writer = LogWriter(ANN)
    with opened(tmp_path, make=False) as folder:
        with pytest.raises(CarrierError, match="too much"):
            for number in range(100):
                writer.put(folder, EntryKind.OFFER, number.to_bytes(32, "big"), bytes(16 * 1024))
        assert 20 < len(Reader(tmp_path).look()) < 30
        (file,) = files(tmp_path)
        assert file.stat().st_size < MAX_SEGMENT


def _chain(key: SigningKey, segment: Segment, payloads: list[bytes]) -> list[bytes]:
    first, prev = make_entry(key=key, segment=segment.id, kind=EntryKind.BEGIN, seq=0, time=0, prev=NO_ENTRY)
    entries = [first]
    for seq, payload in enumerate(payloads, start=1):
        entry, prev = make_entry(
            key=key,
            segment=segment.id,
            kind=EntryKind.OFFER,
            seq=seq,
            time=0,
            prev=prev,
            slot_key=payload.ljust(32, b"\0"),
            payload=payload,
        )
        entries.append(entry)
    return entries


def test_a_writer_that_forks_is_noticed_and_only_the_first_branch_is_followed(tmp_path: Path) -> None:
    segment = Segment(bytes(ANN.verify_key), b"s" * 8)
    file, reader = tmp_path / segment.file_name, Reader(tmp_path)
    file.write_bytes(b"".join(_chain(ANN, segment, [b"one", b"two"])))
    assert [each.payload for each in reader.look()] == [b"one", b"two"]
    file.with_name(f"{file.stem}.sync-conflict-20261120-103000-ABCDEFG.log").write_bytes(
        b"".join(_chain(ANN, segment, [b"one", b"TWO", b"three"]))
    )
    assert reader.look() == []
    assert reader.faults == {"log: forked log": 1}


def test_forged_and_shuffled_logs_are_counted_and_read_as_far_as_they_follow(tmp_path: Path) -> None:
    segment = Segment(bytes(ANN.verify_key), b"s" * 8)
    good = _chain(ANN, segment, [b"one", b"two", b"three"])

    def put(number: int, content: bytes) -> None:
        (tmp_path / Segment(segment.writer, bytes((number,)) * 8).file_name).write_bytes(content)

    other = _chain(ANN, Segment(segment.writer, b"\3" * 8), [b"ONE", b"TWO"])
    mixed = _chain(ANN, Segment(segment.writer, b"\3" * 8), [b"one", b"two"])
    put(3, b"".join(mixed[:2]) + other[2])  # each well signed, and the last follows from another branch
    put(1, b"".join(good))  # renamed: the signature names another segment
    put(2, b"".join(_chain(BOB, Segment(segment.writer, b"\2" * 8), [b"forged"])))
    (tmp_path / segment.file_name).write_bytes(good[0] + good[2] + good[1])
    reader = Reader(tmp_path)
    assert [each.payload for each in reader.look()] == [b"one"]
    assert reader.faults == {"log: broken entry": 2, "log: broken chain": 2}
    assert reader.look() == []
    assert sum(reader.faults.values()) == 4, "once each"
    (tmp_path / segment.file_name).write_bytes(b"".join(good))  # somebody put it right
    assert [each.payload for each in reader.look()] == [b"one", b"two", b"three"]


def test_what_is_no_plain_file_of_a_sound_size_is_not_opened(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    elsewhere = tmp_path / "elsewhere"
    segments = [Segment(bytes(ANN.verify_key), bytes((number,)) * 8) for number in range(4)]
    elsewhere.write_bytes(b"".join(_chain(ANN, segments[0], [b"secret"])))
    (place / segments[0].file_name).symlink_to(elsewhere)
    os.mkfifo(place / segments[1].file_name)
    (place / segments[2].file_name).mkdir()
    with (place / segments[3].file_name).open("wb") as sparse:
        sparse.truncate(1 << 40)
    (place / "holiday.jpg").write_bytes(b"z")
    (place / f"{'AB' * 32}.{'0' * 16}.log").write_bytes(b"z")
    (place / os.fsdecode(b"\xff\xfe.log")).write_bytes(b"z")
    reader = Reader(place)
    for _ in range(2):
        assert reader.look() == []
        assert reader.faults == {
            "log: not a plain file": 3,
            "log: size of no log": 1,
            "log: foreign file": 3,
        }


def test_thousands_of_hostile_logs_neither_hide_an_honest_one_nor_cost_much(tmp_path: Path) -> None:
    """Each with a key of its own and well signed; the honest one comes last."""
    count = 10_000 if os.environ.get("NIGHTLY") else 2_000
    for number in range(count):
        key = SigningKey(number.to_bytes(32, "big"))
        segment = Segment(bytes(key.verify_key), b"s" * 8)
        (tmp_path / segment.file_name).write_bytes(b"".join(_chain(key, segment, [b"junk"])))
    with opened(tmp_path, make=False) as folder:
        LogWriter(ANN).put(folder, EntryKind.OFFER, b"k" * 32, b"honest")
    reader = Reader(tmp_path)
    began = time.process_time()
    assert sum(each.payload == b"honest" for each in reader.look()) == 1
    first = time.process_time() - began
    began = time.process_time()
    assert reader.look() == []
    again = time.process_time() - began
    print(f"logs={count} first_cpu_s={first:.2f} again_cpu_s={again:.3f}")
    assert first < count / 500
    assert again < 1


async def test_a_session_is_found_whoever_wrote_it_and_each_room_has_its_own(tmp_path: Path) -> None:
    room, other = b"r" * 32, b"o" * 32
    ann = LogCarrier(str(tmp_path), CarrierContext(writer=ANN, room=room))
    bob = LogCarrier(str(tmp_path), CarrierContext(writer=BOB, room=other))
    assert isinstance(ann, Lobby)
    assert await ann.read_session() is None
    await ann.publish_session(LobbySession(name="tea", url=room.hex(), peers=1))
    await bob.publish_session(LobbySession(name="beer", url=other.hex(), peers=2))
    for mine, name in ((ann, "tea"), (bob, "beer")):
        found = await mine.read_session()
        assert found is not None
        assert found.name == name
        assert not found.is_stale(now=time.time())
    await bob.publish_profile(b"m" * 32, LobbyProfile(name="bob", created=1))
    assert await ann.read_profiles() == {b"m" * 32: LobbyProfile(name="bob", created=1)}


async def test_a_session_that_is_fresh_is_not_written_by_everybody(tmp_path: Path) -> None:
    session = LobbySession(name="tea", url="ab" * 32, peers=2)
    ann, bob = carrier(tmp_path), carrier(tmp_path, BOB)
    await ann.publish_session(session)
    await bob.publish_session(session, over=False)
    assert len(files(tmp_path)) == 1
    await bob.publish_session(session, over=True)
    assert len(files(tmp_path)) == 2


async def test_presence_is_each_members_own_and_goes_with_it(tmp_path: Path) -> None:
    here = Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"here")
    ann, bob = carrier(tmp_path), carrier(tmp_path, BOB)
    await ann.send(here)
    await bob.send(here)
    await ann.withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)
    assert Reader(tmp_path).look() == [here]
    await bob.aclose()
    await ann.aclose()
    assert files(tmp_path) == []


async def test_a_folder_that_cannot_be_written_is_said_and_works_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    ann = carrier(blocked)
    with pytest.raises(CarrierError, match="cannot be used"):
        await ann.send(parcel(1))
    await ann.withdraw(OFFER, parcel(9).key)
    blocked.unlink()
    await ann.send(parcel(2))
    assert Reader(blocked).look() == [parcel(2)]
    await ann.aclose()
    assert files(blocked) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: (MAX_ENTRY + 1).to_bytes(2, "big") + data[2:], Oversize),
        (lambda data: (7).to_bytes(2, "big") + data[2:], Malformed),
        (lambda data: data[:2] + b"\x09" + data[3:], WrongVersion),
        (lambda data: data[:3] + b"\x63" + data[4:], Malformed),
        (lambda data: data[:-1] + bytes((data[-1] ^ 1,)), BadSignature),
        (lambda data: data[:90] + bytes((data[90] ^ 1,)) + data[91:], BadSignature),
    ],
)
def test_an_entry_that_was_altered_is_refused_by_name(change, error: type[SignalError]) -> None:  # type: ignore[no-untyped-def]
    segment = Segment(bytes(ANN.verify_key), b"s" * 8)
    sound = _chain(ANN, segment, [b"payload" * 10])[1]
    found = next_entry(sound, 0, segment)
    assert found is not None
    assert (found[0].payload, found[1]) == (b"payload" * 10, len(sound))
    with pytest.raises(error):
        next_entry(change(sound), 0, segment)
    for cut in range(len(sound)):
        assert next_entry(sound[:cut], 0, segment) is None
