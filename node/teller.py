"""What became final, told by index and without a hole, and what members were caught at."""

import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import trio

from chain.effects import EvidenceFound
from chain.ids import MemberId
from node.bus import Bus
from node.config import make_private_directory, write_whole
from node.errors import NodeError
from node.events import AnyEvent, EvidenceEvent, FinalEvent
from node.record import View
from node.shelf import Shelf

logger = logging.getLogger(__name__)


class Teller:
    """Publishes what the store has gained. `on_final` is called for each message before it is published."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        bus: Bus,
        me: MemberId,
        fingerprint: str,
        evidence: Path,
        on_final: Callable[[FinalEvent], None],
    ) -> None:
        self._shelf = shelf
        self._bus = bus
        self._fingerprint = fingerprint
        self._directory = evidence
        self._on_final = on_final
        self._view = View(me)
        self._grown = trio.Event()
        self._progress = trio.Event()
        self._found: deque[tuple[EvidenceFound, str]] = deque()
        self.told = 0
        """Every final message below this index has been published, or was there at the start."""

    async def prepare(self) -> None:
        """Read the record once, so that what was final before is not news."""
        while True:
            after, _ = await self._shelf.read(self._view, self.told)
            if after == self.told:
                return
            self.told = after

    def wake(self) -> None:
        """The store has more items in a row than before, or may have."""
        self._grown.set()

    def add_evidence(self, found: EvidenceFound, *, nick: str) -> None:
        """Have this told, with a file of it."""
        self._found.append((found, nick))
        self._grown.set()

    async def wait_progress(self) -> None:
        """Until `told` grew, or may have."""
        await self._progress.wait()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._grown.wait()
            self._grown = trio.Event()
            while self._found:
                await self._tell_evidence(*self._found.popleft())
            while True:
                after, events = await self._shelf.read(self._view, self.told)
                for event in events:
                    self._on_final(event)
                    self._bus.publish(event)
                if after == self.told:
                    break
                self.told = after
                self._progress.set()
                self._progress = trio.Event()

    def stream(
        self, first: list[AnyEvent], *, since: int | None, live: AsyncIterator[AnyEvent]
    ) -> AsyncGenerator[AnyEvent, None]:
        """`first`, the final messages from `since` on that were told before now, then what is `live`.

        To be called when `live` begins, so that nothing is told twice or not at all.
        """
        return self._stream(first, since, self.told, live)

    async def _stream(
        self, first: list[AnyEvent], since: int | None, until: int, live: AsyncIterator[AnyEvent]
    ) -> AsyncGenerator[AnyEvent, None]:
        for event in first:
            yield event
        index = until if since is None else since
        while index < until:
            after, finals = await self._shelf.read(self._view, index)
            for final in finals:
                if final.index < until:
                    yield final
            if after == index:
                break
            index = after
        async for event in live:
            if since is None or not isinstance(event, FinalEvent) or event.index >= since:
                yield event

    async def _tell_evidence(self, found: EvidenceFound, nick: str) -> None:
        kept = await self._shelf.evidence(found.member, found.kind)
        path = ""
        if kept is not None:
            name = f"evidence-{found.member.hex()[:12]}-{time.time_ns()}.json"
            path = str(self._directory / name)
            try:
                await trio.to_thread.run_sync(_write, self._directory / name, kept)
            except NodeError as error:  # the store has it too: a peer's lie must not end this node
                logger.warning("%s", error)
                path = ""
        self._bus.publish(EvidenceEvent(member=found.member.hex(), nick=nick, kind=found.kind, file=path))


def _write(path: Path, content: bytes) -> None:
    make_private_directory(path.parent)
    write_whole(path, content)
