"""A vote key that may sign no more: the node makes another one and asks the members to let it go on.

The new key is on disk before anything is said about it, and the old one is kept where nothing signs with it.
"""

from collections.abc import Callable

import trio
from nacl.signing import SigningKey

from chain.committee import LARGEST_UNANIMOUS, Member
from chain.control import make_request
from chain.crypto import Ed25519Signer
from chain.effects import ComeBack, Input
from chain.ids import MemberId
from chain.replica import Replica


class Return:
    """One member's way back, as often as it takes. `renew` makes a new vote key on disk; it blocks."""

    def __init__(
        self,
        *,
        replica: Replica,
        identity: SigningKey,
        vote: SigningKey,
        room_name: str,
        renew: Callable[[], SigningKey],
        submit: Callable[[Input], None],
        note: Callable[[str], None],
        on_back: Callable[[], None],
    ) -> None:
        self._replica = replica
        self._identity = identity
        self._me = MemberId(bytes(identity.verify_key))
        self._vote = vote
        self._room_name = room_name
        self._renew = renew
        self._submit = submit
        self._note = note
        self._on_back = on_back
        self._asked = False
        self._warned_of = 0
        self._due = trio.Event()

    @property
    def counts(self) -> bool:
        """Whether we are a member whose vote key may sign, as far as our record goes."""
        member = self._member()
        return member is not None and self._counts(member)

    def look(self) -> None:
        """See after each turn whether our key counts; what is to be done about it is `run`'s."""
        member = self._member()
        if member is None:
            return  # removed, or our record does not reach to where we came in
        if self._counts(member):
            if self._asked:
                self._asked = False
                self._on_back()
        elif self._replica.tip.committee.n <= LARGEST_UNANIMOUS:
            self._warn(self._replica.tip.committee.n)
        elif not self._asked:
            self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            member = self._member()
            if member is None or self._counts(member) or self._asked:
                continue
            if self._replica.journal_lost or self._is(member, self._vote):
                self._vote = await trio.to_thread.run_sync(self._renew)
            self._ask(member)

    def _member(self) -> Member | None:
        committee = self._replica.tip.committee
        place = committee.place(self._me)
        return None if place is None else committee.members[place]

    def _counts(self, member: Member) -> bool:
        return self._is(member, self._vote) and not self._replica.journal_lost

    @staticmethod
    def _is(member: Member, vote: SigningKey) -> bool:
        return bytes(vote.verify_key) == member.vote_key

    def _ask(self, member: Member) -> None:
        key = Ed25519Signer(bytes(self._vote))
        request = make_request(
            room=self._replica.tip.room,
            nick=member.nick,  # a new key is no new name
            identity=Ed25519Signer(bytes(self._identity)),
            vote=key,
        )
        self._asked = True
        self._submit(ComeBack(request, key))
        self._note(
            "Your vote key may sign no more, so this node made a new one and asks the members to let it "
            f"count (`pigeon admit {member.nick}`, at a quorum of them); until then it only reads."
        )

    def _warn(self, n: int) -> None:
        if self._warned_of != n:
            self._warned_of = n
            self._note(
                f"Your vote key may sign no more, and as long as a room has {n} member{'s' * (n > 1)} "
                "everybody's is needed to let a new one count. If this one has not grown meanwhile it can "
                f"only be read; go on in a new one: pigeon new NAME --continues {self._room_name}"
            )
