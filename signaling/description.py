"""Offers and answers as typed, signed fields, 150 to 210 bytes each; there is no SDP in here.

Wire forms, big-endian. The first byte of each is version << 4 | kind.

    offer   head, flags << 4 | count, room (32), sender (32), seed (16), issued (u32), life (u16, in 2 s),
            fingerprint (32), candidates (7 or 19 each), signature (64)
    answer  head, hint (first 4 bytes of the offer's hash), sender (32), fingerprint (32), issued (u32),
            count, candidates, signature (64)

The seed is the offer's one secret: its ICE name and password, its session, and the key of what is sealed to
the offer come from it. An answer's signature covers the hash of the offer, and with it room and recipient.
"""

import hashlib
import struct
from collections.abc import Iterable
from enum import Enum
from typing import Final, NewType

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from signaling.candidates import LARGEST, MAX_CANDIDATES, Candidate, fitting, pack_candidate, parse_candidates
from signaling.errors import (
    BadSignature,
    Expired,
    ForeignRoom,
    FromTheFuture,
    Malformed,
    NotForUs,
    Oversize,
    WrongKind,
    WrongVersion,
)
from signaling.ice import MAX_SEALED_ANSWER, answer_credentials, offer_credentials, open_ufrag
from signaling.seal import sealing_key

RoomId = NewType("RoomId", bytes)  # 32 bytes
Identity = NewType("Identity", bytes)  # an Ed25519 public key, 32 bytes
Session = NewType("Session", bytes)  # 16 bytes, one per attempt
OfferHash = NewType("OfferHash", bytes)  # 32 bytes, covers the signature too

VERSION: Final = 2
SEED_BYTES: Final = 16
MAX_LIFE: Final = 24 * 3600
CLOCK_SKEW: Final = 300

_OFFER: Final = struct.Struct(">BB32s32s16sIH32s")
_ANSWER: Final = struct.Struct(">B4s32s32sIB")
_SIGNATURE: Final = 64
_LIFE_UNIT: Final = 2  # seconds
_UNSEALED: Final = 5  # bytes of an answer that are left out in a username fragment: head and hint
MAX_DESCRIPTION: Final = _OFFER.size + MAX_CANDIDATES * LARGEST + _SIGNATURE
MAX_BARE_CANDIDATES: Final = 27  # bytes of them in an offer that is to fit a QR code of version 9
MAX_ANSWER_CANDIDATES: Final = MAX_SEALED_ANSWER - (_ANSWER.size - _UNSEALED) - _SIGNATURE
_KIND_OFFER: Final = 1
_KIND_ANSWER: Final = 2
_ADDRESSED: Final = 0x1
_INVITES: Final = 0x2
_PROTECTED: Final = 0x4


class Setup(Enum):
    """DTLS roles of RFC 4145."""

    ACTPASS = 0
    ACTIVE = 1
    PASSIVE = 2


class Transport(msgspec.Struct, frozen=True, kw_only=True):
    """What two ends must know of each other to connect; all of it is ephemeral."""

    ufrag: str
    pwd: str
    fingerprint: bytes  # SHA-256 of the DTLS certificate
    setup: Setup
    candidates: tuple[Candidate, ...]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A signed wish to be connected. With `recipient` None it is for whoever holds it: as secret as a key."""

    room: RoomId
    sender: Identity
    recipient: Identity | None
    seed: bytes
    issued: int  # Unix seconds
    expires: int
    fingerprint: bytes
    candidates: tuple[Candidate, ...]
    invites: bool = False
    """Whoever holds it is welcome as a newcomer."""
    protected: bool = False
    """A newcomer will be asked for the room's password."""
    signature: bytes

    @property
    def session(self) -> Session:
        """Tells this attempt from all others."""
        return Session(hashlib.sha256(b"pigeon/session/v2\0" + self.seed).digest()[:16])

    @property
    def hash(self) -> OfferHash:
        """Names this very offer, signature included; the answer signs it."""
        return OfferHash(
            hashlib.sha256(b"pigeon/offer-hash/v2\0" + _signed_offer(self) + self.signature).digest()
        )

    @property
    def transport(self) -> Transport:
        """Who answers takes the active part in DTLS, always."""
        ufrag, pwd = offer_credentials(self.seed)
        return Transport(
            ufrag=ufrag,
            pwd=pwd,
            fingerprint=self.fingerprint,
            setup=Setup.ACTPASS,
            candidates=self.candidates,
        )


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A signed acceptance of one offer."""

    offer: Offer
    sender: Identity
    issued: int
    fingerprint: bytes
    candidates: tuple[Candidate, ...]
    signature: bytes

    @property
    def hash(self) -> bytes:
        """Names this very answer, signature included."""
        return hashlib.sha256(b"pigeon/answer-hash/v2\0" + _signed_answer(self) + self.signature).digest()

    @property
    def transport(self) -> Transport:
        """The username fragment is the answer itself, sealed."""
        ufrag, pwd = answer_credentials(self.offer.seed, encode(self)[_UNSEALED:])
        return Transport(
            ufrag=ufrag,
            pwd=pwd,
            fingerprint=self.fingerprint,
            setup=Setup.ACTIVE,
            candidates=self.candidates,
        )


def make_offer(
    *,
    key: SigningKey,
    room: RoomId,
    recipient: Identity | None,
    seed: bytes,
    issued: int,
    life: float,
    fingerprint: bytes,
    candidates: Iterable[Candidate],
    invites: bool = False,
    protected: bool = False,
) -> Offer:
    """Sign an offer with the identity key.

    `seed`: 16 random bytes, never used twice. `life`: seconds, at most a day, in steps of two. One without a
    recipient has to fit into a picture, so it takes the first candidates that do.
    """
    if len(seed) != SEED_BYTES or not 0 < life <= MAX_LIFE:
        raise ValueError("a seed has 16 bytes, and an offer lives for at most a day")
    limit = MAX_CANDIDATES * LARGEST if recipient is not None else MAX_BARE_CANDIDATES
    bare = Offer(
        room=room,
        sender=Identity(bytes(key.verify_key)),
        recipient=recipient,
        seed=seed,
        issued=issued,
        expires=issued + _LIFE_UNIT * max(1, round(life / _LIFE_UNIT)),
        fingerprint=fingerprint,
        candidates=fitting(candidates, limit=limit),
        invites=invites,
        protected=protected,
        signature=b"",
    )
    return msgspec.structs.replace(bare, signature=key.sign(_signed_offer(bare)).signature)


def make_answer(
    *, key: SigningKey, offer: Offer, issued: int, fingerprint: bytes, candidates: Iterable[Candidate]
) -> Answer:
    """Sign an answer to `offer`; it lives as long as the offer does, and takes the candidates that fit."""
    bare = Answer(
        offer=offer,
        sender=Identity(bytes(key.verify_key)),
        issued=issued,
        fingerprint=fingerprint,
        candidates=fitting(candidates, limit=MAX_ANSWER_CANDIDATES),
        signature=b"",
    )
    return msgspec.structs.replace(bare, signature=key.sign(_signed_answer(bare)).signature)


def encode(description: Offer | Answer) -> bytes:
    """The bytes that travel: 198 for an offer with two IPv4 candidates, 152 for such an answer."""
    if isinstance(description, Offer):
        return _packed_offer(description) + description.signature
    return _packed_answer(description) + description.signature


def decode_offer(data: bytes, *, room: RoomId | None, me: Identity | None, now: int) -> Offer:
    """Check size, shape, room, signature and time, in this order, or raise SignalError.

    room: None takes an offer of any room, for a newcomer. me: whom an addressed offer has to be for; None
    takes only offers to whoever holds them.
    """
    _check_head(data, kind=_KIND_OFFER, least=_OFFER.size + _SIGNATURE)
    _, flags, in_room, sender, seed, issued, life, fingerprint = _OFFER.unpack_from(data)
    if room is not None and in_room != room:
        raise ForeignRoom
    addressed = bool(flags >> 4 & _ADDRESSED)
    if addressed and me is None:
        raise NotForUs
    candidates, end = parse_candidates(data, at=_OFFER.size, count=flags & 0x0F)
    if len(data) != end + _SIGNATURE:
        raise Malformed
    offer = Offer(
        room=RoomId(in_room),
        sender=Identity(sender),
        recipient=me if addressed else None,
        seed=seed,
        issued=issued,
        expires=issued + _LIFE_UNIT * life,
        fingerprint=fingerprint,
        candidates=candidates,
        invites=bool(flags >> 4 & _INVITES),
        protected=bool(flags >> 4 & _PROTECTED),
        signature=data[end:],
    )
    if encode(offer) != data or not 0 < life * _LIFE_UNIT <= MAX_LIFE:
        raise Malformed
    _verify(offer.sender, _signed_offer(offer), offer.signature)
    if issued > now + CLOCK_SKEW:
        raise FromTheFuture
    if offer.expires <= now:
        raise Expired.since("offer", seconds=now - offer.expires)
    return offer


def decode_answer(data: bytes, *, offer: Offer, now: int) -> Answer:
    """As decode_offer; the answer must be to this very `offer`, from whom it was made for."""
    if answer_hint(data) != offer.hash[:4]:
        raise NotForUs("This answer belongs to another offer.", "Ask for one to the offer you show now.")
    _, _, sender, fingerprint, issued, count = _ANSWER.unpack_from(data)
    if offer.recipient is not None and sender != offer.recipient:
        raise BadSignature("This answer comes from somebody the offer was not made for.")
    if sender == offer.sender:
        raise NotForUs("This answer comes from whoever made the offer.", "Answer with another home.")
    candidates, end = parse_candidates(data, at=_ANSWER.size, count=count)
    if len(data) != end + _SIGNATURE:
        raise Malformed
    answer = Answer(
        offer=offer,
        sender=Identity(sender),
        issued=issued,
        fingerprint=fingerprint,
        candidates=candidates,
        signature=data[end:],
    )
    if encode(answer) != data or len(data) > _UNSEALED + MAX_SEALED_ANSWER:
        raise Malformed  # one meaning has one form
    _verify(answer.sender, _signed_answer(answer), answer.signature)
    if issued > now + CLOCK_SKEW:
        raise FromTheFuture
    if offer.expires <= now:
        raise Expired.since("offer", seconds=now - offer.expires)
    return answer


def decode_ufrag(ufrag: str, *, offer: Offer, now: int) -> Answer:
    """The answer in the username fragment of a STUN check, by the same rules as decode_answer."""
    sealed = open_ufrag(ufrag, seed=offer.seed)
    head = bytes((VERSION << 4 | _KIND_ANSWER,)) + offer.hash[:4]
    return decode_answer(head + sealed, offer=offer, now=now)


def answer_hint(data: bytes) -> bytes:
    """The first four bytes of the hash of the offer an answer claims to be for, unverified."""
    _check_head(data, kind=_KIND_ANSWER, least=_ANSWER.size + _SIGNATURE)
    return data[1:5]


def _check_head(data: bytes, *, kind: int, least: int) -> None:
    if len(data) > MAX_DESCRIPTION:
        raise Oversize
    if not data:
        raise Malformed
    if data[0] >> 4 != VERSION:
        raise WrongVersion
    if data[0] & 0x0F != kind:
        raise WrongKind
    if len(data) < least:
        raise Malformed


def _verify(sender: Identity, signed: bytes, signature: bytes) -> None:
    try:
        VerifyKey(sender).verify(signed, signature)
    except (BadSignatureError, ValueError, TypeError):
        raise BadSignature from None
    sealing_key(sender)  # whom nothing can be sealed to is not worth answering


def _signed_offer(offer: Offer) -> bytes:
    return b"pigeon/offer/v2\0" + (offer.recipient or bytes(32)) + _packed_offer(offer)


def _signed_answer(answer: Answer) -> bytes:
    return b"pigeon/answer/v2\0" + answer.offer.hash + _packed_answer(answer)


def _packed_offer(offer: Offer) -> bytes:
    flags = (
        (_ADDRESSED if offer.recipient is not None else 0)
        | (_INVITES if offer.invites else 0)
        | (_PROTECTED if offer.protected else 0)
    )
    head = _OFFER.pack(
        VERSION << 4 | _KIND_OFFER,
        flags << 4 | len(offer.candidates),
        offer.room,
        offer.sender,
        offer.seed,
        offer.issued,
        (offer.expires - offer.issued) // _LIFE_UNIT,
        offer.fingerprint,
    )
    return head + b"".join(map(pack_candidate, offer.candidates))


def _packed_answer(answer: Answer) -> bytes:
    head = _ANSWER.pack(
        VERSION << 4 | _KIND_ANSWER,
        answer.offer.hash[:4],
        answer.sender,
        answer.fingerprint,
        answer.issued,
        len(answer.candidates),
    )
    return head + b"".join(map(pack_candidate, answer.candidates))
