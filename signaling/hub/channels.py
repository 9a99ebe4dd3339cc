"""Channels, in the wire protocol of npm's signalhub: a POST is broadcast to whoever has a GET open.

What is ours on top: every event has an id, and who comes back with Last-Event-ID gets what was missed, as
far as it is still kept. signalhub's own clients read over both.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from signaling.hub.counts import Counts
from signaling.hub.http import Answer, EventStream, EventWriter, Request, Response
from signaling.hub.openapi import BROADCAST, SUBSCRIBE
from signaling.hub.routes import Route
from signaling.hub.settings import HubSettings
from signaling.hub.store import ChannelStore, Event, StoreAway

_PATH: Final = "/v1/{app}/{channel}"
_LINE_END: Final = re.compile("\r\n|\r|\n")
_LAST_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)

Write = Callable[[bytes], None]


class Channels:
    """A Service: who listens to what."""

    def __init__(self, store: ChannelStore, settings: HubSettings, counts: Counts) -> None:
        self._store = store
        self._settings = settings
        self._counts = counts
        self._writers: dict[str, dict[EventWriter, Write]] = {}
        self._resuming: dict[EventWriter, _Resuming] = {}
        store.deliver_to(self.deliver)
        counts.gauge("channels", "Channels with a subscriber.", lambda: len(self._writers))

    @property
    def routes(self) -> Sequence[Route]:
        return (
            Route(method="POST", path=_PATH, name="broadcast", handler=self.broadcast, operation=BROADCAST),
            Route(method="GET", path=_PATH, name="subscribe", handler=self.subscribe, operation=SUBSCRIBE),
        )

    async def run(self) -> None:
        """Nothing runs beside."""

    def deliver(self, event: Event) -> None:
        """To every subscriber of its channel, at once: one text for all, and no task in between."""
        writers = self._writers.get(event.channel)
        if not writers and not self._resuming:
            return
        text = event_text(event)
        if writers:
            for write in writers.values():
                write(text)
            self._counts.of["events"] += len(writers)
        for each in self._resuming.values():
            each.hear(event, text)

    async def broadcast(self, request: Request) -> Answer:
        name = request.path[len("/v1/") :]
        if len(name) > self._settings.max_name:
            return _too_long(self._settings)
        if "," in name.partition("/")[2]:
            return Response.words(400, "A broadcast goes to one channel: none has a comma in its name.")
        self._counts.of["published"] += 1
        await self._store.publish(name, request.body)
        return Response(200)

    async def subscribe(self, request: Request) -> Answer:
        app, _, listed = request.path[len("/v1/") :].partition("/")
        names = list(dict.fromkeys(f"{app}/{each}" for each in listed.split(",") if each))
        if not names:
            return Response.words(400, "No channel is named.")
        if len(names) > self._settings.max_names:
            return Response.words(400, f"One subscription has at most {self._settings.max_names} channels.")
        if any(len(name) > self._settings.max_name for name in names):
            return _too_long(self._settings)
        last = request.headers.get("last-event-id", "")
        last = last if _LAST_ID.fullmatch(last) else ""

        async def opened(writer: EventWriter) -> None:
            await self._begin(writer, names, last)

        def closed(writer: EventWriter) -> None:
            self._end(writer, names)

        return EventStream(opened, closed)

    async def _begin(self, writer: EventWriter, names: list[str], last: str) -> None:
        """What was missed first, then what was broadcast while that was looked up, then all that comes."""
        resuming = self._resuming[writer] = _Resuming(names, most=self._settings.max_backlog)
        missed = await self._store.since(names, last) if last else []
        position = "" if missed else await self._store.position()
        if resuming.too_much:
            raise StoreAway  # what did not fit would be missed for good; it comes back with the same id
        if missed:
            self._counts.of["resumed"] += 1
        else:
            # Without data nobody sees an event; but who is cut off now knows after which one to resume.
            writer.write(b"id: %b\n\n" % position.encode("ascii"))
        seen = {event.id for event in missed}
        for event in missed:
            if writer.gone:  # more was missed than may wait for it; it comes back for the rest
                return
            writer.write(event_text(event))
        for event, text in resuming.heard:
            if event.id not in seen:
                writer.write(text)
        del self._resuming[writer]
        for name in names:
            self._writers.setdefault(name, {})[writer] = writer.write

    def _end(self, writer: EventWriter, names: list[str]) -> None:
        self._resuming.pop(writer, None)
        for name in names:
            writers = self._writers.get(name)
            if writers is not None:
                writers.pop(writer, None)
                if not writers:
                    del self._writers[name]


class _Resuming:
    """A subscriber that does not have all that it missed yet."""

    def __init__(self, names: list[str], *, most: int) -> None:
        self._names = frozenset(names)
        self._left = most
        self.heard: list[tuple[Event, bytes]] = []

    @property
    def too_much(self) -> bool:
        """More was said than could be kept."""
        return self._left < 0

    def hear(self, event: Event, text: bytes) -> None:
        if event.channel in self._names:
            self._left -= len(text)
            if not self.too_much:
                self.heard.append((event, text))


def event_text(event: Event) -> bytes:
    """One event of a text/event-stream (WHATWG HTML, 9.2): the payload cannot end it, whatever is in it."""
    payload = event.payload
    if b"\n" in payload or b"\r" in payload or not payload.isascii():
        lines = _LINE_END.split(payload.decode("utf-8", "replace"))
        payload = "\ndata: ".join(lines).encode()
    return b"id: %b\ndata: %b\n\n" % (event.id.encode("ascii"), payload)


def _too_long(settings: HubSettings) -> Response:
    return Response.words(414, f"App and channel have at most {settings.max_name} characters together.")
