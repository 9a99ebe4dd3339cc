"""What links are asked while they are made: whom we want, who may come, and how a newcomer is seen in.

One object for a node's whole life: at first it may be a newcomer's, and a member's once there is a seat.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from nacl.signing import SigningKey

from chain.ids import MemberId
from node.admission import introduction
from node.attempt import Introduction
from node.bus import Bus
from node.carriage import Carriage
from node.connect import OFFER_LIFE, rendezvous
from node.errors import ConnectFailed, GaveUpFirst, Unreachable, UsageError
from node.events import NoticeEvent
from node.introduce import InBand
from node.joining import Newcomer
from node.mesh import MAX_GUESTS, Line, Mesh
from node.pairing import Pairing
from node.reception import AskPassword, Guest, Host, Reception
from node.seat import Seat
from node.webrtc import Rtc
from signaling.description import Offer, RoomId
from signaling.invitation import Invitation
from signaling.refusal import Reason

_NO_CARRIER: Final = "Check your network and that address, or agree on another carrier: --via."
_NEW_TOKEN: Final = "Ask for a new token, and join with that."
_IF_AGAIN: Final = "If that fails too, `pigeon doctor` names what is in the way."
_TRIED_AGAIN: Final = "It is tried again; `pigeon doctor` names what is in the way."


class Threshold:
    """`seat` and `newcomer`: what we are now. `invitation()`: one more, for a guest inside its channel."""

    def __init__(
        self,
        *,
        seat: Callable[[], Seat | None],
        newcomer: Callable[[], Newcomer | None],
        is_leaving: Callable[[], bool],
        room: RoomId,
        mesh: Mesh,
        bus: Bus,
        invitation: Callable[[], Awaitable[Invitation]],
        password: AskPassword,
        keep_secret: Callable[[bytes], None],
        faults: Counter[str],
    ) -> None:
        self._seat = seat
        self._newcomer = newcomer
        self._is_leaving = is_leaving
        self._room = room
        self._mesh = mesh
        self._bus = bus
        self._keep_secret = keep_secret
        self._has_told_unreached = False
        self._faults = faults
        self.pairing = Pairing(
            room=room,
            bus=bus,
            welcome=self._welcome,
            admits=self._may_be_brought,
            faults=faults,
        )
        self.secret: bytes | None = None
        """The room's password, stretched, if it has one."""
        self.reception = Reception(
            is_guest=lambda: self._seat() is None,
            host=Host(
                password=lambda: self.secret,
                is_member=self._is_member,
                may_come_in=self._may_come_in,
                may_have_invitation=self._may_have_invitation,
                invitation=invitation,
                tell=self._tell,
                faults=faults,
            ),
            guest=Guest(
                ask=password,
                has_invitation=self._has_invitation,
                granted=self._granted,
                keep=self._keep,
                tell=self._tell,
                faults=faults,
            ),
        )

    def remember(self, secret: bytes | None) -> None:
        """What was kept of the room's password; None: nothing."""
        self.secret = secret
        if secret is not None:
            self.reception.guest.remember(secret)

    async def meet(
        self,
        *,
        rtc: Rtc,
        carriage: Carriage,
        identity: SigningKey,
        first: Offer | None,
        links: trio.MemorySendChannel[Line],
        in_band: InBand | None = None,
        offer_life: float = OFFER_LIFE,
    ) -> None:
        """Make links, and hold them, until cancelled. `first`: the offer we came with."""
        newcomer = self._newcomer()
        if first is not None:
            self.pairing.brought(first)
        if newcomer is not None and newcomer.asks_password:
            await self.reception.guest.ready(self._room)
        if newcomer is not None and first is not None and first.expires <= time.time():
            newcomer.give_up(Unreachable("The token expired before it could be used.", _NEW_TOKEN))
        await rendezvous(
            rtc=rtc,
            carriers=carriage.carriers,
            identity=identity,
            room=self._room,
            wanted=self.wanted,
            admits=self.admits,
            links=links,
            in_band=in_band,
            open_offers=self.pairing.offers,
            first=first,
            reception=self.reception,
            introduce=self._introduce,
            on_presence=self._on_presence,
            on_refused=self._on_refused,
            on_failed=self._on_failed,
            on_carrier=carriage.on_carrier,
            host=lambda: self._seat() is not None,
            offer_life=offer_life,
            faults=self._faults,
        )

    async def despair(self, carriage: Carriage) -> None:
        """End a newcomer's waiting when nothing of what may carry for it works."""
        newcomer = self._newcomer()
        if newcomer is None or newcomer.invitation is None:
            return
        why = await carriage.hopeless()
        if not self._mesh.linked():
            newcomer.give_up(
                Unreachable(f"No member can be reached, for nothing carries: {why}", _NO_CARRIER)
            )

    def wanted(self) -> set[bytes]:
        """Whom we want a link with and have none."""
        seat, newcomer = self._seat(), self._newcomer()
        if self._is_leaving():
            return set()  # while we say goodbye nobody is linked anew
        if seat is not None:
            members = {member.identity for member in seat.committee.members}
            return set(members - self._mesh.linked() - {seat.me})
        return newcomer.wanted() if newcomer is not None else set()

    def admits(self, sender: bytes, shown: Introduction | None, offer_hash: bytes) -> bool | Reason:
        """Whether to answer this offer; in a room with a password anybody may come and be asked for it."""
        admitted = self._admits(sender, shown, offer_hash)
        if admitted is False and shown is None and self._seat() is not None and self.secret is not None:
            return not self._is_leaving() and self._mesh.guests() < MAX_GUESTS // 2
        return admitted

    def _admits(self, sender: bytes, shown: Introduction | None, offer_hash: bytes) -> bool | Reason:
        seat, newcomer = self._seat(), self._newcomer()
        if self._is_leaving():
            return False
        if seat is not None:
            return seat.admits(sender, shown, offer_hash)
        return newcomer is not None and newcomer.admits(sender)

    def _may_be_brought(self, offer: Offer) -> bool:
        """Whether an offer in a token that somebody brings is answered; a newcomer knows whom it trusts."""
        coming = self._coming()
        if coming is not None and offer.invites:
            coming.on_presence(offer.sender)
        return self._admits(offer.sender, None, b"") is True

    def _welcome(self, sender: bytes, invites: bool) -> bool:
        """Whether an answer of theirs to an offer to whoever holds it is taken."""
        seat = self._seat()
        if self._is_leaving() or seat is None:
            return False
        return seat.is_member(MemberId(sender)) or (invites and self._mesh.guests() < MAX_GUESTS)

    def _coming(self) -> Newcomer | None:
        """We, as long as we are no member."""
        return self._newcomer() if self._seat() is None else None

    def _introduce(self, offer_hash: bytes) -> Introduction | None:
        newcomer = self._newcomer()
        if newcomer is None or newcomer.invitation is None:
            return None
        return introduction(newcomer.invitation, offer_hash)

    def _on_presence(self, member: bytes) -> None:
        coming = self._coming()
        if coming is not None:
            coming.on_presence(member)

    def _on_refused(self, member: bytes, reason: Reason) -> None:
        coming = self._coming()
        if coming is not None:
            coming.on_refused(member, reason)

    def _on_failed(self, peer: bytes | None, offer: Offer, error: ConnectFailed) -> None:
        """No link came of an offer to whoever holds it, or of one that was answered."""
        coming = self._coming()
        if self.reception.guest.is_over:
            return  # it says itself why
        if offer.recipient is not None:
            self._tell_unreached(coming, error)
        elif coming is not None and (self.pairing.by_offer or not coming.can_ask) and not self._mesh.linked():
            hint = error.hint if isinstance(error, GaveUpFirst) else f"{_NEW_TOKEN} {_IF_AGAIN}"
            coming.give_up(Unreachable(f"No member was reached: {error.message}", hint))
        else:
            self.pairing.on_failed(peer, offer, error)

    def _tell_unreached(self, coming: Newcomer | None, error: ConnectFailed) -> None:
        """A newcomer would wait in silence for what machines try again; members have one another."""
        if coming is not None and not self._mesh.linked() and not self._has_told_unreached:
            self._has_told_unreached = True
            self._tell(f"A member answered. {error.message} {error.hint or ''} {_TRIED_AGAIN}")

    # inside the channel

    def _is_member(self, peer: bytes) -> bool:
        seat = self._seat()
        return seat is not None and seat.is_member(MemberId(peer))

    def _may_come_in(self, peer: bytes) -> bool:
        seat = self._seat()
        return seat is not None and seat.knows(MemberId(peer))

    def _may_have_invitation(self, _guest: bytes, offer: Offer) -> bool:
        """A guest who knows the password, or came by an offer of ours that invites."""
        seat = self._seat()
        ours = seat is not None and bytes(offer.sender) == seat.me
        return self.secret is not None or (ours and offer.invites)

    def _has_invitation(self) -> bool:
        newcomer = self._newcomer()
        return newcomer is not None and newcomer.invitation is not None

    def _granted(self, invitation: Invitation) -> None:
        """A member that we reached hands us an invitation."""
        newcomer = self._newcomer()
        assert newcomer is not None, "only newcomers ask for one"
        try:
            newcomer.grant(invitation)
        except UsageError as error:
            raise ConnectFailed(error.message, error.hint) from None

    async def _keep(self, secret: bytes) -> None:
        await trio.to_thread.run_sync(self._keep_secret, secret)
        self.secret = secret

    def _tell(self, message: str) -> None:
        self._bus.publish(NoticeEvent(message=message))
