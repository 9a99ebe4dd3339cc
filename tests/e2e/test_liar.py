"""One of four signs two messages for one place; the others notice, hold the proof, and go on."""

import json
from pathlib import Path

from console.children import family
from tests.e2e.homes import PATIENCE, Homes, one_log

HONEST = ("ann", "bob", "cal")


async def test_the_others_catch_a_member_that_signs_twice_and_go_on_without_it(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(4)
        await homes.nodes["dee"].say("trust me")
        await homes.everyone_sees({"trust me"})
        _, (status,), _ = await homes.run("ann", "status")
        code, (error,), _ = await homes.run("ann", "evidence")
        assert (code, error["code"]) == (1, 1), "nobody was caught yet"
        dee = homes.nodes.pop("dee")
        dee.process.terminate()
        assert await dee.wait(within=PATIENCE) == 143
        lies = "it is in the blue tin", "it is in the red tin"
        liar = await children.start("liar", str(tmp_path / "dee"), *lies, program="node.liar")
        await liar.wait_for("notice", within=PATIENCE)
        for name in HONEST:
            caught = await homes.nodes[name].wait_for("evidence", within=PATIENCE)
            assert (caught["nick"], caught["kind"]) == ("dee", "two slots for one place")
            assert Path(caught["file"]).is_relative_to(tmp_path / name)
            await homes.nodes[name].say(f"{name} saw that")
        await homes.everyone_sees({f"{name} saw that" for name in HONEST})
        log = await one_log(homes, HONEST)
        assert sum(event["text"] in lies for event in log) <= 1, "one place has at most one message"
        await _a_stranger_checks_what_was_caught(homes, anchor=status["anchor"])


async def _a_stranger_checks_what_was_caught(homes: Homes, *, anchor: str) -> None:
    file = homes.place / "case.json"
    room = (await homes.nodes["bob"].wait_for("room", within=PATIENCE))["fingerprint"]
    code, (listed,), said = await homes.run("bob", "evidence")
    assert (code, listed["nick"], listed["file"]) == (0, "dee", "")
    assert "not who lied" in said
    code, (written,), _ = await homes.run("bob", "evidence", "-o", str(file))
    assert (code, written["file"]) == (0, str(file))

    async def verdict(*room: str) -> tuple[int, bool, str]:
        code, (event,), _ = await homes.run("nobody", "verify", str(file), *room)
        assert event["event"] == "verdict"
        return code, event["ok"], event["reason"]

    code, ok, reason = await verdict("--room", room)
    assert (code, ok) == (0, True)
    assert "dee" in reason and "signed twice" in reason
    code, ok, reason = await verdict("--room", anchor)
    assert (code, ok) == (0, True)
    assert "the anchor leads to" in reason
    assert (await verdict("--room", "ab" * 32))[:2] == (6, False)
    assert (await verdict())[:2] == (8, False)
    case = json.loads(file.read_bytes())
    file.write_text(json.dumps({**case, "accused": [{**case["accused"][0], "nick": "ann"}]}))
    assert (await verdict("--room", room))[:2] == (1, False)
    file.write_text("{}")
    assert (await verdict("--room", room))[:2] == (8, False)
    code, (error,), _ = await homes.run("nobody", "verify", str(file), "--room", "tea")
    assert (code, error["event"]) == (2, "error")
    code, (store,), _ = await homes.run("bob", "verify", "--store")
    assert (code, store["ok"]) == (7, True)
    assert not (homes.place / "nobody").exists(), "a stranger needs no home"
