"""Membership as one member handles it: who asks, what is moved, what we want and have backed.

Volatile by design: what lapses with an epoch is moved again, what a restart loses is asked again. What is
in the record or in a slot of ours is not lost, and is neither asked for nor said again.
"""

from collections.abc import Container, Iterable

from chain.block import SLOT_CONTROL, SLOT_CONTROL_BYTES, Slot
from chain.codec import encode
from chain.control import AdmissionRule, Admit, Approve, Control, Motion, Rekey, Remove, Request
from chain.court import Court
from chain.crypto import Verifier
from chain.effects import Asks
from chain.ids import MemberId, SlotId, VoteKey
from chain.ledger import Tip
from chain.membership import Ballot, MotionId, alike, motion_is_valid
from chain.message import JoinRequest, Refusal
from chain.outbox import Outbox

MAX_GUESTS = 32
REKEY_INTERVAL = 3600.0
"""Seconds between two vote keys that one member gets by rule alone: the list of used keys has an end."""


def target_of(motion: Motion) -> MemberId:
    """Whom a motion is about."""
    return motion.member if isinstance(motion, Remove) else motion.request.identity


class Desk:
    """The membership business of one replica."""

    def __init__(
        self,
        *,
        rule: AdmissionRule,
        verify: Verifier,
        out: Outbox,
        me: MemberId,
        court: Court,
        departed: Container[MemberId],
    ) -> None:
        self._rule = rule
        self._verify = verify
        self._out = out
        self._me = me
        self.guests: dict[MemberId, Request] = {}
        """Linked strangers that asked to join."""
        self.motions: dict[MotionId, tuple[Motion, set[MemberId]]] = {}
        """Motions of this epoch in slots we delivered, with who is known to be for them."""
        self._own_word: dict[MemberId, VoteKey] = {}
        """For each link the vote key that it asked to be known by, itself."""
        self._rekeyed: dict[MemberId, tuple[bytes, float]] = {}
        """The last new key that we backed by rule, and when first."""
        self._passed_on: dict[MemberId, set[MemberId]] = {}
        """Whom each linked member told us of."""
        self._wants: dict[MemberId, Motion] = {}
        self._to_move: list[Control] = []
        self._moved: set[Control] = set()
        """What our slots of this epoch hold: said once, it need not be delivered yet to count."""
        self._recalled: list[MotionId] = []
        """Ordered before a restart and not looked at since: what we think of them may be unsaid."""
        self._court = court
        self._departed = departed
        """Who was a member and is none now."""
        self._accused: set[VoteKey] = set()
        """Whom slots of this epoch accuse already."""
        self._proposed: dict[MemberId, VoteKey] = {}
        """Whose removal we propose for what this vote key signed."""

    def take_control(self) -> tuple[Control, ...]:
        """The control items for our next slot, as many as fit into its header."""
        taken: list[Control] = []
        size = 0
        while self._to_move and len(taken) < SLOT_CONTROL:
            size += len(encode(self._to_move[0]))
            if taken and size > SLOT_CONTROL_BYTES:
                break
            taken.append(self._to_move.pop(0))
        self._moved.update(taken)
        return tuple(taken)

    @property
    def has_control(self) -> bool:
        return bool(self._to_move)

    # Guests

    def on_request(self, message: JoinRequest, *, peer: MemberId, tip: Tip, clock_ms: int) -> None:
        """A linked stranger asks to be admitted."""
        request = message.request
        reason = self._refusal(request, peer, tip, clock_ms)
        if reason is not None:
            self._out.to(peer, Refusal(reason))
            return
        if len(self.guests) >= MAX_GUESTS and peer not in self.guests:
            self._out.to(peer, Refusal("too many wait to be admitted; try again later"))
            return
        if self.guests.get(peer) != request:
            self.guests[peer] = request
            self._out.to_all(message)
        if self._wants.get(peer) == Admit(request):  # wanted while only others were linked to it
            self.want(Admit(request), tip=tip)
        self._announce(Admit(request), tip)

    def on_passed_on(self, message: JoinRequest, *, peer: MemberId, tip: Tip, clock_ms: int) -> None:
        """A member tells of a newcomer that it is linked to: ours may approve, the member moves it."""
        request, told = message.request, self._passed_on.setdefault(peer, set())
        if request.identity in told or len(told) >= MAX_GUESTS or request.identity in self.guests:
            return
        if self._refusal(request, request.identity, tip, clock_ms) is None:
            told.add(request.identity)
            self._announce(Admit(request), tip)

    def note_own_word(self, request: Request, *, peer: MemberId) -> None:
        """Somebody asks over its own link: it means it, now."""
        if request.identity == peer:
            self._own_word[peer] = request.vote_key

    def on_comeback(self, message: JoinRequest, *, peer: MemberId, tip: Tip, now: float) -> None:
        """A member asks for a new vote key; only from itself, and others hear of it when it is moved."""
        motion = Rekey(message.request)
        if target_of(motion) != peer or not self._is_valid(motion, tip):
            return
        self._announce(motion, tip)
        if self._may_rekey(motion, now):
            self.want(motion, tip=tip)

    def tell_newly_linked(self, peer: MemberId) -> None:
        """A link to a member came up: it may not know who asks."""
        for request in self.guests.values():
            self._out.to(peer, JoinRequest(request))

    def _refusal(self, request: Request, peer: MemberId, tip: Tip, clock_ms: int) -> str | None:
        if request.identity != peer:
            return "the request is somebody else's"
        if request.voucher is None and request.identity in self._departed:
            # It may have asked for a new key while it was a member: that is no wish to come back.
            return "you were removed from this room; ask a member for a new invitation"
        if any(alike(request.nick, member.nick) for member in tip.committee.members):
            return "somebody here has this nick, or one much like it; choose another"
        if request.voucher is not None and request.voucher.key in tip.spent:
            return "this invitation was used already; ask for a new one"
        if request.voucher is not None and request.voucher.expires * 1000 < clock_ms:
            return "this invitation has expired; ask for a new one"
        if request.voucher is not None and tip.committee.place(request.voucher.inviter) is None:
            return "who invited you is no member of the room any more; ask a member for a new invitation"
        if not self._is_valid(Admit(request), tip):
            return "the request is not valid in this room"
        return None

    def _is_valid(self, motion: Motion, tip: Tip) -> bool:
        return motion_is_valid(
            motion, committee=tip.committee, spent=tip.spent, room=tip.room, verify=self._verify
        )

    def _announce(self, motion: Admit | Rekey, tip: Tip) -> None:
        request = motion.request
        named, backers = self._motion_like(motion)
        verified = request.voucher is not None and tip.committee.place(request.voucher.inviter) is not None
        rekey = isinstance(motion, Rekey)
        self._out.tell(Asks(request, named, frozenset(backers), verified, rekey))

    def _motion_like(self, wanted: Motion) -> tuple[MotionId | None, set[MemberId]]:
        for named, (motion, backers) in self.motions.items():
            if _same_end(wanted, motion):
                return named, backers
        return None, set()

    def link_lost(self, peer: MemberId) -> None:
        """A guest left, or a member that told us of guests."""
        self.guests.pop(peer, None)
        self._passed_on.pop(peer, None)
        self._own_word.pop(peer, None)

    # Motions

    def want(self, motion: Motion, *, tip: Tip) -> None:
        """Move it, or back every motion to the same end; and again in each epoch while it is wanted.

        Only who is linked to a newcomer moves its admission, and so knows that it is still there.
        """
        if not self._is_valid(motion, tip):
            return
        self._wants[target_of(motion)] = motion
        same = [named for named, (other, _) in self.motions.items() if _same_end(motion, other)]
        if same:
            for named in same:
                self._back(named)
        elif self._may_move(motion):
            self._move(motion)

    def _move(self, motion: Motion) -> None:
        if not any(_same_end(motion, other) for other in (*self._to_move, *self._moved)):
            self._to_move.append(motion)

    def _may_move(self, motion: Motion) -> bool:
        return not isinstance(motion, Admit) or motion.request.identity in self._out.linked

    def unwant(self, member: MemberId) -> None:
        self._wants.pop(member, None)
        self._to_move = [
            control
            for control in self._to_move
            if not (isinstance(control, Admit | Remove | Rekey) and target_of(control) == member)
        ]

    def _back(self, named: MotionId) -> None:
        backers = self.motions[named][1]
        if self._me not in backers:
            backers.add(self._me)
            if Approve(*named) not in self._moved:
                self._to_move.append(Approve(*named))

    # Accusations

    def accuse(self, *, tip: Tip) -> None:
        """Have the evidence against members ordered that nobody put into a slot yet; propose their removal.

        For who catches a member, and for all who know of it and see, in a new epoch or after a restart,
        that it is still not in the record.
        """
        for member in tip.committee.members:
            key = member.vote_key
            accusation = self._court.convicted.get(key)
            if (
                accusation is None
                or key in self._court.ordered | self._accused
                or member.identity == self._me
            ):
                continue
            self._accused.add(key)
            self._to_move.append(accusation)
            self._proposed[member.identity] = key
        self._propose_removals(tip)

    def note_accused(self, key: VoteKey) -> None:
        """A slot of this epoch holds evidence against this vote key."""
        self._accused.add(key)

    def _propose_removals(self, tip: Tip) -> None:
        """Move the removal of whom we caught, and no more than that: what others move, people approve.

        Who came back with another vote key is not proposed any more.
        """
        keys = {member.identity: member.vote_key for member in tip.committee.members}
        for member, key in list(self._proposed.items()):
            if keys.get(member) != key:
                del self._proposed[member]
            elif self._motion_like(Remove(member))[0] is None:
                self._move(Remove(member))

    def recall(self, ballot: Ballot, said: Iterable[Control]) -> None:
        """After a restart: the motions that were ordered in this epoch, and who was for them.

        `said`: what stands in slots of ours that are not ordered yet.
        """
        for named, (motion, backers) in ballot.motions.items():
            self.motions[named] = motion, set(backers)
        self._recalled = list(self.motions)
        self._moved.update(said)

    def look_back(self, *, tip: Tip, clock_ms: int) -> None:
        """Back what was ordered before a restart as if it were delivered now, and tell of it.

        A slot is ordered for us while we may not sign yet: what we would have said then is lost if we stop
        before we may. A new vote key is not among this: its owner asks for it itself over each new link.
        """
        recalled, self._recalled = self._recalled, []
        for named in recalled:
            motion, backers = self.motions[named]
            if not isinstance(motion, Rekey):
                leaves = any(_is_leave(motion, backer) for backer in backers)
                if leaves or self._may_admit(motion, tip, clock_ms):
                    self._back(named)
                self._announce_motion(named, tip)

    def on_delivered(self, slot_id: SlotId, slot: Slot, *, tip: Tip, now: float, clock_ms: int) -> None:
        """Read the control items of a delivered slot; back what we want, or what the room's rule asks for."""
        author = tip.committee.members[slot.lane].identity
        for position, control in enumerate(slot.control):
            match control:
                case Approve(slot=motion_slot, position=motion_position):
                    named = (motion_slot, motion_position)
                    if named in self.motions:
                        self.motions[named][1].add(author)
                        self._announce_motion(named, tip)
                case Admit() | Remove() | Rekey():
                    if self._is_valid(control, tip):
                        named = (slot_id, position)
                        self.motions[named] = control, {author}
                        wanted = self._wants.get(target_of(control))
                        if (
                            (wanted is not None and _same_end(wanted, control))
                            or _is_leave(control, author)
                            or self._may_admit(control, tip, clock_ms)
                            or self._may_rekey(control, now)
                        ):
                            self._back(named)
                        self._announce_motion(named, tip)
                case _:
                    pass

    def _may_rekey(self, motion: Motion, now: float) -> bool:
        """With the `auto` rule a member gets a new vote key for the asking, now and then."""
        if self._rule is not AdmissionRule.AUTO or not isinstance(motion, Rekey):
            return False
        if not self._is_meant(motion):
            return False
        member, key = motion.request.identity, motion.request.vote_key
        last = self._rekeyed.get(member)
        if last is None or now - last[1] >= REKEY_INTERVAL:
            self._rekeyed[member] = key, now
        return self._rekeyed[member][0] == key

    def _is_meant(self, motion: Rekey) -> bool:
        """Others may bring up what a member asked for long ago; if it is linked to us, it tells us itself."""
        request = motion.request
        linked = request.identity in self._out.linked
        return not linked or self._own_word.get(request.identity) == request.vote_key

    def _may_admit(self, motion: Motion, tip: Tip, clock_ms: int) -> bool:
        """With the `auto` rule every honest node approves a valid invitation that is not over."""
        return (
            self._rule is AdmissionRule.AUTO
            and isinstance(motion, Admit)
            and motion.request.voucher is not None
            and motion.request.voucher.expires * 1000 >= clock_ms
            and not any(alike(motion.request.nick, member.nick) for member in tip.committee.members)
        )

    def _announce_motion(self, named: MotionId, tip: Tip) -> None:
        motion, backers = self.motions[named]
        if isinstance(motion, Rekey) and not self._is_meant(motion):
            return
        if isinstance(motion, Admit | Rekey) and self._me not in {target_of(motion), *backers}:
            self._announce(motion, tip)

    def new_epoch(self, *, tip: Tip) -> None:
        """Every motion of the old epoch lapsed; move again what is still wanted and can be."""
        self.motions.clear()
        self._to_move.clear()
        self._moved.clear()
        self._recalled.clear()
        self._accused.clear()
        for peer, request in list(self.guests.items()):
            if tip.committee.place(peer) is not None:
                del self.guests[peer]
            elif (reason := self._refusal(request, peer, tip, clock_ms=0)) is not None:
                del self.guests[peer]  # somebody else came in by this nick or invitation
                self._out.to(peer, Refusal(reason))
        for member, motion in list(self._wants.items()):
            if not self._is_valid(motion, tip):
                del self._wants[member]
            elif self._may_move(motion):
                self._to_move.append(motion)
        self._passed_on.clear()
        self.accuse(tip=tip)
        for request in self.guests.values():
            self._out.to_all(JoinRequest(request))
            self._announce(Admit(request), tip)


def _is_leave(motion: Motion, author: MemberId) -> bool:
    """Whoever wants to go may go, whatever the rule."""
    return isinstance(motion, Remove) and motion.member == author


def _same_end(one: Control, other: Control) -> bool:
    """Whether both lead to the same, as far as it is up to us: a member's two new keys do not."""
    match one, other:
        case Rekey(request=request), Rekey(request=another):
            same_key = request.vote_key == another.vote_key
            return same_key and request.identity == another.identity
        case (Admit() as motion, Admit() as like) | (Remove() as motion, Remove() as like):
            return target_of(motion) == target_of(like)
        case _:
            return False
