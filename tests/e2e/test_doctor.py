"""`pigeon doctor` on one machine: every failure of a folder, a home, a disk or a node, its cause and cure."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from console.children import family
from tests.e2e.examined import all_there, by_mode_bits, can_mount, examine, inside, limited, mounted
from tests.e2e.homes import PATIENCE, Homes

KEY = "ab" * 32


def _session(place: Path, *, ahead: float) -> None:
    session = {"name": "tea", "url": KEY, "last_update": int((time.time() + ahead) * 1000), "peers": 2}
    (place / "session.json").write_text(json.dumps(session))


def _from_the_future(place: Path) -> None:
    (place / f"{KEY}.offer.bin").write_bytes(bytes(512))
    os.utime(place / f"{KEY}.offer.bin", (time.time() + 7200,) * 2)


def _copied_to_and_fro(place: Path) -> None:
    (place / "session.sync-conflict-20261120-103000-ABCDEFG.json").write_text("{}")
    (place / "host.offer (conflicted copy 2026-11-20).bin").write_bytes(b"x")


def _crowded(place: Path) -> None:
    for number in range(2100):
        (place / f"holiday {number}.txt").touch()


FOLDERS: list[tuple[str, Callable[[Path], object], str, str, str, str]] = [
    # carrier, what is done to an empty folder, state, what is found, the cause, the cure
    ("dir", lambda place: None, "ok", "can be written to", "", ""),
    ("dir", lambda place: _session(place, ahead=-5), "ok", "lobby of 'tea': somebody is there", "", ""),
    ("dir", lambda place: place.rmdir(), "ok", "made when it is first needed", "", ""),
    ("log", lambda place: place.parent.rename(place.parent.with_name("away")), "warning",
     "It is not there, nor is", "may not be mounted, or the name is mistyped", "Mount the drive or correct"),
    ("dir", lambda place: (place.rmdir(), place.write_text("x")), "problem",
     "It is no folder", "A file has this name", "Name a folder"),
    ("qr", lambda place: (place.rmdir(), place.symlink_to("/no/drive")), "problem",
     "a link in its place that leads nowhere", "It points to '/no/drive'", "Mount that drive"),
    ("dir", lambda place: place.chmod(0o500), "problem",
     "can be read and not written to", "not permitted to write", "Have its owner permit it"),
    ("log", lambda place: place.chmod(0), "problem",
     "cannot be looked into", "not permitted to enter", "Ask its owner"),
    ("dir", lambda place: (place.rmdir(), place.parent.chmod(0o500)), "problem",
     "not there, and cannot be made", "no folder that you may write to", "Name another folder"),
    ("dir", _from_the_future, "warning", "from the future", "clock", "Set this machine's clock"),
    ("dir", lambda place: _session(place, ahead=3600), "warning",
     "refreshed 60 minutes from now", "clock", "Set this machine's clock"),
    ("dir", _copied_to_and_fro, "warning", "2 conflict copies", "copied to and fro", "Use log:/"),
    ("log", _copied_to_and_fro, "ok", "can be written to", "", ""),
    ("log", _crowded, "warning", "2,100 files there that are none of ours", "takes long", "an empty folder"),
]  # fmt: skip


async def test_each_way_in_which_a_folder_fails_has_its_cause_and_its_cure(tmp_path: Path) -> None:
    places = []
    for number, (carrier, harm, *_) in enumerate(FOLDERS):
        place = tmp_path / str(number) / "folder"
        place.mkdir(parents=True)
        harm(place)
        places.append(f"{carrier}:{place}")
    rows = list(zip(places, FOLDERS, strict=True))
    for some in (rows[:7], rows[7:]):  # eight carriers at most
        via = [part for place, _ in some for part in ("--via", place)]
        seen = await examine("--home", str(tmp_path / "home"), *via, where=by_mode_bits())
        assert seen.code == 1
        for place, (_, _, state, *texts) in some:
            seen.says(place, state, *texts)
    for number, (_, _, state, *_) in enumerate(FOLDERS):
        place = tmp_path / str(number)
        if place.exists():
            place.chmod(0o700)
        if (place / "folder").is_dir():
            (place / "folder").chmod(0o700)  # so that pytest can take it away
            assert state == "problem" or not list((place / "folder").glob(".*")), "nothing is left"


async def test_what_other_users_do_not_let_us_read_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    theirs = tmp_path / f"{KEY}.offer.bin"
    theirs.write_bytes(bytes(512))
    theirs.chmod(0o600)
    os.chown(theirs, 65534, 65534)
    via = ("--via", f"dir:{tmp_path}")
    seen = await examine("--home", str(tmp_path / "home"), *via, where=by_mode_bits())
    seen.says("dir:", "problem", "1 files of others there cannot be read", "umask 022")


DISKS = [
    ("4m", "", "ro", "problem", "read and not written to", "mounted read-only", "remount,rw"),
    ("64k", "head -c 100k /dev/zero > full 2> /dev/null || true", "rw", "problem",
     "Nothing can be written there", "The drive is full", "Free some space"),
    ("2m", "", "rw", "warning", "2,048 KiB are left", "nearly full", "Free some space"),
]  # fmt: skip


@can_mount
@pytest.mark.parametrize("disk", DISKS)
async def test_a_full_or_read_only_disk_is_told_of_as_a_carrier_and_as_a_home(
    tmp_path: Path, disk: tuple[str, str, str, str, str, str, str]
) -> None:
    size, prepare, options, state, *texts = disk
    where = mounted(size, tmp_path, prepare=prepare, options=options)
    seen = await examine("--home", str(tmp_path / "home"), "--via", f"log:{tmp_path}", where=where)
    seen.says("log:", state, *texts)
    if options == "ro":
        seen.says("home", "problem", "cannot be written to", "mounted read-only", "Give --home a directory")
    elif state == "problem":
        seen.says("home", "problem", "0 KiB are left", "The disk is full", "Free some space")
    else:
        seen.says("home", "warning", "nearly full", "Free some space")
    assert seen.code == (1 if state == "problem" or options == "ro" else 0)


async def test_a_healthy_machine_is_told_so_and_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "lobby").mkdir()
    (tmp_path / "run").mkdir(mode=0o700)
    before = all_there(tmp_path)
    via = ("--via", f"dir:{tmp_path / 'lobby'}", "--via", f"log:{tmp_path / 'none'}", "--via", "paste")
    seen = await examine(
        "--home", str(tmp_path / "home"), *via, variables={"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    )
    assert all_there(tmp_path) == before, "no key, no folder, no file was made, nor taken away"
    assert (seen.code, seen.diagnosis["ok"], seen.diagnosis["problems"]) == (0, True, 0)
    assert [check["what"].partition(":")[0] for check in seen.checks] == [
        "version", "clock", "home", "control socket", "identity", "sockets", "addresses", "links", "dir",
        "log", "paste",
    ]  # fmt: skip
    seen.says("links", "ok", "Two ends on this machine were linked in")
    assert seen.seconds < 10


async def test_a_running_room_is_looked_at_without_disturbing_it(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(2)
        ann = homes.nodes["ann"]
        said, before = len(ann.events), all_there(tmp_path / "ann" / "rooms")
        seen = await examine(*homes.at("ann"))
        assert seen.code == 0
        seen.says("room tea", "ok", "2 of 2 members up", "status --why")
        seen.says("vote key", "ok", "only yours to read")
        seen.says(f"dir:{tmp_path / 'lobby'}", "ok", "the lobby of 'tea': somebody is there")
        assert [event for event in ann.events[said:] if event["event"] != "status"] == []
        after = all_there(tmp_path / "ann" / "rooms")
        assert after.keys() == before.keys()

        # Its carrier breaks: the node knows, and the doctor asks it. A node that runs makes a folder anew.
        lobby, bob = tmp_path / "lobby", homes.nodes["bob"]
        for each in (ann, bob):
            each.process.send_signal(signal.SIGSTOP)
        lobby.rename(tmp_path / "gone")
        lobby.write_text("no folder")
        for each in (ann, bob):
            each.process.send_signal(signal.SIGCONT)
        bob.process.terminate()  # whom ann now wants back
        await ann.wait_for("notice", within=PATIENCE, where=lambda event: str(lobby) in event["message"])
        seen = await examine(*homes.at("ann"))
        assert seen.code == 1
        seen.says(f"dir:{lobby}", "problem", "It is no folder")
        seen.says("room tea", "warning", str(lobby))

        # It hangs.
        ann.process.send_signal(signal.SIGSTOP)
        try:
            seen = await examine(*homes.at("ann"))
            seen.says("room tea", "problem", f"Process {ann.process.pid}", "It hangs", "End it")
            await bob.process.wait()
            lobby.unlink()
            (tmp_path / "gone").rename(lobby)
        finally:
            ann.process.send_signal(signal.SIGCONT)
        await homes.start("bob", "up")
        await ann.say("nothing happened")
        await homes.everyone_sees({"nothing happened"})


def _forget(*parts: str) -> Callable[[Path], object]:
    def harm(home: Path) -> None:
        for path in home.glob("/".join(parts)):
            path.unlink()

    return harm


def _edit(pattern: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def harm(home: Path) -> None:
        (path,) = home.glob(pattern)
        path.write_bytes(change(path.read_bytes()))

    return harm


def _in_the_future(content: bytes) -> bytes:
    settings = json.loads(content)
    del settings["sum"]
    return json.dumps({**settings, "created": int((time.time() + 86_400) * 1000)}).encode()


def _without_carrier(content: bytes) -> bytes:
    settings = json.loads(content)
    del settings["sum"]
    return json.dumps({**settings, "via": []}).encode()


HOMES: list[tuple[str, Callable[[Path], object], str, str, str, str]] = [
    # what is looked at, the harm, state, what is found, the cause, the cure
    ("room tea", lambda home: None, "ok", "No node runs", "", "pigeon up"),
    ("identity", lambda home: (home / "identity.key").chmod(0o644), "problem",
     "cannot be used", "can be read by others (mode 0644)", "chmod 600"),
    ("identity", _forget("identity.key"), "problem",
     "is missing", "removed or moved", "Restore it from a backup"),
    ("vote key", _forget("rooms", "*", "vote.key"), "problem", "is missing", "removed", "--repair"),
    ("vote key", _edit("rooms/*/vote.key", lambda key: key.replace(b'"seed":"', b'"seed":"00')), "problem",
     "cannot be used", "is damaged", "--repair"),
    ("room tea", _forget("rooms", "*", "store.sqlite*"), "problem",
     "record", "is missing. Somebody removed", "--repair"),
    ("room tea", _edit("rooms/*/store.sqlite", lambda _: b"junk" * 99), "problem",
     "is damaged", "does not begin like a database", "--repair"),
    ("rooms", _edit("rooms/*/room.json", lambda _: b"{"), "problem",
     "settings cannot be used", "cannot be read", "Mend or remove that file"),
    ("rooms", _edit("rooms/*/room.json", lambda text: text.replace(b"null", b'"0123456789"')), "problem",
     "settings cannot be used", "does not match its checksum", 'remove its line "sum"'),
    ("clock", _edit("rooms/*/room.json", _in_the_future), "problem",
     "UTC", "before this home came into the room", "Set this machine's clock"),
    ("carriers", _edit("rooms/*/room.json", _without_carrier), "problem",
     "has none", "nobody can be met", "pigeon chat --via"),
    ("dir:", lambda home: shutil.rmtree(home.parent / "lobby"), "warning",
     "not there any more", "removed it, or the drive", "Mount the drive"),
]  # fmt: skip


@pytest.fixture(scope="module")
def a_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one room of one, whose node has ended."""
    place = tmp_path_factory.mktemp("healthy")

    async def make() -> None:
        async with family() as children:
            homes = Homes(children, place)
            await homes.found()
            homes.nodes["ann"].process.terminate()
            await homes.nodes["ann"].wait(within=PATIENCE)

    trio.run(make)
    return place


@pytest.mark.parametrize("failure", HOMES)
async def test_each_way_in_which_a_home_fails_has_its_cause_and_its_cure(
    a_home: Path, tmp_path: Path, failure: tuple[str, Callable[[Path], object], str, str, str, str]
) -> None:
    what, harm, state, *texts = failure
    shutil.copytree(a_home, tmp_path, dirs_exist_ok=True)
    home = tmp_path / "ann"
    for settings in home.glob("rooms/*/room.json"):  # the copy's lobby
        edited = json.loads(settings.read_text())
        settings.write_text(json.dumps({**edited, "via": [f"dir:{tmp_path / 'lobby'}"], "sum": None}))
    harm(home)
    before = all_there(home)
    seen = await examine("--home", str(home))
    assert all_there(home) == before
    seen.says(what, state, *texts)
    assert seen.code == (1 if state == "problem" else 0)
    others = [check for check in seen.troubles() if not check["what"].startswith(what)]
    assert others == [], "nothing else is blamed"
    assert (seen.diagnosis["cure"] == "") == (state == "ok")


async def test_a_home_that_cannot_be_is_told_of(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    seen = await examine("--home", str(locked / "home"), where=by_mode_bits())
    seen.says("home", "problem", "cannot be written to", "not permitted", "Give --home a directory of yours")
    taken = tmp_path / "run" / "pigeon"
    taken.mkdir(parents=True)
    taken.chmod(0o755)
    short = {"XDG_RUNTIME_DIR": "run"}  # the whole path is too long for a socket
    seen = await examine("--home", str(tmp_path / "h"), where=inside(tmp_path), variables=short)
    seen.says("control socket", "problem", "not a private directory of yours", "XDG_RUNTIME_DIR")
    seen = await examine("--home", str(tmp_path / "h"), variables={"XDG_RUNTIME_DIR": str(tmp_path / "no")})
    seen.says("control socket", "warning", "which is no directory", "Set XDG_RUNTIME_DIR alike")


async def test_a_disk_that_hangs_does_not_hang_the_doctor(a_home: Path, tmp_path: Path) -> None:
    shutil.copytree(a_home / "ann", tmp_path / "ann")
    (store,) = (tmp_path / "ann").glob("rooms/*/store.sqlite")
    store.unlink()
    os.mkfifo(store)  # whoever opens it waits, as for a server that is away
    seen = await examine("--home", str(tmp_path / "ann"), "--timeout", "2")
    seen.says("room", "problem", "could not be told within 2 s", "does not answer", "longer --timeout")
    assert [check["what"] for check in seen.troubles()] == ["room"], "and no other check waits for it"
    (settings,) = (tmp_path / "ann").glob("rooms/*/room.json")
    settings.unlink()
    os.mkfifo(settings)
    async with family() as children:
        homes = Homes(children, tmp_path)
        code, (error,), _ = await homes.run("ann", "doctor", "--timeout", "0.5")
        assert (code, error["code"]) == (3, 3)
        assert "could not be read within 0.5 s" in error["message"]


async def test_too_few_open_files_and_a_library_that_cannot_be_loaded_are_told_of(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    seen = await examine(*home, where=limited("-S -n 100"))
    seen.says("sockets", "warning", "100 at most", "too few for a room with many members", "ulimit -n 1024")
    (tmp_path / "aiortc.py").write_text("raise ImportError('libsomething.so.7: no such file')\n")
    seen = await examine(*home, variables={"PYTHONPATH": str(tmp_path)})
    seen.says("network", "problem", "cannot be loaded", "libsomething.so.7", "Install pigeon anew")
    assert seen.code == 4, "without it nobody at all can be reached"


async def test_which_room_is_looked_at_is_told_and_can_be_chosen(a_home: Path, tmp_path: Path) -> None:
    shutil.copytree(a_home / "ann", tmp_path / "ann")
    async with family() as children:
        homes = Homes(children, tmp_path)
        node = await homes.start("ann", "new", "coffee", "--as", "ann", "--via", "paste")
        await node.wait_for("room", within=PATIENCE)
        seen = await examine(*homes.at("ann"))
        seen.says("rooms", "ok", "There are 2 rooms here", "coffee, tea", "Give --room NAME")
        seen = await examine(*homes.at("ann"), "--room", "coffee")
        seen.says("room coffee", "ok", "1 of 1 members up")
        seen.says("paste", "ok", "People carry it")
        assert seen.of("dir:") == []
        for arguments, expected in (
            (("--room", "milk"), 1),
            (("--via", "pigeon:home"), 2),
            (("--stun", "no server"), 2),
        ):
            code, events, said = await homes.run("ann", "doctor", *arguments)
            assert (code, [event["event"] for event in events]) == (expected, ["error"]), said
