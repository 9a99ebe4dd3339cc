"""npm's signalhub client on our hub: it subscribes, broadcasts, and finds the hub again, as on its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from console.children import Child, Family, family

SIGNALHUB = Path(__file__).parent / "signalhub"
PATIENCE = 20.0

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and (SIGNALHUB / "node_modules" / "signalhub").exists()),
    reason="signalhub is not there: npm ci --prefix tests/e2e/signalhub",
)


async def started(children: Family, kind: str) -> tuple[Child, str]:
    """A hub and its address. signalhub itself is asked the same, so that this test tests what it says."""
    if kind == "signalhub":
        # A number is no event: `sed` makes it one.
        script = (
            f'node {SIGNALHUB / "server.cjs"} | sed -u \'s|.*|{{"event":"hub","url":"http://127.0.0.1:&"}}|\''
        )
        hub = await children.run("signalhub", ["sh", "-c", script])
    else:
        hub = await children.start("hub", "hub", "--json", "--listen", "127.0.0.1:0")
    return hub, (await hub.wait_for("hub", within=PATIENCE))["url"]


async def client(children: Family, name: str, url: str, *channels: str) -> Child:
    child = await children.run(name, ["node", str(SIGNALHUB / "client.cjs"), url, *channels])
    await child.wait_for("open", within=PATIENCE)
    return child


async def broadcast(child: Child, channel: str, message: Any) -> None:
    seen = len(child.events)
    await child.say(json.dumps({"channel": channel, "message": message}))
    assert (await child.wait_for("sent", within=PATIENCE, since=seen))["error"] is None


async def messages(child: Child, count: int) -> list[Any]:
    return [event["message"] for event in await child.wait_for_all("message", count, within=PATIENCE)]


@pytest.mark.parametrize("kind", ["ours", "signalhub"])
async def test_what_one_broadcasts_the_others_on_its_channels_receive(kind: str) -> None:
    said = [{"text": 'grüß "dich"\n\n🕊'}, [1, None, {"deep": [[]]}], "a text", {"long": "x" * 60_000}, 7]
    async with family() as children:
        _, url = await started(children, kind)
        both = await client(children, "both", url, "one", "two")
        one = await client(children, "one", f"{url}/", "one")
        for at, message in enumerate(said):
            await broadcast(both if at % 2 else one, "one", message)
        await broadcast(one, "two", "only for both")
        await broadcast(one, "three", "for nobody")
        await broadcast(both, "one", "the last")
        assert await messages(both, len(said) + 2) == [*said, "only for both", "the last"]
        assert await messages(one, len(said) + 1) == [*said, "the last"]


async def test_it_comes_back_when_the_hub_does() -> None:
    async with family() as children:
        hub, url = await started(children, "ours")
        listening = await client(children, "listening", url, "one")
        await hub.stop()
        assert hub.process.returncode == 143
        port = url.rpartition(":")[2]
        again = await children.start("again", "hub", "--json", "--listen", f"127.0.0.1:{port}")
        await again.wait_for("hub", within=PATIENCE)
        await listening.wait_for("reconnect", within=PATIENCE)
        await broadcast(listening, "one", "here again")
        assert await messages(listening, 1) == ["here again"]
        await listening.end_input()
        assert await listening.wait(within=PATIENCE) == 0
