"""A known nick that comes with another key is told, to who lets it in and to who joins; real processes."""

from pathlib import Path

from console.children import Event, family
from tests.e2e.homes import PATIENCE, Homes
from tests.e2e.terminal import terminal


def about(nick: str, event: Event) -> bool:
    return bool(event["nick"] == nick)


async def test_a_namesake_with_another_key_is_told_of_before_it_is_let_in(tmp_path: Path) -> None:
    async with family() as children:
        tea = Homes(children, tmp_path)
        await tea.grow(2)  # ann meets bob
        assert not [e for node in tea.nodes.values() for e in node.events if e["event"] == "identity"]
        met = next(e for e in tea.nodes["ann"].events if e["event"] == "admitted")["member"]

        pub = Homes(children, tmp_path, carrier=f"dir:{tmp_path / 'other'}")
        ann = await pub.start("ann", "new", "pub", "--as", "ann", *pub.via, "--admit", "ask")
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        eve = await pub.start("eve", "join", token, "--as", "Bob")
        odd = await ann.wait_for("identity", within=PATIENCE)
        assert (odd["kind"], odd["nick"], odd["known_member"]) == ("other-key", "Bob", met)
        assert (odd["known_nick"], odd["room"]) == ("bob", "tea")
        asks = await ann.wait_for("asks", within=PATIENCE)
        assert ann.events.index(odd) < ann.events.index(asks), "before anybody says yes"
        assert odd["member"] == asks["member"] != met
        words = await eve.wait_for("words", within=PATIENCE)
        assert words["words"] == asks["words"]

        code, members, _ = await pub.run("ann", "who", "--room", "pub")
        assert code == 0
        (asking,) = [member for member in members if member["state"] == "asks"]
        assert asking["remark"] == odd["message"]
        assert asking["words"] == words["words"]
        home = ("--home", str(tmp_path / "ann"))
        async with terminal("admit", "Bob", "--room", "pub", *home) as prompt:
            await prompt.wait_for("! Bob comes with another key than the bob you met", within=PATIENCE)
            await prompt.wait_for("Do they see the same words", within=PATIENCE)
            await prompt.type("no\n")
            assert await prompt.process.wait() == 1
        async with terminal("admit", "Bob", "--room", "pub", *home) as prompt:
            await prompt.wait_for("Do they see the same words", within=PATIENCE)
            await prompt.type("\x03")
            assert await prompt.process.wait() == 130
        async with terminal("carry", "--room", "pub", *home) as prompt:
            await prompt.wait_for("Paste the token that came back", within=PATIENCE)
            await prompt.type("\x03")
            assert await prompt.process.wait() == 130
        async with terminal("chat", "--room", "pub", *home) as late:
            await late.wait_for("! Bob comes with another key", within=PATIENCE)
            await late.wait_for("Bob asks to be let in", within=PATIENCE)


async def test_under_the_rule_auto_it_is_told_as_well_and_once(tmp_path: Path) -> None:
    async with family() as children:
        tea = Homes(children, tmp_path)
        await tea.grow(2)
        pub = Homes(children, tmp_path, carrier=f"dir:{tmp_path / 'other'}")
        ann = await pub.start("ann", "new", "pub", "--as", "ann", *pub.via, "--admit", "auto")
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        await pub.start("eve", "join", token, "--as", "bob")
        await pub.all_have(2)
        odd = await ann.wait_for("identity", within=PATIENCE)
        assert odd["kind"] == "other-key"
        await pub.kill("ann")
        again = await pub.start("ann", "up", "--room", "pub")
        await again.wait_for("peer", within=PATIENCE)
        assert not [event for event in again.events if event["event"] == "identity"], "it is known now"


async def test_a_newcomer_hears_of_a_member_that_is_not_the_one_it_knows_by_that_nick(tmp_path: Path) -> None:
    async with family() as children:
        tea = Homes(children, tmp_path)
        await tea.grow(2)  # bob meets ann
        pub = Homes(children, tmp_path, carrier=f"dir:{tmp_path / 'other'}")
        mal = await pub.start("mal", "new", "pub", "--as", "ann", *pub.via, "--admit", "auto")
        token = (await mal.wait_for("invite", within=PATIENCE))["token"]
        bob = await pub.start("bob", "join", token, "--as", "rob")
        words = await bob.wait_for("words", within=PATIENCE)
        assert words["known"] == "", "it has not met this one"
        odd = await bob.wait_for("identity", within=PATIENCE, where=lambda event: about("ann", event))
        assert odd["kind"] == "other-key"
        assert "the ann you met in room tea" in odd["message"]
        assert not [event for event in mal.events if event["event"] == "identity"], "mal knows nobody"


async def test_who_comes_under_another_nick_is_recognized_by_its_key(tmp_path: Path) -> None:
    async with family() as children:
        tea = Homes(children, tmp_path)
        await tea.grow(2)
        pub = Homes(children, tmp_path, carrier=f"dir:{tmp_path / 'other'}")
        ann = await pub.start("ann", "new", "pub", "--as", "ann", *pub.via, "--admit", "auto")
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        rob = await pub.start("bob", "join", token, "--as", "rob")
        words = await rob.wait_for("words", within=PATIENCE)
        assert words["known"] == "ann", "and it knows whom it reached, by the key"
        odd = await ann.wait_for("identity", within=PATIENCE)
        assert (odd["kind"], odd["nick"], odd["known_nick"]) == ("other-nick", "rob", "bob")
