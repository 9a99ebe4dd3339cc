"""One canonical encoding: MessagePack arrays of typed structs, so that equal values have equal bytes.

Decoding checks the size first, then the types, and last that encoding again gives the same bytes.
"""

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from chain.errors import MalformedError

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Record(
    msgspec.Struct,
    array_like=True,
    frozen=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """Base of every struct that is hashed, signed, sent or stored."""


def encode(value: object) -> bytes:
    """The canonical bytes of a value made of records, tuples, bytes, str, int, bool and None."""
    return _encoder.encode(value)


@cache
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cast(Any, kind))


def decode(data: bytes, kind: type[T], *, limit: int) -> T:
    """Decode canonical bytes of at most `limit` bytes; anything else raises MalformedError."""
    if len(data) > limit:
        raise MalformedError(f"{len(data)} bytes where at most {limit} are allowed")
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(data)
        again = _encoder.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise MalformedError(f"not a {getattr(kind, '__name__', kind)}: {error}") from None
    if again != data:
        raise MalformedError("not in canonical form")
    return value
