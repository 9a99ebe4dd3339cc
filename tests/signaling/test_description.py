"""Offers and answers: small, signed, and refused in every altered, foreign or expired form."""

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
    Session,
    Setup,
    Transport,
    decode_answer,
    decode_offer,
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
from signaling.token import Kind, to_token

ANN, BOB, EVE = (SigningKey(hashlib.sha256(name).digest()) for name in (b"ann", b"bob", b"eve"))
ANN_ID, BOB_ID, EVE_ID = (Identity(bytes(key.verify_key)) for key in (ANN, BOB, EVE))
ROOM = RoomId(hashlib.sha256(b"room").digest())
NOW = 1_800_000_000


def transport(*candidates: Candidate, setup: Setup = Setup.ACTPASS) -> Transport:
    return Transport(ufrag=b"u" * 6, pwd=b"p" * 18, fingerprint=b"f" * 32, setup=setup, candidates=candidates)


TWO = (Candidate("host", "192.168.1.20", 50_000), Candidate("srflx", "203.0.113.9", 40_000))


def offer(*candidates: Candidate, recipient: Identity | None = BOB_ID, life: int = 600) -> Offer:
    return make_offer(
        key=ANN,
        room=ROOM,
        recipient=recipient,
        session=Session(b"s" * 16),
        issued=NOW,
        life=life,
        transport=transport(*(candidates or TWO)),
    )


def answer_to(offer: Offer) -> Answer:
    return make_answer(key=BOB, offer=offer, issued=NOW + 1, transport=transport(*TWO, setup=Setup.ACTIVE))


def read(data: bytes, *, room: RoomId = ROOM, me: Identity = BOB_ID, now: int = NOW + 10) -> Offer:
    return decode_offer(data, room=room, me=me, now=now)


def test_an_offer_with_two_candidates_has_at_most_210_bytes_and_its_token_fits_a_small_qr() -> None:
    data = encode(offer())
    assert len(data) == 206
    # A QR code of version 10 at level L holds 395 alphanumeric characters.
    assert len(to_token(Kind.OFFER, data)) == 351


def test_an_offer_and_its_answer_survive_the_wire_whole() -> None:
    made = offer(Candidate("host", "2001:db8::5", 1), Candidate("relay", "127.0.0.1", 65_535))
    assert read(encode(made)) == made
    answer = answer_to(made)
    assert decode_answer(encode(answer), offer=made, now=NOW + 20) == answer


def test_an_open_offer_can_be_read_by_anyone_in_the_room() -> None:
    made = offer(recipient=None)
    assert read(encode(made), me=EVE_ID) == made


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda data: read(data, room=RoomId(b"r" * 32)), ForeignRoom),
        (lambda data: read(data, room=RoomId(ROOM[:8] + b"r" * 24)), BadSignature),
        (lambda data: read(data, me=EVE_ID), NotForUs),
        (lambda data: read(data, me=Identity(BOB_ID[:4] + b"x" * 28)), BadSignature),
        (lambda data: read(data, now=NOW + 600), Expired),
        (lambda data: read(data, now=NOW - 301), FromTheFuture),
        (lambda data: read(b"\x02" + data[1:]), WrongVersion),
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


def test_an_answer_to_another_offer_of_the_same_session_is_refused() -> None:
    first, second = offer(), offer(life=601)
    with pytest.raises(BadSignature):
        decode_answer(encode(answer_to(first)), offer=second, now=NOW + 10)


def test_an_answer_by_somebody_the_offer_was_not_made_for_is_refused() -> None:
    made = offer()
    answer = make_answer(key=EVE, offer=made, issued=NOW, transport=transport(*TWO, setup=Setup.ACTIVE))
    with pytest.raises(BadSignature, match="was not made for"):
        decode_answer(encode(answer), offer=made, now=NOW + 10)


def test_a_life_longer_than_a_day_is_refused_though_signed() -> None:
    with pytest.raises(Malformed):
        read(encode(offer(life=24 * 3600 + 1)))


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::"])
def test_an_address_that_would_reach_many_or_none_is_refused_though_signed(address: str) -> None:
    with pytest.raises(Malformed):
        read(encode(offer(Candidate("host", address, 9))))


def test_port_zero_and_a_ninth_candidate_are_refused_though_signed() -> None:
    with pytest.raises(Malformed):
        read(encode(offer(Candidate("host", "10.0.0.1", 0))))
    with pytest.raises(SignalError):
        read(encode(offer(*[Candidate("host", "10.0.0.1", 9)] * 9)))


def test_an_expired_offer_says_how_long_ago() -> None:
    with pytest.raises(Expired, match=r"This offer expired 2 minutes ago\. Ask for a new one"):
        read(encode(offer()), now=NOW + 600 + 130)


def test_the_offer_hash_covers_the_signature() -> None:
    made = offer()
    assert msgspec.structs.replace(made, signature=bytes(64)).hash != made.hash


@given(st.binary(max_size=500), st.integers(0, 206), st.booleans())
def test_no_bytes_raise_anything_but_a_signal_error(junk: bytes, keep: int, after: bool) -> None:
    real = encode(offer())
    data = real[:keep] + junk if after else junk + real[keep:]
    for decode in (lambda: read(data), lambda: decode_answer(data, offer=offer(), now=NOW)):
        try:
            assert decode() == offer()
        except SignalError as error:
            assert error.message and error.hint
