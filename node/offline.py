"""The record without a running node: read it, check it, and leave a message in the queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chain.crypto import ed25519_verify
from chain.errors import ForeignStoreError, StoreError
from chain.ids import MemberId, RoomId
from chain.records import Enqueue
from node.config import Home, RoomConfig
from node.content import body_id, text_body
from node.disk import identity_of, in_words, open_store
from node.errors import Exit, NodeError
from node.events import FinalEvent
from node.lock import room_lock
from node.record import View

if TYPE_CHECKING:
    from chain.store_check import Problem


def read_log(home: Home, room: RoomConfig, start: int = 0, stop: int | None = None) -> Iterator[FinalEvent]:
    """The final messages from index `start` to below `stop`, a running node or not. Blocking.

    Verifies the store first; NodeError when it does not hold.
    """
    store = open_store(home, room.fingerprint, read_only=True)
    try:
        for event in View(store.me).show(store.items(0, stop=stop)):
            if event.index >= start:
                yield event
    except StoreError as error:
        raise in_words(error) from error
    finally:
        store.close()


def check_store(home: Home, room: RoomConfig, *, path: Path | None = None) -> "list[Problem]":
    """Everything wrong with the room's store, or the copy at `path`: hashes, signatures, the file. Blocking.

    Empty: it is sound. Mismatch for another room's or member's store; NodeError if there is nothing to check.
    """
    from chain.store_check import check_store as check

    me = MemberId(bytes(identity_of(home).verify_key))
    try:
        return check(
            path if path is not None else home.store_file(room.fingerprint),
            room=RoomId(room.room_id),
            me=me,
            verify=ed25519_verify,
        )
    except ForeignStoreError as error:
        raise in_words(error) from error
    except StoreError as error:
        raise NodeError(str(error), "Check --home and --room.", exit_code=Exit.COULD_NOT_CHECK) from error


@dataclass(frozen=True, kw_only=True)
class Caught:
    """A key that signed twice; `file`: for a stranger to check, None where this record lacks a part."""

    member: str
    nick: str
    kind: str
    where: str
    file: bytes | None


def caught_members(home: Home, room: RoomConfig) -> list[Caught]:
    """Everything in the store that is evidence, in the order it was found. Blocking."""
    from chain.case import check_case

    store = open_store(home, room.fingerprint, read_only=True)
    try:
        found: list[Caught] = []
        members = store.snapshot().tip.committee.members
        nicks = {member.identity: member.nick for member in members}
        for kept in store.evidence():
            file = store.case(kept)
            where, accused = "", [(kept.member.hex(), nicks.get(kept.member, ""))] if any(kept.member) else []
            if file is not None:
                case = check_case(file, verify=ed25519_verify)
                where, accused = case.where, [(each.member, each.nick) for each in case.accused]
            for member, nick in accused or [("", "")]:
                found.append(Caught(member=member, nick=nick, kind=kept.kind, where=where, file=file))
        return found
    except StoreError as error:
        raise in_words(error) from error
    finally:
        store.close()


def count_evidence(home: Home, room: RoomConfig) -> int:
    """How many pieces of evidence against members the store holds. Blocking."""
    store = open_store(home, room.fingerprint, read_only=True)
    try:
        return len(store.evidence())
    finally:
        store.close()


def queue_offline(home: Home, room: RoomConfig, text: str) -> str:
    """Queue a message for the next time the node runs; its id once it is safe on disk. Blocking.

    UsageError for what is no message, RoomLocked when a node runs.
    """
    body = text_body(text)
    with room_lock(home, room.fingerprint):
        store = open_store(home, room.fingerprint)
        try:
            store.apply([Enqueue(body)])
        except StoreError as error:
            raise in_words(error) from error
        finally:
            store.close()
    return body_id(body.data).hex()
