"""A common peer that lies about parcels, among real nodes that were paired by hand: it hinders nobody."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from node.aside import Aside, Hand, decode_aside, encode_aside
from signaling.carrier import ParcelKind
from signaling.seal import BUCKET
from tests.node.rooms import DEADLINE, Person
from tests.node.test_open_offers import by_hand


def me(person: Person) -> bytes:
    return person.node._seat_for_good().me


async def are_linked(*people: Person) -> None:
    """Wait until each of these has a link with each other one."""
    everybody = {me(person) for person in people}
    with trio.fail_after(DEADLINE):
        for person in people:
            while not everybody - {me(person)} <= person.node._mesh.linked():
                await trio.sleep(0.05)


class Liar:
    """What a member says beside the chain's messages, said otherwise."""

    def __init__(self, person: Person) -> None:
        self._mesh = person.node._mesh
        self._honest = self._mesh.send_aside
        self._mesh.send_aside = self._say  # type: ignore[method-assign]
        self.hides_from: set[bytes] = set()
        self.said = 0

    def _say(self, peer: bytes, data: bytes) -> bool:
        """Parcels for some are dropped, others handed three times, once with another's bytes."""
        aside = decode_aside(data)
        if isinstance(aside, Hand):
            self.said += 1
            if peer in self.hides_from:
                return True
            self._tell(peer, Hand(sender=aside.sender, kind=aside.kind, payload=b"x" * len(aside.payload)))
            self._tell(peer, aside)
            self._tell(peer, Hand(sender=secrets.token_bytes(32), kind=aside.kind, payload=aside.payload))
        return self._honest(peer, data)

    def _tell(self, peer: bytes, aside: Aside) -> None:
        self._honest(peer, encode_aside(aside))

    async def flood(self, peer: bytes) -> None:
        """Four times what is taken, until the line is cut."""
        while peer in self._mesh.linked():
            for _ in range(100):
                payload = secrets.token_bytes(BUCKET)
                self._tell(peer, Hand(sender=secrets.token_bytes(32), kind=ParcelKind.OFFER, payload=payload))
            await trio.sleep(0.2)


@asynccontextmanager
async def paired(place: Path) -> AsyncIterator[tuple[AsyncExitStack, trio.Nursery, list[Person]]]:
    """Ann, bob, cal and the liar-to-be, paired with ann by hand, all linked; more come onto the stack."""
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        ann = await by_hand(place, "ann").found()
        people = [await stack.enter_async_context(ann.up())]
        for nick in ("bob", "cal", "lou"):
            people.append(await join(stack, place, nick, through=ann))
            await are_linked(*people)
        yield stack, nursery, people
        nursery.cancel_scope.cancel()


async def join(stack: AsyncExitStack, place: Path, nick: str, *, through: Person) -> Person:
    token = (await through.node.invite()).token
    person = await stack.enter_async_context(by_hand(place, nick).joining(token))
    return await person.admitted()


async def test_who_was_let_in_by_a_liar_that_hides_it_from_one_is_introduced_by_another(
    tmp_path: Path,
) -> None:
    async with paired(tmp_path) as (stack, _, [ann, bob, cal, lou]):
        liar = Liar(lou)
        liar.hides_from.add(me(bob))
        dee = await join(stack, tmp_path, "dee", through=lou)
        await are_linked(ann, bob, cal, dee)
        assert liar.said
        await dee.says("here I am")
        await bob.hears("here I am")


async def test_a_member_that_floods_loses_its_link_and_keeps_nobody_from_being_introduced(
    tmp_path: Path,
) -> None:
    async with paired(tmp_path) as (stack, nursery, [ann, bob, cal, lou]):
        liar = Liar(lou)
        nursery.start_soon(liar.flood, me(ann))
        nursery.start_soon(liar.flood, me(bob))
        nursery.start_soon(liar.flood, me(cal))
        dee = await join(stack, tmp_path, "dee", through=ann)
        await are_linked(ann, bob, cal, dee)
        await dee.says("here I am")
        await bob.hears("here I am")
        with trio.fail_after(DEADLINE):
            while not bob.node.faults["introduce: flood"]:
                await trio.sleep(0.05)
