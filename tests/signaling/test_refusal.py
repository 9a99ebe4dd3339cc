"""A refusal is believed from the one the offer was made for, for this very offer, and from nobody else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from signaling.description import Identity, RoomId, encode, make_offer
from signaling.errors import BadSignature, Malformed, NotForUs, SignalError, WrongVersion
from signaling.refusal import Reason, decode_refusal, make_refusal, refused_session

ANN, BOB, EVE = (SigningKey(hashlib.sha256(name).digest()) for name in (b"ann", b"bob", b"eve"))


def offer_of(seed: bytes = b"s" * 16, room: bytes = b"r" * 32):  # type: ignore[no-untyped-def]
    return make_offer(
        key=ANN,
        room=RoomId(room),
        recipient=Identity(bytes(BOB.verify_key)),
        seed=seed,
        issued=1_800_000_000,
        life=600,
        fingerprint=bytes(32),
        candidates=(),
    )


OFFER = offer_of()


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_says_why_and_to_which_offer(reason: Reason) -> None:
    refusal = make_refusal(key=BOB, offer=OFFER, reason=reason)
    assert len(refusal) == 82
    assert refused_session(refusal) == OFFER.session
    assert decode_refusal(refusal, offer=OFFER) is reason


def test_nobody_else_can_refuse_and_none_fits_another_offer() -> None:
    with pytest.raises(BadSignature):
        decode_refusal(make_refusal(key=EVE, offer=OFFER, reason=Reason.USED), offer=OFFER)
    refusal = make_refusal(key=BOB, offer=OFFER, reason=Reason.USED)
    with pytest.raises(NotForUs):
        decode_refusal(refusal, offer=offer_of(seed=b"t" * 16))
    with pytest.raises(BadSignature):
        decode_refusal(refusal, offer=offer_of(room=b"q" * 32))
    other_reason = bytes((refusal[0], Reason.EXPIRED.value, *refusal[2:]))
    with pytest.raises(BadSignature):
        decode_refusal(other_reason, offer=OFFER)


def test_an_offer_is_no_refusal_and_versions_are_named() -> None:
    refusal = make_refusal(key=BOB, offer=OFFER, reason=Reason.USED)
    assert refused_session(encode(OFFER)) is None
    with pytest.raises(WrongVersion):
        refused_session(b"\x13" + refusal[1:])
    with pytest.raises(Malformed):
        refused_session(refusal[:-1])
    with pytest.raises(Malformed):
        decode_refusal(refusal[:1] + b"\x09" + refusal[2:], offer=OFFER)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_refusal_or_a_signal_error(data: bytes) -> None:
    with pytest.raises(SignalError):
        decode_refusal(data, offer=OFFER)
