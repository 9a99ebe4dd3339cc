"""What is shown in a meeting: an open offer and a nick, so that two who go by one name meet all the same."""

from typing import Annotated, Final

import msgspec

from chain.control import MAX_NICK, is_plain_name
from chain.membership import alike
from signaling.description import MAX_DESCRIPTION
from signaling.errors import Malformed

_LAST: Final = 9


class Shown(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`description`: an encoded offer."""

    description: Annotated[bytes, msgspec.Meta(max_length=MAX_DESCRIPTION)]
    nick: Annotated[str, msgspec.Meta(max_length=MAX_NICK)]


def encode_shown(shown: Shown) -> bytes:
    return msgspec.msgpack.encode(shown)


def decode_shown(data: bytes) -> Shown:
    """Malformed for anything else; the offer in it is not looked at."""
    try:
        shown = msgspec.msgpack.decode(data, type=Shown)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Malformed from None
    if encode_shown(shown) != data or not is_plain_name(shown.nick, MAX_NICK):
        raise Malformed
    return shown


def nick_beside(other: str, *, mine: str) -> str:
    """How I am called in a room with `other`: a room has no two nicks that are much alike."""
    more = (f"{mine[: MAX_NICK - 2].rstrip()} {number}" for number in range(2, _LAST))
    return next(each for each in (mine, *more) if not alike(each, other))
