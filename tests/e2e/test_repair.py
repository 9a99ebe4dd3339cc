"""A disk that lost everything but the keys: the node comes back from the others, under a new vote key."""

from pathlib import Path

from console.children import family
from tests.e2e.homes import NAMES, PATIENCE, Homes, one_log


async def test_a_founder_whose_store_is_junk_gets_the_record_from_the_others_and_goes_on(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(4)
        await homes.nodes["ann"].say("before")
        await homes.everyone_sees({"before"})
        ann = homes.nodes.pop("ann")
        ann.process.terminate()
        assert await ann.wait(within=PATIENCE) == 143
        (store,) = (tmp_path / "ann" / "rooms").glob("*/store.sqlite")
        store.write_bytes(b"junk" * 5000)
        code, (error,), _ = await homes.run("ann", "up")
        assert (code, error["event"]) == (8, "error")
        assert "--repair" in error["hint"]
        await homes.nodes["bob"].say("while ann was away")

        node = await homes.start("ann", "chat", "--repair")
        await node.wait_for("notice", within=PATIENCE, where=lambda e: "asks the members" in e["message"])
        await node.wait_for("notice", within=PATIENCE, where=lambda e: "signs again" in e["message"])
        assert b"Nothing was deleted" in node.complaints
        await node.say("after")
        await homes.everyone_sees({"after"})
        log = await one_log(homes, NAMES)
        assert [event["text"] for event in log] == ["before", "while ann was away", "after"]
        code, (verdict,), _ = await homes.run("ann", "verify", "--store")
        assert (code, verdict["ok"]) == (0, True)
