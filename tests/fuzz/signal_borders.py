"""What carriers, lobbies and pasted tokens bring: every decoder of the signaling package, and the door.

Where a signature or a seal is the outermost check, inputs are signed or sealed anew after they were changed,
so that what lies behind it is reached too.
"""

import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import nacl.bindings
from nacl.signing import SigningKey

import node.connect
import node.door
from chain.codec import encode as encode_record
from chain.control import make_voucher
from chain.crypto import Ed25519Signer
from chain.ids import Hash
from chain.ids import RoomId as ChainRoomId
from node.attempt import Attempt
from node.connect import _Rendezvous
from node.webrtc import Rtc
from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, Parcel, ParcelKind
from signaling.carriers import carrier_from_spec
from signaling.description import (
    Answer,
    Candidate,
    Identity,
    Offer,
    RoomId,
    Session,
    Setup,
    Transport,
    answer_session,
    decode_answer,
    decode_offer,
    encode,
    make_answer,
    make_offer,
)
from signaling.directory import DirectoryCarrier, _Parcels
from signaling.envelope import Envelope, open_envelope, open_presence, parcel_key, presence_parcel
from signaling.errors import SignalError
from signaling.handshake import Binding, Failed, Handshake, Role
from signaling.invitation import (
    Anchor,
    Invitation,
    decode_invitation,
    encode_invitation,
    invitation_key,
)
from signaling.lobby import LobbySession
from signaling.refusal import Reason, decode_refusal, make_refusal, refused_session
from signaling.seal import unseal
from signaling.token import Kind, from_token, to_token
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused, same, scratch
from tests.fuzz.forms import BINARY, JSON, MESSAGEPACK, TEXT, Form
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
def _offers() -> tuple[Offer, ...]:
    v4 = Candidate("host", "192.168.1.20", 50_000)
    v6 = Candidate("srflx", "2001:db8::1", 40_000)
    made = []
    for candidates, setup, to in (
        ((v4,), Setup.ACTPASS, BOB_ID),
        ((v4, v6, Candidate("relay", "203.0.113.9", 1)), Setup.ACTIVE, BOB_ID),
        ((v4, v6) * 4, Setup.PASSIVE, None),
        ((), Setup.ACTPASS, BOB_ID),
    ):
        transport = Transport(
            ufrag=b"u" * 6, pwd=b"p" * 18, fingerprint=b"f" * 32, setup=setup, candidates=candidates
        )
        made.append(
            make_offer(
                key=ANN,
                room=ROOM,
                recipient=to,
                session=Session(bytes((len(made),)) * 16),
                issued=NOW,
                life=600,
                transport=transport,
            )
        )
    return tuple(made)


def offer_to_bob() -> Offer:
    return _offers()[0]


def _answers() -> list[Answer]:
    offer = _offers()[0]
    transports = [msgspec.structs.replace(other.transport, setup=Setup.ACTIVE) for other in _offers()]
    return [make_answer(key=BOB, offer=offer, issued=NOW + 1, transport=each) for each in transports]


def _sign_offer(data: bytes, dice: random.Random) -> bytes:
    """Signed anew as if every byte before the signature were meant."""
    recipient = BOB_ID if data[2:3] and data[2] & 1 else bytes(32)
    body = data[:-64] if len(data) > 64 else data
    return body + ANN.sign(b"pigeon/offer/v1\0" + ROOM + recipient + body).signature


def _sign_answer(data: bytes, dice: random.Random) -> bytes:
    body = data[:-64] if len(data) > 64 else data
    return body + BOB.sign(b"pigeon/answer/v1\0" + _offers()[0].hash + ROOM + ANN_ID + body).signature


def _offer_feed() -> Feed:
    def feed(data: bytes) -> object:
        offer = decode_offer(data, room=ROOM, me=BOB_ID, now=NOW)
        same(encode(offer), data)
        return offer.hash

    return feed


def _answer_feed() -> Feed:
    offer = _offers()[0]

    def feed(data: bytes) -> object:
        answer_session(data)
        answer = decode_answer(data, offer=offer, now=NOW)
        same(encode(answer), data)
        return answer.hash

    return feed


def _refusals() -> list[bytes]:
    return [make_refusal(key=BOB, offer=_offers()[0], reason=reason) for reason in Reason]


def _sign_refusal(data: bytes, dice: random.Random) -> bytes:
    if len(data) < 19:
        return data
    text = b"pigeon/refusal/v1\0" + _offers()[0].hash + data[2:3]
    return data[:19] + BOB.sign(text).signature + data[83:]


def _refusal_feed() -> Feed:
    offer = _offers()[0]

    def feed(data: bytes) -> object:
        refused_session(data)
        return decode_refusal(data, offer=offer)

    return feed


def _presences() -> list[bytes]:
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


def _seal(data: bytes, dice: random.Random) -> bytes:
    return sealed(padded(data), dice)


def _paddings() -> list[bytes]:
    return [padded(bytes(range(256)) * size) for size in (0, 1, 2, 30)]


def _unseal_feed() -> Feed:
    def feed(data: bytes) -> object:
        return unseal(data, key=BOB)

    return feed


def envelopes() -> list[bytes]:
    invitation = invitations()[1]
    made = [Envelope(encode(offer)) for offer in _offers()]
    made += [Envelope(encode(answer)) for answer in _answers()[:1]]
    proof = invitation_key(SECRET).sign(b"introduction").signature
    made.append(Envelope(encode(_offers()[0]), invitation.grant, proof))
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


# Lobby folders


def _sessions() -> list[bytes]:
    full = LobbySession(name="tea", url="ff" * 32, last_update=NOW, peers=3, max_peers=31, protected=True)
    return [msgspec.json.encode(each) for each in (full, LobbySession(name="", url=""))]


def _session_feed() -> Feed:
    faults: Counter[str] = Counter()
    folder = scratch() / "session"
    folder.mkdir(exist_ok=True)
    carrier = DirectoryCarrier(str(folder), faults)

    async def feed(data: bytes) -> object:
        (folder / "session.json").write_bytes(data)
        session = await carrier.read_session()
        if session is None:
            raise Refused
        session.is_stale(now=NOW)
        return session

    return feed


def _entries() -> list[bytes]:
    name = hashlib.sha256(b"place").hexdigest().encode()
    return [
        name + b".offer.bin\n" + bytes(512),
        name + b".answer.bin\n" + b"x" * 1024,
        b"host.offer.bin\n" + _presences()[0],
        name + b".offer.bin\n" + bytes(MAX_PAYLOAD),
    ]


def _entry_feed() -> Feed:
    """A file of any name and content in a lobby."""
    folder = os.fsencode(scratch() / "entries")
    Path(os.fsdecode(folder)).mkdir(exist_ok=True)

    def feed(data: bytes) -> object:
        name, _, content = data.partition(b"\n")
        name = name[:255].replace(b"/", b"_").replace(b"\0", b"_") or b"_"
        if name in (b".", b".."):
            raise Refused
        path = os.path.join(folder, name)  # noqa: PTH118 - a name of any bytes
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content)
        parcels = _Parcels(Path(os.fsdecode(folder)), Counter())
        parcels._logged = 1_000_000
        try:
            found = parcels._scan(0.0)
        finally:
            os.unlink(path)  # noqa: PTH108
        if not found:
            raise Refused
        (parcel,) = found
        same(parcel.payload, content)
        return parcel

    return feed


def _specs() -> list[bytes]:
    return [b"dir:" + os.fsencode(scratch() / "spec"), b"dir:" + os.fsencode(scratch() / "spec/deeper")]


def _spec_feed() -> Feed:
    """A carrier's name as an invitation gives it: read from for a moment. Only below our own folder."""
    home = str(scratch())

    async def feed(data: bytes) -> object:
        spec = data.decode("utf-8", "replace")
        carrier = cast(DirectoryCarrier, carrier_from_spec(spec))
        if not str(carrier._path).startswith(home) or ".." in str(carrier._path):
            raise Refused("elsewhere")
        await carrier.read_session()
        await carrier.withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)
        return carrier

    return feed


# The door: whatever a carrier brings to a node that runs


class _Started:
    """Stands where the nursery does, and starts nothing."""

    def start_soon(self, *_: object) -> None:
        pass


@contextmanager
def _at(now: int) -> Iterator[None]:
    """The day's clock of the door and of what stands before it; the samples were signed for this second."""
    clock = SimpleNamespace(time=lambda: now)
    rooms: list[Any] = [node.connect, node.door]
    former = [room.time for room in rooms]
    for room in rooms:
        room.time = clock
    try:
        yield
    finally:
        for room, time in zip(rooms, former, strict=True):
            room.time = time


def _door_feed() -> Feed:
    """Ann is a member, an introduction is always spent, and Bob waits for an answer of hers."""
    door = _Rendezvous(
        rtc=cast(Rtc, None),
        carriers=(),
        key=BOB,
        room=ROOM,
        wanted=list,
        admits=lambda sender, shown, _hash: Reason.USED if shown is not None else sender == ANN_ID,
        links=cast(Any, None),
        introduce=None,
        on_presence=lambda _who: None,
        on_refused=lambda _who, _why: None,
        on_carrier=lambda _spec, _error: None,
        host=lambda: True,
        offer_life=600,
        connect_deadline=20,
        faults=Counter(),
    )
    door._nursery = cast(Any, _Started())

    def feed(data: bytes) -> object:
        attempt = Attempt(ANN_ID, Role.OFFERER, 0.0, _offer_to_ann())
        for former in door._attempts:
            door._attempts.drop(former)
        kind = list(ParcelKind)[data[0] % 3] if data else ParcelKind.OFFER
        if kind is ParcelKind.ANSWER:
            door._attempts.put(attempt)
        parcel = Parcel(kind=kind, key=data[1:33].ljust(32, b"\0"), payload=data[33:][:MAX_PAYLOAD])
        with _at(NOW):
            door._take(parcel)
            door._door.look_again()
        return attempt

    return feed


@cache
def _offer_to_ann() -> Offer:
    return make_offer(
        key=BOB,
        room=ROOM,
        recipient=ANN_ID,
        session=Session(b"b" * 16),
        issued=NOW,
        life=600,
        transport=_offers()[0].transport,
    )


def _brought() -> list[bytes]:
    """A kind of parcel, then what will be sealed in it."""
    addressed = [offer for offer in _offers() if offer.recipient is not None]
    offers = [Envelope(encode(offer)) for offer in addressed]
    offers.append(Envelope(encode(addressed[0]), invitations()[1].grant, b"p" * 64))
    transport = msgspec.structs.replace(addressed[0].transport, setup=Setup.ACTIVE)
    answers = [
        Envelope(encode(make_answer(key=ANN, offer=_offer_to_ann(), issued=NOW, transport=transport))),
        Envelope(make_refusal(key=ANN, offer=_offer_to_ann(), reason=Reason.EXPIRED)),
    ]
    pack = msgspec.msgpack.encode
    return [
        *(b"\x00" + pack(each) for each in offers),
        *(b"\x01" + pack(each) for each in answers),
        *(b"\x02" + pack(each) for each in _presences()),
    ]


def _carried(data: bytes, dice: random.Random) -> bytes:
    """Sealed to Bob, and where it belongs."""
    kind, inner = data[:1] or b"\0", data[1:]
    if kind == b"\x02":
        return kind + bytes(32) + inner[2:]
    place = parcel_key(list(ParcelKind)[kind[0] % 3], room=ROOM, sender=ANN_ID, recipient=BOB_ID)
    return kind + place + _seal(inner, dice)


def _decoder(
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
    return [encode(offer) for offer in _offers()]


def _encoded_answers() -> list[bytes]:
    return [encode(answer) for answer in _answers()]


DECODERS = [
    _decoder("token", TEXT, _token_samples, _token_feed),
    _decoder("invitation", MESSAGEPACK, _encoded_invitations, _invitation_feed),
    _decoder("invitation/token", MESSAGEPACK, _encoded_invitations, _invitation_token_feed, _in_token),
    _decoder("offer", BINARY, _encoded_offers, _offer_feed, often(_sign_offer)),
    _decoder("answer", BINARY, _encoded_answers, _answer_feed, often(_sign_answer)),
    _decoder("refusal", BINARY, _refusals, _refusal_feed, often(_sign_refusal)),
    _decoder("presence", BINARY, _presences, _presence_feed, often(_sign_presence)),
    _decoder("seal", BINARY, _paddings, _unseal_feed, sealed),
    _decoder("seal/envelope", MESSAGEPACK, envelopes, _envelope_feed, _seal),
    _decoder("door", MESSAGEPACK, _brought, _door_feed, _carried, life=250),
    _decoder(
        "handshake/commitment",
        BINARY,
        lambda: [handshake_messages()[0]],
        partial(_handshake_feed, revealed=False),
    ),
    _decoder(
        "handshake/proof", BINARY, lambda: [handshake_messages()[1]], partial(_handshake_feed, revealed=True)
    ),
    _decoder("lobby/session", JSON, _sessions, _session_feed, waits=True),
    _decoder("lobby/entry", BINARY, _entries, _entry_feed),
    _decoder("carrier", TEXT, _specs, _spec_feed, waits=True),
]
