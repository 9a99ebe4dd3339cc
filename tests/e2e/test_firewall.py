"""One token between two hosts: enough where the inviter can be reached; else the answer as well."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from console.children import Child, ChildFailed, family
from tests.e2e.networks import Host, needs_hosts, two_hosts

pytestmark = needs_hosts
PATIENCE = 30.0


@asynccontextmanager
async def invited(place: Path, *, guarded: str) -> AsyncIterator[tuple[Child, Child, Host]]:
    """Ann on one host has invited Bob on the other by a pasted token; one of them is behind a firewall."""
    async with two_hosts() as (here, there), family() as children:
        behind = {"ann": here, "bob": there}[guarded]
        behind.guard()
        by_hand = ("--via", "paste", "--json")
        ann = await here.start(
            children,
            "ann",
            "new",
            "r",
            "--as",
            "ann",
            *by_hand,
            "--admit",
            "auto",
            "--home",
            str(place / "ann"),
        )
        token = (await ann.wait_for("invite", within=PATIENCE))["token"]
        bob = await there.start(
            children, "bob", "join", token, "--as", "bob", *by_hand, "--home", str(place / "bob")
        )
        yield ann, bob, behind


async def test_who_can_be_reached_needs_no_answer_back(tmp_path: Path) -> None:
    async with invited(tmp_path, guarded="bob") as (ann, bob, _):
        await ann.wait_for("admitted", within=PATIENCE)
        await bob.wait_for("admitted", within=PATIENCE)


async def test_behind_a_firewall_the_same_token_works_once_the_answer_is_brought(tmp_path: Path) -> None:
    async with invited(tmp_path, guarded="ann") as (ann, bob, firewall):
        answer = (await bob.wait_for("token", within=PATIENCE))["token"]
        while firewall.dropped() < 3:  # it knocks, and goes on knocking
            await trio.sleep(0.1)
        with pytest.raises(ChildFailed):
            await bob.wait_for("words", within=1)
        await ann.say(answer)
        await ann.wait_for("admitted", within=PATIENCE)
        await bob.wait_for("admitted", within=PATIENCE)
