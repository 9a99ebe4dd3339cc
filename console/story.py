"""Tells a story of steps that must all hold, as it happens: for people, or as NDJSON."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from console.ndjson import JsonScreen
from console.out import Out
from console.settings import Settings
from node.events import Event


class StepEvent(Event, frozen=True, tag="step"):
    """One step of the story that held, or the one that did not."""

    name: str
    ok: bool
    seconds: float
    detail: str


class Step:
    """What is known about a step when it is over."""

    def __init__(self, told: "Story") -> None:
        self._told = told
        self.detail = ""

    async def note(self, text: str) -> None:
        """Something that happened within the step, as it happens."""
        await self._told.note(text)


class Story:
    """Prints each step when it begins and whether it held when it ends."""

    def __init__(self, settings: Settings) -> None:
        self._json = settings.json
        self._out = Out(settings)
        self._screen = JsonScreen(self._out)
        self._began = trio.current_time()
        self._bold = settings.color and sys.stdout.isatty()

    async def tell(self, text: str) -> None:
        """A few lines between steps, for people only."""
        if not self._json:
            await self._out.data(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "replace"))

    async def note(self, text: str) -> None:
        await self.tell(f"          {text}")

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Step]:
        """One step: it holds unless something is raised, which then goes on up."""
        began = trio.current_time()
        title = f"\x1b[1m{name}\x1b[0m" if self._bold else name
        await self.tell(f"[{began - self._began:5.1f} s] {title}")
        step = Step(self)
        try:
            yield step
        except Exception as error:
            await self._end(name, ok=False, seconds=trio.current_time() - began, detail=str(error))
            raise
        await self._end(name, ok=True, seconds=trio.current_time() - began, detail=step.detail)

    async def _end(self, name: str, *, ok: bool, seconds: float, detail: str) -> None:
        if self._json:
            await self._screen.event(StepEvent(name=name, ok=ok, seconds=round(seconds, 3), detail=detail))
        elif ok:
            await self.note(f"ok{': ' if detail else ''}{detail}")
        else:
            await self.note("did not hold")
