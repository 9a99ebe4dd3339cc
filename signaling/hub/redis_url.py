"""Where a Redis is: what may follow --redis."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from signaling.errors import SignalError

_SHAPE: Final = "It looks like redis://HOST:PORT/0, rediss://USER:PASSWORD@HOST:PORT or unix:///PATH?db=0."


class BadRedisUrl(SignalError):
    """--redis is followed by something else."""

    message = "This is not the address of a Redis server."
    hint = _SHAPE


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
