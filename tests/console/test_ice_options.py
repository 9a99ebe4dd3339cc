"""--stun, --turn-file and --relay-only as a shell passes them: checked first, remembered afterwards."""

import json
from pathlib import Path

import pytest

from console.children import family, output_of
from console.welcome import signed_for_good
from node.config import Home
from node.ice_servers import IceServers, Server

PATIENCE = 30.0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--stun", "a b"), "This is no STUN server"),
        (("--relay-only",), "--relay-only needs a TURN server"),
        (("--turn-file", "/nowhere/turn.json"), "cannot be read"),
    ],
)
async def test_what_cannot_be_used_is_a_wrong_usage_and_leaves_nothing(
    options: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    new = ("new", "r", "--as", "ann", "--via", "paste", "--home", str(tmp_path / "ann"), "--json")
    code, output, _ = await output_of(*new, *options)
    (error,) = [json.loads(line) for line in output.splitlines()]
    assert (code, error["event"], error["code"]) == (2, "error", 2)
    assert why in error["message"]
    assert error["hint"]
    assert not (tmp_path / "ann").exists()
    code, _, complaints = await output_of("pipe", "--offer", "--in", str(tmp_path / "x"), *options)
    assert code == 2
    assert why in complaints.decode()


async def test_a_room_remembers_its_servers_and_is_not_given_others_while_it_is_open(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "ann"), "--json")
    async with family() as children:
        new = await children.start(
            "ann", "new", "r", "--as", "ann", "--via", "paste", "--stun", "127.0.0.1:9", *home
        )
        await new.wait_for("room", within=PATIENCE)
        code, output, _ = await output_of("chat", "--stun", "127.0.0.1:10", *home)
        assert code == 2
        assert "is open already" in json.loads(output)["message"]
        await new.stop()
        again = ("new", "r2", "--as", "ann", "--via", "paste", "--continues", "r", *home)
        await (await children.start("ann", *again)).wait_for("room", within=PATIENCE)
    rooms = Home.at(tmp_path / "ann").rooms()
    servers = IceServers(stun=(Server("127.0.0.1", 9),))
    assert [(room.name, room.ice) for room in rooms] == [("r", servers), ("r2", servers)]


def test_who_uses_a_relay_only_is_told_what_is_true_then() -> None:
    assert "Members see each other's IP address" in signed_for_good(relay_only=False)
    relayed = signed_for_good(relay_only=True)
    assert "Members see" not in relayed
    assert "TURN server's IP address and not yours" in relayed
    assert "nobody can deny" in relayed
