"""An answer that comes minutes late connects, also where a router forgets in ten seconds whom it let in.

A minute here, five with NIGHTLY=1; all paths at once.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from console.children import Child, Family, command, environment, family
from tests.e2e.nats import MAPPING_TIME, Internet, internet
from tests.e2e.networks import Host, needs_hosts

pytestmark = needs_hosts
LATE: Final = 300 if os.environ.get("NIGHTLY") == "1" else 60
assert LATE > 3 * MAPPING_TIME
PATIENCE: Final = 40.0


class People:
    """Ann on one host and Bob on another, who carry their tokens by hand."""

    def __init__(self, children: Family, place: Path) -> None:
        place.mkdir()
        self._children = children
        self._place = place

    async def invites(self, host: Host, *more: str) -> tuple[Child, str]:
        ann = await self._start(host, "ann", "new", "r", "--admit", "auto", *more)
        return ann, (await ann.wait_for("invite", within=PATIENCE))["token"]

    async def joins(self, host: Host, token: str, *more: str) -> Child:
        return await self._start(host, "bob", "join", token, *more)

    async def _start(self, host: Host, who: str, *arguments: str) -> Child:
        options = ("--as", who, "--via", "paste", "--json", "--home", str(self._place / who))
        return await host.start(self._children, f"{self._place.name}: {who}", *arguments, *options)


async def answer_of(joiner: Child) -> str:
    return str((await joiner.wait_for("token", within=PATIENCE))["token"])


async def late(*apart: Child) -> None:
    """So much later these have not been linked."""
    await trio.sleep(LATE)
    for each in apart:
        assert not [event for event in each.events if event["event"] in ("words", "admitted", "error")]


async def are_linked(*both: Child) -> None:
    for each in both:
        await each.wait_for("admitted", within=PATIENCE)


async def open_path(net: Internet, place: Path) -> None:
    """Here the answer needs nobody to carry it, unless the program knows of descriptions only."""
    place.mkdir()
    here, there = net.host(), net.host()
    offer, answer, brought = place / "offer.json", place / "answer.json", place / "brought.json"
    said: dict[str, bytes] = {}

    async def pipe(host: Host, data: bytes, *arguments: str) -> None:
        line = host.inside(*command("pipe", *arguments))
        done = await trio.run_process(line, stdin=data, capture_stdout=True, env=environment())
        said[arguments[0]] = done.stdout

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe, here, b"from here", "--offer", "--out", str(offer), "--in", str(brought))
        nursery.start_soon(pipe, there, b"from there", "--answer", "--out", str(answer), "--in", str(offer))
        with trio.fail_after(PATIENCE):
            while not answer.exists():
                await trio.sleep(0.1)
        await trio.sleep(LATE)
        assert not said
        answer.rename(brought)
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
    assert said == {"--offer": b"from there", "--answer": b"from here"}


async def inviter_behind_a_nat(net: Internet, people: People) -> None:
    home = net.router()
    ann, token = await people.invites(home.host())
    bob = await people.joins(net.host(), token)
    answer = await answer_of(bob)
    await late(ann, bob)
    assert not home.mappings(), "nothing went out, and nothing has to"
    await ann.say(answer)
    await are_linked(ann, bob)


async def joiner_behind_a_nat(net: Internet, people: People) -> None:
    """The token comes late, and the answer with the first check."""
    ann, token = await people.invites(net.host())
    await late(ann)
    bob = await people.joins(net.router().host(), token)
    await are_linked(ann, bob)


PATHS: Final[tuple[Callable[[Internet, People], Awaitable[None]], ...]] = (
    inviter_behind_a_nat,
    joiner_behind_a_nat,
)


async def test_what_is_carried_a_minute_late_connects_on_every_path(tmp_path: Path) -> None:
    async with internet() as net, family() as children, trio.open_nursery() as nursery:
        nursery.start_soon(open_path, net, tmp_path / "open")
        for path in PATHS:
            nursery.start_soon(path, net, People(children, tmp_path / path.__name__))
