"""Offers and answers: small, signed, and refused in every altered, foreign or expired form."""

import base64
import hashlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from signaling.description import (
    MAX_DESCRIPTION,
    Answer,
    Candidate,
    Identity,
    Offer,
    RoomId,
    decode_answer,
    decode_offer,
    decode_ufrag,
    encode,
    make_answer,
    make_offer,
)
from signaling.errors import (
    BadSignature,
    Expired,
    ForeignRoom,
    FromTheFuture,
    Malformed,
    NotForUs,
    Oversize,
    SignalError,
    WrongKind,
    WrongVersion,
)

ANN, BOB, EVE = (SigningKey(hashlib.sha256(name).digest()) for name in (b"ann", b"bob", b"eve"))
ANN_ID, BOB_ID, EVE_ID = (Identity(bytes(key.verify_key)) for key in (ANN, BOB, EVE))
ROOM = RoomId(hashlib.sha256(b"room").digest())
NOW = 1_800_000_000


TWO = (Candidate("host", "192.168.1.20", 50_000), Candidate("srflx", "203.0.113.9", 40_000))


def offer(
    *candidates: Candidate, recipient: Identity | None = BOB_ID, life: int = 600, seed: bytes = b"s" * 16
) -> Offer:
    return make_offer(
        key=ANN,
        room=ROOM,
        recipient=recipient,
        seed=seed,
        issued=NOW,
        life=life,
        fingerprint=b"f" * 32,
        candidates=candidates or TWO,
    )


def answer_to(offer: Offer, *candidates: Candidate, key: SigningKey = BOB) -> Answer:
    return make_answer(
        key=key, offer=offer, issued=NOW + 1, fingerprint=b"g" * 32, candidates=candidates or TWO
    )


def signed(offer: Offer) -> bytes:
    """As one made by a program that keeps no rule."""
    bare = encode(msgspec.structs.replace(offer, signature=b""))
    return bare + ANN.sign(b"pigeon/offer/v2\0" + (offer.recipient or bytes(32)) + bare).signature


def read(data: bytes, *, room: RoomId = ROOM, me: Identity = BOB_ID, now: int = NOW + 10) -> Offer:
    return decode_offer(data, room=room, me=me, now=now)


V6 = Candidate("host", "2001:db8::5", 1)


def test_descriptions_with_two_candidates_have_at_most_210_bytes() -> None:
    made = offer(recipient=None)
    assert len(encode(made)) == 198
    assert len(encode(answer_to(made))) == 152


def test_an_offer_for_a_picture_takes_the_first_candidates_that_fit() -> None:
    many = (V6, V6, *TWO, *TWO)
    assert offer(*many, recipient=None).candidates == (V6, TWO[0])
    assert len(encode(offer(*many, recipient=None))) <= 211
    assert offer(*many).candidates == many


def test_an_offer_and_its_answer_survive_the_wire_whole() -> None:
    made = offer(Candidate("host", "2001:db8::5", 1), Candidate("relay", "127.0.0.1", 65_535))
    assert read(encode(made)) == made
    answer = answer_to(made)
    assert decode_answer(encode(answer), offer=made, now=NOW + 20) == answer


def test_an_offer_to_whoever_holds_it_can_be_read_by_anyone_also_without_knowing_the_room() -> None:
    made = offer(recipient=None)
    assert read(encode(made), me=EVE_ID) == made
    assert decode_offer(encode(made), room=None, me=None, now=NOW) == made
    with pytest.raises(NotForUs):
        decode_offer(encode(offer()), room=None, me=None, now=NOW)


def test_the_answer_is_its_own_ice_name_and_only_who_knows_the_offer_can_read_it() -> None:
    made = offer(recipient=None)
    answer = answer_to(made, V6, *TWO)
    ufrag = answer.transport.ufrag
    assert len(ufrag) <= 256
    assert decode_ufrag(ufrag, offer=made, now=NOW + 20) == answer
    raw = base64.b64decode(ufrag + "=" * (-len(ufrag) % 4))
    assert answer.sender not in raw and answer.fingerprint not in raw
    with pytest.raises(NotForUs):
        decode_ufrag(ufrag, offer=offer(recipient=None, seed=b"t" * 16), now=NOW + 20)


def test_every_changed_character_of_an_ice_name_is_refused() -> None:
    made = offer(recipient=None)
    ufrag = answer_to(made).transport.ufrag
    for at, was in enumerate(ufrag):
        for changed in (
            ufrag[:at] + ("A" if was != "A" else "B") + ufrag[at + 1 :],
            ufrag[:at],
            ufrag[at + 1 :],
        ):
            with pytest.raises(SignalError):
                decode_ufrag(changed, offer=made, now=NOW + 20)


def test_an_ice_name_is_checked_as_strictly_as_a_carried_answer() -> None:
    made = offer(recipient=BOB_ID)
    with pytest.raises(BadSignature, match="was not made for"):
        decode_ufrag(answer_to(made, key=EVE).transport.ufrag, offer=made, now=NOW + 20)
    with pytest.raises(Expired):
        decode_ufrag(answer_to(made).transport.ufrag, offer=made, now=NOW + 600)


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda data: read(data, room=RoomId(b"r" * 32)), ForeignRoom),
        (lambda data: read(data, me=EVE_ID), BadSignature),
        (lambda data: read(data, now=NOW + 600), Expired),
        (lambda data: read(data, now=NOW - 301), FromTheFuture),
        (lambda data: read(b"\x11" + data[1:]), WrongVersion),
        (lambda data: read(data[:-1]), Malformed),
        (lambda data: read(data + b"\0"), Malformed),
        (lambda data: read(data[:40]), Malformed),
        (lambda data: read(b""), Malformed),
        (lambda data: read(bytes(MAX_DESCRIPTION + 1)), Oversize),
        (lambda data: decode_answer(data, offer=offer(), now=NOW), WrongKind),
    ],
)
def test_an_offer_that_is_not_for_here_and_now_is_refused_by_name(
    attempt: Callable[[bytes], object], error: type[SignalError]
) -> None:
    with pytest.raises(error):
        attempt(encode(offer()))


def test_every_flipped_bit_of_an_offer_is_refused() -> None:
    data = bytearray(encode(offer()))
    for at in range(len(data) * 8):
        data[at // 8] ^= 1 << at % 8
        with pytest.raises(SignalError):
            read(bytes(data))
        data[at // 8] ^= 1 << at % 8


def test_every_flipped_bit_of_an_answer_is_refused() -> None:
    made = offer()
    data = bytearray(encode(answer_to(made)))
    for at in range(len(data) * 8):
        data[at // 8] ^= 1 << at % 8
        with pytest.raises(SignalError):
            decode_answer(bytes(data), offer=made, now=NOW + 10)
        data[at // 8] ^= 1 << at % 8


def test_an_answer_to_another_offer_is_refused_whatever_it_claims() -> None:
    first, second = offer(), offer(life=602)
    data = encode(answer_to(first))
    with pytest.raises(NotForUs):
        decode_answer(data, offer=second, now=NOW + 10)
    with pytest.raises(BadSignature):
        decode_answer(data[:1] + second.hash[:4] + data[5:], offer=second, now=NOW + 10)


def test_an_answer_by_somebody_the_offer_was_not_made_for_is_refused() -> None:
    made = offer()
    answer = answer_to(made, key=EVE)
    with pytest.raises(BadSignature, match="was not made for"):
        decode_answer(encode(answer), offer=made, now=NOW + 10)


def test_a_life_longer_than_a_day_is_refused_though_signed() -> None:
    with pytest.raises(Malformed):
        read(signed(msgspec.structs.replace(offer(), expires=NOW + 24 * 3600 + 2)))
    with pytest.raises(Malformed):
        read(signed(msgspec.structs.replace(offer(), expires=NOW)))


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::"])
def test_an_address_that_would_reach_many_or_none_is_refused_though_signed(address: str) -> None:
    with pytest.raises(Malformed):
        read(encode(offer(Candidate("host", address, 9))))


def test_port_zero_and_a_ninth_candidate_are_refused_though_signed() -> None:
    with pytest.raises(Malformed):
        read(encode(offer(Candidate("host", "10.0.0.1", 0))))
    with pytest.raises(SignalError):
        read(signed(msgspec.structs.replace(offer(), candidates=(Candidate("host", "10.0.0.1", 9),) * 9)))


def test_an_expired_offer_says_how_long_ago() -> None:
    with pytest.raises(Expired, match=r"This offer expired 2 minutes ago\. Ask for a new one"):
        read(encode(offer()), now=NOW + 600 + 130)


def test_the_offer_hash_covers_the_signature() -> None:
    made = offer()
    assert msgspec.structs.replace(made, signature=bytes(64)).hash != made.hash


@given(st.binary(max_size=500), st.integers(0, 198), st.booleans())
def test_no_bytes_raise_anything_but_a_signal_error(junk: bytes, keep: int, after: bool) -> None:
    real = encode(offer())
    data = real[:keep] + junk if after else junk + real[keep:]
    for decode in (lambda: read(data), lambda: decode_answer(data, offer=offer(), now=NOW)):
        try:
            assert decode() == offer()
        except SignalError as error:
            assert error.message and error.hint
