"""Which motions count: a pure fold over the control items of one epoch in their agreed order."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chain.committee import MAX_MEMBERS, Committee, Member, spent_digest
from chain.control import Admit, Approve, Control, Motion, Rekey, Remove, Request
from chain.crypto import Verifier
from chain.ids import MemberId, RoomId, SlotId

MAX_SPENT = 8192
"""So many vote keys and invitations a room can use up: a newcomer is handed the list in one message."""

MOTIONS_PER_MEMBER = 64
"""More in one epoch do not count: every later motion and approval costs what those before it weigh."""

MotionId = tuple[SlotId, int]
"""The slot a motion stands in, and its position there."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The motions of an epoch so far and who is for them; starts empty with each epoch."""

    motions: Mapping[MotionId, tuple[Motion, frozenset[MemberId]]] = field(default_factory=dict)
    moved: Mapping[MemberId, int] = field(default_factory=dict)
    """How many valid motions each member made in this epoch."""
    passed: Motion | None = None
    """The motion that takes effect at the end of this block; nothing after it counts."""

    def with_control(
        self,
        control: Control,
        *,
        at: MotionId,
        author: MemberId,
        committee: Committee,
        spent: tuple[bytes, ...],
        room: RoomId,
        verify: Verifier,
    ) -> "Ballot":
        """The ballot after one more control item, written by `author`, a member of `committee`."""
        if self.passed is not None:
            return self
        match control:
            case Approve(slot=slot, position=position):
                named = (slot, position)
                if named not in self.motions:
                    return self
                motion, backers = self.motions[named]
                return self._backed(named, motion, backers | {author}, committee)
            case Admit() | Remove() | Rekey():
                if self._moved_by(author) >= MOTIONS_PER_MEMBER or not motion_is_valid(
                    control, committee=committee, spent=spent, room=room, verify=verify
                ):
                    return self
                moved = {**self.moved, author: self._moved_by(author) + 1}
                counted = replace(self, moved=moved)
                return counted._backed(at, control, frozenset({author}), committee)
            case _:
                return self

    def _moved_by(self, author: MemberId) -> int:
        return self.moved.get(author, 0)

    def _backed(
        self, at: MotionId, motion: Motion, backers: frozenset[MemberId], committee: Committee
    ) -> "Ballot":
        passed = motion if len(backers) >= committee.quorum else None
        return replace(self, motions={**self.motions, at: (motion, backers)}, passed=passed)


def motion_is_valid(
    motion: Motion, *, committee: Committee, spent: tuple[bytes, ...], room: RoomId, verify: Verifier
) -> bool:
    """Whether a motion could take effect in this epoch; depends on agreed state only, never on a clock."""
    match motion:
        case Admit(request=request):
            return (
                committee.n < MAX_MEMBERS
                and committee.place(request.identity) is None
                and all(request.nick != member.nick for member in committee.members)
                and request.vote_key not in spent
                and len(spent) + 2 <= MAX_SPENT
                and _voucher_counts(request, committee, spent)
                and request.holds(room=room, verify=verify)
            )
        case Remove(member=member):
            return committee.n > 1 and committee.place(member) is not None
        case Rekey(request=request):
            return (
                _nick_of(request.identity, committee) == request.nick
                and request.voucher is None
                and request.vote_key not in spent
                and len(spent) + 1 <= MAX_SPENT
                and request.holds(room=room, verify=verify)
            )


def _nick_of(member: MemberId, committee: Committee) -> str | None:
    place = committee.place(member)
    return None if place is None else committee.members[place].nick


def alike(one: str, other: str) -> bool:
    """Whether two nicks are easily taken for each other: they differ in case or composition only.

    For a member's own judgement; the agreed rule compares exactly, because Unicode tables differ between
    Pythons and a committee must not.
    """
    return _folded(one) == _folded(other)


def _folded(nick: str) -> str:
    return unicodedata.normalize("NFKC", nick).casefold()


def _voucher_counts(request: Request, committee: Committee, spent: tuple[bytes, ...]) -> bool:
    voucher = request.voucher
    if voucher is None:
        return True
    return voucher.key not in spent and committee.place(voucher.inviter) is not None


def enact(
    motion: Motion, *, committee: Committee, spent: tuple[bytes, ...]
) -> tuple[Committee, tuple[bytes, ...]]:
    """The committee after a passed motion, and the list of vote keys and invitations spent so far."""
    members = list(committee.members)
    match motion:
        case Admit(request=request):
            members.append(Member(request.identity, request.vote_key, request.nick))
            used = (request.voucher.key,) if request.voucher else ()
            spent = (*spent, request.vote_key, *used)
        case Remove(member=gone):
            members = [member for member in members if member.identity != gone]
        case Rekey(request=request):
            members = [
                Member(member.identity, request.vote_key, member.nick)
                if member.identity == request.identity
                else member
                for member in members
            ]
            spent = (*spent, request.vote_key)
    members.sort(key=lambda member: member.identity)
    return Committee(tuple(members), spent_digest(spent)), spent
