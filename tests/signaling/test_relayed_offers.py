"""Another's offer shown as one's own, with the same seed, certificate and addresses, fools nobody."""

import msgspec
import pytest
from nacl.signing import SigningKey

from signaling.description import (
    Answer,
    Identity,
    Offer,
    decode_answer,
    decode_ufrag,
    encode,
    make_answer,
    make_offer,
)
from signaling.errors import BadSignature, NotForUs
from signaling.handshake import Binding, Failed, Handshake, Role
from tests.signaling.test_description import ANN, ANN_ID, BOB, BOB_ID, EVE, EVE_ID, NOW, ROOM, TWO, offer
from tests.signaling.test_handshake import play


def shown_as_eves(real: Offer) -> Offer:
    """All that makes a connection is Ann's: only whose offer it says it is differs."""
    return make_offer(
        key=EVE,
        room=ROOM,
        recipient=None,
        seed=real.seed,
        issued=real.issued,
        life=real.expires - real.issued,
        fingerprint=real.fingerprint,
        candidates=real.candidates,
    )


def answer(to: Offer, *, key: SigningKey, fingerprint: bytes) -> Answer:
    return make_answer(key=key, offer=to, issued=NOW, fingerprint=fingerprint, candidates=TWO)


def test_an_answer_to_the_copy_is_none_to_the_original_by_whatever_way_it_comes() -> None:
    real = offer(recipient=None)
    copy = shown_as_eves(real)
    bobs = answer(copy, key=BOB, fingerprint=b"b" * 32)
    with pytest.raises(BadSignature):  # Ann can open the box, for the seed is hers
        decode_ufrag(bobs.transport.ufrag, offer=real, now=NOW)
    with pytest.raises(NotForUs):
        decode_answer(encode(bobs), offer=real, now=NOW)
    renamed = encode(bobs)[:1] + real.hash[:4] + encode(bobs)[5:]
    with pytest.raises(BadSignature):
        decode_answer(renamed, offer=real, now=NOW)


def test_an_answer_by_the_offerer_itself_is_none() -> None:
    real = offer(recipient=None)
    own = answer(real, key=ANN, fingerprint=b"a" * 32)
    with pytest.raises(NotForUs, match="whoever made the offer"):
        decode_answer(encode(own), offer=real, now=NOW)
    with pytest.raises(NotForUs, match="whoever made the offer"):
        decode_ufrag(own.transport.ufrag, offer=real, now=NOW)


def test_an_answer_that_names_anothers_certificate_is_the_signers_alone() -> None:
    real = offer(recipient=None)
    eves = answer(real, key=EVE, fingerprint=b"b" * 32)  # Bob's certificate, from his answer to the copy
    assert decode_ufrag(eves.transport.ufrag, offer=real, now=NOW).sender == EVE_ID
    stolen = msgspec.structs.replace(eves, sender=Identity(BOB_ID))
    with pytest.raises(BadSignature):
        decode_answer(encode(stolen), offer=real, now=NOW)


def test_two_joined_into_one_session_by_somebody_else_who_signed_both_papers_notice_it() -> None:
    real = offer(recipient=None)
    copy = shown_as_eves(real)
    eves = answer(real, key=EVE, fingerprint=b"b" * 32)
    bobs = answer(copy, key=BOB, fingerprint=b"b" * 32)
    session = b"x" * 32  # one DTLS session between Ann and Bob: their certificates are those of the papers
    for_ann = Binding(
        offerer=ANN_ID, answerer=EVE_ID, offer_hash=real.hash, answer_hash=eves.hash, exporter=session
    )
    for_bob = Binding(
        offerer=EVE_ID, answerer=BOB_ID, offer_hash=copy.hash, answer_hash=bobs.hash, exporter=session
    )
    ann = Handshake(key=ANN, role=Role.OFFERER, binding=for_ann, nonce=b"1" * 32)
    bob = Handshake(key=BOB, role=Role.ANSWERER, binding=for_bob, nonce=b"2" * 32)
    assert [type(last) for last in play(ann, bob)] == [Failed, Failed]
