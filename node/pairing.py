"""Tokens of one node: offers to whoever holds them, what people carry for it, and how that went."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from node.bus import Bus
from node.errors import ConnectFailed, UsageError
from node.events import InviteEvent, NoticeEvent, OverEvent, TokenEvent
from node.open_offers import Fate, OpenOffer, OpenOffers, Welcome
from signaling.carrier import Carrier, Hands
from signaling.description import Identity, Offer, RoomId, decode_offer, encode
from signaling.errors import ForeignRoom, OwnToken, Replayed, SignalError
from signaling.token import Kind, find_tokens, from_token, to_token

_MAX_CARRIED: Final = 256
_USED_UP: Final = (
    "That token was used up by this: /invite makes a new one. `pigeon doctor` names what is in the way."
)
_SLACK: Final = 1000  # ms
_OUTDATED: Final = (
    "This machine has another address now: the answer shown before leads nowhere. Send back the newest one."
)
_NO_HANDS: Final = UsageError(
    "This room has no carrier whose tokens people carry.", "Reopen it with --via paste or --via qr."
)


class Pairing:
    """`welcome`: who may answer an offer. `admits`: which offers that people bring may be answered."""

    def __init__(
        self,
        *,
        room: RoomId,
        bus: Bus,
        welcome: Welcome,
        admits: Callable[[Offer], bool],
        faults: Counter[str],
    ) -> None:
        self.offers = OpenOffers(welcome=welcome, on_over=self._on_over, faults=faults)
        self._room = room
        self._bus = bus
        self._admits = admits
        self._me: Identity | None = None
        self._carriers: Sequence[Carrier] = ()
        self._hands: list[Hands] = []
        self._told: dict[str, TokenEvent] = {}
        self._carried: dict[bytes, None] = {}  # payloads

    def start(self, carriers: Sequence[Carrier], *, me: Identity) -> None:
        """From now on what there is to be carried is told on the bus."""
        self._me = me
        self._carriers = carriers
        self._hands = [carrier for carrier in carriers if isinstance(carrier, Hands)]
        for hands in self._hands:
            hands.on_shown(self._tell)

    @property
    def _by_hand(self) -> bool:
        """Whether every token is shown to people, and only to them."""
        return bool(self._hands) and len(self._hands) == len(self._carriers)

    @property
    def by_offer(self) -> bool:
        """Whether an invitation has to be an offer as well, for there is nowhere to meet."""
        return bool(self._carriers) and all(carrier.bare for carrier in self._carriers)

    @property
    def shows_offers(self) -> bool:
        """Whether an invitation may be an offer as well."""
        return any(carrier.bare for carrier in self._carriers)

    def events(self) -> list[TokenEvent]:
        """What is to be carried now, for a subscriber that comes later."""
        return list(self._told.values())

    async def invite(self) -> InviteEvent:
        """An offer that lets one newcomer in; ConnectFailed without any address."""
        return _shown(await self.offers.open(invites=True))

    async def renew(self, token: str | None) -> InviteEvent:
        """A fresh offer in the place of one of ours, open or expired (None: of the newest); as invite()."""
        try:
            offer = None if token is None else from_token(token, expected=Kind.OFFER)[1]
            return _shown(await self.offers.renew(offer))
        except SignalError as error:
            raise UsageError(error.message, error.hint) from error

    def carry(self, text: str) -> str:
        """As NodeApi.carry; of several tokens the first that is of use: people copy whole conversations."""
        if not self._hands:
            raise _NO_HANDS
        try:
            tokens = find_tokens(text)
        except SignalError as error:
            raise UsageError(error.message, error.hint) from error
        wrong: list[SignalError | UsageError] = []
        for token in tokens:
            try:
                return self._carry(token)
            except (SignalError, UsageError) as error:
                wrong.append(error)
        worst = min(wrong, key=lambda error: isinstance(error, OwnToken))
        raise UsageError(worst.message, worst.hint) from worst

    def _carry(self, token: str) -> str:
        kind, payload = from_token(token)
        if token in self._told:
            raise OwnToken(f"This {kind.name.lower()} is the one that you show.")
        if payload in self._carried:
            raise Replayed
        match kind:
            case Kind.INVITATION:
                raise UsageError("This is an invitation.", "Join with it: pigeon join, then the token.")
            case Kind.OFFER:
                self._check_offer(payload)
                self._hands[0].accept(token)
            case Kind.ANSWER:
                self.offers.take(payload)
            case _:
                assert_never(kind)
        self._remember(payload)
        return kind.name.lower()

    def brought(self, offer: Offer) -> None:
        """We came with this one: it is used by that."""
        self._remember(encode(offer))

    def _remember(self, payload: bytes) -> None:
        self._carried[payload] = None
        if len(self._carried) > _MAX_CARRIED:
            del self._carried[next(iter(self._carried))]

    def _check_offer(self, payload: bytes) -> None:
        offer = decode_offer(payload, room=None, me=None, now=int(time.time()))
        if offer.room != self._room:
            raise ForeignRoom(
                hint="Join that one with it: pigeon join, then the token." if offer.invites else None
            )
        if offer.sender == self._me:
            raise OwnToken
        if not self._admits(offer):
            raise UsageError("This is from somebody who is not of this room.", "Ask a member for a token.")

    def on_failed(self, peer: bytes | None, offer: Offer, error: ConnectFailed) -> None:
        """No link came of an offer; people hear of those they had to do with, not of what machines try."""
        ours = offer.sender == self._me
        hints = [error.hint]
        if ours and peer is not None:
            hints.append(_USED_UP)
        if self._by_hand or (ours and offer.invites) or encode(offer) in self._carried:
            self._bus.publish(NoticeEvent(message=" ".join(filter(None, (error.message, *hints)))))

    def _tell(self) -> None:
        """Publish what is new; what is gone is forgotten."""
        shown = {each.token: each for hands in self._hands for each in hands.shown()}
        for token, each in shown.items():
            if token not in self._told:
                event = TokenEvent(kind=each.kind.value, token=token, expires=each.expires * 1000)
                self._told[token] = event
                self._bus.publish(event)
        for token in [token for token in self._told if token not in shown]:
            gone = self._told.pop(token)
            if gone.kind == "answer":
                self._over(gone.kind, token, self._fate_of_answer(gone))

    def _fate_of_answer(self, gone: TokenEvent) -> Fate:
        if self.offers.is_outdated(from_token(gone.token)[1]):
            self._bus.publish(NoticeEvent(message=_OUTDATED))
            return Fate.STALE
        return Fate.EXPIRED if gone.expires <= time.time() * 1000 + _SLACK else Fate.USED

    def _on_over(self, wish: OpenOffer) -> None:
        """People hear of what they were shown."""
        token = _shown(wish).token
        if wish.invites or token in self._told:
            self._over("offer", token, wish.fate())

    def _over(self, kind: str, token: str, fate: Fate) -> None:
        self._bus.publish(OverEvent(kind=kind, token=token, reason=fate.value))


def _shown(wish: OpenOffer) -> InviteEvent:
    assert wish.offer is not None
    return InviteEvent(token=to_token(Kind.OFFER, encode(wish.offer)), expires=wish.offer.expires * 1000)
