"""One party's side of a meeting against hubs that swap, replay, forge and blow up what they are given."""

import base64
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import Aead
from nacl.signing import SigningKey

from signaling.errors import BadSignature, Expired, FromTheFuture, Malformed, NotForUs, Oversize, SignalError
from signaling.meet import (
    Answered,
    Delivered,
    Exchange,
    HubRefused,
    Later,
    Nobody,
    Offered,
    Party,
    Unfit,
    Untrusted,
)
from signaling.meet_keys import AnswerTo, OfferTo, open_namespace, role_text, sign_namespace
from signaling.meet_signals import BUCKET, MAX_PAYLOAD, BadNamespace, Namespace

NOW = 1_800_000_000
TEA = Namespace("tea at five")
KEYS = [SigningKey(bytes((number,)) * 32) for number in range(3)]
Fields = dict[str, Any]


def fields_of(body: bytes) -> Fields:
    return msgspec.json.decode(body, type=Fields)


def said_in(fields: Fields) -> Fields:
    """What the hub passes on of a request."""
    return {name: fields[name] for name in ("SIGNAL", "SIGNED_SIGNAL", "PUBLIC_KEY") if name in fields}


def reply(kind: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"TYPE": kind, **fields})


def parties(*, signed: bool) -> list[Party]:
    """Ann and Bob, who trust each other, and Eve, who trusts everybody."""
    if not signed:
        return [Party(namespace=TEA) for _ in KEYS]
    publics = [bytes(key.verify_key) for key in KEYS]
    trusted = [frozenset({publics[1]}), frozenset({publics[0]}), frozenset[bytes]()]
    return [Party(namespace=TEA, key=key, trusted=whom) for key, whom in zip(KEYS, trusted, strict=True)]


@pytest.mark.parametrize("signed", [False, True])
def test_two_that_are_honest_get_each_others_payloads_in_three_requests(signed: bool) -> None:
    ann, bob, _ = map(Exchange, parties(signed=signed))
    first = fields_of(ann.offer(b"offer of ann", now=NOW))
    second = fields_of(bob.offer(b"offer of bob", now=NOW))
    place = "SIGNED_NAMESPACE" if signed else "NAMESPACE"
    assert set(first) == {"TYPE", place, *said_in(second)}
    assert bob.receive(200, reply("DEMOTE", NONCE="n1", **said_in(first))) == Offered(b"offer of ann")
    third = fields_of(bob.answer(b"answer of bob", now=NOW))
    assert (third["TYPE"], third["NONCE"]) == ("CONNECT", "n1")
    assert ann.receive(200, reply("ANSWER", **said_in(third))) == Answered(b"answer of bob")
    assert bob.receive(200, reply("DELIVERED")) == Delivered()


def test_the_hub_sees_no_name_and_signals_of_one_size() -> None:
    for payload in (b"", b"offer of ann", bytes(range(200)) * 2):
        body = Exchange(Party(namespace=TEA)).offer(payload, now=NOW)
        fields = fields_of(body)
        assert TEA.name.encode() not in body
        assert len(base64.b64decode(fields["SIGNAL"])) == BUCKET
        assert fields["NAMESPACE"] == TEA.place


@pytest.mark.parametrize("signed", [False, True])
def test_signals_that_the_hub_swaps_or_replays_are_of_no_use(signed: bool) -> None:
    ann, bob, eve = map(Exchange, parties(signed=signed))
    offers = [fields_of(each.offer(b"an offer", now=NOW)) for each in (ann, bob, eve)]
    bob.receive(200, reply("DEMOTE", NONCE="n1", **said_in(offers[0])))
    answer = fields_of(bob.answer(b"an answer", now=NOW))

    def heard(who: int, kind: str, of: Fields) -> Exception | None:
        """What somebody who offers anew makes of a signal; None if it takes it."""
        exchange = Exchange(parties(signed=signed)[who])
        exchange.offer(b"another offer", now=NOW)
        outcome = exchange.receive(200, reply(kind, NONCE="n2", **said_in(of)))
        if isinstance(outcome, Unfit):
            assert outcome.offered == (kind == "DEMOTE")
            return outcome.error
        return None

    assert heard(1, "DEMOTE", offers[0]) is None, "an old offer is an offer still: what it leads to is gone"
    assert isinstance(heard(0, "ANSWER", answer), NotForUs | BadSignature), "to an offer of another time"
    assert isinstance(heard(2, "ANSWER", answer), NotForUs | BadSignature), "to somebody else's offer"
    assert isinstance(heard(0, "ANSWER", offers[1]), NotForUs | BadSignature), "an offer for an answer"
    assert isinstance(heard(1, "DEMOTE", answer), NotForUs | BadSignature | Untrusted), "and vice versa"
    mine = Exchange(parties(signed=signed)[0])
    own = fields_of(mine.offer(b"an offer", now=NOW))
    assert isinstance(mine.receive(200, reply("DEMOTE", NONCE="n", **said_in(own))), Unfit)
    elsewhere = Exchange(Party(namespace=Namespace("tea"), key=KEYS[0] if signed else None))
    foreign = fields_of(elsewhere.offer(b"an offer", now=NOW))
    assert isinstance(heard(1, "DEMOTE", foreign), NotForUs | BadSignature)


def test_only_signatures_of_trusted_keys_are_taken_and_nobody_elses_name_can_be_used() -> None:
    ann, bob, eve = parties(signed=True)
    offer = fields_of(Exchange(eve).offer(b"an offer", now=NOW))

    def heard(party: Party, **changed: Any) -> Unfit | Offered:
        exchange = Exchange(party)
        exchange.offer(b"mine", now=NOW)
        outcome = exchange.receive(200, reply("DEMOTE", NONCE="n", **(said_in(offer) | changed)))
        assert isinstance(outcome, Unfit | Offered)
        return outcome

    def why(party: Party, **changed: Any) -> type[SignalError]:
        outcome = heard(party, **changed)
        assert isinstance(outcome, Unfit)
        return type(outcome.error)

    assert why(bob) is Untrusted
    assert why(bob, PUBLIC_KEY=offer["PUBLIC_KEY"].upper()) is Malformed
    assert why(bob, PUBLIC_KEY="") is Malformed
    assert ann.key is not None
    assert why(bob, PUBLIC_KEY=bytes(ann.key.verify_key).hex()) is BadSignature
    assert why(eve) is NotForUs, "its own"
    anybody = Party(namespace=TEA, key=KEYS[0])
    assert heard(anybody) == Offered(b"an offer")
    assert why(anybody, SIGNED_SIGNAL="") is Malformed
    raw = bytearray(base64.b64decode(offer["SIGNED_SIGNAL"]))
    raw[-1] ^= 1
    assert why(anybody, SIGNED_SIGNAL=base64.b64encode(raw).decode()) is BadSignature
    outcome = Exchange(Party(namespace=TEA))
    outcome.offer(b"mine", now=NOW)
    assert isinstance(outcome.receive(200, reply("DEMOTE", NONCE="n", **said_in(offer))), Unfit), "unsigned"


def test_a_signed_namespace_is_good_for_minutes_and_for_its_key() -> None:
    key, public = KEYS[0], bytes(KEYS[0].verify_key)
    signed = sign_namespace(b"tea", key=key, now=NOW)
    assert open_namespace(signed, public=public, now=NOW + 300) == b"tea"
    for now, error in ((NOW + 301, Expired), (NOW - 301, FromTheFuture)):
        with pytest.raises(error):
            open_namespace(signed, public=public, now=now)
    with pytest.raises(BadSignature):
        open_namespace(signed, public=bytes(KEYS[1].verify_key), now=NOW)
    for bad in ("", "x", "eA==", signed[:-4], f"{signed} ", signed.rstrip("=") + "\n"):
        with pytest.raises((Malformed, BadSignature)):
            open_namespace(bad, public=public, now=NOW)


def test_a_bounce_gives_the_nonce_back_and_shows_our_offer() -> None:
    exchange = Exchange(Party(namespace=TEA))
    exchange.offer(b"mine", now=NOW)
    junk = reply("DEMOTE", NONCE="n7", SIGNAL=base64.b64encode(bytes(BUCKET)).decode())
    outcome = exchange.receive(200, junk)
    assert isinstance(outcome, Unfit)
    bounce = fields_of(exchange.bounce(b"mine", now=NOW))
    assert (bounce["TYPE"], bounce["NONCE"]) == ("BOUNCE", "n7")
    assert exchange.receive(299, b"") == Nobody(elsewhere=False)
    assert "NONCE" not in fields_of(exchange.offer(b"mine", now=NOW))


def test_statuses_mean_what_they_say() -> None:
    exchange = Exchange(Party(namespace=TEA))
    exchange.offer(b"mine", now=NOW)
    assert exchange.receive(297, b"{}", retry_after="5") == Later(5.0)
    assert exchange.receive(297, b"{}", retry_after="99999") == Later(1.0)
    assert exchange.receive(503, b"", retry_after="9999") == Later(30.0)
    assert exchange.receive(429, b"", retry_after="-1") == Later(1.0)
    assert exchange.receive(298, b"") == Nobody(elsewhere=True)
    for status in (201, 204, 301, 400, 404, 405, 499, 500):
        with pytest.raises(HubRefused):
            exchange.receive(status, b'{"MESSAGE": "no"}')


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"null", b'{"TYPE": 1}', b'{"TYPE": "HELLO"}', b'{"TYPE": "DEMOTE"}',
        b'{"TYPE": "DELIVERED"}', b'{"TYPE": "DEMOTE", "NONCE": 1}', b"[" * 100_000, b"\xff",
    ],
)  # fmt: skip
def test_a_hub_that_makes_no_sense_is_left(body: bytes) -> None:
    exchange = Exchange(Party(namespace=TEA))
    exchange.offer(b"mine", now=NOW)
    with pytest.raises(HubRefused):
        exchange.receive(200, body)


def test_an_answer_comes_only_to_an_offer() -> None:
    exchange = Exchange(Party(namespace=TEA))
    with pytest.raises(HubRefused):
        exchange.receive(200, reply("ANSWER", SIGNAL="eA=="))
    ann, bob = Exchange(Party(namespace=TEA)), exchange
    offer = fields_of(ann.offer(b"a", now=NOW))
    bob.offer(b"b", now=NOW)
    bob.receive(200, reply("DEMOTE", NONCE="n", **said_in(offer)))
    bob.answer(b"c", now=NOW)
    with pytest.raises(HubRefused):
        bob.receive(200, reply("ANSWER", SIGNAL=offer["SIGNAL"]))


def test_who_knows_the_name_cannot_blow_a_signal_up() -> None:
    def sealed(plain: bytes) -> bytes:
        box = Aead(TEA._key)
        size = BUCKET * 9 - 40
        return bytes(
            box.encrypt(plain.ljust(size, b"\0"), aad=role_text(OfferTo(), namespace=TEA.place.encode()))
        )

    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(bytes(3_000_000)) + deflate.flush()
    assert len(bomb) < BUCKET * 8
    for plain, error in (
        (len(bomb).to_bytes(2, "big") + bomb, Oversize),
        (b"\xff\xff", Malformed),
        (b"\0\0", Malformed),
        (b"\0\3abc", Malformed),
        (b"\0\1\3", Malformed),
        (b"\0\2\3\0x", Malformed),
    ):
        signal = sealed(plain)
        tracemalloc.start()
        with pytest.raises(error):
            TEA.open(signal, OfferTo())
        assert tracemalloc.get_traced_memory()[1] < 500_000
        tracemalloc.stop()
    assert TEA.open(sealed(b"\0\2\3\0"), OfferTo()) == b""
    with pytest.raises(Oversize):
        TEA.open(bytes(BUCKET * 10), OfferTo())


@given(st.binary(max_size=MAX_PAYLOAD))
def test_every_payload_comes_out_as_it_went_in_and_in_its_role_only(payload: bytes) -> None:
    role = AnswerTo(b"an offer", b"k" * 32)
    signal = TEA.seal(payload, role)
    assert len(signal) % BUCKET == 0
    assert TEA.open(signal, role) == payload
    for other in (OfferTo(), AnswerTo(b"another offer", b"k" * 32), AnswerTo(b"an offer", b"K" * 32)):
        with pytest.raises(NotForUs):
            TEA.open(signal, other)


@pytest.mark.parametrize("name", ["", "x" * 257, "é" * 129, "\ud800"])
def test_a_namespace_is_a_text_of_a_size(name: str) -> None:
    with pytest.raises(BadNamespace):
        Namespace(name)
