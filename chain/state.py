"""What all parts of a replica look at: the committed tip, the epoch at work, and whether our key may sign."""

from chain.block import Body, Head, certificate_holds
from chain.broadcast import Broadcast
from chain.case import FORK, Fork
from chain.codec import encode
from chain.committee import Committee, Member
from chain.control import Control
from chain.court import Court, culprits
from chain.crypto import Signer, Verifier
from chain.effects import Forked, JournalLost
from chain.epoch import Epoch
from chain.evidence import Conviction
from chain.ids import MemberId, VoteKey
from chain.lane import Lane
from chain.message import Committed
from chain.ordering import Ordering
from chain.outbox import Outbox
from chain.records import Departure, Journal, KeepEvidence, KeepSlot, Snapshot


class State:
    """One epoch's broadcast and one height's ordering over the tip; replaced when these are over."""

    epoch: Epoch
    broadcast: Broadcast
    ordering: Ordering

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        identity: MemberId,
        key: Signer | None,
        verify: Verifier,
        restarted: bool,
        base_timeout: float,
        now: float,
    ) -> None:
        self.tip = snapshot.tip
        self.identity = identity
        self.out = Outbox()
        self.committees = list(snapshot.committees)
        """Of every epoch so far, the founder's first."""
        self.court = Court(room=self.tip.room, verify=verify, out=self.out, committees=self.committees)
        self.court.recall(snapshot.evidence, snapshot.journal)
        self.last = snapshot.last
        """The block at the tip, with what certifies it."""
        self.now = now
        self.clock_ms = 0
        self.lists: dict[MemberId, frozenset[MemberId]] = {}
        """What each linked member said it is linked to."""
        self.departed = {gone.member: gone for gone in snapshot.departed}
        """Who was a member and is none now, with what it may still be shown."""
        self.unconfirmed = restarted
        """Until a quorum (we included) showed that our journal holds all we ever signed."""
        self.journal_lost = False
        self.forked = False
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

    @property
    def removed(self) -> bool:
        """We were a member and are none now."""
        return self.identity in self.departed

    @property
    def recovering(self) -> bool:
        """Whether our key has to wait for confirmations; alone in a room there is nobody to ask."""
        return self.unconfirmed and not (self.me is not None and self.tip.committee.n == 1)

    def begin_epoch(self) -> None:
        """Start with the committee that the tip names: lanes, acks and votes are new."""
        committee = self.tip.committee
        self.epoch = Epoch(
            room=self.tip.room,
            number=self.tip.epoch,
            committee=committee,
            me=self._place_of_key(),
            key=self._key,
            verify=self._verify,
            out=self.out,
            signing=False,
        )
        self.broadcast = Broadcast(self.epoch, cut=self.tip.cut)
        for lane, member in zip(self.broadcast.lanes, committee.members, strict=True):
            self._mute(lane, member)
        self.begin_height()
        self.note_links()
        self.reconsider_signing()

    def note_departed(self, before: Committee) -> None:
        """The tip is the start of a new epoch: who was in the committee before and is not any more."""
        tip, departed = self.tip, self.departed
        for member in tip.committee.members:
            departed.pop(member.identity, None)
        for gone in (member.identity for member in before.members):
            if tip.committee.place(gone) is None:
                departed[gone] = Departure(gone, tip.block, tip.height, tip.epoch)

    def begin_height(self) -> None:
        """Start the vote on the next height; confirmations of our journal are of one height, too."""
        self.confirmed.clear()
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
        if self.me is not None and len(self.confirmed) >= others_needed > 0:
            self.unconfirmed = False
        self.epoch.signing = not (self.me is None or self.recovering or self.journal_lost or self.forked)

    def take_key(self, key: Signer) -> None:
        """This is our vote key now, and it never signed anything: we observe until a committee has it."""
        self._key = self.epoch.key = key
        self.epoch.me = self._place_of_key()
        self.unconfirmed = self.journal_lost = False
        self.reconsider_signing()

    @property
    def key(self) -> Signer | None:
        """Our vote key, whether or not it counts for anything in this epoch."""
        return self._key

    def _place_of_key(self) -> int | None:
        """Our place, if the committee knows us by the key that we have."""
        committee = self.tip.committee
        place = committee.place(self.identity)
        if place is None or self._key is None or committee.members[place].vote_key != self._key.public:
            return None
        return place

    def lose_journal(self, detail: str) -> None:
        """Something signed with our key turned up that our journal lacks: it never signs again."""
        if not self.journal_lost:
            self.journal_lost = True
            self._keep_stop("lost", detail)
            self.out.tell(JournalLost(detail))
            self.reconsider_signing()

    def _mute(self, lane: Lane, member: Member) -> None:
        """A convicted key's lane is frozen for as long as it is that member's key."""
        if member.vote_key in self.court.convicted:
            self.broadcast.freeze(lane, self.court.convicted[member.vote_key].evidence)

    def judge(self, data: bytes) -> Conviction | None:
        """Judge evidence; what holds mutes its member, and stops us if the key is ours. None: it does not."""
        found = self.court.judge(data)
        if found is not None:
            for lane, member in zip(self.broadcast.lanes, self.epoch.committee.members, strict=True):
                self._mute(lane, member)
            if self._key is not None and found.vote_key == self._key.public:
                self.lose_journal(f"{found.kind}, {found.where}, signed with our key")
        return found

    def contradicts(self, other: Committed) -> bool:
        """Whether another block of our last one's height and epoch is certified as well.

        Of its own epoch a former quorum, be it the founder alone, can certify what it likes for ever: nobody
        who was there goes by that, or one founder that lies could stop its room.
        """
        block, last = other.block, self.last
        if last is None or (block.epoch, block.height) != (last.block.epoch, last.block.height):
            return False
        return block != last.block and certificate_holds(
            other.certificate,
            block,
            room=self.tip.room,
            committee=self.committees[block.epoch],
            verify=self._verify,
        )

    def name_culprits(self, other: Committed) -> None:
        """A certified block that contradicts the one at our tip: accuse who made it possible."""
        if self.last is not None:
            committee = self.committees[other.block.epoch]
            for evidence in culprits(
                self.last, other, room=self.tip.room, committee=committee, verify=self._verify
            ):
                self.out.accuse(evidence)

    def stop_for_fork(self, height: int, *, proof: Committed) -> None:
        """A certified block that contradicts ours: more than f members lied. Keep it, sign nothing more."""
        if not self.forked:
            self.forked = True
            self.out.to_all(proof)
            if self.last is not None:
                nobody = MemberId(bytes(32)), VoteKey(bytes(32))
                self.out.keep(KeepEvidence(*nobody, FORK, encode(Fork(self.last, proof))))
            self._keep_stop("fork", str(height))
            self.out.tell(Forked(height))
            self.reconsider_signing()

    def _keep_stop(self, why: str, detail: str) -> None:
        """Remember for good that this vote key stopped; another one may go on."""
        if self._key is not None:
            self.out.keep(Journal(f"stopped:{why}:{self._key.public.hex()}", detail.encode()))

    def recall_stop(self, journal: tuple[tuple[str, bytes], ...]) -> None:
        """After a restart: what stopped this vote key stops it still."""
        mine = self._key.public.hex() if self._key is not None else ""
        kept = {key.partition(":")[2] for key, _ in journal if key.startswith("stopped:")}
        self.journal_lost = f"lost:{mine}" in kept
        self.forked = f"fork:{mine}" in kept
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
        """Bodies of our slots above the cut, oldest first, each once, whichever of our keys signed them."""
        bodies = [body for kept in self._own_slots() for body in kept.bodies]
        return list({body.uuid: body for body in bodies}.values())

    def own_control(self) -> list[Control]:
        """What our slots above the cut say about membership, oldest first."""
        return [control for kept in self._own_slots() for control in kept.slot.control]

    def _own_slots(self) -> list[KeepSlot]:
        place = self.epoch.committee.place(self.identity)
        if place is None:
            return []
        slots, held = self.broadcast.slots, self.broadcast.lanes[place].held_at
        return [slots[slot_id] for seq in sorted(held) for slot_id in held[seq]]

    def own_ordered(self, cut: tuple[Head, ...]) -> set[bytes]:
        """The uuids of our bodies that a cut orders, so far as they are in slots above the last one."""
        place = self.epoch.committee.place(self.identity)
        if place is None:
            return set()
        chain = self.broadcast.branch(place, have=0, head=cut[place])
        return {body.uuid for kept in chain for body in kept.bodies}
