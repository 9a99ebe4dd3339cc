"""Homes: what lies where, which room is meant, and what cannot be trusted."""

import hashlib
import json
import os
import stat
from pathlib import Path

import msgspec
import pytest

from node.config import Home, RoomConfig, write_whole
from node.errors import Exit, Mismatch, NodeError, UsageError

ONE, TWO = "11" * 32, "12" * 32


def settings(name: str, fingerprint: str) -> RoomConfig:
    return RoomConfig(name=name, fingerprint=fingerprint, nick="ann", via=("dir:/lobby",), created=1)


def test_everything_lies_under_home_when_one_is_named(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "h")
    places = (home.identity_file, home.vote_file(ONE), home.store_file(ONE), home.evidence_directory(ONE))
    assert all(place.is_relative_to(tmp_path / "h") for place in places)
    assert not (tmp_path / "h").exists(), "looking creates nothing"


def test_without_a_home_the_xdg_directories_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    home = Home.at(None)
    home.save(settings("r", ONE))
    assert (tmp_path / "CONFIG/pigeon/rooms" / ONE / "room.json").exists()
    assert home.store_file(ONE).is_relative_to(tmp_path / "DATA/pigeon")
    assert home.evidence_directory(ONE).is_relative_to(tmp_path / "STATE/pigeon")


def test_a_saved_room_is_read_back_as_it_was(tmp_path: Path) -> None:
    home, room = Home.at(tmp_path), settings("r", ONE)
    home.save(room)
    assert home.rooms() == [room]
    assert home.find(ONE) == room
    assert home.find(TWO) is None


def test_the_only_room_needs_no_name(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    home.save(settings("r", ONE))
    assert home.room(None).name == "r"


def test_without_any_room_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="pigeon new") as caught:
        Home.at(tmp_path).room(None)
    assert caught.value.exit_code is Exit.NO


def test_several_rooms_are_told_apart_by_name_fingerprint_or_beginning(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    first, second = settings("red", ONE), settings("blue", TWO)
    home.save(first)
    home.save(second)
    assert home.room("red") == first
    assert home.room(TWO.upper()) == second
    assert home.room("111111") == first
    with pytest.raises(UsageError, match="red"):
        home.room(None)
    with pytest.raises(NodeError, match="green"):
        home.room("green")
    with pytest.raises(NodeError, match="'1'"):
        home.room("1")


def test_two_rooms_of_one_name_are_listed_by_fingerprint(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    home.save(settings("r", ONE))
    home.save(settings("r", TWO))
    with pytest.raises(UsageError, match=TWO[:12]):
        home.room("r")


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": 1}', b"\xff", b"[]", b"[" * 20_000])
def test_unreadable_settings_are_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    home = Home.at(tmp_path)
    home.save(settings("r", ONE))
    path = tmp_path / "rooms" / ONE / "room.json"
    path.write_bytes(content)
    with pytest.raises(NodeError, match=r"room\.json"):
        home.rooms()


def test_any_flipped_bit_of_the_settings_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    home, room = Home.at(tmp_path), settings("r", ONE)
    home.save(room)
    path = tmp_path / "rooms" / ONE / "room.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(NodeError, match=r"room\.json"):
                home.find(ONE)


def test_settings_edited_by_hand_count_once_their_checksum_is_removed(tmp_path: Path) -> None:
    home, room = Home.at(tmp_path), settings("r", ONE)
    home.save(room)
    path = tmp_path / "rooms" / ONE / "room.json"
    fields = json.loads(path.read_bytes()) | {"nick": "zoe"}
    path.write_text(json.dumps(fields))
    with pytest.raises(NodeError, match="does not match its checksum"):
        home.find(ONE)
    del fields["sum"]
    path.write_text(json.dumps(fields))
    assert home.find(ONE) == msgspec.structs.replace(room, nick="zoe")


def test_settings_written_before_a_field_was_thought_of_are_whole(tmp_path: Path) -> None:
    home, room = Home.at(tmp_path), settings("r", ONE)
    home.save(room)
    path = tmp_path / "rooms" / ONE / "room.json"
    fields = json.loads(path.read_bytes())
    del fields["listed"], fields["sum"]
    compact = json.dumps(fields, separators=(",", ":")).encode()
    fields["sum"] = hashlib.sha256(compact).hexdigest()[:16]
    path.write_text(json.dumps(fields))
    assert home.find(ONE) == room


@pytest.mark.parametrize("life", [0, 1, 24 * 3600 + 1, "600", 600.5])
def test_an_offers_life_that_no_token_can_say_is_no_setting(tmp_path: Path, life: object) -> None:
    home = Home.at(tmp_path)
    home.save(settings("r", ONE))
    path = tmp_path / "rooms" / ONE / "room.json"
    fields = json.loads(path.read_bytes()) | {"offer_life": life}
    del fields["sum"]
    path.write_text(json.dumps(fields))
    with pytest.raises(NodeError, match="offer_life"):
        home.find(ONE)


def test_settings_in_another_rooms_directory_are_a_mismatch(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    home.save(settings("r", ONE))
    (tmp_path / "rooms" / ONE).rename(tmp_path / "rooms" / TWO)
    with pytest.raises(Mismatch):
        home.rooms()


def test_what_is_no_room_in_the_directory_is_left_alone(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    home.save(settings("r", ONE))
    (tmp_path / "rooms" / ".new-0011").mkdir()
    (tmp_path / "rooms" / "holiday").mkdir()
    (tmp_path / "rooms" / TWO).mkdir()  # a join that was not completed
    assert [room.name for room in home.rooms()] == ["r"]


@pytest.mark.parametrize("fingerprint", ["", "..", "a/b", "11" * 31, "GG" * 32, "AA" * 32])
def test_only_a_fingerprint_becomes_part_of_a_path(tmp_path: Path, fingerprint: str) -> None:
    with pytest.raises(ValueError, match="not a room's fingerprint"):
        Home.at(tmp_path).store_file(fingerprint)


def test_the_socket_is_short_and_private_whatever_the_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    deep = Home.at(tmp_path / ("d" * 200))
    path = deep.socket_file(ONE)
    assert len(os.fsencode(path)) <= 100
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path != deep.socket_file(TWO)
    assert path != Home.at(tmp_path / "other").socket_file(ONE)


def test_a_runtime_directory_with_a_long_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("r" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    path = Home.at(tmp_path).socket_file(ONE)
    assert len(os.fsencode(path)) <= 100
    assert not path.is_relative_to(long)


def test_a_runtime_directory_that_others_may_enter_is_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path_factory.mktemp("r")  # a place whose path is too long for a socket is passed over
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (runtime / "pigeon").mkdir()
    (runtime / "pigeon").chmod(0o755)
    with pytest.raises(NodeError, match="not a private directory"):
        Home.at(runtime).socket_file(ONE)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["f"]


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="missing"):
        write_whole(tmp_path / "missing" / "f", b"x")
