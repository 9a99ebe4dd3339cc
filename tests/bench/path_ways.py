"""The carriers of the table: how two come by each other's descriptions, and how long it takes."""

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from console.children import Child, ChildFailed, Event, Family, family
from tests.bench.path_places import BOTH_BEHIND_NATS, INVITER_BEHIND_NAT, PLACES, SYMMETRIC, Place
from tests.e2e.networks import Host

PATIENCE: Final = 60.0
_OFFER_LIFE: Final = 15
"""Seconds, where nobody can come by an offer: with the connect deadline, 20 s, what a verdict takes."""

_VERDICT: Final = 50.0
_IN_VAIN: Final = ("A member answered. ", "no connection to them came up")  # it is tried again
_UNCARRIED: Final = 4.0  # seconds; whoever gets in by the first check alone does so in one


class Linked(msgspec.Struct, frozen=True, tag=True):
    """Seconds from looking for a member, or from being let in, until linked."""

    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s"


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """What is said of it that no link came; empty: nothing was said, as must not be."""

    why: str

    def __str__(self) -> str:
        return self.why


Outcome = Linked | Verdict
Way = Callable[[Family, Place, Path], Awaitable[Outcome]]


@dataclass(frozen=True)
class _Homes:
    children: Family
    place: Place
    scratch: Path
    via: str

    async def start(self, host: Host, who: str, *arguments: str, options: tuple[str, ...] = ()) -> Child:
        home = str(self.scratch / who)
        line = (*arguments, "--as", who, "--via", self.via, *options, "--json", "--home", home)
        return await host.start(self.children, who, *line)

    async def invites(self) -> tuple[Child, str]:
        """Ann's node, and its first token."""
        life = "--offer-life", str(_OFFER_LIFE)
        line = "new", "r", "--admit", "auto", *life
        ann = await self.start(self.place.inviter, "ann", *line, options=self.place.options)
        return ann, (await ann.wait_for("invite", within=PATIENCE))["token"]

    async def joins(self, token: str) -> Child:
        line = "join", token, "--offer-life", str(_OFFER_LIFE)
        return await self.start(self.place.joiner, "bob", *line, options=self.place.options)


async def _until_linked(bob: Child, *, within: float = _VERDICT) -> Outcome:
    """Or until he is told that he is not, and ends, or tries it again."""
    seen = 0
    with trio.move_on_after(within):
        while True:
            for number, event in enumerate(bob.events[seen:], start=seen):
                after = bob.times[number] - bob.times[0]
                if event["event"] == "words":
                    return Linked(after)
                if event["event"] == "error":
                    code = await bob.wait(within=PATIENCE)
                    return Verdict(f"exit {code} after {after:.0f} s")
                if event["event"] == "notice" and any(sign in event["message"] for sign in _IN_VAIN):
                    return Verdict(f"told after {after:.0f} s, tried again")
            seen = len(bob.events)
            await bob.wait_for_events(seen + 1, within=within)
    return Verdict("")


async def _one_scan(children: Family, place: Place, scratch: Path) -> Outcome:
    homes = _Homes(children, place, scratch, "paste")
    _, token = await homes.invites()
    bob = await homes.joins(token)
    await bob.wait_for("token", within=PATIENCE)
    outcome = await _until_linked(bob, within=_UNCARRIED)
    return outcome if isinstance(outcome, Linked) else Verdict("the answer has to be carried")


async def _carried(children: Family, place: Place, scratch: Path) -> Outcome:
    homes = _Homes(children, place, scratch, "paste")
    ann, token = await homes.invites()
    bob = await homes.joins(token)
    await ann.say((await bob.wait_for("token", within=PATIENCE))["token"])
    return await _until_linked(bob)


async def _by_folder(carrier: str, children: Family, place: Place, scratch: Path) -> Outcome:
    homes = _Homes(children, place, scratch, f"{carrier}:{scratch / 'folder'}")
    _, token = await homes.invites()
    return await _until_linked(await homes.joins(token))


async def _hub(children: Family, place: Place) -> str:
    """Where the hub is that is started by this."""
    hub = await place.hub.start(children, "hub", "hub", "--listen", f"{place.hub.address}:8080", "--json")
    await hub.wait_for_events(1, within=PATIENCE)
    return f"http://{place.hub.address}:8080"


async def _by_hub(children: Family, place: Place, scratch: Path) -> Outcome:
    homes = _Homes(children, place, scratch, f"hub:{await _hub(children, place)}")
    _, token = await homes.invites()
    return await _until_linked(await homes.joins(token))


async def _met(children: Family, place: Place, scratch: Path) -> Outcome:
    """Both are strangers to each other, and ask at the same time."""
    url = await _hub(children, place)
    for who, host in (("ann", place.inviter), ("bob", place.joiner)):
        ask = ("meet", "--hub", url, "--namespace", "tea", "--as", who, *place.options, "--json")
        node = await host.start(children, who, *ask, "--home", str(scratch / who))
    return await _until_linked(node)


async def _introduced(children: Family, place: Place, scratch: Path) -> Outcome:
    """One who is linked to both brings them together."""
    homes = _Homes(children, place, scratch, "paste")
    cal = await homes.start(place.common, "cal", "new", "r", "--admit", "auto")
    nodes = []
    for number, (who, host) in enumerate((("ann", place.inviter), ("bob", place.joiner)), start=2):
        seen = len(cal.events)
        if number > 2:  # the room was shown with a token
            await cal.say("/invite")
        token = (await cal.wait_for("invite", within=PATIENCE, since=seen if number > 2 else 0))["token"]
        node = await homes.start(host, who, "join", token, options=place.options)
        nodes.append(node)
        for each in (cal, *nodes):
            await each.wait_for("room", within=PATIENCE, where=lambda event, n=number: event["n"] == n)
    return await _found(nodes[1], nodes[0])


async def _found(bob: Child, ann: Child) -> Outcome:
    try:
        await bob.wait_for("peer", within=_VERDICT / 2, where=_is_ann)
    except ChildFailed:
        await ann.say("through cal")
        await bob.wait_for("final", within=PATIENCE, where=lambda event: event["text"] == "through cal")
        return Verdict("not linked; what they say comes through the third")
    happened = list(zip(bob.events, bob.times, strict=True))
    up = next(at for event, at in happened if _is_ann(event))
    admitted = next(at for event, at in happened if event["event"] == "admitted")
    return Linked(max(0.0, up - admitted))


def _is_ann(event: Event) -> bool:
    return (event["event"], event.get("nick"), event.get("state")) == ("peer", "ann", "up")


_ONE_SCAN: Final = "paste, one scan"
WAYS: Final[dict[str, Way]] = {
    _ONE_SCAN: _one_scan,
    "paste, carried": _carried,
    "qr:DIR": partial(_by_folder, "qr"),
    "dir:": partial(_by_folder, "dir"),
    "log:": partial(_by_folder, "log"),
    "hub:": _by_hub,
    "meet": _met,
    "introduced": _introduced,
}


async def outcome(place: str, way: str) -> Outcome:
    """One cell: everything made anew for it, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pigeon-paths-") as scratch:
        async with PLACES[place](Path(scratch)) as built, family() as children:
            return await WAYS[way](children, built, Path(scratch))


def expected(place: str, way: str) -> type[Outcome]:
    """What the table shall say: whose router drops the first check needs the answer; no path: hears so."""
    needs_answer = place in (INVITER_BEHIND_NAT, BOTH_BEHIND_NATS) and way == _ONE_SCAN
    return Verdict if needs_answer or place == SYMMETRIC else Linked
