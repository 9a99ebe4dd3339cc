"""What goes over the control socket: one JSON object a line, a request up, its result or its events down."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec
import trio

from node.errors import Exit, NodeError, Unreachable

VERSION: Final = 1
MAX_REQUEST: Final = 256 * 1024  # a 16 KiB message, each byte of it escaped
MAX_LINE: Final = 4 << 20
_CHUNK: Final = 64 * 1024


class Call(msgspec.Struct, frozen=True, tag_field="call", kw_only=True, forbid_unknown_fields=True):
    """A request; `v` is the version of this protocol."""

    v: int = VERSION


class RoomCall(Call, frozen=True, tag="room"):
    pass


class SayCall(Call, frozen=True, tag="say"):
    text: str


class StatusCall(Call, frozen=True, tag="status"):
    pass


class WhoCall(Call, frozen=True, tag="who"):
    pass


class AdmitCall(Call, frozen=True, tag="admit"):
    who: str


class RemoveCall(Call, frozen=True, tag="remove"):
    who: str


class LeaveCall(Call, frozen=True, tag="leave"):
    pass


class InviteCall(Call, frozen=True, tag="invite"):
    pass


class RenewCall(Call, frozen=True, tag="renew"):
    token: str | None = None


class CarryCall(Call, frozen=True, tag="carry"):
    text: str


class EventsCall(Call, frozen=True, tag="events"):
    """Answered by a result and then events, until either side closes."""

    since: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    watching: bool = True


AnyCall = (
    RoomCall
    | SayCall
    | StatusCall
    | WhoCall
    | AdmitCall
    | RemoveCall
    | LeaveCall
    | InviteCall
    | RenewCall
    | CarryCall
    | EventsCall
)


class Failure(msgspec.Struct, frozen=True):
    code: int
    message: str
    hint: str

    @classmethod
    def of(cls, error: NodeError) -> "Failure":
        return cls(int(error.exit_code), error.message, error.hint)

    def error(self) -> NodeError:
        """The error as it was raised on the other side."""
        code = Exit(self.code) if self.code in list(Exit) else Exit.COULD_NOT_CHECK
        return NodeError(self.message, self.hint, exit_code=code)


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of the two means something; `ok` depends on the call."""

    ok: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None


class LineTooLong(Exception):
    """More bytes without a line's end than the other side may send."""


class Lines:
    """Lines out of a byte stream, each at most `limit` bytes long."""

    def __init__(self, stream: trio.abc.ReceiveStream, *, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    async def next(self) -> bytes | None:
        """The next line without its end; None at the end of the stream. LineTooLong."""
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._buffer)
            if self._searched > self._limit:
                raise LineTooLong
            chunk = await self._stream.receive_some(_CHUNK)
            if not chunk:
                return None
            self._buffer += chunk

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = await self.next()
        if line is None:
            raise StopAsyncIteration
        return line


def unreachable() -> Unreachable:
    """The node's process went away in the middle."""
    return Unreachable(
        "The running node closed the connection.",
        "See whether it still runs, then start it again with `pigeon up`.",
    )
