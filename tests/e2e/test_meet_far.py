"""Strangers behind routers of their own meet at a hub on the internet."""

from pathlib import Path

import pytest

from console.children import family
from tests.e2e.homes import PATIENCE
from tests.e2e.nats import internet, stun_server
from tests.e2e.networks import needs_hosts
from tests.e2e.turn import needs_coturn, turn_server

pytestmark = needs_hosts


@pytest.mark.parametrize("way", ["stun", pytest.param("relay", marks=needs_coturn)])
async def test_behind_two_routers_two_meet(tmp_path: Path, way: str) -> None:
    async with internet() as net:
        public, server = net.host(), net.host()
        here, there = [net.router(symmetric=way == "relay").host() for _ in range(2)]
        helping = stun_server(server) if way == "stun" else turn_server(server, tmp_path / "turn")
        async with helping as help_, family() as children:
            if isinstance(help_, str):
                ice = ("--stun", help_)
            else:
                ice = ("--turn-file", str(help_.file(tmp_path / "turn.json")), "--relay-only")
            hub = await public.start(children, "hub", "hub", "--listen", f"{public.address}:0", "--json")
            url = (await hub.wait_for("hub", within=PATIENCE))["url"]
            asks = ("meet", "--hub", url, "--namespace", "tea", "--json", *ice)
            both = [
                await host.start(children, name, *asks, "--as", name, "--home", str(tmp_path / name))
                for name, host in (("ann", here), ("bob", there))
            ]
            for child in both:
                await child.wait_for("room", within=PATIENCE, where=lambda event: event["n"] == 2)
            await both[0].say("from far away")
            await both[1].wait_for("final", within=PATIENCE, where=lambda e: e["text"] == "from far away")
