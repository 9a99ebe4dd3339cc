"""The head of a request, strictly: what two parsers could read in two ways is refused.

A hub stands behind a proxy, and whatever the proxy and the hub understand differently is a way to smuggle a
request past the one to the other. So: no bare line ends, no folded lines, no space before a colon, exactly
one Host, one Content-Length of digits or one `Transfer-Encoding: chunked` and never both (RFC 9112).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httptools

_TEXT: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])  # what may stand in a line of a head
_REQUEST_LINE: Final = re.compile(rb"[A-Z]{1,20} [\x21-\x7e]+ HTTP/1\.[01]\r\n")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#@]+(?=[/?]|$)", re.IGNORECASE)
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding")
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class Refused(Exception):
    """A request that is not answered any further: the connection ends with this status and sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says, with all rules kept."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    length: int | None
    """Bytes of the body; None: it is chunked."""
    keep_alive: bool
    expects_continue: bool


class _Lines:
    """What the parser calls back, in order."""

    __slots__ = ("complete", "headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(head: bytes, *, max_headers: int) -> Head:
    """head: everything up to and with the first empty line, its size checked. Refused if it is no head."""
    lines = head.count(b"\r\n")
    if head.translate(None, _TEXT) != b"\r\n" * lines or b"\r\n " in head or b"\r\n\t" in head:
        raise Refused(400, "This is not a request: a line is folded, ends oddly or holds control characters.")
    if lines - 2 > max_headers:
        raise Refused(431, f"There are more than {max_headers} headers.")
    if _REQUEST_LINE.match(head) is None:
        raise Refused(400, "The first line is not that of an HTTP/1.1 request.")
    parsed = _Lines()
    parser = httptools.HttpRequestParser(parsed)
    try:
        parser.feed_data(head)
    except httptools.HttpParserInvalidMethodError:
        raise Refused(501, "Nobody here knows this method.") from None
    except httptools.HttpParserUpgrade:
        pass  # who offers to change protocols may be answered in this one
    except httptools.HttpParserError:
        raise Refused(400, "This is not an HTTP/1.1 request.") from None
    if not parsed.complete:
        raise Refused(400, "This is not an HTTP/1.1 request.")
    return _understood(parser.get_method(), parser.get_http_version() == "1.1", parsed)


def _understood(method: bytes, is_new: bool, lines: _Lines) -> Head:
    headers: dict[str, str] = {}
    for raw_name, raw_value in lines.headers:
        name, value = raw_name.decode("ascii").lower(), raw_value.strip(b" \t").decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name.encode() in _ONCE:
            raise Refused(400, f"There are two headers {name}.")
        else:
            headers[name] += f", {value}"
    if is_new and not headers.get("host"):
        raise Refused(400, "There is no header Host.")
    path, query = _path_of(lines.target, method)
    said = headers.get("connection", "").lower()
    connection = {word.strip() for word in said.split(",")} if said else ()
    return Head(
        method.decode("ascii"),
        path,
        query,
        headers,
        _length_of(headers, is_new),
        is_new and "close" not in connection,
        is_new and headers.get("expect", "").lower() == "100-continue",
    )


def _path_of(target: bytes, method: bytes) -> tuple[str, str]:
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
            target = target if target.startswith(b"/") else b"/" + target
        elif not (target == b"*" and method == b"OPTIONS"):
            raise Refused(400, "The request's target is not a path.")
    if b"#" in target:
        raise Refused(400, "The request's target has a fragment.")
    path, _, query = target.decode("ascii").partition("?")
    return path, query


def _length_of(headers: Mapping[str, str], is_new: bool) -> int | None:
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise Refused(400, "There are both Content-Length and Transfer-Encoding.")
        if not is_new:
            raise Refused(400, "HTTP/1.0 knows no Transfer-Encoding.")
        if coding.lower() != "chunked":
            raise Refused(501, "The only transfer coding here is chunked.")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise Refused(400, "Content-Length is not a number.")
    return int(length)
