"""One member's whole chain: inputs in, effects out; broadcast, ordering and membership composed.

A step is one tick: all its inputs are taken in, the rules run until nothing moves, and one durable
transaction stands before everything that may be sent or shown.
"""

from collections.abc import Sequence

from chain.block import SLOT_BODIES, SLOT_BODY_BYTES, UUID_SIZE, Body, Head, Leaf, Slot
from chain.codec import encode
from chain.comeback import Comeback
from chain.control import Accuse, AdmissionRule
from chain.crypto import Signer, Verifier
from chain.desk import Desk
from chain.early import Early
from chain.effects import (
    Arrived,
    ComeBack,
    CommitteeChanged,
    Effect,
    FaultKind,
    Input,
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
from chain.errors import MalformedError
from chain.fetch import Fetch
from chain.greeting import Greeting
from chain.history import History
from chain.ids import MemberId
from chain.ledger import Tip
from chain.message import (
    Accusation,
    Ack,
    BlockMessage,
    Committed,
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
    weight,
)
from chain.ordering import Commit
from chain.records import (
    Dequeue,
    Enqueue,
    Forget,
    Journal,
    KeepBlock,
    KeepEpoch,
    KeepSlot,
    Snapshot,
    grounds_key,
)
from chain.resync import LANE_JOURNAL, restore_lanes
from chain.state import State

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
        self.state = State(
            snapshot,
            identity=identity,
            key=key,
            verify=verify,
            restarted=restarted,
            base_timeout=base_timeout,
            now=now,
        )
        self.state.recall_stop(snapshot.journal)
        restore_lanes(self.state.broadcast, snapshot.slots, snapshot.journal)
        self.state.ordering.restore(snapshot.journal)
        self.out = self.state.out
        self.queue: list[Body] = list(snapshot.queue)
        """What we said and have not put into a slot yet."""
        self.desk = Desk(rule=rule, verify=verify, out=self.out, me=identity, court=self.state.court)
        self.desk.recall(self.state.tip.ballot)
        self.desk.accuse(tip=self.tip)
        self.history: History | None = None
        if snapshot.history is not None and snapshot.base is not None:
            self.history = History(snapshot.history, base=snapshot.base, verify=verify, out=self.out)
        self._fetch = Fetch(self.out)
        self._greeting = Greeting(self.state, fetch=self._fetch, history=self.history)
        self._unsaved: set[bytes] = set()
        self._timer: float | None = None
        self._early = Early()
        self._finals_served: dict[MemberId, int] = {}
        self._comeback = Comeback(self.state)

    # What others may ask

    @property
    def tip(self) -> Tip:
        """The committed state."""
        return self.state.tip

    @property
    def me(self) -> int | None:
        """Our place in the committee; None while we only observe."""
        return self.state.me

    @property
    def linked(self) -> set[MemberId]:
        """Everybody we have a link to, members or not."""
        return self.out.linked

    @property
    def signing(self) -> bool:
        return self.state.epoch.signing

    @property
    def recovering(self) -> bool:
        """Restarted, and not yet sure that the journal is whole."""
        return self.state.recovering

    @property
    def journal_lost(self) -> bool:
        return self.state.journal_lost

    @property
    def forked(self) -> bool:
        """A certified block contradicts one of ours; nothing goes on."""
        return self.state.forked

    @property
    def removed(self) -> bool:
        """We were a member and are none now: nothing goes on here."""
        return self.state.removed

    @property
    def coming_back(self) -> bool:
        """We are a member, by a vote key that is not the one we have now, and ask for that to change."""
        return self._comeback.under_way

    @property
    def known_height(self) -> int:
        """The height to catch up with: more members claim it than may lie, or else the first one does."""
        return self._fetch.vouched(self.tip.committee.f + 1) or self._fetch.vouched(1)

    @property
    def unordered(self) -> bool:
        """Whether anything is said, held or voted on and not final yet."""
        return bool(self.queue) or self.state.broadcast.anything_unordered()

    def own_unordered(self) -> tuple[Body, ...]:
        """Our own messages that are not final, oldest first."""
        bodies = (*self.state.own_in_slots(), *self.queue)
        return tuple({body.data[:UUID_SIZE]: body for body in bodies}.values())

    # One tick

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]:
        """Take in what came since the last tick; `now` is monotonic seconds, `clock_ms` wall time."""
        self.state.now, self.state.clock_ms = now, clock_ms
        self._take_answers()
        for item in inputs:
            self._take(item)
        self._judge_accused()
        exchange_again = self._greeting.exchange()
        deadline = min((at for at in (self._settle(), exchange_again) if at is not None), default=None)
        if self._greeting.level:
            self._comeback.ask()
        for body in self.queue:
            if body.data[:16] in self._unsaved:
                self.out.keep(Enqueue(body))
        self._unsaved.clear()
        effects = self.out.flush()
        if deadline != self._timer or (deadline is not None and deadline <= now):
            self._timer = deadline
            effects.append(SetTimer(deadline))
        return effects

    def _take(self, item: Input) -> None:
        match item:
            case LinkUp(peer):
                if peer in self.linked:
                    self._link_down(peer)
                # Where we just began over a link that was up already, the peer's HELLO reached nobody.
                need_answer = self.history is not None or self.recovering
                self._greeting.link_up(peer, need_answer=need_answer)
                if peer in self.out.members:
                    self.desk.tell_newly_linked(peer)
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
                self.state.measured_round_trip(p95)
            case ComeBack(request, key):
                self._comeback.begin(request, key)

    def _link_down(self, peer: MemberId) -> None:
        self._comeback.link_lost(peer)
        self._early.forget(peer)
        self._finals_served.pop(peer, None)
        self.desk.link_lost(peer)
        self._greeting.link_down(peer)

    def _settle(self) -> float | None:
        """Run every rule until nothing moves; when to step again at the latest."""
        state = self.state
        while not state.forked:
            for kept in state.broadcast.deliver(state.now):
                self._read(kept, tip=self.tip)
                self._read_accusations(kept.slot)
            appended = self._append()
            commit = state.ordering.step(state.now)
            self._judge_accused()
            if state.ordering.forked is not None:
                state.stop_for_fork(state.ordering.height, proof=state.ordering.forked)
            elif commit is not None:
                self._commit(commit)
            elif not appended and not state.broadcast.sign_acks():
                break  # our own ack may have completed a quorum
        past = self.history.pursue(now=state.now) if self.history is not None else None
        voting = None if state.forked else state.ordering.deadline
        deadlines = (voting, self._pursue(), past)
        return min((at for at in deadlines if at is not None), default=None)

    def _append(self) -> bool:
        """Put what is queued into one slot of ours, if one fits."""
        broadcast = self.state.broadcast
        if not broadcast.may_append() or not (self.queue or self.desk.has_control):
            return False
        bodies: list[Body] = []
        size = 0
        while self.queue and len(bodies) < SLOT_BODIES:
            size += len(self.queue[0].data)
            if size > SLOT_BODY_BYTES:
                break
            bodies.append(self.queue.pop(0))
        for uuid in (body.data[:16] for body in bodies):
            if uuid in self._unsaved:
                self._unsaved.discard(uuid)
            else:
                self.out.keep(Dequeue(uuid))
        control = self.desk.take_control()
        broadcast.append(tuple(bodies), control, claimed_time=self.state.clock_ms)
        return True

    # Heights and epochs

    def _commit(self, commit: Commit) -> None:
        state, block, after = self.state, commit.extension.block, commit.extension.tip
        # Who gave up on a round may be shown too few precommits, and its timer does not run again.
        for peer in state.ordering.may_miss():
            self.out.to(peer, Committed(block, commit.certificate))
        self._drop_ordered(state.own_ordered(block.cut))
        grounds = state.ordering.grounds() if commit.certificate.round > 0 else ()
        before, state.tip = state.tip, after
        state.last = Committed(block, commit.certificate, grounds)
        if grounds:
            self.out.keep(Journal(grounds_key(block.height), encode(grounds)))
        self.out.keep(KeepBlock(after.block, block, commit.certificate, commit.extension.items))
        self.out.tell(Ordered(block.height, commit.extension.items))
        self._read_undelivered(block.cut, before)
        self._note_ordered(commit.extension.items)
        if after.epoch == before.epoch:
            state.broadcast.advance(after.cut)
            self.out.keep(Forget("vote:"))
            self.out.keep(Forget("polka"))
            state.begin_height()
        else:
            self._switch(commit, before)
        self._replay_early()

    def _read_undelivered(self, cut: tuple[Head, ...], before: Tip) -> None:
        """Whoever catches up gets slots ordered before they are delivered; motions in them count as well."""
        broadcast = self.state.broadcast
        for place, head in enumerate(cut):
            for kept in broadcast.branch(place, have=before.cut[place].seq, head=head):
                if kept.id not in broadcast.delivered_at and kept.slot.control:
                    self._read(kept, tip=before)

    def _read(self, kept: KeepSlot, *, tip: Tip) -> None:
        state = self.state
        self.desk.on_delivered(kept.id, kept.slot, tip=tip, now=state.now, clock_ms=state.clock_ms)

    def _drop_ordered(self, uuids: set[bytes]) -> None:
        """A disk that went back in time may have us queue what we said long ago; it is not said twice."""
        for body in [body for body in self.queue if body.data[:UUID_SIZE] in uuids]:
            self.queue.remove(body)
            self.out.keep(Dequeue(body.data[:UUID_SIZE]))

    def _read_accusations(self, slot: Slot) -> None:
        """Evidence in a delivered slot convicts; what does not hold says nothing."""
        for control in slot.control:
            if isinstance(control, Accuse) and (found := self.state.judge(control.evidence)) is not None:
                self.desk.note_accused(found.vote_key)

    def _note_ordered(self, items: tuple[tuple[int, Leaf], ...]) -> None:
        """Evidence that stands in the record convicts for everybody, and is not brought up again."""
        for _, leaf in items:
            if isinstance(leaf.content, Accuse):
                found = self.state.judge(leaf.content.evidence)
                if found is not None:
                    self.state.court.note_ordered(found)

    def _judge_accused(self) -> None:
        """What came up in this step contradicts itself: convict, and have it ordered."""
        found = [self.state.judge(data) for data in self.out.take_accused()]
        if any(found):
            self.desk.accuse(tip=self.tip)

    def _switch(self, commit: Commit, before: Tip) -> None:
        """A new epoch: lanes start anew, own slots that were not ordered go back into the queue."""
        state = self.state
        state.broadcast.advance(commit.extension.block.cut)
        void = state.own_in_slots()
        again = {body.data[:UUID_SIZE] for body in void}
        self.queue = [*void, *(body for body in self.queue if body.data[:UUID_SIZE] not in again)]
        for body in void:
            self.out.keep(Enqueue(body, front=True))
        for prefix in ("vote:", "polka", *LANE_JOURNAL):
            self.out.keep(Forget(prefix))
        block, certificate = commit.extension.block, commit.certificate
        peaks, spent = self.tip.frontier.peaks, self.tip.spent
        self.out.keep(KeepEpoch(self.tip.epoch, block, certificate, peaks, spent))
        state.committees.append(self.tip.committee)
        state.note_departed(before.committee)
        state.begin_epoch()
        self._comeback.new_epoch()
        assert commit.extension.passed is not None
        self.out.tell(CommitteeChanged(self.tip.epoch, self.tip.committee, commit.extension.passed))
        self.desk.new_epoch(tip=self.tip)
        for peer in sorted(self.out.members):
            if before.committee.place(peer) is None or state.recovering:
                self._greeting.hello(peer, reply=True)
        self._greeting.part(Committed(block, certificate))

    # Catching up

    def _pursue(self) -> float | None:
        if self.state.forked or self.removed:
            return None
        look_again = self._fetch.pursue(self.tip.height + 1, now=self.state.now)
        self._greeting.behind(look_again is not None)
        return look_again

    def _on_committed(self, peer: MemberId, message: Committed) -> None:
        block, tip, ordering = message.block, self.tip, self.state.ordering
        if block.height == tip.height + 1 and block.epoch == tip.epoch:
            if not ordering.on_committed(message, peer=peer):
                self._fetch.failed(peer, now=self.state.now)
            elif block.prev != tip.block and not self.state.forked:
                self.out.to(peer, PullRange(tip.height))  # what it was built on is the other half of a fork
            self._commit_what_is_whole()
        elif block.height == tip.height and block.id(tip.room) != tip.block:
            if self.state.contradicts(message):
                self.state.stop_for_fork(block.height, proof=message)
                self.state.name_culprits(message)
        elif self.history is not None and block.height <= tip.height:
            self.history.on_committed(message, peer=peer, now=self.state.now)

    def _commit_what_is_whole(self) -> None:
        """While catching up blocks follow one another in one envelope: commit each as it gets whole."""
        ordering = self.state.ordering
        commit = ordering.try_commit(pull=False) if ordering.decided and not self.state.forked else None
        if commit is not None:
            self._commit(commit)

    # Messages

    def _arrived(self, peer: MemberId, data: bytes) -> None:
        if peer not in self.linked:
            return
        fetches = [self._fetch] if self.history is None else [self._fetch, self.history.fetch]
        try:
            messages = unpack(data)
        except MalformedError as error:
            self.out.fault(peer, FaultKind.MALFORMED, str(error))
            for fetch in fetches:
                fetch.failed(peer, now=self.state.now)
            return
        if not any(fetch.hold(peer, messages, now=self.state.now) for fetch in fetches):
            for message in messages:
                self._on_message(peer, message)

    def _take_answers(self) -> None:
        """Take in what was asked for and came with the last tick; what follows it is under way by now."""
        while (held := self._fetch.due(self.tip.height + 1)) is not None or (
            self.history is not None and (held := self.history.due()) is not None
        ):
            peer, messages = held
            for message in messages:
                self._on_message(peer, message)

    def _on_message(self, peer: MemberId, message: Message) -> None:
        match message:
            case Hello():
                self._greeting.on_hello(peer, message)
            case SlotMessage():
                self._on_slot(peer, message)
            case Committed():
                self._on_committed(peer, message)
            case JoinRequest():
                self._on_join_request(peer, message)
            case PullFinals(epoch):
                served = self._finals_served.get(peer, 0)
                if served < FINALS_PER_LINK and epoch <= self.tip.epoch:
                    self._finals_served[peer] = served + 1
                    self.out.tell(ServeFinals(peer, epoch))
            case Refusal() | Finals():
                pass  # for those who are not members yet
            case Ack() | Prevote() | Precommit() | RoundChange() | Propose():
                self._on_signed(peer, message)
            case PullSlot() | PullBlock() | PullRange() | BlockMessage() | Accusation():
                if peer in self.out.members:
                    self._on_members_only(peer, message)
                elif peer in self.state.departed:
                    self._on_departed(peer, message)
                elif not self._greeting.is_ahead(peer):  # who is may be a member by now
                    self.out.fault(peer, FaultKind.STRANGER, type(message).__name__)

    def _on_join_request(self, peer: MemberId, message: JoinRequest) -> None:
        state, tip = self.state, self.tip
        self.desk.note_own_word(message.request, peer=peer)
        if state.removed:
            self.out.to(peer, Refusal("this node is no member of the room any more; ask another one"))
        elif tip.committee.place(message.request.identity) is not None:
            self.desk.on_comeback(message, peer=peer, tip=tip, now=state.now)
        elif peer in self.out.members:
            self.desk.on_passed_on(message, peer=peer, tip=tip, clock_ms=state.clock_ms)
        else:
            self.desk.on_request(message, peer=peer, tip=tip, clock_ms=state.clock_ms)

    def _on_departed(
        self, peer: MemberId, message: PullSlot | PullBlock | PullRange | BlockMessage | Accusation
    ) -> None:
        """Somebody that is no member any more, and may not know it, gets what it was a member for."""
        match message:
            case PullRange(height):
                last = self.state.departed[peer].height
                if 1 <= height <= last:
                    self.out.tell(Serve(peer, height, last))
            case PullSlot() | PullBlock():
                self._greeting.where_i_am(peer)
            case BlockMessage() | Accusation():
                pass

    def _on_members_only(
        self, peer: MemberId, message: PullSlot | PullBlock | PullRange | BlockMessage | Accusation
    ) -> None:
        ordering = self.state.ordering
        match message:
            case PullSlot():
                self._on_pull_slot(peer, message)
            case PullBlock(height, block_id):
                if height != ordering.height:
                    self._greeting.where_i_am(peer)
                elif (answer := ordering.block_message(block_id)) is not None:
                    self.out.to(peer, answer)
            case PullRange(height):
                if 1 <= height <= self.tip.height:
                    self.out.tell(Serve(peer, height))
            case BlockMessage():
                ordering.on_block(message)
            case Accusation(evidence=evidence):
                # Evidence of an epoch we have not reached shows nothing yet; it comes again with a HELLO.
                if not self.state.court.is_known(evidence) and self.state.judge(evidence) is None:
                    self.out.fault(peer, FaultKind.LYING, "evidence that shows nothing")

    def _on_pull_slot(self, peer: MemberId, pull: PullSlot) -> None:
        broadcast = self.state.broadcast
        if pull.epoch > self.tip.epoch or pull.lane >= self.tip.committee.n:
            return
        if pull.epoch < self.tip.epoch or pull.head.seq <= broadcast.lanes[pull.lane].base.seq:
            self._greeting.where_i_am(peer)
            return
        # The end of the branch: what is left out below is named by it, and so pulled next.
        answer: list[SlotMessage] = []
        size = 0
        for kept in reversed(broadcast.branch(pull.lane, have=pull.have, head=pull.head)):
            answer.append(SlotMessage(kept.slot, kept.bodies))
            size += weight(answer[-1])
            if size > PULL_ANSWER:
                break
        for message in reversed(answer):
            self.out.to(peer, message)

    def _on_slot(self, peer: MemberId, message: SlotMessage) -> None:
        slot, state = message.slot, self.state
        if slot.epoch > self.tip.epoch:
            self._keep_early(peer, message, epoch=slot.epoch, height=0)
            return
        if self.history is not None:
            self.history.on_slot(message, peer=peer, now=state.now)
        if slot.epoch < self.tip.epoch:
            return
        if slot.lane == state.me and not self._greeting.check_own_slot(message, peer=peer):
            return
        awaited = state.ordering.awaits(slot)
        if state.broadcast.on_slot(message, peer=peer, awaited=awaited):
            if awaited:
                self._fetch.heard(peer, weight(message), now=state.now)
            self._relay(message, slot.lane, source=peer)
        self._commit_what_is_whole()

    def _on_signed(self, peer: MemberId, message: Signed) -> None:
        state, tip = self.state, self.tip
        height = tip.height + 1 if isinstance(message, Ack) else message.height
        if message.epoch > tip.epoch or height > tip.height + 1:
            at = 0 if isinstance(message, Ack) else message.height
            self._keep_early(peer, message, epoch=message.epoch, height=at)
            return
        if message.epoch < tip.epoch or height <= tip.height:
            if isinstance(message, Propose | RoundChange) or message.epoch < tip.epoch:
                self._greeting.where_i_am(peer)
            return
        if peer not in self.out.members:
            self.out.fault(peer, FaultKind.STRANGER, type(message).__name__)
            return
        if message.signer == state.me:
            self._greeting.check_own(message)
            return
        if isinstance(message, Ack):
            news = state.broadcast.on_ack(message, peer=peer)
        else:
            news = state.ordering.on_vote(message, peer=peer, now=state.now)
        if news:
            self._relay(message, message.signer, source=peer)

    def _keep_early(self, peer: MemberId, message: Message, *, epoch: int, height: int) -> None:
        """Of a later height or epoch: its sender is ahead of us; looked at again once we are there."""
        is_member = peer in self.out.members
        self._early.keep(peer, message, epoch=epoch, height=height, is_member=is_member)
        # An epoch does not end while we are at work in it: the sender may have to show us how it ended.
        if epoch > self.tip.epoch:
            self._greeting.ask_where(peer)

    def _replay_early(self) -> None:
        for peer, message in self._early.take_due(epoch=self.tip.epoch, height=self.tip.height + 1):
            if peer in self.linked:
                self._on_message(peer, message)

    def _relay(self, message: Message, signer: int, *, source: MemberId) -> None:
        """Forward to linked members that are not linked to the signer themselves."""
        author = self.state.epoch.identity(signer)
        for peer in sorted(self.out.members - {author, source}):
            listed = self.state.lists.get(peer)
            if listed is not None and author not in listed:
                self.out.to(peer, message)
