"""What a linked peer says beside the chain's messages: parcels to carry, and parcels it carried."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import trio

from node.aside import BadAside, Hand, Leave, TakeBack, decode_aside, encode_aside
from node.introduce import InBand
from node.introducer import MAX_KEPT
from signaling.carrier import ParcelKind
from signaling.seal import BUCKET
from tests.fuzz.decoder import Decoder, Feed, Refused, same
from tests.fuzz.forms import BINARY

_ME, _ANN, _BOB = (hashlib.sha256(name).digest() for name in (b"me", b"ann", b"bob"))


def _samples() -> Sequence[bytes]:
    offer, answer = ParcelKind.OFFER, ParcelKind.ANSWER
    return [
        encode_aside(aside)
        for aside in (
            Leave(to=_BOB, kind=offer, payload=bytes(BUCKET)),
            Leave(to=_ANN, kind=answer, payload=bytes(4 * BUCKET)),
            TakeBack(to=_BOB, kind=offer),
            Hand(sender=_BOB, kind=answer, payload=b"\xff" * 2 * BUCKET),
            Hand(sender=bytes(32), kind=offer, payload=bytes(BUCKET)),
        )
    ]


def _decode_feed() -> Feed:
    def feed(data: bytes) -> object:
        aside = decode_aside(data)
        same(encode_aside(aside), data)
        return aside

    return feed


class _Links:
    """Two members are linked, and take what is said."""

    def __init__(self) -> None:
        self.dropped = False

    def linked(self) -> frozenset[bytes]:
        return frozenset((_ANN, _BOB))

    def send_aside(self, peer: bytes, aside: bytes) -> bool:
        decode_aside(aside)
        return True

    def drop(self, peer: bytes) -> None:
        self.dropped = True


def _peer_feed() -> Feed:
    """All that one peer says, until its link is cut; nobody reads what it brings."""
    links, faults = _Links(), Counter[str]()
    carrier: list[InBand] = []

    async def feed(data: bytes) -> object:
        if not carrier:
            members = frozenset((_ME, _ANN, _BOB))
            made = InBand(me=_ME, room=bytes(32), members=lambda: members, mesh=links, faults=faults)
            carrier.append(made)
        (mine,) = carrier
        before = faults.total()
        mine.on_aside(_ANN, data)
        if links.dropped:
            links.dropped = False
            mine.on_no_line(_ANN)
            mine._budgets.clear()
        assert sum(map(len, mine._introducer._kept.values())) <= MAX_KEPT
        assert len(mine._handed) <= 128
        if len(mine._handed) == 128:
            await anext(mine.parcels())
        await trio.lowlevel.checkpoint()
        if faults.total() > before:
            raise Refused("counted as a fault")
        return mine

    return feed


DECODERS = [
    Decoder(name="aside", form=BINARY, samples=_samples, make=_decode_feed, refuses=(BadAside,)),
    Decoder(
        name="aside/peer",
        form=BINARY,
        samples=_samples,
        make=_peer_feed,
        refuses=(),
        life=50,
        sound=False,
        waits=True,
    ),
]
