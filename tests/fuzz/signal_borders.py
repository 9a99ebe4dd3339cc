"""What peers say before they are linked: tokens, descriptions, seals, and the proof of identity.

Where a signature or a seal is the outermost check, inputs are signed or sealed anew after they were changed,
so that what lies behind it is reached too.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import msgspec
import nacl.bindings
from nacl.signing import SigningKey

from chain.codec import encode as encode_record
from chain.control import make_voucher
from chain.crypto import Ed25519Signer
from chain.ids import Hash
from chain.ids import RoomId as ChainRoomId
from signaling.carriers import carrier_from_spec
from signaling.description import (
    Answer,
    Candidate,
    Identity,
    Offer,
    RoomId,
    answer_hint,
    decode_answer,
    decode_offer,
    decode_ufrag,
    encode,
    make_answer,
    make_offer,
)
from signaling.envelope import Envelope, open_envelope, open_presence, presence_parcel
from signaling.errors import SignalError
from signaling.handshake import Binding, Failed, Handshake, Role
from signaling.ice import MAX_SEALED_ANSWER, answer_credentials
from signaling.invitation import (
    Anchor,
    Invitation,
    decode_invitation,
    encode_invitation,
    invitation_key,
)
from signaling.refusal import Reason, decode_refusal, make_refusal, refused_session
from signaling.seal import unseal
from signaling.token import Kind, from_token, to_token
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused, same
from tests.fuzz.forms import BINARY, MESSAGEPACK, TEXT, Form
from tests.fuzz.mutate import Finish

ANN, BOB = (SigningKey(hashlib.sha256(name).digest()) for name in (b"ann", b"bob"))
ANN_ID, BOB_ID = (Identity(bytes(key.verify_key)) for key in (ANN, BOB))
ROOM = RoomId(hashlib.sha256(b"room").digest())
NOW = 1_800_000_000
SECRET = b"s" * 16


def often(finish: Finish) -> Finish:
    """The last touch, for most inputs; the others show the outermost check at work."""

    def perhaps(data: bytes, dice: random.Random) -> bytes:
        return finish(data, dice) if dice.random() < 0.8 else data

    return perhaps


# Tokens and invitations


def invitations() -> list[Invitation]:
    signer = Ed25519Signer(bytes(ANN))
    key = Hash(bytes(invitation_key(SECRET).verify_key))
    voucher = make_voucher(room=ChainRoomId(ROOM), key=key, expires=NOW + 600, inviter=signer)
    bare = Invitation(room=ROOM, inviter=ANN_ID, secret=SECRET, expires=NOW + 600)
    full = msgspec.structs.replace(
        bare,
        anchor=Anchor(7, hashlib.sha256(b"block").digest()),
        carriers=("dir:/tmp/a", "dir:~/lobby", "dir:/" + "x" * 180),
        grant=encode_record(voucher),
    )
    return [bare, full]


def _invitation_feed() -> Feed:
    def feed(data: bytes) -> object:
        invitation = decode_invitation(data, now=NOW)
        same(encode_invitation(invitation), data)
        for spec in invitation.carriers:
            carrier_from_spec(spec)
        return invitation

    return feed


def _token_samples() -> list[bytes]:
    tokens = [to_token(kind, b"payload of forty or so bytes" * size) for kind in Kind for size in (0, 1, 9)]
    tokens += [invitation.to_token() for invitation in invitations()]
    folded = ["\r\n  ".join(token[at : at + 40] for at in range(0, len(token), 40)) for token in tokens]
    return [text.encode() for text in (*tokens, *folded, *map(str.upper, tokens))]


def _token_feed() -> Feed:
    def feed(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")  # as it comes from argv
        kind, payload = from_token(text)
        if to_token(kind, payload).upper() != "".join(text.split()).upper():
            raise Differs(text)
        return payload

    return feed


def _in_token(data: bytes, dice: random.Random) -> bytes:
    try:
        return to_token(Kind.INVITATION, data).encode()
    except ValueError:
        return b"pigeon:" + data.hex().encode()


def _invitation_token_feed() -> Feed:
    def feed(data: bytes) -> object:
        return Invitation.from_token(data.decode("utf-8", "surrogateescape"), now=NOW)

    return feed


# Offers, answers, refusals, presence


@cache
def offers() -> tuple[Offer, ...]:
    v4 = Candidate("host", "192.168.1.20", 50_000)
    v6 = Candidate("srflx", "2001:db8::1", 40_000)
    made = []
    for candidates, to in (
        ((v4,), BOB_ID),
        ((v4, v6, Candidate("relay", "203.0.113.9", 1)), BOB_ID),
        ((v4, v6) * 4, BOB_ID),
        ((v4, v6), None),
        ((), BOB_ID),
    ):
        made.append(
            make_offer(
                key=ANN,
                room=ROOM,
                recipient=to,
                seed=bytes((len(made),)) * 16,
                issued=NOW,
                life=600,
                fingerprint=b"f" * 32,
                candidates=candidates,
                invites=to is None,
            )
        )
    return tuple(made)


def offer_to_bob() -> Offer:
    return offers()[0]


def _answers() -> list[Answer]:
    offer = offers()[0]
    return [
        make_answer(key=BOB, offer=offer, issued=NOW + 1, fingerprint=bytes(32), candidates=other.candidates)
        for other in offers()
    ]


def _sign_offer(data: bytes, dice: random.Random) -> bytes:
    """Signed anew as if every byte before the signature were meant."""
    recipient = BOB_ID if data[1:2] and data[1] & 0x10 else bytes(32)
    body = data[:-64] if len(data) > 64 else data
    return body + ANN.sign(b"pigeon/offer/v2\0" + recipient + body).signature


def _sign_answer(data: bytes, dice: random.Random) -> bytes:
    body = data[:-64] if len(data) > 64 else data
    return body + BOB.sign(b"pigeon/answer/v2\0" + offers()[0].hash + body).signature


def _offer_feed() -> Feed:
    def feed(data: bytes) -> object:
        offer = decode_offer(data, room=ROOM, me=BOB_ID, now=NOW)
        same(encode(offer), data)
        return offer.hash

    return feed


def _answer_feed() -> Feed:
    offer = offers()[0]

    def feed(data: bytes) -> object:
        answer_hint(data)
        answer = decode_answer(data, offer=offer, now=NOW)
        same(encode(answer), data)
        return answer.hash

    return feed


def _names() -> list[bytes]:
    """The answer as the ICE name of its sender, before it is sealed."""
    return [encode(answer)[5:] for answer in _answers()]


def _sealed_name(data: bytes, dice: random.Random) -> bytes:
    """As who holds the offer would send it: signed, and sealed."""
    head = encode(_answers()[0])[:5]
    data = _sign_answer(head + data, dice)[5:] if dice.random() < 0.8 else data
    return answer_credentials(offers()[0].seed, data[:MAX_SEALED_ANSWER])[0].encode()


def _sealed_names() -> list[bytes]:
    return [answer.transport.ufrag.encode() for answer in _answers()]


def _name_feed() -> Feed:
    offer = offers()[0]

    def feed(data: bytes) -> object:
        answer = decode_ufrag(data.decode("utf-8", "replace"), offer=offer, now=NOW)
        same(answer.transport.ufrag.encode(), data)
        return answer.hash

    return feed


def _bare_offers() -> list[bytes]:
    return [encode(offer) for offer in offers() if offer.recipient is None]


def _bare_offer_feed() -> Feed:
    def feed(data: bytes) -> object:
        offer = decode_offer(data, room=None, me=None, now=NOW)
        same(encode(offer), data)
        return offer.transport

    return feed


def _refusals() -> list[bytes]:
    return [make_refusal(key=BOB, offer=offers()[0], reason=reason) for reason in Reason]


def _sign_refusal(data: bytes, dice: random.Random) -> bytes:
    if len(data) < 18:
        return data
    text = b"pigeon/refusal/v2\0" + offers()[0].hash + data[1:2]
    return data[:18] + BOB.sign(text).signature + data[82:]


def _refusal_feed() -> Feed:
    offer = offers()[0]

    def feed(data: bytes) -> object:
        refused_session(data)
        return decode_refusal(data, offer=offer)

    return feed


def presences() -> list[bytes]:
    return [presence_parcel(key=ANN, room=ROOM, issued=NOW, life=life).payload for life in (1, 600, 86_400)]


def _sign_presence(data: bytes, dice: random.Random) -> bytes:
    text = b"pigeon/presence/v1\0" + ROOM + data[9:49]
    return data[:49] + ANN.sign(text).signature + data[113:]


def _presence_feed() -> Feed:
    def feed(data: bytes) -> object:
        return open_presence(data, room=ROOM, now=NOW)

    return feed


# Seals


def sealed(padded: bytes, dice: random.Random) -> bytes:
    """A NaCl sealed box to Bob from an ephemeral key that the dice decide (crypto_box_seal does not ask)."""
    public, secret = nacl.bindings.crypto_box_seed_keypair(dice.randbytes(32))
    to = bytes(BOB.verify_key.to_curve25519_public_key())
    nonce = hashlib.blake2b(public + to, digest_size=24).digest()
    return public + nacl.bindings.crypto_box(padded, nonce, to, secret)


def padded(payload: bytes) -> bytes:
    """With its length before it and zeros behind, so that the box is a multiple of 512 bytes."""
    size = max(512, -(-(len(payload) + 50) // 512) * 512)
    return (len(payload) % 2**16).to_bytes(2, "big") + payload + bytes(size - 50 - len(payload))


def seal_padded(data: bytes, dice: random.Random) -> bytes:
    return sealed(padded(data), dice)


def _paddings() -> list[bytes]:
    return [padded(bytes(range(256)) * size) for size in (0, 1, 2, 30)]


def _unseal_feed() -> Feed:
    def feed(data: bytes) -> object:
        return unseal(data, key=BOB)

    return feed


def envelopes() -> list[bytes]:
    invitation = invitations()[1]
    made = [Envelope(encode(offer)) for offer in offers()]
    made += [Envelope(encode(answer)) for answer in _answers()[:1]]
    proof = invitation_key(SECRET).sign(b"introduction").signature
    made.append(Envelope(encode(offers()[0]), invitation.grant, proof))
    return [msgspec.msgpack.encode(envelope) for envelope in made]


def _envelope_feed() -> Feed:
    def feed(data: bytes) -> object:
        return open_envelope(data, key=BOB)

    return feed


# The proof that opens a channel


def _binding() -> Binding:
    return Binding(
        offerer=ANN_ID, answerer=BOB_ID, offer_hash=bytes(32), answer_hash=bytes(32), exporter=bytes(32)
    )


def _ends() -> tuple[Handshake, Handshake]:
    ends = [
        Handshake(key=key, role=role, binding=_binding(), nonce=role.name[:1].encode() * 32)
        for key, role in ((ANN, Role.OFFERER), (BOB, Role.ANSWERER))
    ]
    return ends[0], ends[1]


@cache
def handshake_messages() -> tuple[bytes, bytes]:
    """What Bob says to Ann: his commitment and his proof."""
    ann, bob = _ends()
    (hers,) = ann.start()
    (his,) = bob.start()
    (proof,) = bob.receive(cast(Any, hers).message)
    return cast(Any, his).message, cast(Any, proof).message


def _handshake_feed(*, revealed: bool) -> Feed:
    def feed(data: bytes) -> object:
        ann, _ = _ends()
        ann.start()
        if revealed:
            ann.receive(handshake_messages()[0])
        (effect,) = ann.receive(data)
        if isinstance(effect, Failed):
            assert ann.receive(data) == []
            raise Refused(effect.reason)
        return effect

    return feed


def signal_decoder(
    name: str,
    form: Form,
    samples: Callable[[], Sequence[bytes]],
    make: Callable[[], Feed],
    finish: Finish | None = None,
    **more: Any,
) -> Decoder:
    return Decoder(
        name=name, form=form, samples=samples, make=make, refuses=(SignalError,), finish=finish, **more
    )


def _encoded_invitations() -> list[bytes]:
    return [encode_invitation(each) for each in invitations()]


def _encoded_offers() -> list[bytes]:
    return [encode(offer) for offer in offers()]


def _encoded_answers() -> list[bytes]:
    return [encode(answer) for answer in _answers()]


DECODERS = [
    signal_decoder("token", TEXT, _token_samples, _token_feed),
    signal_decoder("invitation", MESSAGEPACK, _encoded_invitations, _invitation_feed),
    signal_decoder("invitation/token", MESSAGEPACK, _encoded_invitations, _invitation_token_feed, _in_token),
    signal_decoder("offer", BINARY, _encoded_offers, _offer_feed, often(_sign_offer)),
    signal_decoder("answer", BINARY, _encoded_answers, _answer_feed, often(_sign_answer)),
    signal_decoder("offer/bare", BINARY, _bare_offers, _bare_offer_feed, often(_sign_offer)),
    signal_decoder("answer/name", TEXT, _sealed_names, _name_feed),
    signal_decoder("answer/sealed", BINARY, _names, _name_feed, _sealed_name),
    signal_decoder("refusal", BINARY, _refusals, _refusal_feed, often(_sign_refusal)),
    signal_decoder("presence", BINARY, presences, _presence_feed, often(_sign_presence)),
    signal_decoder("seal", BINARY, _paddings, _unseal_feed, sealed),
    signal_decoder("seal/envelope", MESSAGEPACK, envelopes, _envelope_feed, seal_padded),
    signal_decoder(
        "handshake/commitment",
        BINARY,
        lambda: [handshake_messages()[0]],
        partial(_handshake_feed, revealed=False),
    ),
    signal_decoder(
        "handshake/proof", BINARY, lambda: [handshake_messages()[1]], partial(_handshake_feed, revealed=True)
    ),
]
