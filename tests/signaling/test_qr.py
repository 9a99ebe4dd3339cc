"""A folder of pictures is a mailbox: what is drawn there is found, and what a person drops there, no junk."""

import io
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from PIL import Image

from signaling.carrier import CarrierContext, Hands, Parcel, ParcelKind, bare_parcel
from signaling.carriers import carrier_from_spec
from signaling.errors import CarrierError
from signaling.folder import Complaints
from signaling.pictures import MAX_FILE, draw_png
from signaling.qr import QrFolderCarrier, _Scan
from signaling.token import Kind, to_token

OFFER = bare_parcel(ParcelKind.OFFER, b"an offer" * 20)
ANSWER = bare_parcel(ParcelKind.ANSWER, b"an answer" * 20)


def picture(parcel: Parcel) -> bytes:
    return draw_png(to_token(Kind[parcel.kind.name], parcel.payload))


def beside(*pictures: bytes) -> Image.Image:
    opened = [Image.open(io.BytesIO(each)).convert("L") for each in pictures]
    sheet = Image.new("L", (sum(each.width for each in opened), max(each.height for each in opened)), 255)
    at = 0
    for each in opened:
        sheet.paste(each, (at, 0))
        at += each.width
    return sheet


async def take(parcels: AsyncIterator[Parcel], count: int) -> list[Parcel]:
    with trio.fail_after(20):
        return [await anext(parcels) for _ in range(count)]


def scan_of(folder: Path) -> tuple[_Scan, Counter[str], int]:
    faults: Counter[str] = Counter()
    scan = _Scan({}, Complaints(folder, kind="qr", faults=faults))
    return scan, faults, os.open(folder, os.O_RDONLY)


def looks(folder: Path, *, most: int = 50) -> tuple[list[Parcel], Counter[str]]:
    """What is found until everything was looked at."""
    scan, faults, descriptor = scan_of(folder)
    found: list[Parcel] = []
    try:
        for _ in range(most):
            some, whole = scan(descriptor)
            found += some
            if whole:
                return found, faults
    finally:
        os.close(descriptor)
    raise AssertionError("there is no end")


async def test_an_offer_and_its_answer_go_through_a_folder_as_pictures(tmp_path: Path) -> None:
    here, there = (carrier_from_spec(f"qr:{tmp_path / 'mail'}") for _ in range(2))
    assert here.bare and not isinstance(here, Hands)
    await here.send(OFFER)
    await here.send(OFFER)
    assert [path.name for path in (tmp_path / "mail").iterdir()] == [f"offer-{OFFER.key.hex()[:16]}.png"]
    assert await take(there.parcels(), 1) == [OFFER]
    await there.send(ANSWER)
    assert await take(here.parcels(), 1) == [ANSWER]  # its own is skipped
    await here.withdraw(OFFER.kind, OFFER.key)
    await there.aclose()
    await there.aclose()
    assert list((tmp_path / "mail").iterdir()) == []


async def test_closing_removes_what_we_drew_and_nothing_else(tmp_path: Path) -> None:
    ours, theirs = (QrFolderCarrier(str(tmp_path)) for _ in range(2))
    await ours.send(OFFER)
    await ours.send(ANSWER)
    (tmp_path / f"answer-{ANSWER.key.hex()[:16]}.png").write_bytes(b"somebody else's")
    await theirs.withdraw(OFFER.kind, OFFER.key)
    assert len(list(tmp_path.iterdir())) == 2
    await ours.aclose()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"somebody else's"]


async def test_a_photo_with_several_codes_under_any_name_is_several_parcels(tmp_path: Path) -> None:
    arriving = QrFolderCarrier(str(tmp_path)).parcels()
    sheet = beside(picture(OFFER), picture(ANSWER)).rotate(8, expand=True, fillcolor=200)
    sheet.save(tmp_path / "IMG 2041 (1).JPeG", "JPEG", quality=60)
    assert sorted(parcel.kind.value for parcel in await take(arriving, 2)) == ["answer", "offer"]


async def test_a_newer_picture_under_the_same_name_is_read_again(tmp_path: Path) -> None:
    arriving = QrFolderCarrier(str(tmp_path)).parcels()
    for parcel in (OFFER, ANSWER):
        (tmp_path / "new").write_bytes(picture(parcel))
        (tmp_path / "new").rename(tmp_path / "scan.png")
        assert await take(arriving, 1) == [parcel]


async def test_a_picture_that_is_still_being_copied_is_read_once_it_is_whole(tmp_path: Path) -> None:
    arriving, data = QrFolderCarrier(str(tmp_path)).parcels(), picture(OFFER)
    with (tmp_path / "copy.png").open("wb") as file:
        file.write(data[:300])
        file.flush()
        with trio.move_on_after(0.5):
            await anext(arriving)
        file.write(data[300:])
    assert await take(arriving, 1) == [OFFER]


def test_junk_is_counted_once_and_only_the_tokens_come_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.png").write_bytes(picture(ANSWER))
    mail = tmp_path / "mail"
    mail.mkdir()
    (mail / "link.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (mail / "dangling.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(mail / "fifo.png")
    (mail / "folder.png").mkdir()
    (mail / "empty.png").write_bytes(b"")
    with (mail / "sparse.png").open("wb") as sparse:
        sparse.truncate(MAX_FILE + 1)
    (mail / "notes.txt").write_bytes(picture(ANSWER))
    (mail / os.fsdecode(b"\xff\n\x1b[31m.png")).write_bytes(b"no picture")
    (mail / "holiday.jpg").write_bytes(_blank("JPEG"))
    (mail / "invitation.png").write_bytes(draw_png(to_token(Kind.INVITATION, b"i" * 50)))
    (mail / "offer.png").write_bytes(picture(OFFER))
    for path in mail.iterdir():
        if path.is_file() and not path.is_symlink() and path.name.endswith(".png"):
            os.utime(path, (1, path.stat().st_mtime - 60))  # nobody is copying it any more
    found, faults = looks(mail)
    assert found == [OFFER]
    assert faults == {
        "qr: no picture of a size that is read": 6,
        "qr: foreign file": 1,
        "qr: unreadable picture": 1,
        "qr: picture without a token": 1,
        "qr: token of another kind": 1,
    }


def _blank(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 64), 255).save(out, kind)
    return out.getvalue()


def test_a_folder_full_of_pictures_costs_a_few_a_look_and_the_latest_comes_first(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(_blank("PNG"))
    mail = tmp_path / "mail"
    mail.mkdir()
    for number in range(2000):
        os.link(source, mail / f"{number}.png")
    os.utime(source, (1, source.stat().st_mtime - 60))
    (mail / "new.png").write_bytes(picture(OFFER))
    os.utime(mail / "new.png", (1, source.stat().st_ctime + 5))
    scan, faults, descriptor = scan_of(mail)
    try:
        assert scan(descriptor) == ([OFFER], False)
        assert scan(descriptor) == ([], False)
    finally:
        os.close(descriptor)
    assert faults["qr: picture without a token"] == 7


def test_pictures_that_change_all_the_time_do_not_keep_others_waiting(tmp_path: Path) -> None:
    (tmp_path / "offer.png").write_bytes(picture(OFFER))
    scan, _, descriptor = scan_of(tmp_path)
    try:
        for look in range(3):
            for number in range(6):
                (tmp_path / f"{number}.png").write_bytes(_blank("PNG"))
                os.utime(tmp_path / f"{number}.png", (1, tmp_path.stat().st_mtime + 100 + look))
            if OFFER in scan(descriptor)[0]:
                return
    finally:
        os.close(descriptor)
    raise AssertionError("the offer's turn does not come")


def test_old_photos_are_left_alone_and_what_a_killed_program_drew_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offer.png").write_bytes(picture(OFFER))
    (tmp_path / f"answer-{ANSWER.key.hex()[:16]}.png").write_bytes(picture(ANSWER))
    now = tmp_path.stat().st_mtime
    monkeypatch.setattr("signaling.qr.time.time", lambda: now + 93_000)
    os.utime(tmp_path, (now + 95_000,) * 2)
    assert looks(tmp_path) == ([], {})
    assert [path.name for path in tmp_path.iterdir()] == ["offer.png"]


def test_a_qr_carrier_without_a_folder_is_carried_by_hand_and_a_folder_needs_a_name() -> None:
    assert isinstance(carrier_from_spec("qr"), Hands)
    assert carrier_from_spec("qr").spec == carrier_from_spec("qr:").spec == "qr"
    with pytest.raises(CarrierError):
        carrier_from_spec("qr:\0")


async def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    carrier = QrFolderCarrier(str(tmp_path / "file"), CarrierContext())
    with pytest.raises(CarrierError, match="cannot be used"):
        await carrier.send(OFFER)
