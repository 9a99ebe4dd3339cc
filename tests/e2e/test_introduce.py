"""One link is enough: members introduce one another, and carry what two cannot say to each other directly."""

from pathlib import Path

import trio

from console.children import Child, Family, family
from tests.e2e.networks import Host, hosts_on_a_switch, needs_hosts

PATIENCE = 30.0
NAMES = ("ann", "bob", "cal", "dee")


class Room:
    """One node on each host; ann's tokens are brought to the newcomers, and nothing else is carried."""

    def __init__(self, children: Family, place: Path, hosts: list[Host | None]) -> None:
        self._children = children
        self._place = place
        self._hosts = dict(zip(NAMES, hosts, strict=False))
        self.nodes: dict[str, Child] = {}

    async def grow(self) -> None:
        """All of them, one after the other; each is of the room, and nobody waits for links."""
        first = await self._start("ann", "new", "tea", "--admit", "auto")
        for n, name in enumerate(list(self._hosts)[1:], start=2):
            seen = len(first.events) if n > 2 else 0
            if n > 2:
                await first.say("/invite")
            token = await first.wait_for("invite", within=PATIENCE, since=seen)
            await self._start(name, "join", str(token["token"]))
            for node in self.nodes.values():
                await node.wait_for("room", within=PATIENCE, where=lambda event, n=n: event["n"] == n)

    def identity(self, name: str) -> str:
        rooms = [event for event in self.nodes[name].events if event["event"] == "room"]
        return str(rooms[0]["me"])

    def linked(self, name: str) -> set[str]:
        """The members that this one says are up."""
        state = {
            event["member"]: event["state"] for event in self.nodes[name].events if event["event"] == "peer"
        }
        return {other for other in self.nodes if state.get(self.identity(other)) == "up"}

    async def wait_linked(self, name: str, others: set[str], *, within: float = PATIENCE) -> None:
        with trio.fail_after(within):
            while not others <= self.linked(name):
                await self.nodes[name].wait_for_events(len(self.nodes[name].events) + 1, within=1)

    async def seconds_until_asked(self, name: str) -> float:
        """From its admission until it shows a token for somebody whom it lacks."""
        node = self.nodes[name]
        offer = await node.wait_for("token", within=PATIENCE, where=lambda event: event["kind"] == "offer")
        admitted = await node.wait_for("admitted", within=0, where=lambda event: event["nick"] == name)
        return node.times[node.events.index(offer)] - node.times[node.events.index(admitted)]

    async def all_speak(self, words: str) -> None:
        """Everybody says something, and everybody sees all of it as final."""
        texts = {f"{words}, says {name}" for name in self.nodes}
        for name, node in self.nodes.items():
            await node.say(f"{words}, says {name}")
        for node in self.nodes.values():
            for text in texts:
                await node.wait_for(
                    "final", within=PATIENCE, where=lambda event, text=text: event["text"] == text
                )

    async def kill(self, name: str) -> None:
        node = self.nodes.pop(name)
        node.process.kill()
        await node.wait(within=PATIENCE)

    async def _start(self, name: str, verb: str, *arguments: str) -> Child:
        home = str(self._place / name)
        options = ("--as", name, "--via", "paste", "--json", "--home", home)
        host = self._hosts[name]
        start = self._children.start if host is None else host.starter(self._children)
        self.nodes[name] = await start(name, verb, *arguments, *options)
        return self.nodes[name]


async def test_three_newcomers_who_paired_with_one_member_are_all_linked(tmp_path: Path) -> None:
    async with family() as children:
        room = Room(children, tmp_path, [None] * 4)
        await room.grow()
        for name in NAMES:
            await room.wait_linked(name, set(NAMES) - {name})
        await room.all_speak("hello")
        shown = [event for event in room.nodes["dee"].events if event["event"] == "token"]
        assert [event["kind"] for event in shown] == ["answer"]  # a person is asked for nothing more


@needs_hosts
async def test_two_who_cannot_reach_each_other_take_part_and_link_once_they_can(tmp_path: Path) -> None:
    async with hosts_on_a_switch(4) as hosts, family() as children:
        bob, dee = hosts[1], hosts[3]
        bob.cut_off(dee)
        dee.cut_off(bob)
        room = Room(children, tmp_path, list(hosts))
        await room.grow()
        for name in ("ann", "cal"):
            await room.wait_linked(name, set(NAMES) - {name})
        await room.all_speak("through others")
        assert "dee" not in room.linked("bob")
        assert "bob" not in room.linked("dee")
        assert await room.seconds_until_asked("dee") > 8
        await room.kill("cal")
        await room.all_speak("through ann alone")
        bob.join_up()
        dee.join_up()
        await room.wait_linked("bob", {"dee"}, within=60)
        await room.wait_linked("dee", {"bob"})
        await room.all_speak("directly")
