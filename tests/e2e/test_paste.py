"""Two homes pair by pasted text: by pipes, and by hand on real terminals."""

import re
import textwrap
from pathlib import Path

import trio

from console.children import family, output_of
from tests.e2e.homes import PATIENCE, Homes, one_log
from tests.e2e.networks import Host, needs_hosts, two_hosts
from tests.e2e.terminal import terminal

TOKEN = r"^pigeon:[A-Z2-7]{100,}$"
WORDS = r"Safety words between [^:]+: ([A-Z]+ [A-Z]+ [A-Z]+ [A-Z]+) "


def quoted(token: str, *, columns: int = 78) -> str:
    """As a mail program passes it on."""
    return "".join(f"> {line}\n" for line in textwrap.wrap(token, columns))


async def test_one_pasted_text_pairs_two_homes_and_nothing_has_to_come_back(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        token = await homes.found(rule="ask")
        offer = await homes.nodes["ann"].wait_for("token", within=PATIENCE)
        assert (offer["kind"], offer["token"]) == ("offer", token)
        bob = await homes.start("bob", "join", "--as", "bob")
        await bob.say(f"{quoted(token)}hello from bob")
        asks = await homes.nodes["ann"].wait_for("asks", within=PATIENCE)
        words = await bob.wait_for("words", within=PATIENCE)
        assert asks["words"] == words["words"]
        assert len(words["words"].split()) == 4
        assert asks["verified"]
        assert not [event for event in bob.events if event["event"] == "admitted"], "the words come before"
        await homes.nodes["ann"].say("/admit bob")
        await homes.all_have(2)
        await homes.nodes["ann"].say("hello from ann")
        await homes.everyone_sees({"hello from bob", "hello from ann"})
        log = await one_log(homes, ("ann", "bob"))
        assert {event["text"] for event in log} == {"hello from bob", "hello from ann"}


async def test_tokens_that_are_brought_in_vain_are_told_of_and_never_said(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        token = await homes.found()
        bob = await homes.start("bob", "join", token, "--as", "bob")
        answer = (await bob.wait_for("token", within=PATIENCE))["token"]
        await homes.all_have(2)
        ann = homes.nodes["ann"]
        await ann.say(answer)  # it came by itself, and nobody is told off for bringing it
        await ann.wait_for("notice", within=PATIENCE, where=lambda e: "Got the answer" in e["message"])
        wrong = {
            token: "your own",
            answer: "already",
            f"`{token[:200]}\n": "cut",
            token[:90] + ("A" if token[90] != "A" else "B") + token[91:]: "mistyped",
        }
        for text, why in wrong.items():
            seen = len(ann.events)
            await ann.say(text)
            error = await ann.wait_for("error", within=PATIENCE, since=seen)
            assert why in error["message"].casefold(), (error, text)
            assert error["hint"]
        await ann.say("that was all")
        await homes.everyone_sees({"that was all"})
        log = await one_log(homes, ("ann", "bob"))
        assert [event["text"] for event in log] == ["that was all"]
        code, events, _ = await homes.run("ann", "send", token)
        assert (code, events[-1]["text"]) == (0, token), "`send` says whatever it is given"


async def test_members_that_were_restarted_find_each_other_by_one_more_line(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        await homes.start("bob", "join", await homes.found(), "--as", "bob")
        await homes.all_have(2)
        await homes.kill("ann")
        await homes.kill("bob")
        ann, bob = await homes.start("ann", "chat"), await homes.start("bob", "chat")
        offer = await ann.wait_for("token", within=PATIENCE)
        assert offer["kind"] == "offer"
        await bob.say(quoted(offer["token"]))
        await bob.wait_for("peer", within=PATIENCE, where=lambda event: event["state"] == "up")
        await ann.say("there you are")
        await homes.everyone_sees({"there you are"})


async def test_members_that_run_unattended_are_brought_together_by_a_script(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        await homes.start("bob", "join", await homes.found(), "--as", "bob")
        await homes.all_have(2)
        await homes.kill("ann")
        await homes.kill("bob")
        ann = await homes.start("ann", "up")
        await homes.start("bob", "up")
        offer = await ann.wait_for("token", within=PATIENCE)
        code, events, _ = await homes.run("bob", "carry", offer["token"])
        assert code == 0
        notice, answer, peer = events
        assert notice["message"].startswith("Got the offer")
        assert (answer["event"], answer["kind"]) == ("token", "answer")
        assert (peer["event"], peer["nick"], peer["state"]) == ("peer", "ann", "up")
        code, events, _ = await homes.run("ann", "carry", answer["token"])
        assert code == 0, "whoever carries both ways without a look is not told off"
        code, events, _ = await homes.run("ann", "send", "by script")
        assert (code, events[-1]["event"]) == (0, "final")


async def test_by_hand_at_two_terminals_with_a_token_wrapped_and_quoted(tmp_path: Path) -> None:
    here, there = str(tmp_path / "ann"), str(tmp_path / "bob")
    async with terminal("new", "tea", "--as", "ann", "--via", "paste", "--home", here) as ann:
        token = (await ann.wait_for(TOKEN, within=PATIENCE))[0]
        assert "this is no VPN" in ann.seen
        await ann.wait_for("They type:", within=PATIENCE)
        async with terminal("join", "--as", "bob", "--home", there) as bob:
            await bob.wait_for("Paste the invitation", within=PATIENCE)
            await bob.type("is it here?\n")
            await bob.wait_for("This line holds no token", within=PATIENCE)
            first, rest = quoted(token).split("\n", 1)
            await bob.type(f"{first}\n")
            await bob.wait_for("This token is not whole yet", within=PATIENCE)
            await bob.type(rest)
            words = await bob.wait_for(WORDS, within=PATIENCE)
            assert "this is no VPN" in bob.seen
            assert (await ann.wait_for(WORDS, within=PATIENCE))[1] == words[1]
            await bob.type("hello from bob\n")
            await bob.wait_for("You are not in yet", within=PATIENCE)
            await ann.type("/admit bob\n")
            for each in (ann, bob):
                await each.wait_for(r"■ #\d+ .* bob: hello from bob", within=PATIENCE)
            await ann.type("hello from ann\n")
            await bob.wait_for(r"■ #\d+ .* ann: hello from ann", within=PATIENCE)
            assert "Answer (" not in bob.seen, "it was connected before that was worth showing"
            await bob.type("\x03")
            with trio.fail_after(PATIENCE):
                assert await bob.process.wait() == 130
        assert re.search(r"■ #\d+ .*: (?!hello)", ann.seen) is None, "nothing else was said"


@needs_hosts
async def test_by_hand_behind_a_firewall_an_answer_is_shown_and_taken_back(tmp_path: Path) -> None:
    here, there = ("--home", str(tmp_path / "ann")), ("--home", str(tmp_path / "bob"))
    by_hand = ("--via", "paste")
    async with two_hosts() as (first, second):
        first.guard()
        async with terminal("new", "tea", "--as", "ann", *by_hand, *here, before=inside(first)) as ann:
            token = (await ann.wait_for(TOKEN, within=PATIENCE))[0]
            async with terminal("join", "--as", "bob", *by_hand, *there, before=inside(second)) as bob:
                await bob.wait_for("Paste the invitation", within=PATIENCE)
                await bob.type(f"{token}\n")
                shown = await bob.wait_for(r"^Answer \(good for \d+ min\):\n(pigeon:\S+)$", within=PATIENCE)
                await bob.wait_for("send it back to whoever invited you", within=PATIENCE)
                await bob.wait_for(r"Answer to send back: \d+ min left", within=PATIENCE)
                await ann.type(quoted(shown[1]))
                await ann.wait_for("Got the answer", within=PATIENCE)
                words = await bob.wait_for(WORDS, within=PATIENCE)
                assert (await ann.wait_for(WORDS, within=PATIENCE))[1] == words[1]
                await ann.type("/admit bob\n")
                await bob.wait_for("You are in", within=PATIENCE)


def inside(host: Host) -> list[str]:
    return ["ip", "netns", "exec", host.name]


async def test_what_members_see_of_each_other_is_said_once_also_unattended_but_not_with_quiet(
    tmp_path: Path,
) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        token = await homes.found("--headless")
        bob = await homes.start("bob", "join", token, "--as", "bob", "--headless")
        quiet = await homes.start("cal", "new", "pub", "--as", "cal", *homes.via, "--headless", "--quiet")
        await quiet.wait_for("invite", within=PATIENCE)
        await bob.wait_for("admitted", within=PATIENCE)
        for node in (homes.nodes["ann"], bob):
            said = node.complaints.decode()
            assert said.count("see each other's IP address: this is no VPN") == 1
            assert said.count("nobody can deny or unsay it later") == 1
        assert quiet.complaints == b""


async def test_ctrl_c_at_the_prompt_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with terminal("join", "--as", "bob", "--home", str(home)) as bob:
        await bob.wait_for("Paste the invitation", within=PATIENCE)
        await bob.type("pigeon:EENFEIJCLFN5HSYK5Y5T24YAJECHDI6BNOI6X2NIHWUJTTUM3JEA\n")
        await bob.wait_for("not whole yet", within=PATIENCE)
        await bob.type("\x03")
        with trio.fail_after(PATIENCE):
            assert await bob.process.wait() == 130
        assert "Traceback" not in bob.seen
    assert not home.exists()


@needs_hosts
async def test_an_unattended_host_behind_a_firewall_is_handed_the_answer(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "ann"))
    async with two_hosts() as (here, there), family() as children:
        here.guard()
        by_hand = ("--via", "paste", "--json")
        ann = await here.start(
            children, "ann", "new", "r", "--as", "ann", "--admit", "auto", "--headless", *by_hand, *home
        )
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        bob = await there.start(
            children, "bob", "join", token, "--as", "bob", *by_hand, "--home", str(tmp_path / "bob")
        )
        answer = (await bob.wait_for("token", within=PATIENCE))["token"]
        (tmp_path / "mail.txt").write_text(f"Hi Ann, here it is:\n{quoted(answer)}Bob\n")
        code, _, said = await output_of("carry", (tmp_path / "mail.txt").read_text(), *home)
        assert (code, said.decode()[:17]) == (0, "· Got the answer:")
        await ann.wait_for("admitted", within=PATIENCE)
        await bob.wait_for("admitted", within=PATIENCE)


async def test_carry_says_what_is_wrong_and_whether_anybody_is_there(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="paste")
        token = await homes.found()
        for given in (token, token[:100], "hello"):
            code, (error,), _ = await homes.run("ann", "carry", given)
            assert (code, error["code"]) == (2, 2), error
            assert error["message"], error
            assert error["hint"], error
        await homes.kill("ann")
        code, (error,), _ = await homes.run("ann", "carry", token)
        assert (code, error["code"]) == (4, 4)
    async with family() as children:
        homes = Homes(children, tmp_path / "folder")
        await homes.found()
        code, (error,), _ = await homes.run("ann", "carry", token)
        assert code == 2
        assert "--via paste" in error["hint"]
