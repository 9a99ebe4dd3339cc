"""A committee: the members of one epoch in the order of their identity keys, and its thresholds."""

from functools import cached_property

from chain.codec import Record, encode
from chain.crypto import tagged_hash
from chain.ids import NO_ROOM, Hash, MemberId, VoteKey

MAX_MEMBERS = 31
LARGEST_UNANIMOUS = 3
"""Up to so many members the quorum is everybody, so that nobody can be given a new key without the old."""


def faults_tolerated(n: int) -> int:
    """How many of n members may lie without harm."""
    return (n - 1) // 3


def quorum_size(n: int) -> int:
    """The fewest members such that two such groups always share an honest one.

    For n = 1 it is 1; for n of 2 and 3 everyone: below four members no lie can be outvoted.
    """
    return 1 if n == 1 else (n + max(1, faults_tolerated(n)) + 2) // 2


class Member(Record, frozen=True):
    """One member as an epoch knows it."""

    identity: MemberId
    vote_key: VoteKey
    nick: str


class Committee(Record, frozen=True, dict=True, gc=True):
    """The members, ascending by identity, and the hash of every vote key and invitation spent so far."""

    members: tuple[Member, ...]
    spent: Hash

    @cached_property
    def n(self) -> int:
        return len(self.members)

    @cached_property
    def f(self) -> int:
        return faults_tolerated(self.n)

    @cached_property
    def quorum(self) -> int:
        """Certifies a slot, makes a polka, a certificate, or the justification of a later round."""
        return quorum_size(self.n)

    @cached_property
    def honest_witness(self) -> int:
        """So many members hold an honest one among them."""
        return self.f + 1

    @cached_property
    def _places(self) -> dict[MemberId, int]:
        return {member.identity: place for place, member in enumerate(self.members)}

    def place(self, identity: MemberId) -> int | None:
        """The member's index in this epoch, or None for a stranger."""
        return self._places.get(identity)

    def is_well_formed(self) -> bool:
        identities = [member.identity for member in self.members]
        return (
            1 <= self.n <= MAX_MEMBERS
            and identities == sorted(set(identities))
            and len({member.vote_key for member in self.members}) == self.n
        )

    @cached_property
    def digest(self) -> Hash:
        """What a block names its committee by. Keys are room-bound already, so no room enters here."""
        return tagged_hash("committee", room=NO_ROOM, epoch=0, payload=encode((self.members, self.spent)))


def spent_digest(spent: tuple[bytes, ...]) -> Hash:
    """The hash that stands in a committee for the list of spent vote keys and invitations."""
    return tagged_hash("spent", room=NO_ROOM, epoch=0, payload=encode(spent))
