"""kill -9 at any moment: nothing that was shown is lost, and nobody contradicts anybody."""

import random
from pathlib import Path

import pytest

from console.children import Child, Event, family
from tests.e2e.homes import NAMES, PATIENCE, Homes, one_log

ROUNDS = 5


def shown(nodes: list[Child], kind: str) -> list[Event]:
    return [event for node in nodes for event in node.events if event["event"] == kind]


async def test_killing_any_node_at_any_moment_loses_nothing_that_was_shown(tmp_path: Path) -> None:
    dice = random.Random(20261120)
    async with family() as children:
        homes = Homes(children, tmp_path)
        await homes.grow(4)
        killed: list[Child] = []
        for number in range(ROUNDS):
            victim = dice.choice(NAMES)
            for name, node in homes.nodes.items():
                for each in range(dice.randrange(1, 4)):
                    await node.say(f"{name} {number}.{each}")
            # At any moment: after it has shown so many more events, pending, delivered and final alike.
            node = homes.nodes[victim]
            await node.wait_for_events(len(node.events) + dice.randrange(6), within=PATIENCE)
            killed.append(await homes.kill(victim))
            for name, node in homes.nodes.items():
                await node.say(f"{name} {number} without {victim}")
            await homes.start(victim, "chat")
            await homes.nodes[victim].say(f"{victim} {number} back")
            await homes.everyone_sees({f"{victim} {number} back"})
        everyone = [*killed, *homes.nodes.values()]
        pending = frozenset(event["id"] for event in shown(everyone, "pending"))
        log = await one_log(homes, NAMES, ids=pending)
        ids = [event["id"] for event in log]
        assert len(set(ids)) == len(ids), "nothing is said twice"
        places = {event["id"]: (event["index"], event["height"], event["text"]) for event in log}
        for event in shown(everyone, "final"):
            assert places[event["id"]] == (event["index"], event["height"], event["text"])
        for name in NAMES:
            code, (verdict,), _ = await homes.run(name, "verify", "--store")
            assert (code, verdict["ok"]) == (0, True)


@pytest.mark.parametrize("moment", ["notice", "words", "room"])
async def test_a_newcomer_killed_while_it_joins_types_the_same_again(tmp_path: Path, moment: str) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await homes.found()
        newcomer = await homes.start("bob", "join", token, "--as", "bob")
        await newcomer.wait_for(moment, within=PATIENCE)
        await homes.kill("bob")
        await homes.start("bob", "join", token, "--as", "bob")
        await homes.all_have(2)
        await homes.nodes["bob"].say("in at last")
        await homes.everyone_sees({"in at last"})


async def test_a_founder_killed_as_it_lets_somebody_in_comes_back_to_a_room_of_two(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path)
        token = await homes.found()
        await homes.start("bob", "join", token, "--as", "bob")
        await homes.nodes["ann"].wait_for("admitted", within=PATIENCE)
        await homes.kill("ann")
        await homes.start("ann", "chat")
        await homes.all_have(2, within=2 * PATIENCE)  # a dead link is noticed first, then both offer at once
        await homes.nodes["ann"].say("where was I?")
        await homes.everyone_sees({"where was I?"})
