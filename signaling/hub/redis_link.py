"""The way to one Redis: two connections that live and die together, and are made anew for as long as it takes.

This file alone sees coredis. While there is no Redis, whoever asks is told so at once: nobody waits for it.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import trio
from coredis.connection import BaseConnection, TCPLocation, UnixDomainSocketLocation
from coredis.exceptions import NoScriptError
from coredis.pool import ConnectionPool
from coredis.typing import RedisError

from signaling.errors import SignalError
from signaling.hub.redis_scripts import ALL, Script
from signaling.hub.store import StoreAway

AWAY: Final = "What this hub shares with others cannot be reached just now. Try again in a minute."

_PATIENCE: Final = 2.0
"""For an answer of Redis, and for a connection; whoever needs longer is taken for dead."""
_WAIT: Final = 3.0
"""A blocking command asks again after so long: what shows that the other end lives."""
_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Between two attempts to reach it."""

_SHAPE: Final = "It looks like redis://HOST:PORT/0, rediss://USER:PASSWORD@HOST:PORT or unix:///PATH?db=0."


class BadRedisUrl(SignalError):
    """--redis is followed by something else."""

    message = "This is not the address of a Redis server."
    hint = _SHAPE


class RedisUnusable(SignalError):
    """It could not be reached, or refused us, when the hub was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """Where Redis is, and as whom we come."""

    host: str = ""
    port: int = 6379
    path: str = ""
    """Of a socket, instead of host and port."""
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """BadRedisUrl, which never repeats the text: it may hold a password."""
        try:
            parts = urlsplit(text)
            query = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
            host, port = parts.hostname or "", 6379 if parts.port is None else parts.port
            local = parts.scheme == "unix"
            number = query.pop("db", ["0"])[0] if local else parts.path.strip("/") or "0"
            db = int(number) if number.isdecimal() and len(number) <= 4 else -1
        except ValueError:
            raise BadRedisUrl from None
        wrong = parts.path in ("", "/") if local else not host
        if parts.scheme not in ("redis", "rediss", "unix") or wrong or query or parts.fragment or db < 0:
            raise BadRedisUrl
        return cls(
            host=host,
            port=port,
            path=unquote(parts.path) if local else "",
            tls=parts.scheme == "rediss",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            db=db,
        )


class Era:
    """One pair of connections, until either breaks: what is asked on it may raise StoreAway, and ends it then."""

    def __init__(self, *, commands: BaseConnection, waiting: BaseConnection, scope: trio.CancelScope) -> None:
        self._commands = commands
        self._waiting = waiting
        self._scope = scope
        self.trouble = ""

    async def ask(self, *words: bytes) -> Any:
        """What Redis answers; many may ask at once, and their questions leave together."""
        return await self._request(self._commands, words, patience=_PATIENCE)

    async def wait(self, *words: bytes) -> Any:
        """The same for what may take up to WAIT_MS; one at a time."""
        return await self._request(self._waiting, words, patience=WAIT_MS / 1000 + _PATIENCE)

    async def run(self, script: Script, keys: Sequence[str], *arguments: bytes) -> Any:
        words = (b"%d" % len(keys), *(key.encode() for key in keys), *arguments)
        try:
            return await self.ask(b"EVALSHA", script.sha, *words)
        except NoScriptError:  # somebody made Redis forget them: it has not run
            return await self.ask(b"EVAL", script.text, *words)

    async def _request(self, connection: BaseConnection, words: Sequence[bytes], *, patience: float) -> Any:
        try:
            return await connection.create_request(words[0], *words[1:], decode=False, timeout=patience)
        except NoScriptError:
            raise
        except ResponseError as error:  # out of memory, a replica, not allowed: the connection is fine
            self.trouble = _plain(error)
            raise StoreAway(AWAY) from None
        except (RedisError, TimeoutError) as error:
            self.trouble = _plain(error)
            self._scope.cancel()
            raise StoreAway(AWAY) from None

    async def heard(self, channel: str) -> AsyncIterator[bytes]:
        """What is published on a channel of Redis; an empty one first, as soon as we are subscribed."""
        wanted = channel.encode()
        self._commands.send_command(b"SUBSCRIBE", wanted)
        async with aclosing(self._commands.push_messages) as pushes:
            async for kind, where, what in pushes:
                if where == wanted and kind == b"subscribe":
                    yield b""
                elif where == wanted and kind == b"message" and isinstance(what, bytes):
                    yield what


class Work(Protocol):
    """What runs as long as an era: it calls started() once it is ready, and ends or raises with the era."""

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
        """Era after era, for ever. Started with the reason, and at an end, if not even the first one begins."""
        pause, first = _PAUSE, True
        while True:
            trouble = "it closed the connection"
            try:
                async with self._open() as era:
                    async with trio.open_nursery() as nursery:
                        for each in work:
                            await nursery.start(each, era)
                        self._era = era
                        if first:
                            task_status.started(None)
                        else:
                            self._changed(f"Redis at {self._url} is back.")
                        first, pause = False, _PAUSE
            except* (StoreAway, RedisError, OSError) as group:
                trouble = _plain(_leaf(group))
            if first:
                task_status.started(_unusable(self._url, trouble))
                return
