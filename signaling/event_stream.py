"""Server-Sent Events (WHATWG HTML, 9.2.6) without I/O: bytes in, events out, memory bounded.

An event larger than the limit is skipped and counted, and the stream goes on: anybody who knows the channel
may have sent it.
"""

from typing import Final, NamedTuple

MAX_EVENT: Final = 32 * 1024
_MAX_ID: Final = 128
_MARK: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """`data`: its lines, joined by LF. `kind`: empty for an ordinary message."""

    data: bytes
    kind: bytes = b""


class EventStream:
    """One response's body. `last_id`: what to show as Last-Event-ID when it breaks; empty: nothing."""

    def __init__(self, *, last_id: str = "", limit: int = MAX_EVENT) -> None:
        self.last_id = last_id
        self.oversize = 0
        """Events skipped because they were too large."""
        self._limit = limit
        self._line = bytearray()  # as far as it came
        self._skips_line_feed = False  # the last byte was CR
        self._first = True
        self._data: list[bytes] = []
        self._kind = b""
        self._next_id = last_id  # of the event that has not ended yet
        self._size = 0
        self._too_large = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end in these bytes. Takes time in proportion to them."""
        if not chunk:
            return []
        if self._skips_line_feed and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._skips_line_feed = chunk.endswith(b"\r")
        *ends, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        found = []
        for end in ends:
            self._grow(end)
            line = bytes(self._line)
            self._line.clear()
            event = self._take(line)
            if event is not None:
                found.append(event)
        self._grow(rest)
        return found

    def _grow(self, part: bytes) -> None:
        """Of an event that is too large nothing more is kept but whether it is over."""
        self._size += len(part)
        if self._size > self._limit:
            self._too_large = True
            self._data.clear()
            part = part[: max(0, 1 - len(self._line))]  # enough to tell a line from an empty one
        self._line += part

    def _take(self, line: bytes) -> Event | None:
        if self._first:
            self._first = False
            line = line.removeprefix(_MARK)
        if not line:
            return self._dispatch()
        if self._too_large:
            return None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._kind = value
            case b"id":
                self._take_id(value)
            case b"":
                if not self._data:
                    self._size = 0  # a comment between events is none's part: heartbeats add up to nothing
            case _:
                pass  # `retry`, and whatever there may be: when to dial again is our own affair
        return None

    def _take_id(self, value: bytes) -> None:
        # It goes into a header of ours: visible characters only, and not too many.
        if len(value) <= _MAX_ID and value.isascii() and value.decode("ascii").isprintable():
            self._next_id = value.decode("ascii")

    def _dispatch(self) -> Event | None:
        event, self.last_id = None, self._next_id
        if self._too_large:
            self.oversize += 1
        elif self._data:
            event = Event(b"\n".join(self._data), self._kind)
        self._data, self._kind, self._size, self._too_large = [], b"", 0, False
        return event
