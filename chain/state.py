"""What all parts of a replica look at: the committed tip, the epoch at work, and whether our key may sign."""

from chain.block import Body
from chain.broadcast import Broadcast
from chain.crypto import Signer, Verifier
from chain.effects import JournalLost
from chain.epoch import Epoch
from chain.ids import MemberId
from chain.ledger import Tip
from chain.ordering import Ordering
from chain.outbox import Outbox


class State:
    """One epoch's broadcast and one height's ordering over the tip; replaced when these are over."""

    epoch: Epoch
    broadcast: Broadcast
    ordering: Ordering

    def __init__(
        self,
        tip: Tip,
        *,
        identity: MemberId,
        key: Signer | None,
        verify: Verifier,
        restarted: bool,
        base_timeout: float,
        now: float,
    ) -> None:
        self.tip = tip
        self.identity = identity
        self.out = Outbox()
        self.now = now
        self.clock_ms = 0
        self.lists: dict[MemberId, frozenset[MemberId]] = {}
        """What each linked member said it is linked to."""
        self.recovering = restarted
        """Until a quorum (we included) showed that our journal holds all we ever signed."""
        self.journal_lost = False
        self.behind = False
        """Somebody claims a height that we have not reached."""
        self.confirmed: set[MemberId] = set()
        self._key = key
        self._verify = verify
        self._base_timeout = base_timeout
        self._round_trip = 0.0
        self.begin_epoch()

    @property
    def me(self) -> int | None:
        """Our place in the committee; None while we only observe."""
        return self.epoch.me

    def begin_epoch(self) -> None:
        """Start with the committee that the tip names: lanes, acks and votes are new."""
        committee = self.tip.committee
        place = committee.place(self.identity)
        votes = (
            place is not None
            and self._key is not None
            and committee.members[place].vote_key == self._key.public
        )
        self.epoch = Epoch(
            room=self.tip.room,
            number=self.tip.epoch,
            committee=committee,
            me=place if votes else None,
            key=self._key,
            verify=self._verify,
            out=self.out,
            signing=False,
        )
        self.broadcast = Broadcast(self.epoch, cut=self.tip.cut)
        self.confirmed.clear()
        self.begin_height()
        self.note_links()
        self.reconsider_signing()

    def begin_height(self) -> None:
        self.ordering = Ordering(
            self.epoch,
            tip=self.tip,
            broadcast=self.broadcast,
            base_timeout=self._timeout(),
            is_up=self.is_up,
        )

    def reconsider_signing(self) -> None:
        """Our key signs while it is a member's and, after a restart, once a quorum confirmed our journal."""
        others_needed = self.tip.committee.quorum - 1
        if self.recovering and len(self.confirmed) >= others_needed and not self.behind:
            self.recovering = False
        self.epoch.signing = self.me is not None and not self.recovering and not self.journal_lost

    def lose_journal(self, detail: str) -> None:
        """Something signed with our key turned up that our journal lacks: it never signs again."""
        if not self.journal_lost:
            self.journal_lost = True
            self.out.tell(JournalLost(detail))
            self.reconsider_signing()

    # Links

    def note_links(self) -> None:
        """The links or the committee changed: who of those linked is a member."""
        members = {member.identity for member in self.tip.committee.members}
        self.out.members = (self.out.linked & members) - {self.identity}

    def is_up(self, member: MemberId) -> bool:
        """Whether we are linked to a member, or somebody linked to us is."""
        return member in self.out.members or any(
            member in self.lists.get(peer, frozenset()) for peer in self.out.members
        )

    # Time

    def measured_round_trip(self, p95: float) -> None:
        self._round_trip = p95
        self.ordering.base_timeout = self._timeout()

    def _timeout(self) -> float:
        return max(self._base_timeout, 6 * self._round_trip)

    # Our own words

    def own_in_slots(self) -> list[Body]:
        """Bodies of our slots above the cut, oldest first."""
        if self.me is None:
            return []
        slots = self.broadcast.slots
        return [body for slot_id in self.broadcast.own.path for body in slots[slot_id].bodies]
