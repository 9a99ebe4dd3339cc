"""Who is to go: removals that members moved in this epoch, and what this member does about them.

Whether a quorum agrees is the chain's matter. Somebody who moved its own removal leaves; the others let it.
"""

from collections.abc import Callable, Mapping, Set
from typing import Final

from chain.committee import quorum_size
from chain.control import Motion, Remove
from chain.effects import Input, Want
from chain.ids import MemberId
from chain.ledger import Tip
from chain.membership import MotionId
from node.errors import Exit, NodeError, UsageError
from node.events import RemovalEvent

_PREFIX: Final = 4  # digits of an id that are enough to mean somebody

Motions = Mapping[MotionId, tuple[Motion, Set[MemberId]]]


class Removals:
    """One member's view. `motions`: those of this epoch, with who is known to be for each."""

    def __init__(
        self,
        *,
        me: MemberId,
        tip: Callable[[], Tip],
        motions: Callable[[], Motions],
        linked: Callable[[], Set[MemberId]],
        submit: Callable[[Input], None],
    ) -> None:
        self._me = me
        self._linked = linked
        self._tip = tip
        self._motions = motions
        self._submit = submit
        self._told: dict[MemberId, RemovalEvent] = {}
        self._leaving = False

    def news(self) -> list[RemovalEvent]:
        """What was moved or approved since the last time."""
        events = self.events()
        news = [event for event in events if not _is_old(event, self._told.get(_member(event)))]
        self._told = {_member(event): event for event in events}
        return news

    def events(self) -> list[RemovalEvent]:
        """All that is moved and has not passed."""
        backed = self._backed()
        return [
            self._event(member, backed[member])
            for member in sorted(backed)
            if self._tip().committee.place(member) is not None
        ]

    def _backed(self) -> dict[MemberId, set[MemberId]]:
        """Who is for the removal of whom, in whichever motion."""
        backed: dict[MemberId, set[MemberId]] = {}
        for motion, backers in self._motions().values():
            if isinstance(motion, Remove):
                backed.setdefault(motion.member, set()).update(backers)
        return backed

    def left(self, member: MemberId) -> bool:
        """Whether it asked to go itself."""
        told = self._told.get(member)
        return (member == self._me and self._leaving) or (told is not None and told.leaves)

    def remove(self, who: str) -> RemovalEvent:
        """Be for removing the member with this nick or beginning of an id; NodeError if there is none."""
        member = self._find(who)
        if member == self._me:
            raise UsageError("That is you.", "To go, use `pigeon leave`.")
        return self._want(member)

    def leave(self) -> RemovalEvent:
        """Ask the others to let us go; NodeError for the last member."""
        if self._tip().committee.n == 1:
            raise NodeError(
                "You are the only member, so there is nobody to leave to.",
                "End the node; the record stays on this disk for as long as you keep it.",
                exit_code=Exit.NO,
            )
        self._leaving = True
        return self._want(self._me)

    def _want(self, member: MemberId) -> RemovalEvent:
        self._submit(Want(Remove(member)))
        return self._event(member, self._backed().get(member, set()) | {self._me})

    def _find(self, who: str) -> MemberId:
        members, name, prefix = self._tip().committee.members, who.casefold(), who.lower()
        found = [
            member
            for member in members
            if member.nick.casefold() == name
            or (len(prefix) >= _PREFIX and member.identity.hex().startswith(prefix))
        ]
        if len(found) == 1:
            return found[0].identity
        listing = ", ".join(f"{m.nick} ({m.identity.hex()[:12]})" for m in found or members)
        if found:
            raise UsageError(
                f"Several members are meant by that: {listing}.", "Say which by the beginning of its id."
            )
        raise NodeError(f"No member is called {who!r}.", f"The members are: {listing}.", exit_code=Exit.NO)

    def _event(self, member: MemberId, backers: Set[MemberId]) -> RemovalEvent:
        committee = self._tip().committee
        place = committee.place(member)
        up = {self._me, *self._linked()}
        return RemovalEvent(
            member=member.hex(),
            nick="" if place is None else committee.members[place].nick,
            by=[each.nick for each in committee.members if each.identity in backers],
            leaves=member in backers,
            have=len(backers),
            need=committee.quorum,
            then_up=sum(each.identity in up for each in committee.members if each.identity != member),
            then_need=quorum_size(max(1, committee.n - 1)),
        )


def _is_old(event: RemovalEvent, told: RemovalEvent | None) -> bool:
    """Whether nobody was added; who is up is news of another kind."""
    return told is not None and (event.by, event.leaves) == (told.by, told.leaves)


def _member(event: RemovalEvent) -> MemberId:
    return MemberId(bytes.fromhex(event.member))
