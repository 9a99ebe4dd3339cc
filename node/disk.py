"""The keys and the store of a room on disk, with their errors in words for people."""

from contextlib import suppress
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from chain.codec import encode
from chain.crypto import ed25519_verify
from chain.errors import ForeignStoreError, StoreError
from chain.ids import MemberId, RoomId
from node.config import Home, write_whole
from node.errors import KeyFileError, Mismatch, NodeError
from node.keys import Purpose, load_key

if TYPE_CHECKING:
    from chain.control import Genesis
    from chain.store import Store


def identity_of(home: Home) -> SigningKey:
    """Who this home is; NodeError without a usable key."""
    return _there(home, purpose="identity", fingerprint="")


def vote_key_of(home: Home, fingerprint: str) -> SigningKey:
    """The key that signs in this room; NodeError without a usable one."""
    return _there(home, purpose="vote", fingerprint=fingerprint)


def _there(home: Home, *, purpose: Purpose, fingerprint: str) -> SigningKey:
    path = home.vote_file(fingerprint) if fingerprint else home.identity_file
    try:
        return load_key(path, purpose=purpose)
    except FileNotFoundError:
        hint = "Restore it from a backup; nothing else can stand in for it."
        if purpose == "vote":
            hint = "`pigeon chat --repair` makes a new one, which the members have to let in."
        raise KeyFileError(f"The key file {path} is missing.", hint) from None


def open_store(home: Home, fingerprint: str, *, read_only: bool = False) -> "Store":
    """The room's verified store; Mismatch if it is another room's or member's, NodeError if damaged."""
    from chain.store import Store

    me = MemberId(bytes(identity_of(home).verify_key))
    try:
        store = Store.open(
            home.store_file(fingerprint),
            room=RoomId(bytes.fromhex(fingerprint)),
            me=me,
            verify=ed25519_verify,
            read_only=read_only,
        )
    except StoreError as error:
        raise in_words(error) from error
    if not read_only:
        with suppress(NodeError):  # a full disk need not keep a room shut
            _keep_genesis(home, store.genesis)
    return store


def _keep_genesis(home: Home, genesis: "Genesis") -> None:
    """Its hash is the room: whatever happens to the store, a new one can be begun from this file."""
    path, content = home.genesis_file(genesis.room_id().hex()), encode(genesis)
    try:
        whole = path.read_bytes() == content
    except OSError:
        whole = False
    if not whole:
        write_whole(path, content)


def create_store(home: Home, genesis: "Genesis", *, me: MemberId) -> "Store":
    """A new store for this room; NodeError when there is one already or the disk refuses."""
    from chain.store import Store

    fingerprint = genesis.room_id().hex()
    path = home.store_file(fingerprint)
    _keep_genesis(home, genesis)
    try:
        return Store.create(path, genesis=genesis, me=me, verify=ed25519_verify)
    except StoreError as error:
        raise in_words(error) from error


def in_words(error: BaseException) -> NodeError:
    """What a user hears when the record cannot be read or written."""
    import sqlite3

    if isinstance(error, ForeignStoreError):
        return Mismatch(str(error), "Put the store back where it belongs, or use another --home.")
    if isinstance(error.__cause__, sqlite3.OperationalError | OSError):  # the disk, and not what is on it
        return NodeError(
            str(error), "Nothing that was shown is lost: free some space or mend the disk, then start again."
        )
    return NodeError(
        str(error),
        "`pigeon verify --store` lists what is damaged; `pigeon chat --repair` sets it aside, keeps what "
        "still holds and gets the rest from the members.",
    )
