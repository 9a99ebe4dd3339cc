"""STUN and TURN servers as people name them, and as a room remembers them."""

import json
import os
from pathlib import Path

import pytest

from node.config import Home, RoomConfig
from node.errors import UsageError
from node.ice_servers import (
    Finding,
    IceOptions,
    IceServers,
    Server,
    TurnFileError,
    TurnServer,
    cure,
    in_words,
    mapping_of,
    parse_server,
    parse_turn,
    read_turn_file,
    troubles,
)

GOOD = {"urls": "turn:turn.example.org:3479", "username": "1789000000:ann", "credential": "secret-7f3a"}


def turn_file(place: Path, content: object = GOOD, *, mode: int = 0o600) -> Path:
    path = place / "turn.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("stun.example.org", Server("stun.example.org", 3478)),
        ("stun:stun.example.org:19302", Server("stun.example.org", 19302)),
        ("192.0.2.7", Server("192.0.2.7", 3478)),
        ("192.0.2.7:1", Server("192.0.2.7", 1)),
        ("2001:db8::7", Server("2001:db8::7", 3478)),
        ("[2001:DB8::7]:65535", Server("2001:db8::7", 65535)),
        ("[2001:db8::7]", Server("2001:db8::7", 3478)),
        ("localhost", Server("localhost", 3478)),
        ("stun", Server("stun", 3478)),
        ("stun:stun", Server("stun", 3478)),
    ],
)
def test_a_server_is_a_host_and_perhaps_a_port(text: str, server: Server) -> None:
    assert parse_server(text, scheme="stun") == server
    assert parse_server(str(server), scheme="stun") == server


@pytest.mark.parametrize(
    "text",
    ["", "host:0", "host:65536", "host:", "host:１", "a b", "[::1", "[::1]x", "224.0.0.1", "0.0.0.0", "::",
     "fe80::1%eth0", "turn:host", "stuns:host", "x" * 300, "host:3478?transport=tcp", "user@host", "-host",
     "3478", "127.1", "stun.7."],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no STUN server"):
        parse_server(text, scheme="stun")


def test_a_turn_file_is_what_browsers_take(tmp_path: Path) -> None:
    expected = TurnServer(Server("turn.example.org", 3479), "1789000000:ann", "secret-7f3a")
    assert read_turn_file(turn_file(tmp_path)) == expected
    assert "secret" not in repr(expected)
    several = [
        {"urls": ["stun:a", "turns:b", "turn:b?transport=tcp"]},
        GOOD | {"urls": ["turn:turn.example.org:3479?transport=udp"]},
    ]
    assert parse_turn(json.dumps(several).encode()) == expected
    spoken = {"url": "turn:turn.example.org:3479", "username": "1789000000:ann", "password": "secret-7f3a"}
    assert parse_turn(json.dumps(spoken).encode()) == expected


@pytest.mark.parametrize(
    "content",
    ["", "{}", "null", "[]", "[" * 9000, '{"urls": 7}', "\udcff",
     {"urls": "turn:a"}, {"urls": "turn:a", "username": "u"}, {"urls": "turn:a", "credential": "c"},
     GOOD | {"urls": "stun:a"}, GOOD | {"urls": "turns:a"}, GOOD | {"urls": "turn:a?transport=tcp"},
     GOOD | {"urls": "turn:a:0"}, GOOD | {"credential": "c" * 509}, GOOD | {"username": "a\nb"},
     GOOD | {"x": "y" * 20_000}],
)  # fmt: skip
def test_a_file_that_is_none_says_so_without_what_is_in_it(content: object, tmp_path: Path) -> None:
    path = tmp_path / "turn.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(os.fsencode(text))
    path.chmod(0o600)
    with pytest.raises(TurnFileError) as caught:
        read_turn_file(path)
    assert str(path) in caught.value.message
    assert "secret-7f3a" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(TurnFileError, match="others may read it") as caught:
        read_turn_file(turn_file(tmp_path, mode=mode))
    assert caught.value.hint.startswith("chmod 600 ")


def test_a_file_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, why in (
        (tmp_path / "pipe", "no plain file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "x", "cannot"),
    ):
        with pytest.raises(TurnFileError, match=why):
            read_turn_file(path)


def test_what_is_given_goes_over_what_is_remembered(tmp_path: Path) -> None:
    file = turn_file(tmp_path)
    given = IceOptions(stun=("a", "b:1", "a"), turn_file=file, relay_only=True).over(IceServers())
    assert given == IceServers(stun=(Server("a"), Server("b", 1)), turn_file=file, relay_only=True)
    assert IceOptions().over(given) == given
    assert not IceOptions()
    assert IceOptions(relay_only=False, stun=("none",)).over(given) == IceServers(turn_file=file)
    forgotten = IceOptions(turn_file=Path("none"), relay_only=False).over(given)
    assert forgotten == IceServers(stun=given.stun)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (IceOptions(relay_only=True), "needs a TURN server"),
        (IceOptions(stun=("a", "b", "c", "d", "e")), "At most 4"),
        (IceOptions(stun=("none", "a b")), "no STUN server"),
        (IceOptions(turn_file=Path("/nowhere/at/all")), "cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: IceOptions, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        options.over(IceServers())


def test_relay_only_cannot_lose_its_server(tmp_path: Path) -> None:
    remembered = IceServers(turn_file=turn_file(tmp_path), relay_only=True)
    with pytest.raises(UsageError, match="needs a TURN server"):
        IceOptions(turn_file=Path("none")).over(remembered)
    (tmp_path / "turn.json").unlink()
    with pytest.raises(TurnFileError, match="cannot be read"):
        IceOptions().over(remembered)


def test_a_room_remembers_where_the_file_is_and_nothing_of_it(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    ice = IceServers(stun=(Server("2001:db8::7", 1),), turn_file=turn_file(tmp_path), relay_only=True)
    room = RoomConfig(name="r", fingerprint="ab" * 32, nick="ann", via=(), **ice.to_settings())
    home.save(room)
    assert home.room(None).ice == ice
    written = (home.config / "rooms" / room.fingerprint / "room.json").read_text()
    assert "secret-7f3a" not in written
    assert "1789000000" not in written


def test_settings_from_before_there_were_servers_have_none(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    folder = tmp_path / "rooms" / ("ab" * 32)
    folder.mkdir(parents=True)
    old = {"name": "r", "fingerprint": "ab" * 32, "nick": "ann", "via": []}
    (folder / "room.json").write_text(json.dumps(old))
    assert home.room(None).ice == IceServers()


def seen(local: int, found: tuple[str, int] | None, server: str = "a") -> Finding:
    return Finding(
        kind="stun", server=server, local=("10.0.0.1", local), found=found, error="" if found else "silent"
    )


def test_what_two_servers_see_of_one_socket_tells_what_stands_between() -> None:
    assert mapping_of([]) is None
    assert mapping_of([seen(1, None)]) is None
    assert mapping_of([seen(1, ("10.0.0.1", 1))]) == "open"
    assert mapping_of([seen(1, ("192.0.2.1", 7)), seen(1, ("192.0.2.1", 7), "b")]) == "one port"
    assert mapping_of([seen(1, ("192.0.2.1", 7)), seen(2, ("192.0.2.1", 8), "b")]) == "one port"
    assert mapping_of([seen(1, ("192.0.2.1", 7)), seen(1, ("192.0.2.1", 8), "b")]) == "port for each"


def test_a_server_is_told_of_when_none_of_our_sockets_got_an_answer() -> None:
    turn = Finding(kind="turn", server="t:1", error="credentials", detail="error 401")
    found = troubles([seen(1, None), seen(2, ("192.0.2.1", 7)), seen(1, None, "b"), turn])
    assert list(found) == ["The STUN server b", "The TURN server t:1"]
    assert found["The TURN server t:1"] == f"{in_words(turn)} {cure(turn)}"
    assert "user name and password (error 401)." in in_words(turn)
