"""A newcomer's way in: reach a member with the invitation, ask, and wait until the record names us.

Until then nothing but epoch-final blocks is believed, and only as far as their signatures lead from the
room's fingerprint (or the invitation's anchor) to a committee with us in it.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import trio
from nacl.signing import SigningKey

from chain.codec import decode
from chain.control import Anchor, Genesis, Request, Voucher, make_request
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.effects import Arrived, ComeBack, Input, LinkDown, LinkUp, RoundTrip, Say, Unwant, Want
from chain.errors import MalformedError
from chain.ids import BlockId, MemberId, RoomId
from chain.joiner import Joiner
from chain.message import Hello, JoinRequest, pack, unpack
from chain.records import KeepEpoch
from node.bus import Bus
from node.errors import Exit, NodeError, UsageError
from node.events import AnyEvent, NoticeEvent, WordsEvent
from node.lobby import OpenLobby
from node.mesh import Mesh
from signaling.description import Offer
from signaling.invitation import Invitation, invitation_key
from signaling.refusal import Reason

logger = logging.getLogger(__name__)

_ASK_AGAIN: Final = 5.0  # seconds; members push what is new, this is for when that was lost
_MAX_PRESENT: Final = 4
_MAX_GRANT: Final = 512
_LOOKING: Final = "Looking for a member to connect to."
_WAITING: Final = "Connected; waiting for the members to let us in."
_BROKEN: Final = "The connection ended; trying again."
_BROKEN_BY_TOKEN: Final = (
    "The connection ended. If it does not come back by itself, ask for a new token and paste it here."
)
_REASONS: Final = {
    Reason.USED: "this invitation was used already; ask for a new one",
    Reason.EXPIRED: "this invitation has expired; ask for a new one",
}
_HINT: Final = "Join with another --as NICK or a new invitation, whichever it says."


Way = Invitation | Offer | OpenLobby
"""What a newcomer comes with."""


@dataclass(frozen=True)
class Admitted:
    """What a newcomer begins its record from."""

    genesis: Genesis
    epochs: tuple[KeepEpoch, ...]
    heard: tuple[Arrived, ...]
    """The last HELLO of each linked peer. It is said once, so the member has to hear it too."""


class Newcomer:
    """Takes the inbox until we are a member; the links it leaves go on as a member's."""

    def __init__(
        self,
        *,
        way: Way,
        nick: str,
        identity: SigningKey,
        vote: SigningKey,
        mesh: Mesh,
        bus: Bus,
        inbox: trio.MemoryReceiveChannel[Input],
        known: Mapping[str, str],
        faults: Counter[str],
    ) -> None:
        """`known`: nicks of those this home has met, by identity (hex).

        `way`: an offer brings us to a member, and a lobby shows one; it then grants the invitation."""
        self._me = MemberId(bytes(identity.verify_key))
        self._mesh = mesh
        self._bus = bus
        self._inbox = inbox
        self._known_nicks = known
        self._faults = faults
        self._room = RoomId(way.room)
        self._inviter = _inviter_of(way)
        self.asks_password = not isinstance(way, Invitation) and way.protected
        """It is known that this room asks for a password."""
        self._broken = _BROKEN_BY_TOKEN if isinstance(way, Offer) else _BROKEN
        self._make_request = partial(_make_request, nick=nick, identity=identity, vote=vote)
        self._vote_key = bytes(vote.verify_key)
        self._request: Request | None = None
        self.invitation: Invitation | None = None
        if isinstance(way, Invitation):
            self.grant(way)
        self._present: dict[bytes, None] = {}
        self._joiners: dict[MemberId, Joiner] = {}
        self._hellos: dict[MemberId, Arrived] = {}
        self._standing = _LOOKING
        self._refusal: NodeError | None = None
        self._scope = trio.CancelScope()

    def grant(self, invitation: Invitation) -> None:
        """What to ask with from now on; UsageError if it cannot be used."""
        self._request = self._make_request(invitation)
        self.invitation = invitation

    def give_up(self, error: NodeError) -> None:
        """End, for there is no way in any more."""
        self._refusal = error
        self._scope.cancel()

    @property
    def can_ask(self) -> bool:
        """Whether we have what a member is asked with in a lobby: an invitation, or the password."""
        return self.invitation is not None or self.asks_password

    def wanted(self) -> set[bytes]:
        """Whom to reach: the inviter, and whoever says in a lobby that it is there to be asked."""
        return self._known() - self._mesh.linked() - {self._me}

    def admits(self, sender: bytes) -> bool:
        """Whether to answer an offer: a member that was restarted knows that we were let in before we do."""
        return sender in self._known()

    def _known(self) -> set[bytes]:
        return {*self._present} if self._inviter is None else {self._inviter, *self._present}

    def on_presence(self, member: bytes) -> None:
        """Somebody may be asked, whoever it is: what it says has to follow from the room's fingerprint."""
        self._present.pop(member, None)
        if len(self._present) >= _MAX_PRESENT:
            del self._present[next(iter(self._present))]
        self._present[member] = None

    def on_refused(self, peer: bytes, reason: Reason) -> None:
        """A peer says, without a link, that our invitation is over."""
        self._on_refusal(MemberId(peer), _REASONS[reason], knows_room=False)

    def events(self) -> list[AnyEvent]:
        """What a subscriber that comes later has to know."""
        words: list[AnyEvent] = [self._words_event(peer) for peer in sorted(self._joiners)]
        return [*words, NoticeEvent(message=self._standing)]

    def _words_event(self, peer: MemberId) -> WordsEvent:
        known = self._known_nicks.get(peer.hex(), "")
        return WordsEvent(member=peer.hex(), words=self._mesh.words(peer), known=known)

    async def run(self) -> Admitted:
        """Ask until admitted; NodeError when the room refuses. Never gives up by itself."""
        self._mesh.watch(True)  # somebody waits for this
        with self._scope:
            return await self._ask()
        assert self._refusal is not None
        raise self._refusal

    async def _ask(self) -> Admitted:
        look_at = trio.current_time() + _ASK_AGAIN
        while True:
            item: Input | None = None
            with trio.move_on_at(look_at):
                item = await self._inbox.receive()
            if item is None:
                look_at = trio.current_time() + _ASK_AGAIN
                for peer, joiner in self._joiners.items():
                    self._send(peer, joiner.start())
                continue
            admitted = self._take(item)
            if admitted is not None:
                return admitted

    def _take(self, item: Input) -> Admitted | None:
        match item:
            case LinkUp(peer=peer):
                self._joiners[peer] = Joiner(
                    room=self._room,
                    identity=self._me,
                    anchor=None if self.invitation is None else _anchor_of(self.invitation),
                    verify=ed25519_verify,
                )
                self._bus.publish(self._words_event(peer))
                self._send(peer, self._joiners[peer].start())
                if self._request is not None:
                    self._send(peer, pack([JoinRequest(self._request)]))
                self._stand(_WAITING)
            case LinkDown(peer=peer):
                self._joiners.pop(peer, None)
                self._hellos.pop(peer, None)
                if not self._joiners:
                    self._stand(self._broken)
            case Arrived(peer=peer, data=data):
                if peer in self._joiners and _says_hello(data):
                    self._hellos[peer] = item
                return self._receive(peer, data)
            case Say() | Want() | Unwant() | RoundTrip() | ComeBack():
                pass  # only members' nodes make these
            case _:
                assert_never(item)
        return None

    def _receive(self, peer: MemberId, data: bytes) -> Admitted | None:
        joiner = self._joiners.get(peer)
        if joiner is None:
            return None
        step = joiner.receive(data)
        if step.fault is not None:
            self._faults["join: lying peer"] += 1
            logger.warning("%s: %s", peer.hex()[:8], step.fault)
            self._present.pop(peer, None)
            self._mesh.drop(peer)
            self._tell(
                f"What {peer.hex()[:8]} says does not follow from this room's fingerprint: {step.fault}."
            )
            return None
        if step.refused is not None:
            self._on_refusal(peer, step.refused, knows_room=joiner.genesis is not None)
        self._send(peer, step.send)
        if step.admitted is None:
            return None
        assert joiner.genesis is not None, "a walk begins with it"
        return self._check(Admitted(joiner.genesis, step.admitted, tuple(self._hellos.values())))

    def _on_refusal(self, peer: MemberId, reason: str, *, knows_room: bool) -> None:
        """Final if it comes from whom we were sent to, or from somebody in the room; else just noise."""
        if peer == self._inviter or knows_room:
            message = f"The room refused the request: {reason}."
            self.give_up(NodeError(message, _HINT, exit_code=Exit.NO))
            return
        self._tell(f"{peer.hex()[:8]} refuses: {reason}.")
        self._present.pop(peer, None)
        self._mesh.drop(peer)

    def _check(self, admitted: Admitted) -> Admitted:
        committee = admitted.epochs[-1].final.next_committee
        place = committee.place(self._me) if committee is not None else None
        if committee is None or place is None or committee.members[place].vote_key != self._vote_key:
            raise NodeError(
                "This identity is a member of the room already, with a vote key that is not here.",
                "Use the home it was admitted from, or another --home with a new identity.",
                exit_code=Exit.MISMATCH,
            )
        return admitted

    def _send(self, peer: MemberId, envelopes: Sequence[bytes]) -> None:
        for envelope in envelopes:
            self._mesh.send(peer, envelope)

    def _stand(self, message: str) -> None:
        """Say how it stands, when that is news."""
        if message != self._standing:
            self._standing = message
            self._tell(message)

    def _tell(self, message: str) -> None:
        self._bus.publish(NoticeEvent(message=message))


def _says_hello(data: bytes) -> bool:
    try:
        return any(isinstance(message, Hello) for message in unpack(data))
    except MalformedError:
        return False


def _inviter_of(way: Way) -> bytes | None:
    match way:
        case Invitation(inviter=inviter):
            return inviter
        case Offer(sender=sender):
            return sender
        case OpenLobby():
            return None  # whoever says that it is there
        case _:
            assert_never(way)


def _anchor_of(invitation: Invitation) -> Anchor | None:
    anchor = invitation.anchor
    return None if anchor is None else Anchor(anchor.height, BlockId(anchor.id))


def _make_request(invitation: Invitation, *, nick: str, identity: SigningKey, vote: SigningKey) -> Request:
    try:
        voucher = decode(invitation.grant, Voucher, limit=_MAX_GRANT)
    except MalformedError:
        raise UsageError("This invitation does not say who vouches for you.", "Ask for a new one.") from None
    return make_request(
        room=RoomId(invitation.room),
        nick=nick,
        identity=Ed25519Signer(bytes(identity)),
        vote=Ed25519Signer(bytes(vote)),
        voucher=voucher,
        invitation=Ed25519Signer(bytes(invitation_key(invitation.secret))),
        anchor=_anchor_of(invitation),
    )
