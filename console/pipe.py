"""`pipe`: standard input and output joined to one data channel; what is to be said goes to standard error."""

import os
import select
import sys
import termios
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import trio

from console.out import Out
from console.settings import Settings
from console.shell import silence_stdout, what_to_say
from node.errors import Exit, NodeError, UsageError
from node.ice_servers import IceOptions, IceServers
from node.pipe import Exchange, Heard, Side, Streams, pipe, understood, whole
from node.pipe_files import heard_in, version_at, write_description

_CHUNK: Final = 64 * 1024
_LOCAL_FLAGS: Final = 3  # where they are in what tcgetattr returns
_CONTROL: Final = 6
_END_OF_INPUT: Final = b"\x04"
_OTHER: Final = {"offer": "answer", "answer": "offer"}


async def join_streams(
    settings: Settings, *, side: Side, into: Path | None, out: Path | None, ice: IceOptions
) -> int:
    """`pipe --offer` or `--answer`. `into`: where the other side's description comes from, `out`: ours to."""
    said = Out(settings)

    async def on_open() -> None:
        await said.note("· Connected.")

    exchange = _Carried(settings, side=side, into=into, out=out)
    try:
        await pipe(
            side,
            exchange=exchange,
            streams=_Standard(said),
            on_open=on_open,
            timeout=settings.timeout,
            ice=ice.over(IceServers()),
        )
    except (NodeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # whoever read standard output left
        event = what_to_say(error)
        if settings.json:  # standard output has the data
            await said.urgent(msgspec.json.encode(event).decode())
        else:
            await said.error(event)
        return event.code
    return Exit.DONE


class _EndOfInput(UsageError):
    """Nothing more will be typed."""


class _Carried(Exchange):
    """Descriptions go by file, or by whoever sits at the terminal."""

    def __init__(self, settings: Settings, *, side: Side, into: Path | None, out: Path | None) -> None:
        self._said = Out(settings)
        self._side = side
        self._into = into
        self._out = out
        # What was there before our offer cannot be an answer to it.
        self._stale = version_at(into) if into is not None and side == "offer" else None
        self._terminal = -1 if into is not None else _open_terminal()

    async def show(self, description: bytes) -> None:
        if self._out is not None:
            await write_description(self._out, description)
            await self._said.note(f"· The {self._side} is in {self._out}; carry it to the other side.")
        else:
            await self._said.note(f"· The {self._side}; give this line to the other side:")
            await self._said.urgent(description.decode().rstrip())

    async def heard(self) -> AsyncGenerator[Heard, None]:
        if self._into is not None:
            await self._said.note(f"· Waiting for the {_OTHER[self._side]} in {self._into}.")
            async for signals in heard_in(self._into, but=self._stale):
                yield signals
            return
        with closing(os.fdopen(self._terminal, "rb", buffering=0)):
            yield await self._asked()

    async def _asked(self) -> Heard:
        """Ask until it is one: a new offer would have to be carried anew. UsageError at the end of input."""
        while True:
            await self._said.urgent(f"Paste the {_OTHER[self._side]} of the other side, then Enter:")
            try:
                return await _pasted(self._terminal)
            except _EndOfInput:
                raise
            except UsageError as error:
                await self._said.urgent(f"! {error.message}\n  {error.hint}")


class _Standard(Streams):
    """Standard input and output."""

    def __init__(self, out: Out) -> None:
        self._out = out

    async def read(self) -> bytes:
        return await trio.to_thread.run_sync(_read, sys.stdin.fileno(), abandon_on_cancel=True)

    async def write(self, data: bytes) -> None:
        await self._out.data(data)

    async def end(self) -> None:
        silence_stdout()  # whoever reads it sees the end now, while we may still have things to send


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:  # whoever gave us this made it non-blocking
            select.select([descriptor], [], [])


def _open_terminal() -> int:
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        raise UsageError(
            "There is no terminal to ask for the other side's description on.",
            "Give --in FILE: it is waited for.",
        ) from None


async def _pasted(terminal: int) -> Heard:
    """A description from a terminal, of any length: its own lines end at 4,095 bytes. UsageError."""
    before = termios.tcgetattr(terminal)
    raw = [*before]
    raw[_LOCAL_FLAGS] = before[_LOCAL_FLAGS] & ~termios.ICANON
    raw[_CONTROL] = [*before[_CONTROL]]
    raw[_CONTROL][termios.VMIN], raw[_CONTROL][termios.VTIME] = 1, 0
    termios.tcsetattr(terminal, termios.TCSADRAIN, raw)
    text = b""
    try:
        while True:
            await trio.to_thread.run_sync(select.select, [terminal], [], [], abandon_on_cancel=True)
            piece = os.read(terminal, _CHUNK)
            text += piece
            if not piece or _END_OF_INPUT in piece:
                try:
                    return understood(text)
                except UsageError as error:
                    raise _EndOfInput(error.message, error.hint) from error
            junk = text.lstrip()[:1] not in (b"", b"{", b"[")
            if (junk and (text.endswith(b"\n") or len(text) > _CHUNK)) or text.endswith(b"\n\n"):
                return understood(text)  # which says that it is none
            if text.endswith(b"\n") and (signals := whole(text)) is not None:
                return signals
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
