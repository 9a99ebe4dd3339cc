"""Meetings for the tests: some hubs over one store, and parties that post to them as different clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from signaling.hub.counts import Counts
from signaling.hub.http import Request, Response
from signaling.hub.meet import Meet
from signaling.hub.meet_memory import MemoryMeetStore
from signaling.hub.meet_queue import pair_name
from signaling.hub.meet_request import _look_of
from signaling.hub.memory import MemoryChannels, MemoryRates
from signaling.hub.settings import HubSettings
from signaling.hub.store import Stores

Fields = dict[str, Any]


UNLIMITED = HubSettings(meet_request_every=0, meet_connect_every=0)


def stores_in_memory(settings: HubSettings) -> Stores:
    return Stores(
        channels=MemoryChannels(settings, clock=trio.current_time),
        rates=MemoryRates(clock=trio.current_time),
        meet=MemoryMeetStore(),
    )


class Asked:
    """A request under way, and what came of it."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.response: Response | None = None
        self.at = 0.0
        self.done = trio.Event()

    @property
    def status(self) -> int:
        assert self.response is not None, "it is held still"
        return self.response.status

    @property
    def fields(self) -> Fields:
        assert self.response is not None, "it is held still"
        return msgspec.json.decode(self.response.body, type=Fields)

    async def wait(self) -> Fields:
        await self.done.wait()
        return self.fields


class Crowd:
    """`hubs` of them share what they know. Everybody has an address of its own."""

    def __init__(self, nursery: trio.Nursery, stores: Stores, settings: HubSettings, hubs: int = 1) -> None:
        self._nursery = nursery
        self.meets = [Meet(stores, settings, Counts()) for _ in range(hubs)]

    def ask(self, who: str, *, hub: int = 0, address: str | None = None, **fields: Any) -> Asked:
        """Begin to post as `who`, in the namespace `tea` unless `fields` say otherwise."""
        asked = Asked()
        body = {"TYPE": "CONNECT", "NAMESPACE": "tea", "SIGNAL": f"offer of {who}"} | fields
        request = Request(
            method="POST",
            path="/v1/meet",
            headers={"user-agent": who},
            body=msgspec.json.encode({name: value for name, value in body.items() if value is not None}),
            client=address or f"address of {who}",
        )

        async def post() -> None:
            with asked.scope:
                asked.response = await self.meets[hub].meet(request)
            asked.at = trio.current_time()
            asked.done.set()

        self._nursery.start_soon(post)
        return asked

    async def holds(self, who: str, **options: Any) -> Asked:
        """The same, of somebody who finds nobody: it returns once the request is held."""
        asked = self.ask(who, **options)
        await trio.testing.wait_all_tasks_blocked()
        assert asked.response is None, asked.response
        return asked


@asynccontextmanager
async def crowd(settings: HubSettings = UNLIMITED, *, hubs: int = 1) -> AsyncIterator[Crowd]:
    async with trio.open_nursery() as nursery:
        yield Crowd(nursery, stores_in_memory(settings), settings, hubs)
        nursery.cancel_scope.cancel()


def pair_of(**who: str) -> str:
    """The name of the memory of two who ask from their own address with their own program."""
    one, other = (
        _look_of(Request(method="POST", path="/", headers={"user-agent": each}, client=f"address of {each}"))
        for each in who.values()
    )
    return pair_name((one, other))
