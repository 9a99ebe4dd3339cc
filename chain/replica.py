"""One member's whole chain: inputs in, effects out; broadcast, ordering and membership composed.

A step is one tick: all its inputs are taken in, the rules run until nothing moves, and one durable
transaction stands before everything that may be sent or shown.
"""

from collections.abc import Sequence
from typing import assert_never

from chain.answers import Answers
from chain.backlog import Backlog
from chain.block import Body, Head, Leaf, Slot
from chain.codec import encode
from chain.comeback import Comeback
from chain.control import Accuse, AdmissionRule
from chain.crypto import Signer, Verifier
from chain.desk import Desk
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
    RoundTrip,
    Say,
    SetTimer,
    Unwant,
    Want,
)
from chain.errors import MalformedError
from chain.fetch import Fetch
from chain.greeting import Greeting
from chain.history import History
from chain.ids import MemberId
from chain.intake import Intake
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
    SlotCertificate,
    SlotMessage,
    unpack,
)
from chain.ordering import Commit
from chain.records import (
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
        self._backlog = Backlog(snapshot.queue, out=self.out)
        self.desk = Desk(
            rule=rule,
            verify=verify,
            out=self.out,
            me=identity,
            court=self.state.court,
            departed=self.state.departed,
        )
        self.desk.recall(self.state.tip.ballot, self.state.own_control())
        self.desk.accuse(tip=self.tip)
        self.history: History | None = None
        if snapshot.history is not None and snapshot.base is not None:
            self.history = History(snapshot.history, base=snapshot.base, verify=verify, out=self.out)
        self._fetch = Fetch(self.out)
        self._greeting = Greeting(self.state, fetch=self._fetch, history=self.history)
        self._timer: float | None = None
        self._observing = self.journal_lost
        self._intake = Intake(self.state, greeting=self._greeting, fetch=self._fetch, history=self.history)
        self._answers = Answers(self.state, greeting=self._greeting)
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
        return bool(self._backlog) or self.state.broadcast.anything_unordered()

    @property
    def queue(self) -> tuple[Body, ...]:
        """What we said and have not put into a slot yet, oldest first."""
        return tuple(self._backlog.bodies)

    def own_unordered(self) -> tuple[Body, ...]:
        """Our own messages that are not final, oldest first."""
        bodies = (*self.state.own_in_slots(), *self.queue)
        return tuple({body.uuid: body for body in bodies}.values())

    # One tick

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]:
        """Take in what came since the last tick; `now` is monotonic seconds, `clock_ms` wall time."""
        self.state.now, self.state.clock_ms = now, clock_ms
        self.desk.look_back(tip=self.tip, clock_ms=clock_ms)
        self._take_answers()
        for item in inputs:
            self._take(item)
        self._judge_accused()
        if self.journal_lost and not self._observing:
            self._greeting.observe()
        self._observing = self.journal_lost
        exchange_again = self._greeting.exchange()
        deadline = min((at for at in (self._settle(), exchange_again) if at is not None), default=None)
        self._greeting.seek_confirmation()
        if self._greeting.level:
            self._comeback.ask()
        self._backlog.save()
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
                self._backlog.say(body)
            case Want(motion):
                self.desk.want(motion, tip=self.tip)
            case Unwant(member):
                self.desk.unwant(member)
            case RoundTrip(p95):
                self.state.measured_round_trip(p95)
            case ComeBack(request, key):
                self._comeback.begin(request, key)

    def _say_again(self, peer: MemberId) -> None:
        """Who asks for a HELLO may be a member only since: what it was told as a guest reached nobody."""
        self.desk.tell_newly_linked(peer)
        self._comeback.forget(peer)

    def _link_down(self, peer: MemberId) -> None:
        self._comeback.forget(peer)
        self._intake.link_lost(peer)
        self._answers.link_lost(peer)
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
        if not broadcast.may_append() or not (self._backlog or self.desk.has_control):
            return False
        bodies, control = self._backlog.take(), self.desk.take_control()
        broadcast.append(bodies, control, claimed_time=self.state.clock_ms)
        return True

    # Heights and epochs

    def _commit(self, commit: Commit) -> None:
        state, block, after = self.state, commit.extension.block, commit.extension.tip
        # Who gave up on a round may be shown too few precommits, and its timer does not run again.
        # So may who signs nothing: it never gives up.
        observers = self._greeting.observers & self.out.members
        for peer in sorted({*state.ordering.may_miss(), *observers}):
            self.out.to(peer, Committed(block, commit.certificate))
        self._backlog.drop(state.own_ordered(block.cut))
        grounds = state.ordering.objections.grounds() if commit.certificate.round > 0 else ()
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
        for peer, message in self._intake.due():
            if peer in self.linked:
                self._on_message(peer, message)

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
        self._backlog.take_back(state.own_in_slots())
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
            if before.committee.place(peer) is None:
                self._greeting.hello(peer, reply=True)
        self._greeting.part(Committed(block, certificate))

    # Catching up

    def _pursue(self) -> float | None:
        if self.state.forked or self.removed:
            return None
        look_again = self._fetch.pursue(
            self.tip.height + 1, now=self.state.now, witnesses=self.tip.committee.f + 1
        )
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
        if not any(fetch.hold(peer, messages, size=len(data), now=self.state.now) for fetch in fetches):
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
                if message.reply and peer in self.out.members:
                    self._say_again(peer)
            case SlotMessage():
                self._intake.on_slot(peer, message)
                self._commit_what_is_whole()
            case Committed():
                self._on_committed(peer, message)
            case JoinRequest():
                self._on_join_request(peer, message)
            case PullSlot() | PullBlock() | PullRange() | PullFinals():
                self._answers.give(peer, message)
            case Refusal() | Finals():
                pass  # for those who are not members yet
            case Ack() | Prevote() | Precommit() | RoundChange() | Propose():
                self._intake.on_signed(peer, message)
            case SlotCertificate():
                self._intake.on_certificate(peer, message)
            case BlockMessage() | Accusation():
                if peer in self.out.members:
                    self._on_members_word(peer, message)
                elif not (peer in self.state.departed or self._greeting.is_ahead(peer)):
                    self.out.fault(peer, FaultKind.STRANGER, type(message).__name__)
            case _:
                assert_never(message)

    def _on_members_word(self, peer: MemberId, message: BlockMessage | Accusation) -> None:
        if isinstance(message, BlockMessage):
            self.state.ordering.on_block(message)
        else:
            self._on_accusation(peer, message.evidence)

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

    def _on_accusation(self, peer: MemberId, evidence: bytes) -> None:
        """Evidence of an epoch we have not reached shows nothing yet; it comes again with a HELLO."""
        court = self.state.court
        if court.is_ahead(evidence):
            self._greeting.ask_where(peer)
        elif not court.is_known(evidence) and self.state.judge(evidence) is None:
            self.out.fault(peer, FaultKind.LYING, "evidence that shows nothing")
