"""How the room is and who is in it: what `room`, `status` and `who` say."""

from collections.abc import Mapping
from dataclasses import dataclass

from chain.committee import Committee, Member
from chain.ids import MemberId
from chain.replica import Replica
from node.api import MemberView
from node.config import RoomConfig
from node.events import LinkView, RoomEvent, StatusEvent
from node.mesh import Mesh
from node.removal import Removals
from node.succession import Predecessor
from node.teller import Teller


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One member's view; nothing here changes anything."""

    me: MemberId
    config: RoomConfig
    replica: Replica
    mesh: Mesh
    teller: Teller
    removals: Removals
    predecessor: Predecessor | None

    @property
    def _committee(self) -> Committee:
        return self.replica.tip.committee

    def room(self) -> RoomEvent:
        committee, before = self._committee, self.predecessor
        place = committee.place(self.me)
        return RoomEvent(
            room=self.config.name,
            fingerprint=self.config.fingerprint,
            me=self.me.hex(),
            nick=self.config.nick if place is None else committee.members[place].nick,
            n=committee.n,
            f=committee.f,
            quorum=committee.quorum,
            parent="" if before is None else before.fingerprint,
            parent_name="" if before is None else before.name,
            via=list(self.config.via),
        )

    def status(self, *, pending: int, notes: list[str]) -> StatusEvent:
        """`pending`: own messages that are not final. `notes`: sentences that stay true until a restart."""
        committee, linked = self._committee, self.mesh.linked()
        absent = [m.nick for m in committee.members if m.identity != self.me and m.identity not in linked]
        up = committee.n - len(absent)
        return StatusEvent(
            n=committee.n,
            f=committee.f,
            quorum=committee.quorum,
            up=up,
            height=self.replica.tip.height,
            target=max(self.replica.tip.height, self.replica.known_height),
            index=self.replica.tip.frontier.size,
            pending=pending,
            waiting_for=absent if up < committee.quorum and self.replica.unordered else [],
            links=[
                LinkView(
                    member=member.identity.hex(),
                    nick=member.nick,
                    state="up" if member.identity in linked else "down",
                )
                for member in committee.members
                if member.identity != self.me
            ],
            rule=self.config.rule,
            notes=[*notes, *self._passing_notes(up)],
            parent="" if self.predecessor is None else self.predecessor.fingerprint,
            undecided=self.replica.unordered,
        )

    def _passing_notes(self, up: int) -> list[str]:
        committee, notes = self._committee, []
        if self.predecessor is not None:
            notes.append(f"This room continues {self.predecessor.in_words}.")
        if up < committee.quorum:
            notes.append(
                f"{up} of {committee.n} members are up; it takes {committee.quorum} to make anything final."
            )
        if self.replica.journal_lost:
            notes.append(
                "This node signs nothing more with its vote key: its journal was lost or rolled back."
            )
        elif self.replica.forked:
            notes.append("Two certified blocks contradict each other: nothing goes on in this room.")
        elif self.replica.coming_back:
            notes.append("Until the members agree to its new vote key this node only reads.")
        elif self.replica.recovering:
            notes.append(
                "After the restart this node signs nothing until enough members confirmed its journal."
            )
        notes += [
            f"The key of {member.nick} signed twice, so this node does not listen to it: see "
            f"`pigeon evidence`, and `pigeon remove {member.nick}`."
            for member in committee.members
            if self._is_convicted(member) and member.identity != self.me
        ]
        notes += [
            f"{event.nick} {'wants to leave' if event.leaves else 'is to be removed'}: "
            f"{event.have} of {event.need} are for it ({', '.join(event.by)})."
            for event in self.removals.events()
        ]
        missing = self.replica.tip.frontier.size - self.teller.told
        if missing > 0:
            notes.append(f"{missing} earlier items are still being fetched.")
        if self.replica.known_height > self.replica.tip.height:
            notes.append(
                f"Catching up: {self.replica.tip.height:,} of {self.replica.known_height:,} blocks are here."
            )
        if self.config.rule == "auto" and committee.n > 1:
            notes.append(
                "Whoever shows a valid invitation comes in: one member can invite puppets of its own."
            )
        return notes

    def _is_convicted(self, member: Member) -> bool:
        return member.vote_key in self.replica.state.court.convicted

    def members(self, admitted_at: Mapping[MemberId, int]) -> list[MemberView]:
        """One line for each member; `admitted_at`: heights, 0 for the founder."""
        linked, members = self.mesh.linked(), []
        for member in self._committee.members:
            state = "up" if member.identity in linked else "down"
            members.append(
                MemberView(
                    member=member.identity.hex(),
                    nick=member.nick,
                    state="me" if member.identity == self.me else state,
                    admitted_at=admitted_at.get(member.identity, 0),
                    words=self.mesh.words(member.identity),
                    convicted=self._is_convicted(member),
                )
            )
        return members
