"""What members say about parcels of others, beside the chain's messages: see node/introduce.py."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

from signaling.carrier import ParcelKind
from signaling.seal import BUCKET

MAX_PAYLOAD: Final = 4 * BUCKET  # an offer with every address, and a newcomer's introduction, takes half
_HEAD: Final = struct.Struct(">BB32s")  # what, which parcel, an identity
_KINDS: Final = {1: ParcelKind.OFFER, 2: ParcelKind.ANSWER}
_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}


class BadAside(Exception):
    """It is none of these."""


class _What(IntEnum):
    LEAVE = 1
    TAKE_BACK = 2
    HAND = 3


@dataclass(frozen=True, kw_only=True)
class Leave:
    """Keep this for the member `to` while we are linked, and hand it on; a later one replaces it."""

    to: bytes
    kind: ParcelKind
    payload: bytes  # sealed: a multiple of BUCKET, at most MAX_PAYLOAD


@dataclass(frozen=True, kw_only=True)
class TakeBack:
    """Keep it no more."""

    to: bytes
    kind: ParcelKind


@dataclass(frozen=True, kw_only=True)
class Hand:
    """The member `sender` left this with me, for you."""

    sender: bytes
    kind: ParcelKind
    payload: bytes


Aside = Leave | TakeBack | Hand


def encode_aside(aside: Aside) -> bytes:
    match aside:
        case Leave(to=to, kind=kind, payload=payload):
            return _HEAD.pack(_What.LEAVE, _NUMBERS[kind], to) + payload
        case TakeBack(to=to, kind=kind):
            return _HEAD.pack(_What.TAKE_BACK, _NUMBERS[kind], to)
        case Hand(sender=sender, kind=kind, payload=payload):
            return _HEAD.pack(_What.HAND, _NUMBERS[kind], sender) + payload
        case _:
            assert_never(aside)


def decode_aside(data: bytes) -> Aside:
    """BadAside for anything that encode_aside does not make of parcels that may be left."""
    if not _HEAD.size <= len(data) <= _HEAD.size + MAX_PAYLOAD:
        raise BadAside("size")
    what, number, identity = _HEAD.unpack_from(data)
    kind, payload = _KINDS.get(number), data[_HEAD.size :]
    if kind is None:
        raise BadAside("kind of parcel")
    if what == _What.TAKE_BACK and not payload:
        return TakeBack(to=identity, kind=kind)
    if not payload or len(payload) % BUCKET:
        raise BadAside("size of a parcel")
    if what == _What.LEAVE:
        return Leave(to=identity, kind=kind, payload=payload)
    if what == _What.HAND:
        return Hand(sender=identity, kind=kind, payload=payload)
    raise BadAside("unknown")
