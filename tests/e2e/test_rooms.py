"""Four homes, each a real process: unattended, and by hand."""

from functools import partial
from pathlib import Path

import trio

from console.children import Event, family
from tests.e2e.homes import NAMES, PATIENCE, Homes, one_log


async def test_four_homes_that_join_at_once_agree_on_one_order_of_everything_said(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        tokens = [await homes.found(), await homes.invite(), await homes.invite()]
        for name, token in zip(NAMES[1:], tokens, strict=True):
            node = await homes.start(name, "join", "-", "--as", name)
            await node.say(token)
        await homes.all_have(4)

        async def speak(name: str) -> None:
            for number in range(8):
                await homes.nodes[name].say(f"{name} {number}")

        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(speak, name)
        said = {f"{name} {number}" for name in NAMES for number in range(8)}
        await homes.everyone_sees(said)
        log = await one_log(homes, NAMES)
        assert {event["text"] for event in log} == said
        assert len(log) == len(said)
        for name, node in homes.nodes.items():
            shown = [event["index"] for event in node.events if event["event"] == "final"]
            assert shown == [event["index"] for event in log], "every node shows the order of the log"
            texts = [event["text"] for event in log if event["nick"] == name]
            assert texts == [f"{name} {number}" for number in range(8)]
            mine = [event["id"] for event in node.events if event["event"] == "pending"]
            assert mine == [event["id"] for event in log if event["nick"] == name]
        code, (status,), _ = await homes.run("bob", "status")
        assert (code, status["n"], status["f"], status["quorum"], status["up"]) == (0, 4, 1, 3, 4)
        code, members, _ = await homes.run("bob", "who")
        assert code == 0
        assert {(member["nick"], member["state"]) for member in members} == {
            ("ann", "up"),
            ("bob", "me"),
            ("cal", "up"),
            ("dee", "up"),
        }


async def test_under_the_rule_ask_a_quorum_lets_each_newcomer_in_by_hand(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await homes.found(rule="ask")
        for n, name in enumerate(NAMES[1:], start=2):
            members = NAMES[: n - 1]
            node = await homes.start(name, "join", token, "--as", name)
            compared = 0
            for member in members:
                asks = await homes.nodes[member].wait_for(
                    "asks", within=PATIENCE, where=lambda event, name=name: event["nick"] == name
                )
                assert asks["verified"]
                assert asks["need"] == len(members), "up to three members everyone must agree"
                if asks["words"]:  # empty where there is no link to the newcomer
                    words = await node.wait_for(
                        "words", within=PATIENCE, where=partial(_is_of, asks["words"])
                    )
                    compared += len(words["words"].split()) == 4
                code, _, complaints = await homes.run(member, "admit", name)
                assert code == 0, complaints
            assert compared >= 1, "a member and the newcomer see the same safety words"
            await homes.all_have(n)
            if n < 4:
                code, (invitation,), _ = await homes.run(NAMES[n - 1], "invite")
                assert code == 0, "any member may invite"
                token = invitation["token"]
        for name in NAMES:
            code, events, complaints = await homes.run(name, "send", f"{name} is in")
            assert (code, events[-1]["event"]) == (0, "final"), complaints
        log = await one_log(homes, NAMES)
        assert [event["text"] for event in log] == [f"{name} is in" for name in NAMES]


def _is_of(words: str, event: Event) -> bool:
    return bool(event["words"] == words)
