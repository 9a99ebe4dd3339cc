"""A room that gets smaller: members are removed or leave, and whoever is out is told so."""

import json
from pathlib import Path

import trio

from console.children import family
from tests.e2e.homes import NAMES, PATIENCE, Homes, one_log


async def test_a_member_that_is_away_is_removed_by_the_others_and_hears_so_when_it_comes_back(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(4)
        await homes.nodes["dee"].say("I said this")
        await homes.everyone_sees({"I said this"})
        await homes.kill("dee")
        code, (error,), _ = await homes.run("ann", "remove", "nobody")
        assert (code, error["code"]) == (1, 1)
        code, (error,), _ = await homes.run("ann", "remove", "ann")
        assert (code, "pigeon leave" in error["hint"]) == (2, True)
        code, (removal,), _ = await homes.run("ann", "remove", "dee")
        assert (code, removal["event"], removal["by"], removal["need"]) == (0, "removal", ["ann"], 3)
        moved = await homes.nodes["cal"].wait_for("removal", within=PATIENCE)
        assert (moved["nick"], moved["have"], moved["leaves"]) == ("dee", 1, False)
        code, (status,), _ = await homes.run("cal", "status")
        assert any("dee is to be removed: 1 of 3" in note for note in status["notes"])
        code, _, _ = await homes.run("bob", "remove", "DEE")
        assert code == 0
        await homes.nodes["cal"].say("/remove dee")
        for node in homes.nodes.values():
            removed = await node.wait_for("removed", within=PATIENCE)
            assert (removed["nick"], removed["n"], removed["quorum"], removed["left"]) == ("dee", 3, 3, False)
        await homes.nodes["ann"].say("three of us")
        await homes.everyone_sees({"three of us"})

        node = await homes.start("dee", "chat")
        removed = await node.wait_for("removed", within=PATIENCE)
        assert removed["nick"] == "dee"
        assert await node.wait(within=PATIENCE) == 6
        assert b"removed you" in node.complaints
        del homes.nodes["dee"]
        code, (error,), said = await homes.run("dee", "up")
        assert (code, error["code"]) == (6, 6)
        assert "pigeon log" in said
        log = [json.loads(line.replace(b":?", b":null")) for line in await homes.log("dee")]
        assert [event["text"] for event in log] == ["I said this"]
        code, (verdict,), _ = await homes.run("dee", "verify", "--store")
        assert (code, verdict["ok"]) == (0, True)


async def test_a_member_that_is_removed_while_it_is_there_hears_so_and_may_be_invited_anew(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(4)
        await homes.nodes["dee"].say("I said this")
        await homes.everyone_sees({"I said this"})
        attached = await children.start("dee, attached", "chat", "--json", *homes.at("dee"))
        await attached.wait_for("room", within=PATIENCE)
        for name in ("ann", "bob", "cal"):
            code, _, complaints = await homes.run(name, "remove", "dee")
            assert code == 0, complaints
        gone = homes.nodes.pop("dee")
        for node in (gone, attached):
            removed = await node.wait_for("removed", within=PATIENCE)
            assert (removed["nick"], removed["n"], removed["left"]) == ("dee", 3, False)
            assert await node.wait(within=PATIENCE) == 6
            assert b"removed you" in node.complaints
        await homes.all_have(3)
        code, (error,), said = await homes.run("dee", "up")
        assert (code, error["code"]) == (6, 6)
        assert "pigeon log" in said
        log = await one_log(homes, ("dee", "ann"))
        assert [event["text"] for event in log] == ["I said this"]
        code, (verdict,), _ = await homes.run("dee", "verify", "--store")
        assert (code, verdict["ok"]) == (0, True)

        await homes.nodes["bob"].say("without dee")
        await homes.everyone_sees({"without dee"})
        node = await homes.start("dee", "join", await homes.invite(), "--as", "dora")
        await node.wait_for("admitted", within=PATIENCE, where=lambda event: event["nick"] == "dora")
        await node.say("back under a new name")
        await homes.everyone_sees({"back under a new name"})
        log = await one_log(homes, NAMES)
        assert [(event["nick"], event["text"]) for event in log] == [
            ("dee", "I said this"),
            ("bob", "without dee"),
            ("dora", "back under a new name"),
        ]


async def test_who_leaves_is_let_go_by_the_others_nodes_and_the_last_one_has_nobody_to_leave_to(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(3)
        await homes.nodes["ann"].say("before")
        await homes.everyone_sees({"before"})
        for n, name in ((2, "cal"), (1, "bob")):
            code, events, said = await homes.run(name, "leave")
            assert code == 0, said
            assert "everyone must be online" in said
            assert (events[-1]["event"], events[-1]["nick"], events[-1]["left"]) == ("removed", name, True)
            gone = homes.nodes.pop(name)
            assert await gone.wait(within=PATIENCE) == 0, "its chat ends as after /quit"
            await homes.all_have(n)
            for node in homes.nodes.values():
                left = await node.wait_for("removed", within=PATIENCE, where=lambda e, n=n: e["n"] == n)
                assert (left["nick"], left["left"]) == (name, True)
        await homes.nodes["ann"].say("alone again")
        await homes.everyone_sees({"alone again"})
        code, events, said = await homes.run("ann", "leave")
        assert (code, events[-1]["code"]) == (1, 1)
        assert "nobody to leave to" in said
        log = await one_log(homes, ("ann",))
        assert [event["text"] for event in log] == ["before", "alone again"]


async def test_who_cannot_leave_in_time_is_told_why_and_goes_when_the_others_are_back(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(2)
        await homes.kill("bob")
        await homes.nodes["ann"].wait_for("peer", within=PATIENCE, where=lambda e: e["state"] == "down")
        code, events, said = await homes.run("ann", "leave", "--timeout", "1")
        assert (code, events[-1]["event"]) == (5, "error")
        assert "stays asked for" in said
        bob = await homes.start("bob", "chat")
        removed = await bob.wait_for("removed", within=PATIENCE)
        assert (removed["nick"], removed["left"], removed["n"]) == ("ann", True, 1)
        with trio.fail_after(PATIENCE):
            assert await homes.nodes["ann"].wait(within=PATIENCE) == 0
