"""Requests out of bytes, without a socket: in pieces of any size the same, never more held than allowed."""

import re
from typing import Final, Literal

from signaling.hub.head import Head, Refused, parse_head
from signaling.hub.settings import HubSettings

Phase = Literal["idle", "head", "body"]

_END: Final = b"\r\n\r\n"
_MAX_LINE: Final = 256  # of a chunk's size with its extensions
_MAX_TRAILERS: Final = 4096
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e]*)?")
_TRAILER: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class RequestReader:
    """Fed what arrives on one connection; gives out one request after another."""

    __slots__ = (
        "_buffer", "_chunked", "_head", "_head_size", "_max_body", "_max_head", "_max_headers", "_searched",
    )  # fmt: skip

    def __init__(self, settings: HubSettings) -> None:
        self._max_head = settings.max_head
        self._max_headers = settings.max_headers
        self._max_body = settings.max_body
        self._buffer = bytearray()
        self._searched = 0
        self._head: Head | None = None
        self._head_size = 0
        self._chunked: ChunkedBody | None = None

    @property
    def phase(self) -> Phase:
        """What is being waited for."""
        if self._head is not None:
            return "body"
        return "head" if self._buffer else "idle"

    @property
    def waiting(self) -> int:
        """Bytes that arrived and belong to no request given out so far, in whatever form they are held."""
        understood = self._head_size if self._head is not None else 0
        return understood + len(self._buffer) + (len(self._chunked.body) if self._chunked is not None else 0)

    @property
    def expects_continue(self) -> bool:
        """The client sends its body when told to."""
        return self._head is not None and self._head.expects_continue and not self._buffer

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> tuple[Head, bytes] | None:
        """The next whole request; None: feed more. Refused: nothing more can be read here."""
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
            if self._head.length is None:
                self._chunked = ChunkedBody(max_body=self._max_body)
            elif self._head.length > self._max_body:
                raise too_large(self._max_body)
        head = self._head
        if head.length is None:
            assert self._chunked is not None
            if not self._chunked.take(self._buffer):
                return None
            body = bytes(self._chunked.body)
        elif len(self._buffer) < head.length:
            return None
        elif head.length:
            body = bytes(self._buffer[: head.length])
            del self._buffer[: head.length]
        else:
            body = b""
        self._head = self._chunked = None
        return head, body

    def _read_head(self) -> Head | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: some clients send one too many after a body
            del buffer[:2]
        if not buffer:
            self._searched = 0
            return None
        if not 0x41 <= buffer[0] <= 0x5A and buffer != b"\r":  # TLS, for one
            raise Refused(400, "This is not HTTP. TLS belongs to a proxy in front of the hub.")
        end = buffer.find(_END, self._searched, self._max_head)
        if end < 0:
            if len(buffer) >= self._max_head:
                if buffer.find(b"\r\n", 0, self._max_head) < 0:
                    raise Refused(414, "The request's target is too long.")
                raise Refused(431, f"The headers are longer than {self._max_head} bytes.")
            self._searched = max(0, len(buffer) - len(_END) + 1)
            return None
        self._searched = 0
        head = bytes(buffer[: end + len(_END)])
        self._head_size = len(head)
        del buffer[: end + len(_END)]
        return parse_head(head, max_headers=self._max_headers)


class ChunkedBody:
    """A body that comes in chunks (RFC 9112, 7.1). Extensions and trailers are read over."""

    __slots__ = ("_left", "_max_body", "_state", "_trailers", "body")

    def __init__(self, *, max_body: int) -> None:
        self._max_body = max_body
        self._state: Literal["size", "data", "end of data", "trailers"] = "size"
        self._left = 0
        self._trailers = 0
        self.body = bytearray()

    def take(self, buffer: bytearray) -> bool:
        """Use up what belongs to the body; whether its end was reached."""
        while True:
            if self._state == "data":
                piece = buffer[: self._left]
                self.body += piece
                del buffer[: len(piece)]
                self._left -= len(piece)
                if self._left:
                    return False
                self._state = "end of data"
            line = self._line(buffer)
            if line is None:
                return False
            match self._state:
                case "end of data":
                    if line:
                        raise Refused(400, "A chunk is longer than it said.")
                    self._state = "size"
                case "size":
                    self._left = self._size(line)
                    self._state = "data" if self._left else "trailers"
                case "trailers":
                    if not line:
                        return True
                    self._trailers += len(line)
                    if self._trailers > _MAX_TRAILERS:
                        raise Refused(431, "The trailers are too long.")
                    if _TRAILER.fullmatch(line) is None:
                        raise Refused(400, "A trailer is not a header line.")

    def _line(self, buffer: bytearray) -> bytes | None:
        longest = {"size": _MAX_LINE, "end of data": 0, "trailers": _MAX_TRAILERS}[self._state]
        end = buffer.find(b"\r\n", 0, longest + 2)
        if end < 0:
            if len(buffer) >= longest + 2 or b"\n" in buffer:
                raise Refused(400, "A chunk is not framed as it should be.")
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line

    def _size(self, line: bytes) -> int:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise Refused(400, "A chunk's size is not a hexadecimal number.")
        size = int(found[1], 16)
        if len(self.body) + size > self._max_body:
            raise too_large(self._max_body)
        return size


def too_large(most: int) -> Refused:
    return Refused(413, f"A body has at most {most} bytes.")
