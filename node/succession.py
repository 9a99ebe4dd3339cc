"""Rooms that continue others: a genesis cites the last certified block of the room before it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.control import MAX_GENESIS, Genesis, Parent, decode_genesis
from chain.crypto import ed25519_verify
from chain.errors import MalformedError
from chain.ids import RoomId
from node.config import Home, RoomConfig
from node.disk import open_store

if TYPE_CHECKING:
    from chain.store import Store

MAX_ROOMS: Final = 64
"""Of one line of succession: nobody makes us follow more."""


@dataclass(frozen=True, kw_only=True)
class Predecessor:
    """The room that another one continues; `name` is empty where this home does not have it."""

    fingerprint: str
    name: str
    block: str
    """Id of its last block, as the genesis of the room after it cites it."""

    @property
    def in_words(self) -> str:
        name = f"room {self.name} " if self.name else "a room that is not in this home "
        return f"{name}({self.fingerprint[:16]}) after its block {self.block[:16]}"


def cite(home: Home, room: RoomConfig) -> Parent:
    """What a new room's genesis says of the room it continues. Blocking.

    The old room need not run, nor be able to go on; NodeError when its record here is not sound.
    """
    with _opened(home, room) as store:
        return Parent(room=store.room, block=store.snapshot().tip.block)


def predecessor(home: Home, genesis: Genesis) -> Predecessor | None:
    """The room before, or None for one that begins anew."""
    if genesis.parent is None:
        return None
    fingerprint = genesis.parent.room.hex()
    config = home.find(fingerprint)
    return Predecessor(
        fingerprint=fingerprint,
        name="" if config is None else config.name,
        block=genesis.parent.block.hex(),
    )


@contextmanager
def _opened(home: Home, room: RoomConfig) -> "Iterator[Store]":
    store = open_store(home, room.fingerprint, read_only=True)
    try:
        yield store
    finally:
        store.close()


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A room and those before it that are in this home, the oldest first."""

    rooms: tuple[RoomConfig, ...]
    missing: Predecessor | None
    """The one before the oldest of them, if there is one."""


def lineage(home: Home, room: RoomConfig) -> Lineage:
    """Follow the citations back. Blocking; NodeError for a record that is not sound."""
    rooms, before = [room], predecessor(home, genesis_of(home, room))
    while before is not None and len(rooms) < MAX_ROOMS:
        config = home.find(before.fingerprint)
        if config is None:
            break
        rooms.append(config)
        before = predecessor(home, genesis_of(home, config))
    return Lineage(rooms=tuple(reversed(rooms)), missing=before)


def genesis_of(home: Home, room: RoomConfig) -> Genesis:
    """How the room began; its hash is the fingerprint, so wherever it was kept it is the right one."""
    try:
        data = home.genesis_file(room.fingerprint).read_bytes()[: MAX_GENESIS + 1]
        return decode_genesis(data, room=RoomId(room.room_id), verify=ed25519_verify)
    except (OSError, MalformedError):  # homes of before had no such file
        with _opened(home, room) as store:
            return store.genesis
