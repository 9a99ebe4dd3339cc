"""Offers and answers as typed, signed fields, about 200 bytes each; there is no SDP in here.

Wire form, big-endian: version, kind, flags, room hint (8), sender (32), recipient hint (4), session (16),
issued (u32), expires (u32), ufrag (6), pwd (18), fingerprint (32), count, candidates (7 or 19 each),
signature (64). The signature covers the *whole* room id and recipient (and, in an answer, the offer's
hash), which the receiver knows and fills in.
"""

import hashlib
import ipaddress
import struct
from enum import Enum
from typing import Final, Literal, NewType, assert_never

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

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
from signaling.seal import sealing_key

RoomId = NewType("RoomId", bytes)  # 32 bytes
Identity = NewType("Identity", bytes)  # an Ed25519 public key, 32 bytes
Session = NewType("Session", bytes)  # 16 bytes, one per attempt
OfferHash = NewType("OfferHash", bytes)  # 32 bytes, covers the signature too

VERSION: Final = 1
MAX_CANDIDATES: Final = 8  # each one is an address we send checks to because a stranger said so
MAX_LIFE: Final = 24 * 3600
CLOCK_SKEW: Final = 300
UFRAG_BYTES: Final = 6  # eight ice-chars in base64
PWD_BYTES: Final = 18  # twenty-four ice-chars, 144 bits (RFC 8445, 5.3 asks for 128)

_HEAD: Final = struct.Struct(">BBB8s32s4s16sII6s18s32sB")
_SIGNATURE: Final = 64
MAX_DESCRIPTION: Final = _HEAD.size + MAX_CANDIDATES * 19 + _SIGNATURE
_KIND_OFFER: Final = 1
_KIND_ANSWER: Final = 2
_ADDRESSED: Final = 0x01
_SETUP_SHIFT: Final = 1


class Setup(Enum):
    """DTLS roles of RFC 4145, in the order of their code on the wire."""

    ACTPASS = 0
    ACTIVE = 1
    PASSIVE = 2


CandidateType = Literal["host", "srflx", "relay"]
_TYPES: Final[tuple[CandidateType, ...]] = ("host", "srflx", "relay")


class Candidate(msgspec.Struct, frozen=True):
    """One UDP address a peer may be reached at: a literal IPv4 or IPv6 address, never a name."""

    type: CandidateType
    address: str
    port: int


class Transport(msgspec.Struct, frozen=True, kw_only=True):
    """What two ends must know of each other to connect; all of it is ephemeral."""

    ufrag: bytes
    pwd: bytes
    fingerprint: bytes  # SHA-256 of the DTLS certificate
    setup: Setup
    candidates: tuple[Candidate, ...]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A signed wish to be connected; `recipient` None means whoever holds it."""

    room: RoomId
    sender: Identity
    recipient: Identity | None
    session: Session
    issued: int  # Unix seconds
    expires: int
    transport: Transport
    signature: bytes

    @property
    def hash(self) -> OfferHash:
        """Names this very offer, signature included; the answer signs it."""
        return OfferHash(hashlib.sha256(b"pigeon/offer-hash/v1\0" + _signed(self) + self.signature).digest())


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A signed acceptance of one offer, told by `session`; `offer_hash` is signed but does not travel."""

    room: RoomId
    sender: Identity
    recipient: Identity
    session: Session
    issued: int
    expires: int
    transport: Transport
    offer_hash: OfferHash
    signature: bytes

    @property
    def hash(self) -> bytes:
        """Names this very answer, signature included."""
        return hashlib.sha256(b"pigeon/answer-hash/v1\0" + _signed(self) + self.signature).digest()


def make_offer(
    *,
    key: SigningKey,
    room: RoomId,
    recipient: Identity | None,
    session: Session,
    issued: int,
    life: int,
    transport: Transport,
) -> Offer:
    """Sign an offer with the identity key. `life` is in seconds, at most a day."""
    bare = Offer(
        room=room,
        sender=Identity(bytes(key.verify_key)),
        recipient=recipient,
        session=session,
        issued=issued,
        expires=issued + life,
        transport=transport,
        signature=b"",
    )
    return msgspec.structs.replace(bare, signature=key.sign(_signed(bare)).signature)


def make_answer(*, key: SigningKey, offer: Offer, issued: int, transport: Transport) -> Answer:
    """Sign an answer to `offer`; it lives as long as the offer does."""
    bare = Answer(
        room=offer.room,
        sender=Identity(bytes(key.verify_key)),
        recipient=offer.sender,
        session=offer.session,
        issued=issued,
        expires=max(offer.expires, issued + 1),
        transport=transport,
        offer_hash=offer.hash,
        signature=b"",
    )
    return msgspec.structs.replace(bare, signature=key.sign(_signed(bare)).signature)


def encode(description: Offer | Answer) -> bytes:
    """The bytes that travel: at most 416, 206 with two IPv4 candidates."""
    return _packed(description) + description.signature


def decode_offer(data: bytes, *, room: RoomId, me: Identity, now: int) -> Offer:
    """Check size, shape, room, recipient, signature and time, in this order, or raise SignalError."""
    head, transport, signature = _parse(data, kind=_KIND_OFFER, room=room, me=me)
    addressed = bool(head.flags & _ADDRESSED)
    offer = Offer(
        room=room,
        sender=Identity(head.sender),
        recipient=me if addressed else None,
        session=Session(head.session),
        issued=head.issued,
        expires=head.expires,
        transport=transport,
        signature=signature,
    )
    _verify(offer, data, now=now, what="offer")
    return offer


def decode_answer(data: bytes, *, offer: Offer, now: int) -> Answer:
    """As decode_offer, and the answer must be to this very `offer`, from whom it was made for."""
    head, transport, signature = _parse(data, kind=_KIND_ANSWER, room=offer.room, me=offer.sender)
    if head.session != offer.session:
        raise NotForUs("This answer belongs to another offer.", "Ask for one to the offer you show now.")
    if offer.recipient is not None and head.sender != offer.recipient:
        raise BadSignature("This answer comes from somebody the offer was not made for.")
    if not head.flags & _ADDRESSED or transport.setup is Setup.ACTPASS:
        raise Malformed
    answer = Answer(
        room=offer.room,
        sender=Identity(head.sender),
        recipient=offer.sender,
        session=offer.session,
        issued=head.issued,
        expires=head.expires,
        transport=transport,
        offer_hash=offer.hash,
        signature=signature,
    )
    _verify(answer, data, now=now, what="answer")
    return answer


def answer_session(data: bytes) -> Session:
    """The session an answer claims, unverified: only to find the offer to check it against."""
    if not _HEAD.size + _SIGNATURE <= len(data) <= MAX_DESCRIPTION:
        raise Oversize if len(data) > MAX_DESCRIPTION else Malformed
    return Session(_Head(data).session)


class _Head:
    """The fixed part of the wire form, unpacked."""

    __slots__ = (
        "count", "expires", "fingerprint", "flags", "issued", "kind", "pwd", "recipient_hint", "room_hint",
        "sender", "session", "ufrag", "version",
    )  # fmt: skip

    def __init__(self, data: bytes) -> None:
        (
            self.version, self.kind, self.flags, self.room_hint, self.sender, self.recipient_hint,
            self.session, self.issued, self.expires, self.ufrag, self.pwd, self.fingerprint, self.count,
        ) = _HEAD.unpack_from(data)  # fmt: skip


def _parse(data: bytes, *, kind: int, room: RoomId, me: Identity) -> tuple[_Head, Transport, bytes]:
    if len(data) > MAX_DESCRIPTION:
        raise Oversize
    if not data:
        raise Malformed
    if data[0] != VERSION:
        raise WrongVersion
    if len(data) < _HEAD.size + _SIGNATURE:
        raise Malformed
    head = _Head(data)
    if head.kind != kind:
        raise WrongKind
    if head.flags >> _SETUP_SHIFT >= len(Setup) or head.count > MAX_CANDIDATES:
        raise Malformed
    if head.room_hint != room[:8]:
        raise ForeignRoom
    if head.recipient_hint != (me[:4] if head.flags & _ADDRESSED else bytes(4)):
        raise NotForUs
    candidates, end = _parse_candidates(data, count=head.count)
    if len(data) != end + _SIGNATURE:
        raise Malformed
    transport = Transport(
        ufrag=head.ufrag,
        pwd=head.pwd,
        fingerprint=head.fingerprint,
        setup=Setup(head.flags >> _SETUP_SHIFT),
        candidates=candidates,
    )
    return head, transport, data[end:]


def _parse_candidates(data: bytes, *, count: int) -> tuple[tuple[Candidate, ...], int]:
    found, at = [], _HEAD.size
    for _ in range(count):
        if at >= len(data):
            raise Malformed
        code, size = data[at] & 0x0F, 16 if data[at] & 0x10 else 4
        if code >= len(_TYPES) or data[at] & 0xE0 or at + 3 + size > len(data):
            raise Malformed
        address = ipaddress.ip_address(data[at + 1 : at + 1 + size])
        port = int.from_bytes(data[at + 1 + size : at + 3 + size], "big")
        # Nothing that would make our checks reach many hosts, or none.
        if port == 0 or address.is_multicast or address.is_unspecified or address.packed == b"\xff" * 4:
            raise Malformed
        found.append(Candidate(type=_TYPES[code], address=str(address), port=port))
        at += 3 + size
    return tuple(found), at


def _verify(description: Offer | Answer, data: bytes, *, now: int, what: str) -> None:
    if encode(description) != data:
        raise Malformed  # one meaning has one form
    try:
        VerifyKey(description.sender).verify(_signed(description), description.signature)
    except (BadSignatureError, ValueError, TypeError):
        raise BadSignature from None
    sealing_key(description.sender)  # whom nothing can be sealed to is not worth answering
    if not 0 < description.expires - description.issued <= MAX_LIFE:
        raise Malformed
    if description.issued > now + CLOCK_SKEW:
        raise FromTheFuture
    if description.expires <= now:
        raise Expired.since(what, seconds=now - description.expires)


def _signed(description: Offer | Answer) -> bytes:
    """What the signature covers."""
    body = description.room + (description.recipient or bytes(32)) + _packed(description)
    match description:
        case Offer():
            return b"pigeon/offer/v1\0" + body
        case Answer():
            return b"pigeon/answer/v1\0" + description.offer_hash + body
        case _:
            assert_never(description)


def _packed(description: Offer | Answer) -> bytes:
    transport, recipient = description.transport, description.recipient
    kind = _KIND_OFFER if isinstance(description, Offer) else _KIND_ANSWER
    flags = transport.setup.value << _SETUP_SHIFT | (_ADDRESSED if recipient is not None else 0)
    parts = [
        _HEAD.pack(
            VERSION, kind, flags, description.room[:8], description.sender,
            recipient[:4] if recipient else bytes(4), description.session, description.issued,
            description.expires, transport.ufrag, transport.pwd, transport.fingerprint,
            len(transport.candidates),
        )
    ]  # fmt: skip
    for candidate in transport.candidates:
        address = ipaddress.ip_address(candidate.address).packed
        code = _TYPES.index(candidate.type) | (0x10 if len(address) == 16 else 0)
        parts.append(bytes((code,)) + address + candidate.port.to_bytes(2, "big"))
    return b"".join(parts)
