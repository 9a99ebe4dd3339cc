"""What a hub, or whoever knows a room's channel, says to those who listen there; and its address."""

import base64
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

from nacl.secret import SecretBox

from signaling.carrier import PRESENCE_KEY, CarrierContext, Parcel, ParcelKind
from signaling.event_stream import Event, EventStream
from signaling.hub_box import CALLER, HubBox
from signaling.hub_carrier import HubCarrier
from signaling.hub_client import hub_url
from tests.fuzz.decoder import Differs, Feed, Refused, same
from tests.fuzz.forms import BINARY, TEXT
from tests.fuzz.signal_borders import ROOM, signal_decoder

_BOX = HubBox(ROOM)
_OFFER = Parcel(kind=ParcelKind.OFFER, key=b"k" * 32, payload=bytes(range(256)) * 2)
_PRESENCE = Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"p" * 113)


def _streams() -> list[bytes]:
    event = b"id: 1-7\ndata: " + _BOX.parcel(_OFFER)
    return [
        b"\xef\xbb\xbf:heartbeat signal\n\n" + event + b"\n\n",
        b"id: 0\n\n" + event + b"\r\n\r\nevent: x\rdata: a\rdata: b\r\r" + event + b"\n\n",
        b"data: " + b"x" * 40_000 + b"\n\n" + event + b"\n\n",
        b"data\ndata:\nretry: 5\n\n",
    ]


def _stream_feed() -> Feed:
    """In one piece and in others: the events are the same."""

    def feed(data: bytes) -> object:
        whole, pieces = EventStream(), EventStream()
        found = whole.feed(data)
        again: list[Event] = []
        step = 1 + len(data) % 97
        for at in range(0, len(data), step):
            again += pieces.feed(data[at : at + step])
        if (again, pieces.last_id, pieces.oversize) != (found, whole.last_id, whole.oversize):
            raise Differs("cut otherwise, it says something else")
        if len(whole.last_id) > 128 or not whole.last_id.isprintable():
            raise Differs("an id that fits in no header")
        if not found:
            raise Refused
        return found

    return feed


def _plain(body: bytes) -> bytes:
    box = cast(SecretBox, _BOX._box)
    return box.decrypt(base64.b64decode(body[1:-1]))


def _plains() -> list[bytes]:
    return [_plain(_BOX.parcel(_OFFER)), _plain(_BOX.parcel(_PRESENCE)), _plain(_BOX.call(b"c" * CALLER))]


def _boxed(data: bytes, dice: random.Random) -> bytes:
    """Most of them of a size that there is, by somebody who knows the room."""
    if dice.random() < 0.9 and len(data) <= 1024 - 40:
        data = data.ljust(1024 - 40, b"\0")
    nonce = dice.randbytes(SecretBox.NONCE_SIZE)
    return b'"' + base64.b64encode(cast(SecretBox, _BOX._box).encrypt(data, nonce)) + b'"'


def _box_feed() -> Feed:
    def feed(data: bytes) -> object:
        said = _BOX.open(data)
        body = _BOX.parcel(said) if isinstance(said, Parcel) else _BOX.call(said.caller)
        same(_plain(body), _plain(data))
        return said

    return feed


def _bodies() -> list[bytes]:
    return [_BOX.parcel(_OFFER), _BOX.parcel(_PRESENCE), _BOX.call(b"c" * CALLER)]


def _channel_feed() -> Feed:
    """A carrier that hears this in its channel, and only that; it says of nothing else that it came."""
    faults: Counter[str] = Counter()
    carrier = HubCarrier("http://127.0.0.1:9", CarrierContext(faults=faults, room=ROOM))
    carrier._logged = 1_000_000
    reader = cast(Any, carrier.parcels())
    carrier._line = cast(Any, SimpleNamespace(heard=lambda _digest: None))

    def feed(data: bytes) -> object:
        carrier._known.clear()
        reader._unread.clear()
        carrier._hear(Event(data))
        if reader._unread and reader._unread[0] not in (_OFFER, _PRESENCE):
            raise Differs("it made something up")
        if not reader._unread and not carrier._called:
            raise Refused
        carrier._called = False
        return carrier

    return feed


def _addresses() -> list[bytes]:
    return [b"http://127.0.0.1:8080", b"HTTPS://Hub.Example:443/a/b/", b"https://[2001:db8::1]:8443/x"]


def _address_feed() -> Feed:
    def feed(data: bytes) -> object:
        url = hub_url(data.decode("utf-8", "surrogateescape"))
        if hub_url(url) != url:
            raise Differs(url)
        if not url.isascii() or any(letter in url for letter in "\r\n\0 @?#,"):
            raise Differs("what no address holds")
        return url

    return feed


DECODERS = [
    signal_decoder("hub/stream", TEXT, _streams, _stream_feed, slow=0.25, share=0.5),
    signal_decoder("hub/box", BINARY, _plains, _box_feed, _boxed),
    signal_decoder("hub/channel", TEXT, _bodies, _channel_feed, life=1000),
    signal_decoder("hub/address", TEXT, _addresses, _address_feed),
]
