"""A lobby folder by the public commands: two rooms in one, and what is left of those who were killed."""

import json
from pathlib import Path

from console.children import family
from tests.e2e.homes import PATIENCE, Homes, one_log


def _files(lobby: Path) -> set[str]:
    return {
        str(path.relative_to(lobby))
        for path in lobby.rglob("*")
        if path.is_file() and not path.name.endswith(".tmp")  # killed while it wrote: gone in an hour
    }


async def test_two_rooms_meet_in_one_folder_and_each_finds_its_own(tmp_path: Path) -> None:
    lobby = tmp_path / "lobby"
    async with family() as children:
        homes = Homes(children, tmp_path)
        tokens: dict[str, str] = {}
        rooms: dict[str, str] = {}
        for name, room in (("ann", "tea"), ("cal", "beer")):
            node = await homes.start(name, "new", room, "--as", name, *homes.via, "--admit", "auto")
            rooms[name] = str((await node.wait_for("room", within=PATIENCE))["fingerprint"])
            tokens[name] = str((await node.wait_for("invite", within=PATIENCE))["token"])
        notice = await homes.nodes["cal"].wait_for(
            "notice", within=PATIENCE, where=lambda event: "another room" in event["message"]
        )
        assert f"'tea', {rooms['ann'][:12]}" in notice["message"]
        for name, host in (("bob", "ann"), ("dee", "cal")):
            await homes.start(name, "join", tokens[host], "--as", name)
        await homes.all_have(2)
        for one, two in (("ann", "bob"), ("cal", "dee")):
            await homes.nodes[one].say(f"{one} to {two}")
            await homes.nodes[two].wait_for(
                "final", within=PATIENCE, where=lambda event, text=f"{one} to {two}": event["text"] == text
            )
            assert [event["text"] for event in await one_log(homes, (one, two))] == [f"{one} to {two}"]
        for place, room, name in ((lobby, "ann", "tea"), (lobby / rooms["cal"], "cal", "beer")):
            session = json.loads((place / "session.json").read_bytes())
            assert (session["name"], session["url"], session["peers"]) == (name, rooms[room], 2)
            assert len(list((place / "profile").glob("*.json"))) == 2


async def test_what_killed_nodes_left_in_a_lobby_goes_when_they_are_back(tmp_path: Path) -> None:
    lobby = tmp_path / "lobby"
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(3)
        for name in ("bob", "cal"):
            await homes.kill(name)
        for name in ("bob", "cal"):
            await homes.start(name, "chat")
        for name in ("bob", "cal"):
            await homes.nodes[name].say(f"{name} is back")
        await homes.everyone_sees({"bob is back", "cal is back"})
        for name in ("ann", "bob", "cal"):
            await homes.nodes.pop(name).stop()
        assert {name for name in _files(lobby) if not name.startswith("profile/")} == {"session.json"}


async def test_a_folder_with_a_typo_in_its_name_is_told_of_before_it_is_made(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await homes.found()
        ann = homes.nodes["ann"]
        assert b"is not there" not in ann.complaints, "a new room's folder may be new"
        bob = await homes.start("bob", "join", token, "--as", "bob", "--via", f"dir:{tmp_path / 'lobyb'}")
        await bob.wait_for("notice", within=PATIENCE)
        said = f"! The folder {tmp_path / 'lobyb'} is not there, so an empty one is made.".encode()
        assert said in bob.complaints
        far = tmp_path / "not mounted" / "tea"
        cal = await homes.start("cal", "new", "tea", "--as", "cal", "--via", f"dir:{far}")
        await cal.wait_for("room", within=PATIENCE)
        assert f"! The folder {far.parent} is not there".encode() in cal.complaints
