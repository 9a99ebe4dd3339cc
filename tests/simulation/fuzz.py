"""Messages that are almost right: true ones with fields changed, and signed again by whoever sends them."""

import random
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chain.committee import Committee
from chain.ids import RoomId
from chain.message import (
    Ack,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    SlotMessage,
    signed,
)
from tests.simulation.room import Seat

REMEMBERED = 500
"""Messages of each kind."""
NUMBERS = (0, 1, 2, 3, 4, 7, 9, 30, 63, 64, 65, 127, 128, 129, 255, 2**31, 2**32, 2**53)
"""Edges of windows, counters and widths."""
TEXTS = ("", "x" * 33, "a\u0301", "\u202e")


class Mutator:
    """Remembers what it is shown and makes variations of it."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._seen: dict[type[Message], list[Message]] = {}
        self._bytes: dict[int, list[bytes]] = {32: [], 64: []}
        """Ids, keys and signatures that occur somewhere, by size."""

    def remember(self, messages: Iterable[Message]) -> None:
        for message in messages:
            seen = self._seen.setdefault(type(message), [])
            if len(seen) < REMEMBERED:
                seen.append(message)
            else:
                seen[self._dice.randrange(REMEMBERED)] = message
            if self._dice.random() < 0.05:
                self._collect(message)

    def _collect(self, value: object) -> None:
        match value:
            case bytes() if (pool := self._bytes.get(len(value))) is not None and len(pool) < 4 * REMEMBERED:
                pool.append(value)
            case tuple():
                for part in value:
                    self._collect(part)
            case Struct():
                for name in value.__struct_fields__:
                    self._collect(getattr(value, name))
            case _:
                pass

    def message(self) -> Message:
        """One that was seen, of any kind, with up to three of its fields changed."""
        message = self._dice.choice(self._seen[self._dice.choice(list(self._seen))])
        for _ in range(self._dice.choice((0, 1, 1, 2, 3))):
            message = self.changed(message)
        return message

    def changed(self, value: Any) -> Any:
        """The same with something in it changed, of the same type as a rule."""
        dice = self._dice
        match value:
            case bool():
                return not value
            case int():
                return dice.choice((*NUMBERS, value + 1, max(0, value - 1)))
            case bytes() if (pool := self._bytes.get(len(value))) and dice.random() < 0.5:
                return dice.choice(pool)
            case bytes():
                return dice.randbytes(dice.choice((0, 16, 1000, len(value) + 1, *[len(value)] * 4)))
            case str():
                return dice.choice((*TEXTS, value.upper()))
            case tuple() if value:
                return self._changed_row(list(value))
            case Struct():
                name = dice.choice(value.__struct_fields__)
                return replace(value, **{name: self.changed(getattr(value, name))})
            case _:
                return value

    def _changed_row(self, parts: list[Any]) -> tuple[Any, ...]:
        index = self._dice.randrange(len(parts))
        match self._dice.randrange(4):
            case 0:
                del parts[index]
            case 1:
                parts.append(parts[index])
            case 2:
                self._dice.shuffle(parts)
            case _:
                parts[index] = self.changed(parts[index])
        return tuple(parts)

    def flipped(self, data: bytes) -> bytes:
        """With one bit of it wrong."""
        changed = bytearray(data)
        changed[self._dice.randrange(len(changed))] ^= 1 << self._dice.randrange(8)
        return bytes(changed)


def signed_again(message: Message, seat: Seat, *, room: RoomId, epoch: int, committee: Committee) -> Message:
    """As this member would say it: its place, its bodies, its signature."""
    place = committee.place(seat.id)
    if place is None:
        return message
    match message:
        case SlotMessage(slot=slot, bodies=bodies):
            if bodies:
                made = tuple(body.commitment(room=room, author=seat.id) for body in bodies)
                slot = replace(slot, commitments=made)
            return SlotMessage(signed(replace(slot, lane=place), room=room, key=seat.vote), bodies)
        case Ack() | Prevote() | Precommit() | RoundChange() | Propose():
            return signed(replace(message, signer=place), room=room, key=seat.vote)
        case _:
            return message
