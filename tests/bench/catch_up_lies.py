"""What a lying peer serves to whoever catches up: the real node with its serving path replaced.

Each lie but the last changes a right answer; what the node says in votes, acks and slots stays its own.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import trio

from chain import greeting
from chain.block import Certificate
from chain.crypto import Ed25519Signer, Signer
from chain.ids import Hash, MemberId, RoomId, Signature, SlotId
from chain.message import Committed, Hello, Message, SlotMessage, pack, signed, unpack
from node import seat
from node.mesh import Mesh
from node.shelf import Shelf

SLOW: Final = 40 * 1024
"""Bytes a second of the lie `slow`: enough not to be given up, far too few to be waited for."""
TRICKLE: Final = 3.0
"""Seconds between two messages of the lie `trickle`."""

_dice = random.Random(20261120)
_keys: list[Ed25519Signer] = []


@dataclass(frozen=True)
class Liar:
    """What a lie may use beside the right answer."""

    room: RoomId
    key: Signer
    """Its own vote key."""


Answer = list[Message] | list[bytes]
Lie = Callable[[Liar, list[Message]], Answer]


def stall(_liar: Liar, _right: list[Message]) -> Answer:
    """Nothing comes, ever."""
    return []


def wrong_blocks(_liar: Liar, right: list[Message]) -> Answer:
    """The third block says something else; its certificate is of the right one."""
    for index, message in _committed(right, start=2):
        block = msgspec.structs.replace(message.block, log_root=Hash(_dice.randbytes(32)))
        return [*right[:index], Committed(block, message.certificate), *right[index + 1 :]]
    return right


def forged_certificates(liar: Liar, right: list[Message]) -> Answer:
    """From the second block on the liar signs for everybody."""
    answer = list(right)
    for index, message in _committed(right, start=1):
        mine = Signature(liar.key.sign(b"whatever"))
        places = [place for place, _ in message.certificate.signatures]
        forged = Certificate(message.certificate.round, tuple((place, mine) for place in places))
        answer[index] = Committed(message.block, forged)
    return answer


def wrong_slots(_liar: Liar, right: list[Message]) -> Answer:
    """Somebody else's words in every slot from the second block on."""
    answer = list(right)
    for index, message in itertools.islice(enumerate(right), 2, None):
        if isinstance(message, SlotMessage):
            bodies = tuple(
                msgspec.structs.replace(body, data=body.data[:-1] + b"?") for body in message.bodies
            )
            answer[index] = SlotMessage(message.slot, bodies)
    return answer


def own_slots(liar: Liar, right: list[Message]) -> Answer:
    """Its own slots as it never said them, signed; everybody else's are right."""
    answer = list(right)
    for index, message in enumerate(right):
        if isinstance(message, SlotMessage):
            other = msgspec.structs.replace(message.slot, claimed_time=1)
            mine = signed(other, room=liar.room, key=liar.key)
            if message.slot == signed(message.slot, room=liar.room, key=liar.key):
                answer[index] = SlotMessage(mine, message.bodies)
    return answer


def missing_slots(_liar: Liar, right: list[Message]) -> Answer:
    """The slots of the second block never come."""
    starts = [index for index, _ in _committed(right, start=0)]
    if len(starts) < 3:
        return right
    return right[: starts[1] + 1] + right[starts[2] :]


def one_by_one(_liar: Liar, right: list[Message]) -> Answer:
    """One right block an answer."""
    return _first_block(right)


def padded(_liar: Liar, right: list[Message]) -> Answer:
    """One right block, and a quarter of a megabyte of slots that nobody can use."""
    first = _first_block(right)
    useless = [
        SlotMessage(msgspec.structs.replace(message.slot, prev=SlotId(_dice.randbytes(32))), message.bodies)
        for message in right[len(first) :]
        if isinstance(message, SlotMessage)
    ]
    return [*first, *useless]


def garbage(_liar: Liar, _right: list[Message]) -> Answer:
    """Random bytes."""
    return [_dice.randbytes(size) for size in (1, 1000, 200_000)]


def right(_liar: Liar, right: list[Message]) -> Answer:
    """No lie in the answer itself: what is wrong is when it comes, or what is claimed beside it."""
    return right


LIES: Final[dict[str, Lie]] = {
    "stall": stall,
    "wrong-blocks": wrong_blocks,
    "forged-certificates": forged_certificates,
    "wrong-slots": wrong_slots,
    "own-slots": own_slots,
    "missing-slots": missing_slots,
    "one-by-one": one_by_one,
    "padded": padded,
    "garbage": garbage,
    "stale": right,
    "slow": right,
    "trickle": right,
}
MIXED: Final = "mixed"
"""Another lie with each answer, so that the liar is asked as often as it can be."""
IN_TURN: Final = (
    "one-by-one",
    "padded",
    "wrong-slots",
    "forged-certificates",
    "garbage",
    "wrong-blocks",
    "stall",
)


LIE_NAMES: Final = (*LIES, MIXED)

_right_blocks = Shelf.blocks
_serve_at_once = Mesh.serve


def tell(kind: str) -> None:
    """From now on this process lies so; before the node is made."""
    turns = itertools.cycle(IN_TURN if kind == MIXED else (kind,))

    async def blocks(self: Shelf, height: int, *, last: int | None = None) -> list[bytes]:
        lie = next(turns)
        found = await _right_blocks(self, 1 if lie == "stale" else height, last=last)
        answer = LIES[lie](
            Liar(self._store.room, _keys[-1]), [message for data in found for message in unpack(data)]
        )
        if answer and isinstance(answer[0], bytes):
            return cast(list[bytes], answer)
        return pack(cast(list[Message], answer))

    Shelf.blocks = blocks  # type: ignore[method-assign]
    seat.Ed25519Signer = _remembered  # type: ignore[misc, assignment]
    if kind == "stale":
        greeting.Hello = _boast  # type: ignore[misc, assignment]
    if kind in ("slow", "trickle"):
        Mesh.serve = _serve_slowly if kind == "slow" else _serve_in_pieces  # type: ignore[method-assign]


def _committed(messages: Sequence[Message], *, start: int) -> Iterator[tuple[int, Committed]]:
    """The blocks of an answer from the `start`-th on, each with its index."""
    found = [(index, message) for index, message in enumerate(messages) if isinstance(message, Committed)]
    return iter(found[start:])


def _first_block(right: list[Message]) -> list[Message]:
    starts = [index for index, _ in _committed(right, start=0)]
    return right[: starts[1]] if len(starts) > 1 else right


def _remembered(seed: bytes) -> Ed25519Signer:
    _keys.append(Ed25519Signer(seed))
    return _keys[-1]


def _boast(**fields: Any) -> Hello:
    """A HELLO that claims a height nobody ever reached."""
    return Hello(**{**fields, "height": 10**6})


def _serve_slowly(self: Mesh, peer: MemberId, envelopes: Sequence[bytes]) -> None:
    trio.lowlevel.spawn_system_task(_dribble, self, peer, list(envelopes), lambda data: len(data) / SLOW)


def _serve_in_pieces(self: Mesh, peer: MemberId, envelopes: Sequence[bytes]) -> None:
    pieces = [pack([message])[0] for data in envelopes for message in unpack(data)]
    trio.lowlevel.spawn_system_task(_dribble, self, peer, pieces, lambda data: TRICKLE)


async def _dribble(
    mesh: Mesh, peer: MemberId, envelopes: Sequence[bytes], pause: Callable[[bytes], float]
) -> None:
    for data in envelopes:
        await trio.sleep(pause(data))
        _serve_at_once(mesh, peer, [data])
