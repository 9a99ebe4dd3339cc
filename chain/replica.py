"""One member's whole chain: inputs in, effects out; broadcast, ordering and membership composed.

A step is one tick: all its inputs are taken in, the rules run until nothing moves, and one durable
transaction stands before everything that may be sent or shown.
"""

from collections.abc import Sequence

from chain.block import SLOT_BODIES, SLOT_BODY_BYTES, SLOT_CONTROL, Body
from chain.broadcast import Broadcast
from chain.control import AdmissionRule
from chain.crypto import Signer, Verifier
from chain.desk import Desk
from chain.effects import (
    Arrived,
    CommitteeChanged,
    Effect,
    FaultKind,
    Forked,
    Input,
    JournalLost,
    LinkDown,
    LinkUp,
    Ordered,
    Pending,
    RoundTrip,
    Say,
    Serve,
    ServeFinals,
    SetTimer,
    Unwant,
    Want,
)
from chain.epoch import Epoch
from chain.errors import MalformedError
from chain.fetch import Fetch
from chain.history import History
from chain.ids import MemberId
from chain.message import (
    Ack,
    BlockMessage,
    Committed,
    Equivocation,
    Finals,
    Hello,
    JoinRequest,
    Message,
    Precommit,
    Prevote,
    Propose,
    PullBlock,
    PullFinals,
    PullRange,
    PullSlot,
    Refusal,
    RoundChange,
    Signed,
    SlotMessage,
    unpack,
)
from chain.ordering import Commit, Ordering
from chain.outbox import Outbox
from chain.records import Dequeue, Enqueue, Forget, KeepBlock, KeepEpoch, Snapshot
from chain.resync import restore_lanes, signed_beyond, standing_of, what_peer_lacks

EARLY_PER_PEER = 1024
"""Messages of later heights or epochs kept for each peer until we are there."""
PULL_ANSWER = 256 * 1024
FINALS_PER_LINK = 256


class Replica:
    """The state machine of one member (or observer) of one room."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        identity: MemberId,
        key: Signer | None,
        rule: AdmissionRule,
        verify: Verifier,
        now: float,
        restarted: bool,
        base_timeout: float = 1.0,
    ) -> None:
        self.identity = identity
        self.tip = snapshot.tip
        self.out = Outbox()
        self.queue: list[Body] = list(snapshot.queue)
        self._unsaved: set[bytes] = set()
        self._key = key
        self._verify = verify
        self._base_timeout = base_timeout
        self._rtt_p95 = 0.0
        self._now, self._clock_ms = now, 0
        self._timer: float | None = None
        self._recovering = restarted
        """Until a quorum (we included) showed that our journal holds all we ever signed."""
        self._confirmed: set[MemberId] = set()
        self._lost = False
        self._lists: dict[MemberId, frozenset[MemberId]] = {}
        """What each linked member said it is linked to."""
        self._told: dict[MemberId, int] = {}
        """The height in our last HELLO to each link."""
        self._early: dict[MemberId, list[Message]] = {}
        self._finals_served: dict[MemberId, int] = {}
        self._behind = False
        self.fetch = Fetch(self.out)
        self._history_fetch = Fetch(self.out)
        self.history: History | None = None
        if snapshot.history is not None and snapshot.base is not None:
            self.history = History(snapshot.history, base=snapshot.base, verify=verify, out=self.out)
        self.desk = Desk(rule=rule, verify=verify, out=self.out, me=identity)
        self._begin_epoch()
        restore_lanes(self.broadcast, snapshot.slots, snapshot.journal)
        self.ordering.restore(snapshot.journal)

    # What others may ask

    @property
    def me(self) -> int | None:
        """Our place in the committee; None while we only observe."""
        return self.epoch.me

    @property
    def linked(self) -> set[MemberId]:
        """Everybody we have a link to, members or not."""
        return self.out.linked

    @property
    def signing(self) -> bool:
        return self.epoch.signing

    @property
    def recovering(self) -> bool:
        """Restarted, and not yet sure that the journal is whole."""
        return self._recovering

    @property
    def journal_lost(self) -> bool:
        return self._lost

    @property
    def unordered(self) -> bool:
        """Whether anything is said, held or voted on and not final yet."""
        return bool(self.queue) or self.broadcast.anything_unordered()

    def own_unordered(self) -> tuple[Body, ...]:
        """Our own messages that are not final, oldest first."""
        in_slots: list[Body] = []
        if self.me is not None:
            own = self.broadcast.own
            for slot_id in own.path:
                in_slots.extend(self.broadcast.slots[slot_id].bodies)
        return (*in_slots, *self.queue)

    def absent(self) -> tuple[MemberId, ...]:
        """Members we are not linked to, when too few are here for a quorum."""
        others = [m.identity for m in self.tip.committee.members if m.identity != self.identity]
        gone = tuple(identity for identity in others if identity not in self.linked)
        up = self.tip.committee.n - len(gone)
        return gone if up < self.tip.committee.quorum else ()

    # One tick

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]:
        """Take in what came since the last tick; `now` is monotonic seconds, `clock_ms` wall time."""
        self._now, self._clock_ms = now, clock_ms
        for item in inputs:
            self._take(item)
        deadline = self._settle()
        for body in self.queue:
            if body.data[:16] in self._unsaved:
                self.out.keep(Enqueue(body))
        self._unsaved.clear()
        effects = self.out.flush()
        if deadline != self._timer:
            self._timer = deadline
            effects.append(SetTimer(deadline))
        return effects

    def _take(self, item: Input) -> None:
        match item:
            case LinkUp(peer):
                self._link_up(peer)
            case LinkDown(peer):
                self._link_down(peer)
            case Arrived(peer, data):
                self._arrived(peer, data)
            case Say(body):
                self.queue.append(body)
                self._unsaved.add(body.data[:16])
                self.out.tell(Pending(body.data[:16]))
            case Want(motion):
                self.desk.want(motion, tip=self.tip)
            case Unwant(member):
                self.desk.unwant(member)
            case RoundTrip(p95):
                self._rtt_p95 = p95
                self.ordering.base_timeout = self._timeout()

    def _timeout(self) -> float:
        return max(self._base_timeout, 6 * self._rtt_p95)

    def _settle(self) -> float | None:
        """Run every rule until nothing moves; when to step again at the latest."""
        while True:
            for kept in self.broadcast.deliver(self._now):
                self.desk.on_delivered(kept.id, kept.slot, tip=self.tip, clock_ms=self._clock_ms)
            appended = self._append()
            commit = self.ordering.step(self._now)
            if commit is not None:
                self._commit(commit)
            elif not appended:
                break
        self.broadcast.sign_acks()
        return min(
            (at for at in (self.ordering.deadline, self._pursue(), self._pursue_history()) if at),
            default=None,
        )

    def _append(self) -> bool:
        """Put what is queued into one slot of ours, if one fits."""
        if not self.broadcast.may_append() or not (self.queue or self.desk.has_control):
            return False
        bodies: list[Body] = []
        size = 0
        while self.queue and len(bodies) < SLOT_BODIES:
            size += len(self.queue[0].data)
            if bodies and size > SLOT_BODY_BYTES:
                break
            bodies.append(self.queue.pop(0))
        for body in bodies:
            uuid = body.data[:16]
            if uuid in self._unsaved:
                self._unsaved.discard(uuid)
            else:
                self.out.keep(Dequeue(uuid))
        control = self.desk.take_control(SLOT_CONTROL)
        self.broadcast.append(tuple(bodies), control, claimed_time=self._clock_ms)
        return True

    # Heights and epochs

    def _begin_epoch(self) -> None:
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
        self._confirmed.clear()
        self._begin_height()
        self._committee_links()
        self._reconsider_signing()

    def _begin_height(self) -> None:
        self.ordering = Ordering(
            self.epoch, tip=self.tip, broadcast=self.broadcast, base_timeout=self._timeout()
        )
        self._tell_ordering_who_is_up()

    def _reconsider_signing(self) -> None:
        needed = self.tip.committee.quorum - 1
        if self._recovering and len(self._confirmed) >= needed and not self._behind:
            self._recovering = False
        self.epoch.signing = self.epoch.me is not None and not self._recovering and not self._lost

    def _commit(self, commit: Commit) -> None:
        block, after = commit.extension.block, commit.extension.tip
        # Who gave up on a round may be shown too few precommits, and its timer does not run again.
        for peer in self.ordering.may_miss(commit):
            self.out.to(peer, Committed(block, commit.certificate))
        before, self.tip = self.tip, after
        self.out.keep(KeepBlock(after.block, block, commit.certificate, commit.extension.items))
        self.out.tell(Ordered(block.height, commit.extension.items))
        if after.epoch == before.epoch:
            self.broadcast.advance(after.cut)
            self.out.keep(Forget("vote:"))
            self.out.keep(Forget("polka"))
            self._begin_height()
        else:
            self._switch(commit, members_before={m.identity for m in before.committee.members})
        self._replay_early()

    def _switch(self, commit: Commit, *, members_before: set[MemberId]) -> None:
        """A new epoch: lanes start anew, own slots that were not ordered go back into the queue."""
        block = commit.extension.block
        self.broadcast.advance(block.cut)
        if self.me is not None:
            void = [b for slot_id in self.broadcast.own.path for b in self.broadcast.slots[slot_id].bodies]
            self.queue[:0] = void
            for body in void:
                self.out.keep(Enqueue(body, front=True))
        self.out.keep(Forget(""))
        frontier = self.tip.frontier
        self.out.keep(KeepEpoch(self.tip.epoch, block, commit.certificate, frontier.peaks, self.tip.spent))
        self._begin_epoch()
        passed = commit.extension.passed
        assert passed is not None
        self.out.tell(CommitteeChanged(self.tip.epoch, self.tip.committee, passed))
        self.desk.new_epoch(tip=self.tip, linked=self.linked)
        added = {m.identity for m in self.tip.committee.members} - members_before
        for peer in sorted(self.linked):
            if peer in added:
                self._hello(peer, reply=True)

    # Links

    def _committee_links(self) -> None:
        members = {m.identity for m in self.tip.committee.members}
        self.out.members = (self.linked & members) - {self.identity}

    def _tell_ordering_who_is_up(self) -> None:
        listed: set[MemberId] = set(self.out.members)
        for peer in self.out.members:
            listed |= self._lists.get(peer, frozenset())
        self.ordering.linked_or_listed = frozenset(listed)

    def _link_up(self, peer: MemberId) -> None:
        if peer in self.linked:
            self._link_down(peer)
        self.linked.add(peer)
        self._committee_links()
        self._tell_ordering_who_is_up()
        # Where we just began over a link that was up already, the peer has said its HELLO to nobody.
        self._hello(peer, reply=self.history is not None or self._recovering)
        if peer in self.out.members:
            for other in sorted(self.out.members - {peer}):
                self._hello(other)

    def _link_down(self, peer: MemberId) -> None:
        was_member = peer in self.out.members
        self.linked.discard(peer)
        self.out.unsend(peer)
        for table in (self._lists, self._told, self._early, self._finals_served):
            table.pop(peer, None)
        self.fetch.forget(peer)
        self._history_fetch.forget(peer)
        self.broadcast.forget_asked(peer)
        self.ordering.forget_asked(peer)
        self.desk.guest_left(peer)
        self._committee_links()
        self._tell_ordering_who_is_up()
        if was_member:
            for other in sorted(self.out.members):
                self._hello(other)

    def _hello(self, peer: MemberId, *, reply: bool = False) -> None:
        place = self.tip.committee.place(peer)
        mine = yours = None
        if self.me is not None:
            mine = standing_of(self.broadcast, self.me, round_=self.ordering.highest_round_of(self.me))
            mine = type(mine)(mine.seq, mine.head, self.broadcast.ackseq, mine.round)
        if place is not None:
            yours = standing_of(self.broadcast, place, round_=self.ordering.highest_round_of(place))
        self._told[peer] = self.tip.height
        linked = tuple(sorted(self.out.members))
        self.out.to(
            peer,
            Hello(self.tip.epoch, self.tip.height, self.tip.block, linked, mine, yours, reply),
        )

    def _on_hello(self, peer: MemberId, hello: Hello) -> None:
        place = self.tip.committee.place(peer)
        if hello.height > self.tip.height or hello.epoch > self.tip.epoch:
            self.fetch.claim(peer, hello.height)
            self._behind = True
            if place is not None:
                self._lists[peer] = frozenset(hello.linked)
        elif (hello.height, hello.block) != (self.tip.height, self.tip.block):
            if hello.height == self.tip.height:
                self.fetch.claim(peer, hello.height)
                self.out.to(peer, PullRange(hello.height))  # a certificate would prove a fork
            else:
                self._where_i_am(peer)
        elif place is not None:
            self._lists[peer] = frozenset(hello.linked)
            self._tell_ordering_who_is_up()
            self._exchange(peer, place, hello)
        if place is not None:
            self._history_fetch.claim(peer, hello.height)
            self._tell_ordering_who_is_up()
        if hello.reply:
            self._hello(peer)

    def _exchange(self, peer: MemberId, place: int, hello: Hello) -> None:
        """Both ends stand at one height: each gives what the other lacks."""
        if self.me is not None:
            own, said = self.broadcast.own, hello.yours
            if said is not None and self._covers(hello):
                self._confirmed.add(peer)
                self._reconsider_signing()
            on_path = said is not None and (said.seq <= own.base.seq or said.head in own.path)
            has = said.seq if said is not None and on_path else own.base.seq
        else:
            has = 0
        lists = self._lists[peer]
        for message in what_peer_lacks(self.broadcast, place, linked=lists, has_of_mine=has):
            self.out.to(peer, message)
        for vote in self.ordering.votes_for_peer(but=lists | {peer}):
            self.out.to(peer, vote)
        if hello.mine is not None:
            for message in signed_beyond(self.broadcast, place, hello.mine):
                self.out.to(peer, message)
            for vote in self.ordering.votes_of(place):
                if vote.round > hello.mine.round:
                    self.out.to(peer, vote)

    def _covers(self, hello: Hello) -> bool:
        """Whether our journal holds all that this peer says it has of ours.

        A claim of more does not convince by itself: the peer sends what it has, and that does.
        """
        said, own = hello.yours, self.broadcast.own
        assert said is not None and self.me is not None
        return (
            said.seq <= own.head.seq
            and (said.seq <= own.base.seq or said.head in own.path)
            and said.ackseq <= self.broadcast.ackseq
            and said.round <= self.ordering.highest_round_of(self.me)
        )

    def _where_i_am(self, peer: MemberId) -> None:
        """Tell a peer that is behind how far we are, once a height; it then asks for what it lacks."""
        if self._told.get(peer, -1) < self.tip.height:
            self._hello(peer, reply=True)

    def _lose_journal(self, detail: str) -> None:
        if not self._lost:
            self._lost = True
            self.out.tell(JournalLost(detail))
            self._reconsider_signing()

    # Catching up

    def _pursue(self) -> float | None:
        behind = self.fetch.highest_claim() > self.tip.height
        if self._behind and not behind:
            self._behind = False
            self._reconsider_signing()
            for peer in sorted(self.out.members):
                self._hello(peer, reply=True)
        self._behind = behind
        return self.fetch.pursue(self.tip.height + 1, now=self._now) if behind else None

    def _pursue_history(self) -> float | None:
        if self.history is None or self.history.complete:
            return None
        return self._history_fetch.pursue(self.history.wanted, now=self._now)

    def _on_committed(self, peer: MemberId, message: Committed) -> None:
        block = message.block
        if block.height == self.tip.height + 1 and block.epoch == self.tip.epoch:
            if not self.ordering.on_committed(message, peer=peer):
                self.fetch.drop(peer)
            self._commit_what_is_whole()
        elif block.height == self.tip.height and block.id(self.tip.room) != self.tip.block:
            if block.epoch == self.tip.epoch and self.ordering.is_certified(message):
                self.out.tell(Forked(block.height))
        elif (
            self.history is not None
            and block.height <= self.tip.height
            and not self.history.on_committed(message, peer=peer)
        ):
            self._history_fetch.drop(peer)

    def _commit_what_is_whole(self) -> None:
        """While catching up blocks follow one another in one envelope: commit each as it gets whole."""
        commit = self.ordering.try_commit() if self.ordering.decided else None
        if commit is not None:
            self._commit(commit)

    # Messages

    def _arrived(self, peer: MemberId, data: bytes) -> None:
        if peer not in self.linked:
            return
        try:
            messages = unpack(data)
        except MalformedError as error:
            self.out.fault(peer, FaultKind.MALFORMED, str(error))
            return
        for message in messages:
            self._on_message(peer, message)

    def _replay_early(self) -> None:
        early, self._early = self._early, {}
        for peer, messages in early.items():
            if peer in self.linked:
                for message in messages:
                    self._on_message(peer, message)

    def _is_early(self, peer: MemberId, *, epoch: int, height: int | None = None) -> bool | None:
        """True: of a later epoch or height. False: of this one. None: it is over; the peer is told so."""
        if epoch > self.tip.epoch or (height is not None and height > self.tip.height + 1):
            return True
        if epoch < self.tip.epoch or (height is not None and height <= self.tip.height):
            return None
        return False

    def _keep_early(self, peer: MemberId, message: Message) -> None:
        kept = self._early.setdefault(peer, [])
        if len(kept) < EARLY_PER_PEER:
            kept.append(message)
        else:
            self.out.fault(peer, FaultKind.FLOOD, "too many messages of later heights")

    def _on_message(self, peer: MemberId, message: Message) -> None:
        member = peer in self.out.members
        match message:
            case Hello():
                self._on_hello(peer, message)
            case SlotMessage():
                self._on_slot(peer, message)
            case Committed():
                self._on_committed(peer, message)
            case JoinRequest():
                if not member:
                    self.desk.on_request(message, peer=peer, tip=self.tip, clock_ms=self._clock_ms)
            case PullFinals(epoch):
                served = self._finals_served.get(peer, 0)
                if served < FINALS_PER_LINK and epoch <= self.tip.epoch:
                    self._finals_served[peer] = served + 1
                    self.out.tell(ServeFinals(peer, epoch))
            case Refusal() | Finals():
                pass  # for those who are not members yet
            case Ack() | Prevote() | Precommit() | RoundChange() | Propose():
                self._on_signed(peer, message)
            case PullSlot() | PullBlock() | PullRange() | BlockMessage() | Equivocation():
                if member:
                    self._on_member_message(peer, message)
                else:
                    self.out.fault(peer, FaultKind.STRANGER, type(message).__name__)

    def _on_member_message(
        self, peer: MemberId, message: PullSlot | PullBlock | PullRange | BlockMessage | Equivocation
    ) -> None:
        match message:
            case PullSlot():
                self._on_pull_slot(peer, message)
            case PullBlock(height, block_id):
                if height == self.ordering.height:
                    answer = self.ordering.block_message(block_id)
                    if answer is not None:
                        self.out.to(peer, answer)
                else:
                    self._where_i_am(peer)
            case PullRange(height):
                if 1 <= height <= self.tip.height:
                    self.out.tell(Serve(peer, height))
            case BlockMessage():
                self.ordering.on_block(message)
            case Equivocation(first=first):
                if first.epoch == self.tip.epoch:
                    self.broadcast.on_equivocation(message, peer=peer)

    def _on_pull_slot(self, peer: MemberId, pull: PullSlot) -> None:
        if pull.epoch != self.tip.epoch or pull.lane >= self.tip.committee.n:
            if pull.epoch < self.tip.epoch:
                self._where_i_am(peer)
            return
        if pull.head.seq <= self.broadcast.lanes[pull.lane].base.seq:
            self._where_i_am(peer)
            return
        size = 0
        for kept in self.broadcast.branch(pull.lane, have=pull.have, head=pull.head):
            size += sum(len(body.data) for body in kept.bodies) + 512
            if size > PULL_ANSWER:
                return
            self.out.to(peer, SlotMessage(kept.slot, kept.bodies))

    def _on_slot(self, peer: MemberId, message: SlotMessage) -> None:
        slot = message.slot
        early = self._is_early(peer, epoch=slot.epoch)
        if early:
            self._keep_early(peer, message)
            return
        if self.history is not None and not self.history.complete:
            self.history.on_slot(message, peer=peer)
        if early is None:
            return
        if self._is_mine(slot.lane) and self._shows_lost_slot(message):
            return
        if self.broadcast.on_slot(message, peer=peer):
            self._relay(message, self.epoch.identity(slot.lane), peer)
        self._commit_what_is_whole()

    def _is_mine(self, place: int) -> bool:
        """Whether a position in this epoch belongs to our own vote key."""
        return self.me is not None and place == self.me

    def _shows_lost_slot(self, message: SlotMessage) -> bool:
        """A slot of ours that we do not know, though we never forget one before it is ordered."""
        slot, own = message.slot, self.broadcast.own
        slot_id = slot.id(self.tip.room)
        if slot.seq <= own.base.seq or slot_id in self.broadcast.slots or self.ordering.decided:
            return False
        key = self.tip.committee.members[slot.lane].vote_key
        if self._verify(key, slot.preimage(self.tip.room), slot.signature):
            self._lose_journal(f"slot {slot.seq} of epoch {slot.epoch}")
            return False  # observed like anybody's
        return True

    def _on_signed(self, peer: MemberId, message: Signed) -> None:
        height = None if isinstance(message, Ack) else message.height
        early = self._is_early(peer, epoch=message.epoch, height=height)
        if early:
            self._keep_early(peer, message)
            return
        if early is None:
            if isinstance(message, Propose | RoundChange) or message.epoch < self.tip.epoch:
                self._where_i_am(peer)
            return
        if peer not in self.out.members:
            self.out.fault(peer, FaultKind.STRANGER, type(message).__name__)
            return
        if self._is_mine(message.signer):
            self._check_own(message)
            return
        match message:
            case Ack():
                news = self.broadcast.on_ack(message, peer=peer)
            case Propose() | Prevote() | Precommit() | RoundChange():
                news = self.ordering.on_vote(message, peer=peer, now=self._now)
        if news:
            self._relay(message, self.epoch.identity(message.signer), peer)

    def _check_own(self, message: Signed) -> None:
        """Something of ours comes back: fine if we know it; if not, the journal is not whole."""
        if isinstance(message, Ack):
            known = message.ackseq <= self.broadcast.ackseq
        else:
            known = message in self.ordering.own.all or message.round < self.ordering.round
        if not known and self.epoch.signature_holds(message):
            self._lose_journal(f"{type(message).__name__.lower()} of height {self.ordering.height}")

    def _relay(self, message: Message, signer: MemberId, source: MemberId) -> None:
        """Forward to linked members that are not linked to the signer themselves."""
        for peer in sorted(self.out.members - {signer, source}):
            listed = self._lists.get(peer)
            if listed is not None and signer not in listed:
                self.out.to(peer, message)
