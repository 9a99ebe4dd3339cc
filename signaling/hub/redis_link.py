"""The way to one Redis: two connections that live and die together, and are made anew until it is there.

This file alone sees coredis. While there is no Redis, whoever asks is told so at once: nobody waits for it.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import trio
from anyio import BrokenResourceError, ClosedResourceError
from anyio.abc import ByteStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.connection import (
    BaseConnection,
    TCPConnection,
    TCPLocation,
    UnixDomainSocketConnection,
    UnixDomainSocketLocation,
)
from coredis.exceptions import NoScriptError, ReadOnlyError, ResponseError
from coredis.pool import ConnectionPool
from coredis.typing import RedisError

from signaling.errors import SignalError
from signaling.hub.redis_scripts import Script
from signaling.hub.redis_url import RedisUrl
from signaling.hub.store import StoreAway

AWAY: Final = "What this hub shares with others cannot be reached just now. Try again in a minute."

_PATIENCE: Final = 2.0
"""For an answer of Redis, and for a connection; whoever needs longer is taken for dead."""
WAIT: Final = 3.0
"""Seconds that a command may block; asking again shows whether the other end lives."""
_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Between two attempts to reach it."""

_BREAKS: Final = (RedisError, OSError, ClosedResourceError, BrokenResourceError)
"""What coredis raises when it cannot go on, whatever it was at."""
_REFUSALS: Final = 8
"""Kinds of them that the operator is told of in one era."""

_CHECK: Final = (
    "Start it, or check what follows --redis; its password may be in the address, or in PIGEON_REDIS."
)


class RedisUnusable(SignalError):
    """It could not be reached, or refused us, when the hub was started."""


class Era:
    """One pair of connections, until either breaks. Whatever is asked may raise StoreAway."""

    def __init__(
        self,
        *,
        commands: BaseConnection,
        waiting: BaseConnection,
        end: Callable[[str], None],
        refused: Callable[[str], None],
    ) -> None:
        """end: called with the reason once a connection is no good any more. refused: with Redis's words."""
        self._commands = commands
        self._waiting = waiting
        self._end = end
        self._refused = refused

    async def ask(self, *words: bytes) -> Any:
        """What Redis answers. Many may ask at once: their questions leave together."""
        return await self._request(self._commands, words, patience=_PATIENCE)

    async def wait(self, *words: bytes) -> Any:
        """The same for what blocks for at most WAIT; one at a time."""
        return await self._request(self._waiting, words, patience=WAIT + _PATIENCE)

    async def run(self, script: Script, keys: Sequence[str], *arguments: bytes) -> Any:
        words = (b"%d" % len(keys), *(key.encode() for key in keys), *arguments)
        try:
            return await self.ask(b"EVALSHA", script.sha, *words)
        except NoScriptError:  # it is new there, or somebody made Redis forget: it has not run
            return await self.ask(b"EVAL", script.text, *words)

    async def listen(
        self, channel: str, take: Callable[[bytes], None], *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Hand whatever is published on this channel of Redis to `take`; started once we are subscribed."""
        wanted = channel.encode()
        await self.ask(b"PUBLISH", wanted, b"")  # if this is not allowed, it says so; the next one is silent
        self._commands.send_command(b"SUBSCRIBE", wanted)
        async with aclosing(self._commands.push_messages) as pushes:
            async for push in pushes:
                match push:
                    case [b"subscribe", where, _] if where == wanted:
                        task_status.started()
                    case [b"message", where, bytes(what)] if where == wanted:
                        take(what)

    async def _request(self, connection: BaseConnection, words: Sequence[bytes], *, patience: float) -> Any:
        try:
            return await connection.create_request(words[0], *words[1:], decode=False, timeout=patience)
        except NoScriptError:
            raise
        except _BREAKS as error:
            if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError):
                self._refused(_plain(error))  # no memory, not allowed: another connection would not help
            else:
                self._end(_plain(error))
            raise StoreAway(AWAY) from None


class Work(Protocol):
    """What runs as long as an era: it says started() once it is ready, and goes on until it is cancelled."""

    async def __call__(self, era: Era, *, task_status: trio.TaskStatus[None]) -> None: ...


class RedisLink:
    """The present era, if there is one."""

    def __init__(self, url: RedisUrl, *, changed: Callable[[str], None]) -> None:
        """changed: told each time that Redis is lost or found again, in a sentence for the operator."""
        self._url = url
        self._changed = changed
        self._era: Era | None = None

    @property
    def era(self) -> Era:
        """StoreAway if there is none."""
        if self._era is None:
            raise StoreAway(AWAY)
        return self._era

    async def keep(self, work: Sequence[Work], *, task_status: trio.TaskStatus[RedisUnusable | None]) -> None:
        """Era after era, for ever. Started with a reason, and over, if not even the first one begins."""
        eras, pause = 0, _PAUSE

        def begun() -> None:
            nonlocal eras
            eras += 1
            if eras == 1:
                task_status.started(None)
            else:
                self._changed(f"Redis at {self._url} is back.")

        while True:
            before = eras
            trouble = await self._live(work, begun)
            if not eras:
                task_status.started(RedisUnusable(f"Redis at {self._url} cannot be used: {trouble}.", _CHECK))
                return
            if eras > before:
                self._changed(f"Redis at {self._url} is lost: {trouble}.")
                pause = max(_PAUSE, pause / 2)
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _live(self, work: Sequence[Work], begun: Callable[[], None]) -> str:
        """One era; why it ended."""
        trouble = ""
        refusals: set[str] = set()

        def end(why: str) -> None:
            nonlocal trouble
            trouble = trouble or why
            self._era = None  # from now on, not only once everything is closed
            scope.cancel()

        def refused(why: str) -> None:
            nonlocal trouble
            if self._era is None:
                trouble = trouble or why
                return
            kind = why.partition(" ")[0]
            if kind not in refusals and len(refusals) < _REFUSALS:
                refusals.add(kind)
                self._changed(f"Redis at {self._url} refuses: {why}.")

        with trio.CancelScope() as scope:
            try:
                async with _pool(self._url) as pool, pool.acquire() as commands, pool.acquire() as waiting:
                    era = Era(commands=commands, waiting=waiting, end=end, refused=refused)
                    async with trio.open_nursery() as nursery:
                        for each in work:
                            with trio.fail_after(2 * _PATIENCE):
                                await nursery.start(each, era)
                        self._era = era
                        begun()
            except* (StoreAway, *_BREAKS, trio.TooSlowError) as group:
                trouble = trouble or _plain(_first(group))
            finally:
                self._era = None
        return trouble or "it closed the connection"


def _close_all(connection: BaseConnection) -> None:
    """coredis leaves its streams open where no connection comes about, and Python warns of each."""
    for each in vars(connection).values():
        if isinstance(each, MemoryObjectSendStream | MemoryObjectReceiveStream):
            each.close()


async def _whole(connection: BaseConnection, connecting: Awaitable[ByteStream]) -> ByteStream:
    try:
        return await connecting
    except BaseException:
        _close_all(connection)
        raise


class _OverTcp(TCPConnection):
    async def _connect(self) -> ByteStream:
        return await _whole(self, super()._connect())


class _OverSocket(UnixDomainSocketConnection):
    async def _connect(self) -> ByteStream:
        return await _whole(self, super()._connect())


def _pool(url: RedisUrl) -> ConnectionPool[Any]:
    logging.getLogger("coredis").setLevel(logging.CRITICAL)  # it prints a traceback for each failed attempt
    return ConnectionPool(
        connection_class=_OverSocket if url.path else _OverTcp,
        location=UnixDomainSocketLocation(url.path) if url.path else TCPLocation(url.host, url.port),
        max_connections=2,
        connect_timeout=_PATIENCE,
        stream_timeout=_PATIENCE,
        username=url.username,
        password=url.password,
        db=url.db,
        ssl_context=ssl.create_default_context() if url.tls else None,
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


def _plain(error: BaseException | None) -> str:
    """What an exception says, or what was behind it, as the end of a sentence."""
    words = ""
    while error is not None:
        words = (isinstance(error, OSError) and error.strerror) or str(error) or words
        error = error.__cause__
    said = "".join(letter if letter.isprintable() else " " for letter in words)[:200].strip(" .")
    return said or "it did not answer in time"
