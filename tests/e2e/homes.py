"""Rooms of real processes for the tests: one home each, one shared folder, events with deadlines."""

import json
import re
from pathlib import Path

import trio

from console.children import Child, Event, Family, output_of

PATIENCE = 30.0
NAMES = ("ann", "bob", "cal", "dee")


class Homes:
    """Some homes under one directory, and what runs in them."""

    def __init__(self, children: Family, place: Path, *, carrier: str | None = None) -> None:
        """`carrier`: a spec; a folder that all can reach without one."""
        self.children = children
        self.place = place
        self._carrier = carrier or f"dir:{place / 'lobby'}"
        self.nodes: dict[str, Child] = {}

    def at(self, name: str) -> tuple[str, str]:
        return "--home", str(self.place / name)

    @property
    def via(self) -> tuple[str, str]:
        return "--via", self._carrier

    async def start(self, name: str, verb: str, *arguments: str) -> Child:
        self.nodes[name] = await self.children.start(name, verb, *arguments, "--json", *self.at(name))
        return self.nodes[name]

    async def found(self, *more: str, rule: str = "auto") -> str:
        """The first home makes the room; the invitation that it prints."""
        node = await self.start("ann", "new", "tea", "--as", "ann", *self.via, "--admit", rule, *more)
        await node.wait_for("room", within=PATIENCE)
        return str((await node.wait_for("invite", within=PATIENCE))["token"])

    async def invite(self, name: str = "ann") -> str:
        node = self.nodes[name]
        seen = len(node.events)
        await node.say("/invite")
        return str((await node.wait_for("invite", within=PATIENCE, since=seen))["token"])

    async def all_have(self, n: int, *, within: float = PATIENCE) -> None:
        """Wait until every node that runs is in a room of n."""
        for node in self.nodes.values():
            await node.wait_for("room", within=within, where=lambda event: event["n"] == n)

    async def grow(self, count: int) -> None:
        """A room of `count` under the rule `auto`, one joining after the other."""
        token = await self.found()
        for n, name in enumerate(NAMES[1:count], start=2):
            token = await self.invite() if n > 2 else token
            await self.start(name, "join", token, "--as", name)
            await self.all_have(n)

    async def everyone_sees(self, texts: set[str]) -> None:
        """Wait until all these messages are shown as final by all nodes."""
        for node in self.nodes.values():
            for text in texts:
                await node.wait_for(
                    "final", within=PATIENCE, where=lambda event, text=text: event["text"] == text
                )

    async def run(self, name: str, *arguments: str) -> tuple[int, list[Event], str]:
        """One short command with --json on a home: exit code, events, standard error."""
        code, output, complaints = await output_of(*arguments, "--json", *self.at(name))
        return code, [json.loads(line) for line in output.splitlines()], complaints.decode()

    async def log(self, name: str) -> list[bytes]:
        """`log --json`, byte for byte apart from `mine`."""
        code, output, complaints = await output_of("log", "--json", *self.at(name))
        assert code == 0, complaints.decode()
        return [re.sub(rb'"mine":(true|false)', b'"mine":?', line) for line in output.splitlines()]

    async def kill(self, name: str) -> Child:
        """kill -9; what it had said until then is kept in the child."""
        node = self.nodes.pop(name)
        node.process.kill()
        await node.wait(within=PATIENCE)
        return node


async def one_log(homes: Homes, names: tuple[str, ...], *, ids: frozenset[str] = frozenset()) -> list[Event]:
    """The log of all these homes, once it is one and has these messages; fails if two ever contradict."""
    with trio.fail_after(PATIENCE):
        while True:
            logs = [await homes.log(name) for name in names]
            longest = max(logs, key=len)
            assert all(log == longest[: len(log)] for log in logs), "two logs contradict each other"
            events = [json.loads(line.replace(b'"mine":?', b'"mine":null')) for line in longest]
            if all(log == longest for log in logs) and ids <= {event["id"] for event in events}:
                return events
