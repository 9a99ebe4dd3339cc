"""Real nodes in this process, over real WebRTC on loopback and a lobby folder, for tests to talk to."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio
import trio.testing

from node.config import DEFAULT_MAX_PEERS, Home, RoomConfig, Rule
from node.events import AnyEvent, AsksEvent, FinalEvent
from node.ice_servers import IceOptions
from node.node import Node, create_room, open_node, read_invitation

E = TypeVar("E", bound=AnyEvent)

DEADLINE = 20.0


class Listener:
    """Everything one node tells, kept, so that a test can wait for what may have been said already."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self._more = trio.lowlevel.ParkingLot()

    async def listen(self, events: AsyncIterator[AnyEvent]) -> None:
        async for event in events:
            self.events.append(event)
            self._more.unpark_all()

    async def wait(self, kind: type[E], that: Callable[[E], bool] = lambda event: True) -> E:
        """The first event of this kind that is so, past or future."""
        looked = 0
        with trio.fail_after(DEADLINE):
            while True:
                for event in self.events[looked:]:
                    if isinstance(event, kind) and that(event):
                        return event
                looked = len(self.events)
                await self._more.park()

    def finals(self) -> list[tuple[int, str, str]]:
        return [(e.index, e.nick, e.text) for e in self.events if isinstance(e, FinalEvent)]


class Person:
    """Somebody with a home, and its node while it runs."""

    def __init__(self, directory: Path, nick: str) -> None:
        self.nick = nick
        self.home = Home.at(directory / nick)
        self.via = (f"dir:{directory / 'lobby'}",)
        self.room: RoomConfig
        self.node: Node
        self.told: Listener

    async def found(self, *, rule: Rule = "auto", max_peers: int = DEFAULT_MAX_PEERS) -> "Person":
        self.room = await create_room(
            self.home, name="r", nick=self.nick, rule=rule, via=self.via, max_peers=max_peers
        )
        return self

    @asynccontextmanager
    async def up(
        self, *, offer_life: int | None = None, ice: IceOptions | None = None
    ) -> AsyncIterator["Person"]:
        """The node of the room that is here."""
        opened = open_node(self.home, self.room, offer_life=offer_life, ice=ice, loopback_only=True)
        async with opened as node, self._listening(node):
            yield self

    @asynccontextmanager
    async def joining(
        self, token: str, *, offer_life: int | None = None, ice: IceOptions | None = None
    ) -> AsyncIterator["Person"]:
        """The node of a newcomer, admitted or not."""
        opened = open_node(
            self.home,
            read_invitation(token),
            nick=self.nick,
            offer_life=offer_life,
            ice=ice,
            loopback_only=True,
        )
        async with opened as node, self._listening(node):
            yield self

    @asynccontextmanager
    async def _listening(self, node: Node) -> AsyncIterator[None]:
        self.node, self.told = node, Listener()
        async with node.events(since=0) as events, trio.open_nursery() as nursery:
            nursery.start_soon(self.told.listen, events)
            yield
            nursery.cancel_scope.cancel()

    async def admitted(self) -> "Person":
        with trio.fail_after(DEADLINE):
            self.room = await self.node.wait_admitted()
        return self

    async def says(self, text: str) -> FinalEvent:
        """Say it and wait until it is final here."""
        said = await self.node.say(text)
        return await self.told.wait(FinalEvent, lambda event: event.id == said)

    async def hears(self, text: str) -> FinalEvent:
        return await self.told.wait(FinalEvent, lambda event: event.text == text)

    async def is_host(self) -> None:
        """Wait until its presence is in the lobby; for who is the first there."""
        presence = Path(self.via[0].removeprefix("dir:")) / "host.offer.bin"
        with trio.fail_after(DEADLINE):
            while not presence.exists():
                await trio.testing.wait_all_tasks_blocked(0.02)

    async def is_asked_by(self, nick: str) -> AsksEvent:
        return await self.told.wait(AsksEvent, lambda event: event.nick == nick)


@asynccontextmanager
async def room_of(directory: Path, *nicks: str) -> AsyncIterator[list[Person]]:
    """A room under the `auto` rule with these members, all up."""
    async with AsyncExitStack() as stack:
        founder = await Person(directory, nicks[0]).found()
        people = [await stack.enter_async_context(founder.up())]
        for nick in nicks[1:]:
            token = (await founder.node.invite()).token
            person = await stack.enter_async_context(Person(directory, nick).joining(token))
            people.append(await person.admitted())
        yield people
