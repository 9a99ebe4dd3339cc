"""A room with a password: every newcomer is asked for it, by every member, and it is nowhere to be read."""

import json
import stat
from pathlib import Path

import pytest
import trio

from console.children import Child, family
from tests.e2e.homes import PATIENCE, Homes
from tests.e2e.terminal import terminal

PASSWORD = "Correct-horse 9f3a"


def files(place: Path) -> tuple[str, str]:
    """The right password and a wrong one, each in a file."""
    right, wrong = place / "right.txt", place / "wrong.txt"
    right.write_text(PASSWORD + "\nsecond line\n")
    wrong.write_text("Correct-horse 9f3b\n")
    return str(right), str(wrong)


async def found(homes: Homes, right: str, *, rule: str = "auto") -> str:
    node = await homes.start(
        "ann", "new", "tea", "--as", "ann", *homes.via, "--admit", rule, "--password-file", right
    )
    await node.wait_for("room", within=PATIENCE)
    return str((await node.wait_for("invite", within=PATIENCE))["token"])


async def shown_session(lobby: Path) -> dict[str, object]:
    """What the lobby says of itself, once it does."""
    with trio.fail_after(PATIENCE):
        while not (lobby / "session.json").exists():
            await trio.sleep(0.1)
    return dict(json.loads((lobby / "session.json").read_text()))


async def refused(node: Child) -> str:
    """What it complains of when it ends with exit code 1."""
    assert await node.wait(within=PATIENCE) == 1
    (error,) = [event for event in node.events if event["event"] == "error"]
    return str(error["message"])


async def test_an_invitation_alone_does_not_open_a_room_with_a_password(tmp_path: Path) -> None:
    right, wrong = files(tmp_path)
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await found(homes, right)
        session = await shown_session(tmp_path / "lobby")
        assert session["protected"] is True, "who looks into the folder can know what will be asked"

        bob = await homes.start("bob", "join", token, "--as", "bob")
        assert await bob.wait(within=PATIENCE) == 2, "nobody can be asked"
        assert "--password-file" in str(bob.events[-1]["hint"])

        bob = await homes.start("bob", "join", token, "--as", "bob", "--password-file", wrong)
        assert await refused(bob) == "The password is wrong."

        bob = await homes.start("bob", "join", token, "--as", "bob", "--password-file", right)
        await bob.wait_for("room", within=PATIENCE, where=lambda event: event["n"] == 2)
        await bob.say("in at last")
        await homes.nodes["ann"].wait_for(
            "final", within=PATIENCE, where=lambda event: event["text"] == "in at last"
        )


async def test_whoever_was_let_in_guards_the_door_as_well_also_after_a_restart(tmp_path: Path) -> None:
    right, wrong = files(tmp_path)
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.start("bob", "join", await found(homes, right), "--as", "bob", "--password-file", right)
        await homes.all_have(2)
        kept = list((tmp_path / "bob").rglob("password.key"))
        assert [stat.S_IMODE(path.stat().st_mode) for path in kept] == [0o600]
        await homes.kill("bob")
        bob = await homes.start("bob", "chat")
        await bob.wait_for("peer", within=PATIENCE, where=lambda event: event["state"] == "up")
        token = await homes.invite("bob")
        await homes.kill("ann")

        cal = await homes.start("cal", "join", token, "--as", "cal", "--password-file", wrong)
        assert await refused(cal) == "The password is wrong."
        cal = await homes.start("cal", "join", token, "--as", "cal", "--password-file", right)
        await cal.wait_for("words", within=PATIENCE)  # bob saw it in; with ann away there is no quorum
        await homes.start("ann", "chat")
        await cal.wait_for("room", within=PATIENCE, where=lambda event: event["n"] == 3)


async def test_the_password_stands_in_no_file_no_output_and_no_process_list(tmp_path: Path) -> None:
    right, _ = files(tmp_path)
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await found(homes, right)
        await homes.start("bob", "join", token, "--as", "bob", "--password-file", right, "-vv")
        seen: list[bytes] = []
        await homes.all_have(2)
        for node in homes.nodes.values():
            process = Path(f"/proc/{node.process.pid}")
            seen += [(process / name).read_bytes() for name in ("cmdline", "environ") if process.exists()]
            seen += [repr(list(node.events)).encode(), node.complaints]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".txt"]
    assert any(path.name == "password.key" for path in written)
    seen += [path.read_bytes() for path in written]
    assert not [text for text in seen if PASSWORD.encode() in text]


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 257, b"\xff\xfe\n"])
async def test_a_file_without_a_password_makes_no_room(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd").write_bytes(content)
    async with family() as children:
        homes = Homes(children, tmp_path)
        node = await homes.start(
            "ann", "new", "tea", "--as", "ann", *homes.via, "--password-file", str(tmp_path / "odd")
        )
        assert await node.wait(within=PATIENCE) == 2
    assert not list((tmp_path / "ann").rglob("room.json"))


async def test_who_types_the_password_at_a_terminal_does_not_see_it(tmp_path: Path) -> None:
    right, _ = files(tmp_path)
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await found(homes, right)
        ann = homes.nodes["ann"]
        async with terminal("join", token, "--as", "bob", *homes.at("bob")) as bob:
            await bob.wait_for("Type it, then Enter", within=PATIENCE)
            await bob.type(PASSWORD + "\n")
            await ann.wait_for("room", within=PATIENCE, where=lambda event: event["n"] == 2)
            await bob.type("I am in\n")
            await ann.wait_for("final", within=PATIENCE, where=lambda event: event["text"] == "I am in")
            await bob.wait_for("I am in", within=PATIENCE)
            await bob.type("/quit\n")
            with trio.fail_after(PATIENCE):
                assert await bob.process.wait() == 0
            assert PASSWORD not in bob.seen


async def test_who_knows_the_password_joins_a_lobby_without_an_invitation(tmp_path: Path) -> None:
    right, wrong = files(tmp_path)
    async with family() as children:
        homes = Homes(children, tmp_path)
        await found(homes, right)
        await shown_session(tmp_path / "lobby")

        bob = await homes.start("bob", "join", *homes.via, "--as", "bob", "--password-file", wrong)
        assert await refused(bob) == "The password is wrong."

        bob = await homes.start("bob", "join", *homes.via, "--as", "bob", "--password-file", right)
        await homes.all_have(2)
        await bob.say("through the front door")
        await homes.everyone_sees({"through the front door"})
        for name in ("ann", "bob"):
            code, (status,), _ = await homes.run(name, "status")
            assert (code, status["n"], status["up"]) == (0, 2, 2)
        lobby = tmp_path / "lobby"
        assert not list(lobby.glob("*.answer.bin")), "what carried the connection is gone"


async def test_a_lobby_without_a_password_lets_nobody_in_who_has_no_invitation(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.found()
        await shown_session(tmp_path / "lobby")
        bob = await homes.start("bob", "join", *homes.via, "--as", "bob")
        await bob.end_input()
        assert await bob.wait(within=PATIENCE) == 2
        assert b"nobody gets in without an invitation: ask a member for one" in bob.complaints


async def test_an_offer_that_is_pasted_does_not_pass_by_the_password(tmp_path: Path) -> None:
    right, wrong = files(tmp_path)
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        token = await found(homes, right)
        bob = await homes.start("bob", "join", token, "--as", "bob", "--password-file", wrong)
        assert await refused(bob) == "The password is wrong."

        token = await homes.invite()
        bob = await homes.start("bob", "join", token, "--as", "bob", "--password-file", right)
        await homes.all_have(2)
        await bob.say("by hand")
        await homes.everyone_sees({"by hand"})
