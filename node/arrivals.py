"""What carriers bring: each parcel is opened, verified and given to whom it concerns, or it is a fault."""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey

from node.attempt import Attempts, Introduction
from node.door import Door, remember
from node.open_offers import OpenOffers
from node.post import Post
from signaling.carrier import Carrier, Parcel, ParcelKind
from signaling.description import Identity, RoomId, answer_hint, decode_answer, decode_offer
from signaling.envelope import Envelope, open_envelope, open_presence, parcel_key
from signaling.errors import Expired, NotForUs, SignalError
from signaling.handshake import Role
from signaling.refusal import Reason, decode_refusal, refused_session

logger = logging.getLogger(__name__)

_MAX_LOGGED: Final = 32

OnRefused = Callable[[bytes, Reason], None]


@dataclass(kw_only=True)
class Arrivals:
    """Offers go to `door`, answers to the attempts or the open offers they are for, presence to `post.host`.

    on_knock(): somebody asks for another than us, perhaps for a host that is dead.
    """

    key: SigningKey
    room: RoomId
    post: Post
    attempts: Attempts
    open_offers: OpenOffers | None
    door: Door
    on_presence: Callable[[bytes], None] | None
    on_refused: OnRefused | None
    on_knock: Callable[[], None]
    faults: Counter[str]

    def __post_init__(self) -> None:
        self._me = Identity(bytes(self.key.verify_key))
        self._known: OrderedDict[int, None] = OrderedDict()  # parcels looked at
        self._logged = 0

    async def read(self, carrier: Carrier) -> None:
        """All that one carrier brings, for ever."""
        async for parcel in carrier.parcels():
            digest = hash((parcel.kind, parcel.key, parcel.payload))
            if digest in self._known:
                self._known.move_to_end(digest)
                continue
            remember(self._known, digest, None)
            try:
                self.take(parcel, bare=carrier.bare)
            except NotForUs:  # most of what is in a lobby is for others
                if parcel.kind is ParcelKind.OFFER:
                    self.on_knock()
            except Expired:
                self.faults["signal: expired"] += 1
            except SignalError as error:
                self.faults[f"signal: {type(error).__name__}"] += 1
                self._logged += 1
                if self._logged <= _MAX_LOGGED:
                    kind, where = parcel.kind.value, parcel.key.hex()[:12]
                    logger.warning("a bad %s in %s, %s: %s", kind, carrier.spec, where, error.message)

    def take(self, parcel: Parcel, *, bare: bool) -> None:
        """One parcel of a carrier of this sort; SignalError for one that is worth nothing."""
        if bare:
            self._take_bare(parcel)
        else:
            self._take_sealed(parcel)

    def _take_bare(self, parcel: Parcel) -> None:
        if self.post.is_ours(parcel.key):
            return
        if parcel.kind is ParcelKind.OFFER:
            offer = decode_offer(parcel.payload, room=self.room, me=None, now=int(time.time()))
            self.door.consider(offer, None)
        elif parcel.kind is ParcelKind.ANSWER and self.open_offers is not None:
            self.open_offers.take(parcel.payload)

    def _take_sealed(self, parcel: Parcel) -> None:
        now = int(time.time())
        if parcel.kind is ParcelKind.PRESENCE:
            presence = open_presence(parcel.payload, room=self.room, now=now)
            self.post.host.saw(presence)
            if presence.sender != self._me and self.on_presence is not None:
                self.on_presence(presence.sender)
            return
        if self.post.is_ours(parcel.key):
            return
        envelope = open_envelope(parcel.payload, key=self.key)
        if parcel.kind is ParcelKind.ANSWER:
            self._take_answer(envelope, now=now)
            return
        offer = decode_offer(envelope.description, room=self.room, me=self._me, now=now)
        place = parcel_key(ParcelKind.OFFER, room=self.room, sender=offer.sender, recipient=self._me)
        if parcel.key != place or offer.recipient is None:
            raise SignalError("An offer lies where it does not belong.")
        introduction = None
        if envelope.grant or envelope.proof:
            introduction = Introduction(grant=envelope.grant, proof=envelope.proof)
        self.door.consider(offer, introduction)

    def _take_answer(self, envelope: Envelope, *, now: int) -> None:
        refused = refused_session(envelope.description)
        hint = answer_hint(envelope.description) if refused is None else b""
        for attempt in self.attempts:
            if attempt.offer is None:
                continue
            if attempt.offer.session != refused if hint == b"" else attempt.offer.hash[:4] != hint:
                continue
            if attempt.role is not Role.OFFERER or attempt.answered.is_set():
                return
            if refused is None:
                attempt.answer = decode_answer(envelope.description, offer=attempt.offer, now=now)
            else:
                reason = decode_refusal(envelope.description, offer=attempt.offer)
                attempt.refused = True
                if self.on_refused is not None:
                    self.on_refused(attempt.peer, reason)
            attempt.answered.set()
            return
        # To an offer of a former life, or one withdrawn since.
