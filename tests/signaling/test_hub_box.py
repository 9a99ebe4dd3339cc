"""What goes into a hub's channel: nothing shows, nothing fits elsewhere, and one meaning has one form."""

import base64
import secrets
from typing import cast

import pytest
from nacl.secret import SecretBox

from signaling.carrier import MAX_PAYLOAD, PRESENCE_KEY, Parcel, ParcelKind
from signaling.errors import Malformed, NotForUs, Oversize, SignalError, WrongVersion
from signaling.hub_box import MAX_BODY, SIZES, Call, HubBox

ROOM = b"r" * 32
OFFER = Parcel(kind=ParcelKind.OFFER, key=b"k" * 32, payload=b"p" * 512)


def boxed(plain: bytes, *, size: int = SIZES[0]) -> bytes:
    """A body of the room with this inside, which nobody made by the rules."""
    box = cast(SecretBox, HubBox(ROOM)._box)
    made = box.encrypt(plain.ljust(size - SecretBox.NONCE_SIZE - SecretBox.MACBYTES, b"\0"))
    return b'"' + base64.b64encode(made) + b'"'


def head(kind: int, key: bytes, length: int, *, version: int = 1) -> bytes:
    return bytes((version, kind)) + key + length.to_bytes(2, "big")


def test_a_channel_is_the_room_s_own_and_does_not_say_which() -> None:
    channels = {HubBox(bytes((number,)) * 32).channel for number in range(50)}
    assert len(channels) == 50
    assert all(len(channel) == 32 and channel.isalnum() for channel in channels)
    assert ROOM.hex()[:8] not in HubBox(ROOM).channel


@pytest.mark.parametrize("size", [1, 500, 512, 934, 935, 1024, 4000, 8000, 16_000, MAX_PAYLOAD])
@pytest.mark.parametrize("kind", list(ParcelKind))
def test_what_goes_in_comes_out_in_the_same_room_only(kind: ParcelKind, size: int) -> None:
    key = PRESENCE_KEY if kind is ParcelKind.PRESENCE else b"k" * 32
    parcel = Parcel(kind=kind, key=key, payload=secrets.token_bytes(size))
    body = HubBox(ROOM).parcel(parcel)
    assert HubBox(ROOM).open(body) == parcel
    assert len(body) <= MAX_BODY
    with pytest.raises(NotForUs):
        HubBox(b"s" * 32).open(body)


def test_sizes_say_next_to_nothing() -> None:
    box = HubBox(ROOM)
    presence = Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"p" * 113)
    answer = Parcel(kind=ParcelKind.ANSWER, key=b"k" * 32, payload=b"p" * 512)
    bodies = [box.call(b"c" * 16), *map(box.parcel, (presence, answer, OFFER))]
    assert len({len(body) for body in bodies}) == 1
    every = {len(box.parcel(Parcel(kind=ParcelKind.OFFER, key=b"k" * 32, payload=bytes(n or 1))))
             for n in range(0, MAX_PAYLOAD, 97)}  # fmt: skip
    assert len(every) == len(SIZES)


def test_the_same_thing_twice_looks_different() -> None:
    box = HubBox(ROOM)
    assert len({box.parcel(OFFER) for _ in range(20)} | {box.call(b"c" * 16) for _ in range(20)}) == 40


def test_no_change_to_a_body_is_taken() -> None:
    box = HubBox(ROOM)
    body = box.parcel(OFFER)
    changed = [body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :] for at in range(0, len(body), 7)]
    changed += [
        body[:-1],
        body + b" ",
        b" " + body,
        body[1:-1],
        b"'" + body[1:-1] + b"'",
        body * 2,
        b"",
        b'""',
    ]
    changed += [body[:-2] + b'=="', body.replace(b'"', b""), b'"' + b"A" * 1368 + b'"', b'"\\u0041"']
    for other in changed:
        with pytest.raises(SignalError):
            box.open(other)


def test_a_body_that_is_too_large_is_not_even_read() -> None:
    with pytest.raises(Oversize):
        HubBox(ROOM).open(b'"' + b"A" * 60_000 + b'"')


@pytest.mark.parametrize(
    ("plain", "size", "error"),
    [
        (head(1, b"k" * 32, 5, version=2) + b"hello", 1024, WrongVersion),
        (head(9, b"k" * 32, 5) + b"hello", 1024, Malformed),
        (head(1, b"k" * 32, 5) + b"hello!", 1024, Malformed),
        (head(1, b"k" * 32, 5) + b"hello", 2048, Malformed),
        (head(1, b"k" * 32, 0), 1024, Malformed),
        (head(1, b"k" * 32, 60_000) + b"hello", 1024, Malformed),
        (head(1, b"k" * 32, 16_385) + b"h" * 16_385, 17 * 1024, Malformed),
        (head(1, bytes(32), 5) + b"hello", 1024, Malformed),
        (head(3, b"k" * 32, 5) + b"hello", 1024, Malformed),
        (head(0, b"k" * 32, 16) + b"c" * 16, 1024, Malformed),
        (head(0, bytes(32), 15) + b"c" * 15, 1024, Malformed),
    ],
)
def test_who_knows_the_room_cannot_say_one_thing_in_two_ways(
    plain: bytes, size: int, error: type[SignalError]
) -> None:
    with pytest.raises(error):
        HubBox(ROOM).open(boxed(plain, size=size))


def test_a_call_says_who_calls_and_nothing_else() -> None:
    assert HubBox(ROOM).open(HubBox(ROOM).call(b"c" * 16)) == Call(b"c" * 16)
    assert HubBox(ROOM).open(boxed(head(0, bytes(32), 16) + b"c" * 16)) == Call(b"c" * 16)
