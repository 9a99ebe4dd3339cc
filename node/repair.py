"""Brings a damaged room back: what is damaged is set aside, what still holds is kept, the key is retired.

Nothing is deleted, and nothing is guessed: the new store begins from the genesis and takes over what
verifies; the members' nodes have the rest. What the old vote key signed last is unknown, so it never signs
again: a new one takes its place here, and the members have to agree to it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chain.committee import LARGEST_UNANIMOUS
from chain.control import MAX_GENESIS, Genesis, decode_genesis
from chain.crypto import ed25519_verify
from chain.errors import ForeignStoreError, MalformedError, StoreError
from chain.ids import MemberId, RoomId
from node.config import Home, RoomConfig
from node.disk import identity_of, in_words, vote_key_of
from node.errors import KeyFileError, NodeError
from node.keys import create_key, set_aside
from node.lock import room_lock

_ASIDE: Final = "damaged-"
_SHOWN: Final = 3


@dataclass(frozen=True)
class Repaired:
    """What was found and done; `found` is empty where there was nothing to do."""

    found: tuple[str, ...]
    """A sentence for each thing that was wrong."""
    aside: Path | None
    """Where the damaged files are now; None where nothing was left of them."""
    height: int
    """How far the record goes that is here; the members' nodes have the rest."""
    unsent: int
    """Messages of ours that were not final and are queued again."""
    members: int
    """Of the last committee that is known here."""

    @property
    def new_key(self) -> bool:
        """A new vote key was made; until the members agree to it this node only reads."""
        return bool(self.found)

    def told(self) -> str:
        """All of it in sentences, for people."""
        if not self.found:
            return "Nothing here is damaged, so nothing was changed."
        more = f" (and {len(self.found) - _SHOWN} more)" if len(self.found) > _SHOWN else ""
        lines = [
            f"Damaged: {'; '.join(self.found[:_SHOWN])}{more}.",
            f"Nothing was deleted{'' if self.aside is None else f': the damaged files are in {self.aside}'}.",
            f"The record up to block {self.height} is here; {self.unsent} of your messages are queued again.",
        ]
        if self.members > LARGEST_UNANIMOUS:
            lines.append(
                "What the old vote key signed last is not known, so it signs no more. There is a new one; "
                "the members have to let it in (`pigeon admit`), and until then this node only reads."
            )
        else:
            lines.append(
                "What the old vote key signed last is not known, so it signs no more, and in a room of "
                f"{self.members} nothing is final without it: this room can only be read. Go on in a new one "
                "that names it: `pigeon new NAME --continues ROOM`."
            )
        return "\n".join(lines)


def repair(home: Home, room: RoomConfig) -> Repaired:
    """Make the room openable again. Blocking; cut off at any point, it can be done again.

    RoomLocked while a node runs; Mismatch for another room's or member's store; NodeError when the identity's
    key or the genesis is lost, or when the disk refuses.
    """
    with room_lock(home, room.fingerprint):
        me = MemberId(bytes(identity_of(home).verify_key))
        damage, key_fault = _damage(home, room, me), _key_fault(home, room)
        if not damage and not key_fault:
            height, members = _reach(home, room, me)
            return Repaired((), None, height=height, unsent=0, members=members)
        genesis = _genesis_of(home, room) if damage else None
        aside = _new_aside(home, room)
        # The key first: from here on nothing that happens can make the old one sign again.
        vote_file = home.vote_file(room.fingerprint)
        if os.path.lexists(vote_file):
            set_aside(vote_file, directory=aside)
        create_key(vote_file, purpose="vote")
        unsent = 0 if genesis is None else _rebuild(home, room, genesis, me=me, aside=aside)
        height, members = _reach(home, room, me)
        found = (*damage, *([key_fault] if key_fault else []))
        moved = aside if aside.exists() else None
        return Repaired(found, moved, height=height, unsent=unsent, members=members)


# Looking


def _damage(home: Home, room: RoomConfig, me: MemberId) -> tuple[str, ...]:
    """What is wrong with the store; empty if it can be opened and holds."""
    from chain.store_check import check_store

    path = home.store_file(room.fingerprint)
    try:
        problems = check_store(path, room=RoomId(room.room_id), me=me, verify=ed25519_verify)
    except ForeignStoreError as error:
        raise in_words(error) from error
    except StoreError as error:
        return (str(error).rstrip("."),)
    # The mark is made anew at the next start, and what it says is lost damages nothing that is there.
    return tuple(problem.sentence for problem in problems if problem.where != "mark")


def _key_fault(home: Home, room: RoomConfig) -> str:
    try:
        vote_key_of(home, room.fingerprint)
    except KeyFileError as error:
        return error.message.rstrip(".")
    return ""


def _genesis_of(home: Home, room: RoomConfig) -> Genesis:
    """From its own file or from the damaged store; its hash is the room's fingerprint, so it cannot lie."""
    for data in _kept_geneses(home, room):
        with suppress(MalformedError):
            return decode_genesis(data, room=RoomId(room.room_id), verify=ed25519_verify)
    raise NodeError(
        f"The genesis of {room.name} is lost: {home.genesis_file(room.fingerprint)} is missing or damaged.",
        "Copy that file from any other member of the room, then do the same again.",
    )


def _kept_geneses(home: Home, room: RoomConfig) -> Iterator[bytes]:
    from chain.store_salvage import read_genesis

    with suppress(OSError), home.genesis_file(room.fingerprint).open("rb") as file:
        yield file.read(MAX_GENESIS + 1)
    for store in (home.store_file(room.fingerprint), *_former_stores(home, room)):
        yield read_genesis(store)


def _reach(home: Home, room: RoomConfig, me: MemberId) -> tuple[int, int]:
    """The height of the record in the store, and of how many members its last committee is."""
    from chain.store import Store

    path = home.store_file(room.fingerprint)
    try:
        store = Store.open(path, room=RoomId(room.room_id), me=me, verify=ed25519_verify, read_only=True)
    except StoreError as error:
        raise in_words(error) from error
    tip = store.snapshot().tip
    store.close()
    return tip.height, tip.committee.n


# Setting aside and beginning anew


def _asides(home: Home, room: RoomConfig) -> list[Path]:
    """Where damaged files were put so far, in order."""
    found = home.room_directory(room.fingerprint).glob(f"{_ASIDE}*")
    return sorted(found, key=lambda each: (len(each.name), each.name))


def _new_aside(home: Home, room: RoomConfig) -> Path:
    taken = _asides(home, room)
    number = int(taken[-1].name.removeprefix(_ASIDE)) + 1 if taken else 1
    return home.room_directory(room.fingerprint) / f"{_ASIDE}{number}"


def _former_stores(home: Home, room: RoomConfig) -> list[Path]:
    """Stores that were set aside, the last one first."""
    name = home.store_file(room.fingerprint).name
    return [each / name for each in reversed(_asides(home, room)) if (each / name).exists()]


def _rebuild(home: Home, room: RoomConfig, genesis: Genesis, *, me: MemberId, aside: Path) -> int:
    """Put a new store where the damaged one was; how many unsent messages are in it."""
    from chain.store import Store
    from chain.store_file import beside, put_in_place
    from chain.store_salvage import salvage

    path = home.store_file(room.fingerprint)
    # All are aside before the first one goes: cut off between, what belongs together is still together.
    set_aside(path, *beside(path), directory=aside)
    unfinished = path.with_name(f"{path.name}.rebuilt")
    try:
        for stale in (unfinished, *beside(unfinished)):
            stale.unlink(missing_ok=True)
        store = Store.create(unfinished, genesis=genesis, me=me, verify=ed25519_verify)
        try:
            unsent = 0
            for former in _former_stores(home, room)[:1]:
                unsent = salvage(former, store, verify=ed25519_verify).unsent
        finally:
            store.close()
        put_in_place(unfinished, path)
    except StoreError as error:
        raise in_words(error) from error
    except OSError as error:
        raise NodeError(
            f"The new store {path} cannot be made: {error.strerror or error}.",
            "Check its permissions and that the disk is not full, then do the same again.",
        ) from error
    return unsent
