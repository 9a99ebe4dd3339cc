"""A room that gets smaller: members are removed or leave, and whoever is out is told so."""

from pathlib import Path

from console.children import family
from tests.e2e.homes import NAMES, PATIENCE, Homes, one_log


async def test_a_member_that_is_gone_is_removed_by_a_quorum_of_the_others(
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


async def test_the_last_one_has_nobody_to_leave_to(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        code, events, said = await homes.run("ann", "leave")
        assert (code, events[-1]["code"]) == (1, 1)
        assert "nobody to leave to" in said
