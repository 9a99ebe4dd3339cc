"""Sealed parcels show neither length nor kind nor sender; only their recipient opens them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey

from signaling.carrier import ParcelKind
from signaling.description import (
    Identity,
    RoomId,
    decode_offer,
    encode,
    make_offer,
)
from signaling.envelope import (
    Envelope,
    open_envelope,
    open_presence,
    parcel_key,
    presence_parcel,
    seal_envelope,
)
from signaling.errors import (
    BadKey,
    BadSignature,
    Expired,
    ForeignRoom,
    Malformed,
    NotForUs,
    Oversize,
    SignalError,
)
from signaling.seal import BUCKET, MAX_SEALED, seal, unseal
from tests.signaling.odd_key import OddKey

ANN, BOB, EVE = (SigningKey(hashlib.sha256(name).digest()) for name in (b"ann", b"bob", b"eve"))
ANN_ID, BOB_ID = (Identity(bytes(key.verify_key)) for key in (ANN, BOB))
ROOM = RoomId(hashlib.sha256(b"room").digest())
NOW = 1_800_000_000


@given(st.binary(max_size=3000))
def test_what_is_sealed_opens_for_its_recipient_only(payload: bytes) -> None:
    sealed = seal(payload, to=BOB_ID)
    assert unseal(sealed, key=BOB) == payload
    with pytest.raises(NotForUs):
        unseal(sealed, key=EVE)


def test_an_offer_an_answer_and_an_introduced_offer_have_one_length() -> None:
    envelopes = [Envelope(bytes(206)), Envelope(bytes(199)), Envelope(bytes(206), bytes(140), bytes(64))]
    parcels = [
        seal_envelope(envelope, kind=ParcelKind.OFFER, room=ROOM, sender=ANN_ID, to=BOB_ID)
        for envelope in envelopes
    ]
    assert {len(parcel.payload) for parcel in parcels} == {BUCKET}
    assert [open_envelope(parcel.payload, key=BOB) for parcel in parcels] == envelopes


def test_each_direction_of_each_pair_and_each_kind_has_its_own_place() -> None:
    places = {
        parcel_key(kind, room=room, sender=sender, recipient=recipient)
        for kind in (ParcelKind.OFFER, ParcelKind.ANSWER)
        for room in (ROOM, b"q" * 32)
        for sender, recipient in ((ANN_ID, BOB_ID), (BOB_ID, ANN_ID))
    }
    assert len(places) == 8


def test_the_presence_is_signed_expires_and_belongs_to_one_room() -> None:
    payload = presence_parcel(key=ANN, room=ROOM, issued=NOW, life=600).payload
    assert open_presence(payload, room=ROOM, now=NOW).sender == ANN_ID
    with pytest.raises(Expired):
        open_presence(payload, room=ROOM, now=NOW + 600)
    with pytest.raises(ForeignRoom):
        open_presence(payload, room=RoomId(bytes(32)), now=NOW)
    with pytest.raises(BadSignature):
        open_presence(payload[:-1] + bytes((payload[-1] ^ 1,)), room=ROOM, now=NOW)
    with pytest.raises(Malformed):
        open_presence(payload + b"\0", room=ROOM, now=NOW)


@given(st.binary(max_size=1200))
def test_no_bytes_raise_anything_but_a_signal_error(junk: bytes) -> None:
    sealed_junk = seal(junk, to=BOB_ID)  # hostile, but made for us
    for attempt in (
        lambda: open_envelope(junk, key=BOB),
        lambda: open_envelope(sealed_junk, key=BOB),
        lambda: open_presence(junk, room=ROOM, now=NOW),
    ):
        with pytest.raises(SignalError):
            attempt()


def test_an_oversize_parcel_is_refused_before_it_is_opened() -> None:
    with pytest.raises(Oversize):
        unseal(bytes(MAX_SEALED + BUCKET), key=BOB)


def test_a_key_that_signs_well_and_cannot_be_sealed_to_is_refused_wherever_it_turns_up() -> None:
    odd = OddKey()
    VerifyKey(odd.verify_key).verify(b"text", odd.sign(b"text").signature)
    with pytest.raises(BadKey):
        seal(b"", to=odd.verify_key)
    presence = presence_parcel(key=odd, room=ROOM, issued=NOW, life=600)  # type: ignore[arg-type]
    with pytest.raises(BadKey):
        open_presence(presence.payload, room=ROOM, now=NOW)
    offer = make_offer(
        key=odd,  # type: ignore[arg-type]
        room=ROOM,
        recipient=ANN_ID,
        seed=bytes(16),
        issued=NOW,
        life=600,
        fingerprint=bytes(32),
        candidates=(),
    )
    with pytest.raises(BadKey):
        decode_offer(encode(offer), room=ROOM, me=ANN_ID, now=NOW)
