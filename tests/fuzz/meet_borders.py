"""What strangers post to a hub's meetings, and what hubs and strangers say to those who meet."""

import base64
import zlib
from collections.abc import Sequence

import msgspec
from nacl.signing import SigningKey

from node.meet_offer import Shown, decode_shown, encode_shown
from signaling.errors import SignalError
from signaling.hub.http import Request
from signaling.hub.meet_request import Wrong, read_ask
from signaling.meet import Exchange, HubRefused, Later, Party, Unfit
from signaling.meet_keys import OfferTo, open_signal, sign_signal
from signaling.meet_signals import Namespace, _inflate
from tests.fuzz.decoder import Decoder, Refused, same
from tests.fuzz.forms import BINARY, JSON, MESSAGEPACK, TEXT

TEA = Namespace("tea")
KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
PUBLIC = bytes(OTHER.verify_key)
PLACE = TEA.place.encode()


def _bodies() -> Sequence[bytes]:
    plain = Exchange(Party(namespace=TEA)).offer(b"an offer", now=0)
    bounce = {"TYPE": "BOUNCE", "NONCE": "n", "NAMESPACE": "tea", "SIGNAL": "s"}
    return [plain, msgspec.json.encode(bounce)]


def _read_body(data: bytes) -> None:
    if isinstance(read_ask(Request(method="POST", path="/v1/meet", body=data), max_signal=8192), Wrong):
        raise Refused


def _replies() -> Sequence[bytes]:
    plain = base64.b64encode(TEA.seal(b"an offer", OfferTo())).decode()
    return [
        msgspec.json.encode({"TYPE": "DEMOTE", "NONCE": "n", "SIGNAL": plain}),
        msgspec.json.encode({"TYPE": "DEMOTE", "NONCE": "n2", "SIGNAL": plain, "more": [1, None]}),
    ]


def _hear(data: bytes) -> None:
    exchange = Exchange(Party(namespace=TEA))
    exchange.offer(b"ours", now=0)
    if isinstance(exchange.receive(200, data), Unfit | Later):
        raise Refused


def _signals() -> Sequence[bytes]:
    return [TEA.seal(payload, OfferTo()) for payload in (b"", b"an offer", bytes(range(256)) * 4)]


def _packed() -> Sequence[bytes]:
    return [zlib.compress(payload, 9, -15) for payload in (b"an offer", bytes(4000), bytes(range(256)) * 4)]


def _signed() -> Sequence[bytes]:
    return [sign_signal(TEA.seal(b"an offer", OfferTo()), OfferTo(), namespace=PLACE, key=OTHER).encode()]


def _open_signed(data: bytes) -> object:
    text = data.decode("latin-1")
    return TEA.open(open_signal(text, OfferTo(), namespace=PLACE, public=PUBLIC), OfferTo())


def _shown() -> Sequence[bytes]:
    return [encode_shown(Shown(bytes(range(200)), nick)) for nick in ("ann", "Zoë")]


def _read_shown(data: bytes) -> None:
    same(encode_shown(decode_shown(data)), data)


DECODERS = [
    Decoder(
        name="meet/shown",
        form=MESSAGEPACK,
        samples=_shown,
        make=lambda: _read_shown,
        refuses=(SignalError,),
    ),
    Decoder(name="meet/request", form=JSON, samples=_bodies, make=lambda: _read_body, refuses=()),
    Decoder(name="meet/reply", form=JSON, samples=_replies, make=lambda: _hear, refuses=(HubRefused,)),
    Decoder(
        name="meet/signal",
        form=BINARY,
        samples=_signals,
        make=lambda: lambda data: TEA.open(data, OfferTo()),
        refuses=(SignalError,),
    ),
    Decoder(  # by somebody who knows the name
        name="meet/packed", form=BINARY, samples=_packed, make=lambda: _inflate, refuses=(SignalError,)
    ),
    Decoder(
        name="meet/signed", form=TEXT, samples=_signed, make=lambda: _open_signed, refuses=(SignalError,)
    ),
]
