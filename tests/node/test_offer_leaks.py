"""Offers and answers leave nothing behind, however they end and wherever they are cut off.

No socket, no task, no parcel with a carrier, no file.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing

from node.connect import _Rendezvous
from node.errors import ConnectFailed
from node.events import OverEvent, TokenEvent
from node.keys import load_key
from signaling.candidates import Candidate
from signaling.description import SEED_BYTES, RoomId, encode, make_offer
from signaling.token import Kind, to_token
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import answer_of, by_hand, inviting
from tests.node.test_tokens_of_members import acquainted, shown_offer

SERVING = "Offering._serve"
ATTEMPT = "_Rendezvous._run_attempt"
MOST_STEPS = 60
SETTLED = 20  # looks


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Held(NamedTuple):
    """What a node holds on to, for its offers and answers or else."""

    descriptors: int
    tasks: int
    callbacks: int
    parcels: int
    shown: int
    open: int
    files: int


class Watched:
    """A node, and the innards of it that makes links."""

    def __init__(self, person: Person, rendezvous: Any, pictures: Path | None = None) -> None:
        self.person = person
        self.rendezvous = rendezvous
        self._pictures = pictures
        self.given = False  # the offer asked for last

    def held(self) -> Held:
        pairing = self.person.node._threshold.pairing
        return Held(
            descriptors=descriptors(),
            tasks=trio.lowlevel.current_statistics().tasks_living,
            callbacks=len(asyncio.all_tasks(self.rendezvous.rtc._loop)),
            parcels=len(self.rendezvous._post._owners),
            shown=len(pairing.events()) + sum(len(hands.shown()) for hands in pairing._hands),
            open=len(list(pairing.offers)) + len(list(self.rendezvous._attempts)),
            files=0 if self._pictures is None else len(list(self._pictures.iterdir())),
        )

    async def settled(self) -> Held:
        """What is held once nothing of it changes any more."""
        with trio.fail_after(DEADLINE):
            same, held = 0, self.held()
            while same < SETTLED:
                await trio.testing.wait_all_tasks_blocked(0.01)
                same, held = (same + 1 if self.held() == held else 0), self.held()
        return held

    async def comes_back_to(self, before: Held) -> None:
        """Wait until nothing more is held than was."""
        with trio.move_on_after(DEADLINE):
            while self._more_than(before):
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert not self._more_than(before), (self.held(), before)

    def _more_than(self, before: Held) -> bool:
        return any(now > then for now, then in zip(self.held(), before, strict=True))


@pytest.fixture
def rendezvous(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those of the nodes that come up, in order."""
    made: list[Any] = []

    class Kept(_Rendezvous):
        def __post_init__(self) -> None:
            super().__post_init__()
            made.append(self)

    monkeypatch.setattr("node.connect._Rendezvous", Kept)
    return made


class _AtStep(trio.abc.Instrument):
    """Does something just before a task of this name takes its so-many-th step."""

    def __init__(self, name: str, step: int, do: Callable[[], None]) -> None:
        self._name, self._step, self._do = name, step, do
        self._taken: Counter[int] = Counter()
        self.done = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(self._name) and not self.done:
            self._taken[id(task)] += 1
            if self._taken[id(task)] == self._step:
                self.done = True
                self._do()


@contextmanager
def at_step(name: str, step: int, do: Callable[[], None]) -> Iterator[_AtStep]:
    watching = _AtStep(name, step, do)
    trio.lowlevel.add_instrument(watching)
    try:
        yield watching
    finally:
        trio.lowlevel.remove_instrument(watching)


@asynccontextmanager
async def hosting(directory: Path, rendezvous: list[Any], **named: Any) -> AsyncIterator[Watched]:
    """The only member of a room whose offers are shown to people and, as pictures, in a folder."""
    (directory / "pictures").mkdir()
    ann = Person(directory, "ann")
    ann.via = ("paste", f"qr:{directory / 'pictures'}")
    await ann.found()
    async with ann.up(**named):
        await ann.node.invite()  # once, so that what is made only once is there
        watched = Watched(ann, rendezvous[-1], directory / "pictures")
        withdraw_all(watched)
        with trio.fail_after(DEADLINE):
            while any(watched.held()[3:]):
                await trio.testing.wait_all_tasks_blocked(0.01)
        yield watched


def withdraw_all(watched: Watched) -> None:
    offers = watched.person.node._threshold.pairing.offers
    for wish in offers:
        offers.withdraw(wish)


async def invite(watched: Watched) -> None:
    watched.given = False
    with suppress(ConnectFailed):
        await watched.person.node.invite()
        watched.given = True


async def test_an_offer_that_is_withdrawn_at_any_moment_leaves_nothing(
    tmp_path: Path, rendezvous: list[Any]
) -> None:
    async with hosting(tmp_path, rendezvous) as ann:
        before = await ann.settled()
        for step in range(1, MOST_STEPS):
            with at_step(SERVING, step, lambda: withdraw_all(ann)) as cut:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(invite, ann)
                    with trio.move_on_after(0.5):
                        while not cut.done:
                            await trio.testing.wait_all_tasks_blocked(0.01)
                    nursery.cancel_scope.cancel()
            withdraw_all(ann)
            await ann.comes_back_to(before)
            if not cut.done:
                break
        assert 3 < step < MOST_STEPS - 1, "every moment was met"


async def test_who_asks_for_an_offer_and_goes_away_at_any_moment_leaves_nothing(
    tmp_path: Path, rendezvous: list[Any]
) -> None:
    async with hosting(tmp_path, rendezvous) as ann:
        before = await ann.settled()
        for step in range(1, MOST_STEPS):
            async with trio.open_nursery() as nursery:
                with at_step("test_offer_leaks.invite", step, nursery.cancel_scope.cancel) as cut:
                    nursery.start_soon(invite, ann)
                    with trio.move_on_after(0.5):
                        await trio.sleep_forever()
            if ann.given:  # it was there before that
                withdraw_all(ann)
            if not cut.done:
                break
            await ann.comes_back_to(before)
        assert 2 < step < MOST_STEPS - 1, "every moment was met"


async def test_offers_that_expire_are_renewed_or_give_way_leave_nothing(
    tmp_path: Path, rendezvous: list[Any]
) -> None:
    async with hosting(tmp_path, rendezvous, offer_life=2) as ann:
        before = await ann.settled()
        token = (await ann.person.node.invite()).token
        for _ in range(6):  # of which no more than four can be open
            await ann.person.node.invite()
        for _ in range(6):
            token = (await ann.person.node.renew()).token
        await ann.person.told.wait(OverEvent, lambda event: (event.token, event.reason) == (token, "expired"))
        await ann.comes_back_to(before)


async def test_a_node_that_stops_in_the_middle_of_making_an_offer_leaves_nothing(
    tmp_path: Path, rendezvous: list[Any]
) -> None:
    before = None
    for step in range(1, 12):
        (tmp_path / str(step)).mkdir()
        async with hosting(tmp_path / str(step), rendezvous) as ann, trio.open_nursery() as nursery:
            with at_step(SERVING, step, ann.person.node._stop.set) as cut:
                nursery.start_soon(invite, ann)
                with trio.move_on_after(0.5):
                    while not cut.done:
                        await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        left = descriptors(), trio.lowlevel.current_statistics().tasks_living
        before = before or left
        assert left == before
        assert not list((tmp_path / str(step) / "pictures").iterdir())
        if not cut.done:
            break
    assert step > 3


def dead_offer(ann: Person) -> str:
    """One of hers, that leads nowhere."""
    offer = make_offer(
        key=load_key(ann.home.identity_file, purpose="identity"),
        room=RoomId(ann.room.room_id),
        recipient=None,
        seed=secrets.token_bytes(SEED_BYTES),
        issued=int(time.time()),
        life=600,
        fingerprint=bytes(32),
        candidates=[Candidate("host", "127.0.0.1", 9)],
        invites=False,
    )
    return to_token(Kind.OFFER, encode(offer))


async def test_an_answer_that_is_given_up_at_any_moment_leaves_nothing(
    tmp_path: Path, rendezvous: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.door._ANSWER_EVERY", 0.0)
    async with acquainted(tmp_path) as (ann, bob), bob.up():
        await shown_offer(bob)
        watched = Watched(bob, rendezvous[-1])

        def give_up() -> None:
            for attempt in watched.rendezvous._attempts:
                attempt.scope.cancel()

        async def answer(step: int) -> bool:
            with at_step(ATTEMPT, step, give_up) as cut:
                await bob.node.carry(dead_offer(ann))
                with trio.move_on_after(1):
                    while not cut.done:
                        await trio.testing.wait_all_tasks_blocked(0.01)
            give_up()
            return cut.done

        await answer(MOST_STEPS)
        first = await watched.settled()
        for step in range(1, MOST_STEPS):
            done = await answer(step)
            await watched.comes_back_to(first)
            if not done:
                break
        assert 3 < step < MOST_STEPS - 1, "every moment was met"


async def test_a_link_by_an_offer_leaves_neither_the_offer_nor_the_answer(
    tmp_path: Path, rendezvous: list[Any]
) -> None:
    async with inviting(tmp_path, deaf=True) as (ann, invited):
        watched = [Watched(ann, rendezvous[-1])]
        async with by_hand(tmp_path, "bob").joining(invited.token) as bob:
            watched.append(Watched(bob, rendezvous[-1]))
            await ann.told.wait(TokenEvent)
            await ann.node.carry(await answer_of(bob))
            await bob.admitted()
            for each in watched:
                with trio.fail_after(DEADLINE):
                    while any(each.held()[3:]):
                        await trio.testing.wait_all_tasks_blocked(0.01)
