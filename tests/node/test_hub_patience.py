"""A newcomer and hubs that are not there: how long it waits for them, and when it waits on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from node import carriage
from node.config import Home
from node.errors import Exit, Unreachable
from node.events import NoticeEvent
from node.node import create_room, open_node, read_invitation
from tests.signaling.hub_servers import hub_process

NOWHERE = "hub:http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriage, "_PATIENCE", 0.5)
    monkeypatch.setattr(carriage, "_WATCH", 0.05)


@pytest.fixture
def hub() -> Iterator[str]:
    with hub_process("ours") as (_, port):
        yield f"hub:http://127.0.0.1:{port}"


async def an_invitation(place: Path) -> str:
    """From somebody who is gone since."""
    home = Home.at(place / "ann")
    room = await create_room(home, name="tea", nick="ann", via=[NOWHERE])
    async with open_node(home, room, loopback_only=True) as node:
        return (await node.invite()).token


async def joining(place: Path, token: str, *via: str, seconds: float) -> None:
    with trio.move_on_after(seconds):
        way = read_invitation(token)
        async with open_node(Home.at(place / "bob"), way, nick="bob", via=via, loopback_only=True) as node:
            await node.wait_admitted()


async def test_a_newcomer_gives_up_when_no_hub_was_ever_there(tmp_path: Path) -> None:
    token = await an_invitation(tmp_path)
    with pytest.raises(Unreachable, match="Connection refused") as gave_up:
        await joining(tmp_path, token, seconds=20)
    assert gave_up.value.exit_code == Exit.UNREACHABLE
    assert NOWHERE in gave_up.value.message


async def test_it_waits_on_where_one_hub_works_or_a_folder_might(tmp_path: Path, hub: str) -> None:
    token = await an_invitation(tmp_path)
    await joining(tmp_path, token, NOWHERE, hub, seconds=2)
    await joining(tmp_path, token, NOWHERE, f"dir:{tmp_path / 'lobby'}", seconds=2)
    await joining(tmp_path, token, NOWHERE, "paste", seconds=2)


async def test_whoever_looks_later_is_told_what_does_not_work(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "ann")
    room = await create_room(home, name="tea", nick="ann", via=[NOWHERE])
    async with open_node(home, room, loopback_only=True) as node:
        with trio.fail_after(20):
            while not (await node.status()).notes:
                await trio.sleep(0.05)
            async with node.events(since=0) as events:
                async for event in events:
                    if isinstance(event, NoticeEvent) and event.message.startswith(f"{NOWHERE}: "):
                        break
