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
        dee = homes.nodes.pop("dee")
        dee.process.terminate()
        assert await dee.wait(within=PATIENCE) == 143
        liar = await children.start(
            "liar",
            str(tmp_path / "dee"),
            "it is in the blue tin",
            "in the red tin",
            program="node.liar",
        )
        await liar.wait_for("notice", within=PATIENCE)
        for name in HONEST:
            caught = await homes.nodes[name].wait_for("evidence", within=PATIENCE)
            assert caught["nick"] == "dee"
            assert Path(caught["file"]).is_relative_to(tmp_path / name)
            assert json.loads(Path(caught["file"]).read_bytes())["room"]
            await homes.nodes[name].say(f"{name} saw that")
        await homes.everyone_sees({f"{name} saw that" for name in HONEST})
        log = await one_log(homes, HONEST)
        assert sum("tin" in event["text"] for event in log) <= 1, "one place has at most one message"
