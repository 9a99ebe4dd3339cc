"""What the hub's connection loop hands to its handlers, and what they hand back."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Protocol

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"

_REASONS: Final = {each.value: each.phrase for each in HTTPStatus}
_UNNAMED: Final = {2: "Success", 4: "Client Error", 5: "Server Error"}

# Any page of any site may use a hub, as with signalhub: it keeps no cookies and knows nobody, so there is
# nothing that a foreign page could take in somebody's name.
_CORS: Final = "Access-Control-Allow-Origin: *\r\n"
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, X-HTTP-Method-Override, Content-Type, Accept, "
    "Authorization, Last-Event-ID, Cache-Control",
    "Access-Control-Max-Age": "86400",
}
"""What a browser is told that asks with OPTIONS before it sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, read whole and within all bounds."""

    method: str
    path: str
    """As it was sent: percent-escapes are not undone, and it holds visible ASCII only."""
    query: str = ""
    """What followed the first `?`, as it was sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; of a name that was sent twice the values are joined with `, `."""
    body: bytes = b""
    client: str = ""
    """The address of whoever asks. Only with trust_proxy is that what X-Forwarded-For says last."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the loop adds Content-Length, Connection and the CORS headers."""

    status: int
    """200 to 599; those without a name of their own (297, 499) are sent all the same."""
    body: bytes = b""
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def words(cls, status: int, text: str, headers: Mapping[str, str] | None = None) -> "Response":
        """A plain sentence for whoever reads it."""
        return cls(status, f"{text}\n".encode(), headers=headers or {})


class EventWriter(Protocol):
    """The far end of one subscription. Never blocks: what cannot be sent now waits in a bounded buffer."""

    @property
    def gone(self) -> bool:
        """It left or was cut off: whatever is written is dropped."""

    def write(self, event: bytes) -> None:
        """One whole event of a text/event-stream; dropped if this subscriber is gone already."""


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that goes on until the client leaves, is too slow, or the hub stops."""

    opened: Callable[[EventWriter], Awaitable[None]]
    """Called once after the head went out; whatever it writes comes first."""
    closed: Callable[[EventWriter], None]
    """Called once at the end, however it came; where the hub stops at that moment, without `opened`."""


Answer = Response | EventStream
Handler = Callable[[Request], Awaitable[Answer]]
"""Raises StoreAway (503) if need be; anything else that it raises is our fault, answered 500 and counted."""


@lru_cache(maxsize=1)
def _date_line(now: int) -> str:
    """RFC 9110, 6.6.1; made once a second."""
    return f"Date: {formatdate(now, usegmt=True)}\r\n"


def reason(status: int) -> str:
    return _REASONS.get(status) or _UNNAMED.get(status // 100, "Other")


def head_of(status: int, headers: Mapping[str, str], *, keep_alive: bool) -> bytes:
    """Status line and headers, to the empty line. ValueError for a header that would end early."""
    lines = [f"HTTP/1.1 {status} {reason(status)}\r\n", _date_line(int(time.time())), _CORS]
    for name, value in headers.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ValueError(f"a header of ours that cannot be sent: {name!r}: {value!r}")
        lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n" if keep_alive else "Connection: close\r\n\r\n")
    return "".join(lines).encode("ascii")


@lru_cache(maxsize=8)
def _bare(status: int, keep_alive: bool, _second: int) -> bytes:
    """What every broadcast is answered; its Date makes it good for a second."""
    return head_of(status, {"Content-Length": "0"}, keep_alive=keep_alive)


def encode(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """The whole answer as it goes out. with_body: False for HEAD, which is told the length only."""
    if not response.body and not response.headers:
        return _bare(response.status, keep_alive, int(time.time()))
    headers = {"Content-Length": str(len(response.body)), **response.headers}
    if response.body:
        headers["Content-Type"] = response.content_type
    head = head_of(response.status, headers, keep_alive=keep_alive)
    return head + response.body if with_body else head
