"""Who may come in: invitations given out, introductions checked, and requests that wait for approval.

A member that is linked with a newcomer moves its admission: at once under the `auto` rule and a good
invitation, otherwise when its user says so. Whether a quorum agrees is the chain's matter.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import msgspec
from nacl.signing import SigningKey

from chain.codec import decode, encode
from chain.control import AdmissionRule, Admit, Rekey, Voucher, make_voucher
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.effects import Asks, Input, Unwant, Want
from chain.errors import MalformedError
from chain.ids import Hash, MemberId, RoomId
from chain.ledger import Tip
from node.api import MemberView
from node.attempt import Introduction
from node.errors import Exit, NodeError, UsageError
from node.events import AsksEvent
from signaling.invitation import DEFAULT_LIFE, Anchor, Invitation, invitation_key
from signaling.refusal import Reason

_MAX_ASKING: Final = 64
_MAX_CHANGES: Final = 8  # of one newcomer's mind about its nick, while it is linked
_MAX_GRANT: Final = 512
_MAX_HINTS: Final = 4
_MAX_HINT: Final = 200
_PREFIX: Final = 4  # digits of an id that are enough to mean somebody


def introduction(invitation: Invitation, offer_hash: bytes) -> Introduction:
    """What a newcomer shows with its offer: the grant, and proof that it has the secret, for this offer."""
    key = invitation_key(invitation.secret)
    proof = key.sign(_introduction_text(invitation.room, offer_hash)).signature
    return Introduction(grant=invitation.grant, proof=proof)


def _introduction_text(room: bytes, offer_hash: bytes) -> bytes:
    return b"pigeon/introduction/v1\0" + room + offer_hash


class Admission:
    """A member's view of who wants to come in. Not durable: a newcomer that still waits asks again."""

    def __init__(
        self,
        *,
        room: RoomId,
        rule: AdmissionRule,
        identity: SigningKey,
        max_peers: int,
        tip: Callable[[], Tip],
        words: Callable[[MemberId], str],
        guests_full: Callable[[], bool],
        submit: Callable[[Input], None],
        faults: Counter[str],
    ) -> None:
        self._room = room
        self._rule = rule
        self._identity = identity
        self._max_peers = max_peers
        self._tip = tip
        self._words = words
        self._guests_full = guests_full
        self._submit = submit
        self._faults = faults
        self._asking: dict[MemberId, Asks] = {}
        self._told: dict[MemberId, AsksEvent] = {}
        self._changes: Counter[MemberId] = Counter()

    # invitations

    def invite(self, *, carriers: Sequence[str], anchor: Anchor | None) -> Invitation:
        """One more invitation that works once, for a day."""
        expires = int(time.time()) + DEFAULT_LIFE
        secret = secrets.token_bytes(16)
        voucher = make_voucher(
            room=self._room,
            key=Hash(bytes(invitation_key(secret).verify_key)),
            expires=expires,
            inviter=Ed25519Signer(bytes(self._identity)),
        )
        return Invitation(
            room=self._room,
            inviter=bytes(self._identity.verify_key),
            secret=secret,
            expires=expires,
            anchor=anchor,
            carriers=tuple(spec for spec in carriers if len(spec) <= _MAX_HINT)[:_MAX_HINTS],
            grant=encode(voucher),
        )

    def admits(self, sender: bytes, shown: Introduction | None, offer_hash: bytes) -> bool | Reason:
        """Whether to answer this offer: a member's, or that of a newcomer with a good invitation.

        Who holds one of ours that is over learns why not, and nothing else.
        """
        tip = self._tip()
        if tip.committee.place(MemberId(sender)) is not None:
            return True
        if shown is None:
            return False
        try:
            voucher = decode(shown.grant, Voucher, limit=_MAX_GRANT)
        except MalformedError:
            self._faults["admission: malformed grant"] += 1
            return False
        text = _introduction_text(self._room, offer_hash)
        if not self._is_ours(voucher, tip) or not ed25519_verify(voucher.key, text, shown.proof):
            self._faults["admission: invitation not valid"] += 1
            return False
        reason = _why_over(voucher, tip)
        return reason if reason is not None else not self._guests_full()

    def _is_ours(self, voucher: Voucher, tip: Tip) -> bool:
        """Whether a member made it."""
        return tip.committee.place(voucher.inviter) is not None and voucher.holds(
            room=self._room, verify=ed25519_verify
        )

    # requests

    def on_asks(self, asks: Asks) -> AsksEvent | None:
        """Somebody asks, or one more approved: what to tell people, None when nothing changed."""
        who = asks.request.identity
        former = self._asking.get(who)
        if former is not None and former.request != asks.request:
            self._changes[who] += 1
            if self._changes[who] > _MAX_CHANGES:  # each is an event, and events are not without end
                self._faults["admission: request changed too often"] += 1
                return None
        if self._asking.pop(who, None) is None and len(self._asking) >= _MAX_ASKING:
            self._forget(next(iter(self._asking)))
        self._asking[who] = asks
        # A member that asks for a new vote key is let in by that rule in the chain, now and then.
        # Wanting twice what is moved already does nothing: nothing is remembered here that could be wrong.
        if self._rule is AdmissionRule.AUTO and asks.motion is None and self._may_come_in(asks):
            self._want(asks)
        event = self._event(asks)
        if self._told.get(who) == event:
            return None
        self._told[who] = event
        return event

    def _may_come_in(self, asks: Asks) -> bool:
        voucher, tip = asks.request.voucher, self._tip()
        return (
            not asks.rekey
            and asks.verified
            and voucher is not None
            and self._is_ours(voucher, tip)
            and _why_over(voucher, tip) is None
            and bool(self._words(asks.request.identity))
            and tip.committee.n < self._max_peers
        )

    def admit(self, who: str) -> MemberView:
        """Approve the one with this nick, id or beginning of an id; NodeError if nobody or several ask so."""
        found = self._find(who)
        if not found.rekey and self._tip().committee.n >= self._max_peers:
            raise UsageError(
                f"This room is full: this node approves at most {self._max_peers} members.",
                "Raise max_peers in the room's settings.",
            )
        self._want(found)
        view = self._view(found)
        me = MemberId(bytes(self._identity.verify_key))
        return view if me in found.approvals else _with_one_more(view)

    def _find(self, who: str) -> Asks:
        name, prefix = who.casefold(), who.lower()
        found = [
            asks
            for asks in self._asking.values()
            if asks.request.nick.casefold() == name
            or (len(prefix) >= _PREFIX and asks.request.identity.hex().startswith(prefix))
        ]
        if len(found) == 1:
            return found[0]
        asking = ", ".join(
            f"{a.request.nick} ({a.request.identity.hex()[:12]})" for a in found or self._asking.values()
        )
        if found:
            raise UsageError(f"Several ask by that name: {asking}.", "Say which by the beginning of its id.")
        if asking:
            raise NodeError(f"Nobody asks to come in as {who!r}.", f"These do: {asking}.", exit_code=Exit.NO)
        raise NodeError("Nobody asks to come in.", "Wait until the newcomer is connected.", exit_code=Exit.NO)

    def _want(self, asks: Asks) -> None:
        self._submit(Want(Rekey(asks.request) if asks.rekey else Admit(asks.request)))

    def on_gone(self, peer: MemberId) -> None:
        """A guest's link went away: nobody should be admitted who may never come back."""
        self._forget(peer)
        self._submit(Unwant(peer))

    def _forget(self, who: MemberId) -> None:
        self._asking.pop(who, None)
        self._told.pop(who, None)
        self._changes.pop(who, None)

    def on_committee(self) -> None:
        """Whoever is a member now asks no more; for the others approvals start anew."""
        committee = self._tip().committee
        for who, asks in list(self._asking.items()):
            place = committee.place(who)
            if place is not None and (
                not asks.rekey or committee.members[place].vote_key == asks.request.vote_key
            ):
                self._forget(who)
            elif asks.motion is not None:
                self._asking[who] = replace(asks, motion=None, approvals=frozenset())

    def waiting(self) -> list[MemberView]:
        """Those who ask, for `who`."""
        return [self._view(asks) for asks in self._asking.values()]

    def events(self) -> list[AsksEvent]:
        """Those who ask, for a subscriber that comes later."""
        return [self._event(asks) for asks in self._asking.values()]

    def _event(self, asks: Asks) -> AsksEvent:
        view, voucher, committee = self._view(asks), asks.request.voucher, self._tip().committee
        inviter = ""
        if voucher is not None:
            place = committee.place(voucher.inviter)
            inviter = voucher.inviter.hex() if place is None else committee.members[place].nick
        return AsksEvent(
            member=view.member,
            nick=view.nick,
            words=view.words,
            inviter=inviter,
            verified=asks.verified,
            have=view.have,
            need=view.need,
            rekey=view.rekey,
        )

    def _view(self, asks: Asks) -> MemberView:
        return MemberView(
            member=asks.request.identity.hex(),
            nick=asks.request.nick,
            state="asks",
            admitted_at=0,
            words=self._words(asks.request.identity),
            have=len(asks.approvals),
            need=self._tip().committee.quorum,
            rekey=asks.rekey,
        )


def _why_over(voucher: Voucher, tip: Tip) -> Reason | None:
    if voucher.key in tip.spent:
        return Reason.USED
    return None if voucher.expires > time.time() else Reason.EXPIRED


def _with_one_more(view: MemberView) -> MemberView:
    """As it will be once our approval is ordered."""
    return msgspec.structs.replace(view, have=view.have + 1)
