"""Strangers meet at a real hub, each in a process of its own, and get a room of two."""

import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from console.children import Child, Family, family, output_of
from node.config import Home, RoomConfig
from node.meet_keys import own_key
from tests.e2e.homes import PATIENCE


class Strangers:
    """A hub, and who asks it."""

    def __init__(self, children: Family, place: Path) -> None:
        self.children = children
        self.place = place
        self.url = ""

    async def open_hub(self, *more: str) -> Child:
        hub = await self.children.start(
            "hub", "hub", "--listen", "127.0.0.1:0", "--json", "--access-log", str(self.place / "log"), *more
        )
        self.url = (await hub.wait_for("hub", within=PATIENCE))["url"]
        return hub

    def line(self, name: str, *more: str, namespace: str = "tea at five") -> list[str]:
        return [
            "meet", "--hub", self.url, "--namespace", namespace, "--as", name, "--json",
            "--home", str(self.place / name), *more,
        ]  # fmt: skip

    async def start(self, name: str, *more: str, **options: Any) -> Child:
        child = await self.children.start(name, *self.line(name, *more, **options))
        await child.wait_for("notice", within=PATIENCE)
        return child

    def posts(self) -> list[int]:
        """The statuses of what was posted to meet, in order."""
        lines = (self.place / "log").read_text().splitlines()
        return [line["status"] for line in map(json.loads, lines) if line["route"] == "meet"]

    async def wait_until_held(self, count: int) -> None:
        """Until so many requests wait at the hub."""
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.fail_after(PATIENCE):
                while (
                    f"\npigeon_hub_meet_held {count}\n" not in (await client.get(f"{self.url}/metrics")).text
                ):
                    await trio.sleep(0.05)

    async def wait_until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                await trio.sleep(0.05)

    def rooms(self, name: str) -> list[RoomConfig]:
        return Home.at(self.place / name).rooms()

    def leftovers(self, name: str) -> list[str]:
        """What is under `rooms` in somebody's home."""
        rooms = self.place / name / "rooms"
        return sorted(path.name for path in rooms.iterdir()) if rooms.exists() else []


@asynccontextmanager
async def strangers(place: Path) -> AsyncIterator[Strangers]:
    async with family() as children:
        yield Strangers(children, place)


async def in_a_room(*who: Child) -> dict[str, list[str]]:
    """The names of those in each room, once all are in one of two."""
    found: dict[str, list[str]] = {}
    for child in who:
        room = await child.wait_for("room", within=PATIENCE, where=lambda event: event["n"] == 2)
        found.setdefault(room["fingerprint"], []).append(child.name)
    return found


async def test_two_meet_in_three_requests_and_talk_in_a_room_that_stays(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_:
        await all_.open_hub()
        ann, bob = await all_.start("ann"), await all_.start("bob")
        await in_a_room(ann, bob)
        await all_.wait_until(lambda: len(all_.posts()) >= 3)
        words = [await each.wait_for("words", within=PATIENCE) for each in (ann, bob)]
        assert words[0]["words"] == words[1]["words"]
        assert len(words[0]["words"].split()) == 4
        await ann.say("hello from ann")
        await bob.say("hello from bob")
        for child in (ann, bob):
            for text in ("hello from ann", "hello from bob"):
                await child.wait_for("final", within=PATIENCE, where=lambda e, text=text: e["text"] == text)
        assert all_.posts() == [200, 200, 200], "one of who was held, two of who was demoted"
        rooms = {name: all_.rooms(name) for name in ("ann", "bob")}
        assert [[room.via for room in each] for each in rooms.values()] == [[(f"hub:{all_.url}",)]] * 2
        assert all_.leftovers("ann") == all_.leftovers("bob"), "the other room is gone"
        assert len(all_.leftovers("ann")) == 1
        for name in ("ann", "bob"):
            said = " ".join((ann if name == "ann" else bob).complaints.decode().split())
            assert "whoever can guess it can read your addresses" in said
            assert "everyone must be online" in said
        for child in (ann, bob):
            child.process.kill()
            await child.wait(within=PATIENCE)
        again = [
            await all_.children.start(name, "chat", "--json", "--home", str(tmp_path / name))
            for name in ("ann", "bob")
        ]
        for child in again:
            await child.wait_for("peer", within=PATIENCE, where=lambda event: event["state"] == "up")


async def test_three_at_once_are_two_and_one_who_meets_the_fourth(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_:
        await all_.open_hub()
        names = ("ann", "bob", "cal")
        three = [await all_.children.start(name, *all_.line(name)) for name in names]
        await all_.wait_until(lambda: sum(in_room(child) for child in three) == 2)
        (alone,) = [child for child in three if not in_room(child)]
        dee = await all_.start("dee")
        rooms = await in_a_room(*three, dee)
        assert Counter(map(len, rooms.values())) == {2: 2}
        assert {frozenset(each) for each in rooms.values()} >= {frozenset({alone.name, "dee"})}
        assert [len(all_.leftovers(name)) for name in (*names, "dee")] == [1, 1, 1, 1]


async def test_who_dies_while_it_waits_is_nobodys_match_and_leaves_nothing_for_long(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_:
        await all_.open_hub()
        ann = await all_.start("ann")
        await all_.wait_until_held(1)
        ann.process.kill()
        await ann.wait(within=PATIENCE)
        (abandoned,) = all_.rooms("ann")
        bob, cal = await all_.start("bob"), await all_.start("cal")
        rooms = await in_a_room(bob, cal)
        assert len(rooms) == 1
        await all_.wait_until(lambda: all_.posts().count(200) >= 3)
        assert all_.posts().count(200) == 3, "nobody was handed what ann had said"
        mark = Home.at(tmp_path / "ann").room_directory(abandoned.fingerprint) / "meeting"
        os.utime(mark, (0, 0))
        again = await all_.start("ann")
        await all_.wait_until(lambda: all_.rooms("ann") not in ([], [abandoned]))
        assert [room.fingerprint == abandoned.fingerprint for room in all_.rooms("ann")] == [False]
        again.process.send_signal(signal.SIGTERM)
        assert await again.wait(within=PATIENCE) == 143
        assert all_.leftovers("ann") == []


async def test_a_hub_that_dies_ends_who_waits_and_no_chat(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_:
        hub = await all_.open_hub()
        ann, bob = await all_.start("ann"), await all_.start("bob")
        await in_a_room(ann, bob)
        cal = await all_.start("cal")
        await all_.wait_until_held(1)
        hub.process.kill()
        await ann.say("are you there")
        await bob.wait_for("final", within=PATIENCE, where=lambda event: event["text"] == "are you there")
        assert await cal.wait(within=PATIENCE) == 4
        assert cal.events[-1]["event"] == "error"
        assert cal.events[-1]["hint"]
        assert all_.leftovers("cal") == []
        code, said, _ = await output_of(*all_.line("dee"))
        error = json.loads(said.splitlines()[-1])
        assert (code, error["code"]) == (4, 4)
        assert "run it again" in error["hint"]
        assert all_.leftovers("dee") == []


async def test_nobody_comes_in_time(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_:
        await all_.open_hub("--meet-hold", "1.5", "--meet-connect-every", "0")
        other = await all_.start("bob", namespace="tea at six")
        child = await all_.start("ann", "--timeout", "7")
        told = await child.wait_for(
            "notice", within=PATIENCE, where=lambda e: "another namespace" in e["message"]
        )
        assert "right?" in told["message"]
        assert await child.wait(within=PATIENCE) == 3
        assert child.events[-1]["event"] == "error"
        assert all_.leftovers("ann") == []
        assert 298 in all_.posts()
        assert not in_room(other)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--hub", "ftp://hub"), "no address of a hub"),
        (("--namespace", ""), "namespace"),
        (("--trust", "friends"), "--key"),
        (("--as", "two\nlines"), "nick"),
    ],
)
async def test_what_makes_no_sense_is_said_and_leaves_nothing(
    tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    (tmp_path / "friends").write_text("00" * 32)
    options = {"--hub": "http://127.0.0.1:1", "--namespace": "tea", "--as": "ann"} | {more[0]: more[1]}
    if more[0] == "--trust":
        options["--trust"] = str(tmp_path / "friends")
    line = [word for each in options.items() for word in each]
    code, said, preface = await output_of("meet", *line, "--json", "--home", str(tmp_path / "home"))
    error = json.loads(said.splitlines()[-1])
    assert (code, error["code"]) == (2, 2), error
    assert words in error["message"] + error["hint"]
    assert more[0] == "--as" or b"this is no VPN" not in preface
    assert list(tmp_path.iterdir()) == [tmp_path / "friends"]


async def test_who_signs_meets_whom_it_trusts_and_nobody_else(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_:
        await all_.open_hub("--meet-request-every", "0", "--meet-connect-every", "0")
        key = {name: str(tmp_path / f"{name}.key") for name in ("ann", "bob", "eve")}
        eve = await all_.start("eve", "--key", key["eve"])
        await all_.wait_until(lambda: (tmp_path / "eve.key.pub").exists() and all_.leftovers("eve"))
        assert (tmp_path / "eve.key").stat().st_mode & 0o777 == 0o600
        strange = await all_.start("cal")  # without a key
        await all_.wait_until_held(2)
        publics = [bytes(own_key(Path(key[name])).verify_key).hex() for name in ("ann", "bob")]
        assert publics == [(tmp_path / f"{name}.key.pub").read_text().strip() for name in ("ann", "bob")]
        (tmp_path / "friends").write_text(f"{publics[0]}  # ann\n\n{publics[1]}\n")
        ann, bob = [
            await all_.start(name, "--key", key[name], "--trust", str(tmp_path / "friends"))
            for name in ("ann", "bob")
        ]
        rooms = await in_a_room(ann, bob)
        assert list(rooms.values()) == [["ann", "bob"]]
        refused = [
            event
            for child in (ann, bob)
            for event in child.events
            if "not trusted" in event.get("message", "")
        ]
        assert refused, "one of them was handed what eve says, and gave it back"
        assert not in_room(eve)
        assert not in_room(strange)


def in_room(child: Child) -> bool:
    return any(event["event"] == "room" and event["n"] == 2 for event in child.events)
