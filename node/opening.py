"""What a node finds of its room on disk: its keys and the store, or what a newcomer begins with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from chain.committee import LARGEST_UNANIMOUS
from chain.errors import StoreError
from chain.ids import MemberId
from node.config import Home, RoomConfig
from node.disk import create_store, identity_of, in_words, open_store, vote_key_of
from node.errors import NotAMember
from node.keys import create_key, load_or_create_key, set_aside

if TYPE_CHECKING:
    from chain.store import Store
    from node.joining import Admitted

GONE: Final = "you left it, or its members removed you"
_RETIRED: Final = "retired-"


@dataclass(frozen=True, kw_only=True)
class Belongings:
    """All that is here of one room; `store` is None for a newcomer, who may have been a member before."""

    identity: SigningKey
    vote: SigningKey
    fresh: bool
    """The vote key was made just now and has signed nothing yet."""
    store: "Store | None"
    lost: bool
    """The store had lost changes; the key that signed them was retired."""
    removed: bool = False
    """We were a member; those who need our vote for that may not know it yet."""


def find_belongings(home: Home, fingerprint: str, *, config: RoomConfig | None, invited: bool) -> Belongings:
    """Open what is here. Blocking; the caller holds the room's lock.

    Without `config` the room is new here. NotAMember for who was removed, has no new invitation and nobody to
    tell; NodeError for what cannot be opened.
    """
    identity = load_or_create_key(home.identity_file, purpose="identity") if invited else identity_of(home)
    me = MemberId(bytes(identity.verify_key))
    store: Store | None = None
    removed = False
    if config is not None or home.store_file(fingerprint).exists():
        store = open_store(home, fingerprint)
    if store is not None:
        try:
            snapshot = store.snapshot()
            tip = snapshot.tip
            removed = any(gone.member == me for gone in snapshot.departed)
            is_member = tip.committee.place(me) is not None
        except BaseException:
            store.close()
            raise
        if removed and not invited and tip.committee.n >= LARGEST_UNANIMOUS:
            store.close()
            assert config is not None
            raise NotAMember(config.name, why=GONE)
        if (removed and invited) or (config is None and not is_member):
            store.close()
            if removed and bytes(vote_key_of(home, fingerprint).verify_key) in tip.spent:
                retire_vote_key(home, fingerprint)  # the room takes each key once
            store = None
    lost = store is not None and store.rolled_back
    if store is not None and lost:
        # What is lost of the journal may hold signatures: whoever signs again may sign twice.
        renew_vote_key(home, fingerprint)
        store.forget_loss()
    vote_file = home.vote_file(fingerprint)
    if (store is None or _retired(home, fingerprint)) and not vote_file.exists():
        vote, fresh = create_key(vote_file, purpose="vote"), True
    else:
        vote, fresh = vote_key_of(home, fingerprint), lost
    removed = removed and store is not None
    return Belongings(identity=identity, vote=vote, fresh=fresh, store=store, lost=lost, removed=removed)


def retire_vote_key(home: Home, fingerprint: str) -> None:
    """Put the room's vote key where nothing signs with it any more; without one nothing happens."""
    path = home.vote_file(fingerprint)
    if path.exists():
        number = len(_retired(home, fingerprint)) + 1
        set_aside(path, directory=home.room_directory(fingerprint) / f"{_RETIRED}{number}")


def renew_vote_key(home: Home, fingerprint: str) -> SigningKey:
    """A new vote key in the place of the old one, on disk when this returns. Blocking.

    Cut off in the middle there is none, and the next start makes it: whatever happens the old one is gone.
    """
    retire_vote_key(home, fingerprint)
    return create_key(home.vote_file(fingerprint), purpose="vote")


def _retired(home: Home, fingerprint: str) -> list[str]:
    return [each.name for each in home.room_directory(fingerprint).glob(f"{_RETIRED}*")]


def begin_store(home: Home, admitted: "Admitted", *, me: MemberId) -> "Store":
    """The store of somebody who was just let in: a new one, or the one from when it was a member before."""
    fingerprint = admitted.genesis.room_id().hex()
    if home.store_file(fingerprint).exists():
        store = open_store(home, fingerprint)
    else:
        store = create_store(home, admitted.genesis, me=me)
    try:
        store.apply(admitted.epochs)
    except StoreError as error:
        store.close()
        raise in_words(error) from error
    return store
