"""Genesis, vouchers and requests hold only as they were signed, for this room, by these keys."""

import msgspec
import pytest
from nacl.signing import VerifyKey

from chain.codec import encode
from chain.control import (
    MAX_NICK,
    AdmissionRule,
    Anchor,
    Genesis,
    Parent,
    Request,
    decode_genesis,
    is_plain_name,
    make_genesis,
    make_request,
    make_voucher,
)
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.errors import MalformedError
from chain.ids import BlockId, Hash, RoomId, Signature
from tests.chain.drawing import Person, Room, seed
from tests.signaling.odd_key import OddKey

ROOM = Room("ann")
BOB = Person("bob")
SECRET = Ed25519Signer(seed("invitation"))


def a_request(*, invited: bool = True, anchor: Anchor | None = None) -> Request:
    ann = ROOM.people["ann"]
    voucher = make_voucher(room=ROOM.id, key=Hash(SECRET.public), expires=2_000_000_000, inviter=ann.identity)
    return make_request(
        room=ROOM.id,
        nick="bob",
        identity=BOB.identity,
        vote=BOB.vote,
        voucher=voucher if invited else None,
        invitation=SECRET if invited else None,
        anchor=anchor,
    )


def test_a_genesis_holds_and_its_hash_is_the_room() -> None:
    assert ROOM.genesis.holds(ed25519_verify)
    assert decode_genesis(encode(ROOM.genesis), room=ROOM.id, verify=ed25519_verify) == ROOM.genesis
    assert Room("ann").id == ROOM.id != Room("zoe").id


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "another"),
        ("rule", AdmissionRule.AUTO),
        ("nonce", Hash(seed("another"))),
        ("parent", Parent(RoomId(seed("room")), BlockId(seed("block")))),
        ("founder", BOB.id),
        ("vote_key", BOB.vote.public),
        ("nick", "another"),
        ("identity_signature", bytes(64)),
        ("vote_signature", bytes(64)),
    ],
)
def test_a_changed_genesis_neither_holds_nor_is_the_same_room(field: str, value: object) -> None:
    changed = msgspec.structs.replace(ROOM.genesis, **{field: value})
    assert not changed.holds(ed25519_verify)
    assert changed.room_id() != ROOM.id
    for room in (ROOM.id, changed.room_id()):
        with pytest.raises(MalformedError):
            decode_genesis(encode(changed), room=room, verify=ed25519_verify)


def test_a_genesis_with_a_name_that_cannot_be_shown_does_not_hold() -> None:
    ann = ROOM.people["ann"]

    def made(name: str, nick: str) -> Genesis:
        return make_genesis(
            name=name,
            rule=AdmissionRule.ASK,
            nonce=Hash(seed("nonce")),
            nick=nick,
            identity=ann.identity,
            vote=ann.vote,
        )

    assert made("a room", "ann").holds(ed25519_verify)
    assert not made("a\nroom", "ann").holds(ed25519_verify)
    assert not made("a room", "an\u202en").holds(ed25519_verify)
    assert not made("", "ann").holds(ed25519_verify)


@pytest.mark.parametrize("name", ["a", "Zoë", "日本", "a b", "x" * MAX_NICK, "🐦"])
def test_plain_names(name: str) -> None:
    assert is_plain_name(name, MAX_NICK)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " a",
        "a ",
        "x" * (MAX_NICK + 1),
        "a\n",
        "a\tb",
        "a\x1b[31m",
        "a\u200bb",
        "\u202ea",
        "\ufeffa",
        "a\x00",
    ],
)
def test_names_that_could_fool_a_reader(name: str) -> None:
    assert not is_plain_name(name, MAX_NICK)


@pytest.mark.parametrize("invited", [True, False])
@pytest.mark.parametrize("anchor", [None, Anchor(3, BlockId(seed("block")))])
def test_a_request_holds_in_its_room_only(invited: bool, anchor: Anchor | None) -> None:
    request = a_request(invited=invited, anchor=anchor)
    assert request.holds(room=ROOM.id, verify=ed25519_verify)
    assert not request.holds(room=Room("zoe").id, verify=ed25519_verify)
    moved = msgspec.structs.replace(request, room=Room("zoe").id)
    assert not moved.holds(room=Room("zoe").id, verify=ed25519_verify)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", Person("eve").id),
        ("vote_key", Person("eve").vote.public),
        ("nick", "eve"),
        ("voucher", None),
        ("voucher", make_voucher(room=ROOM.id, key=Hash(SECRET.public), expires=1, inviter=BOB.identity)),
        ("anchor", Anchor(1, BlockId(seed("block")))),
        ("identity_signature", bytes(64)),
        ("vote_signature", bytes(64)),
        ("possession", bytes(64)),
        ("possession", None),
    ],
)
def test_a_changed_request_does_not_hold(field: str, value: object) -> None:
    changed = msgspec.structs.replace(a_request(), **{field: value})
    assert not changed.holds(room=ROOM.id, verify=ed25519_verify)


def test_a_voucher_is_worth_nothing_without_the_secret_it_names() -> None:
    stolen = a_request().voucher
    eve = Person("eve")
    for other in (eve.identity, eve.vote, Ed25519Signer(seed("guess"))):
        request = make_request(
            room=ROOM.id, nick="eve", identity=eve.identity, vote=eve.vote, voucher=stolen, invitation=other
        )
        assert not request.holds(room=ROOM.id, verify=ed25519_verify)


def test_a_voucher_is_the_inviters_word_for_one_key_until_one_time_in_one_room() -> None:
    voucher = a_request().voucher
    assert voucher is not None
    assert voucher.holds(room=ROOM.id, verify=ed25519_verify)
    assert not voucher.holds(room=Room("zoe").id, verify=ed25519_verify)
    for field, value in [("inviter", BOB.id), ("key", Hash(seed("k"))), ("expires", voucher.expires + 1)]:
        changed = msgspec.structs.replace(voucher, **{field: value})
        assert not changed.holds(room=ROOM.id, verify=ed25519_verify)


@pytest.mark.parametrize("public", [bytes(32), b"\xff" * 32, b"\x01" + bytes(31), b"short"])
def test_a_key_that_is_no_key_verifies_nothing(public: bytes) -> None:
    assert not ed25519_verify(public, b"text", bytes(64))
    assert not ed25519_verify(public, b"text", b"short")


def test_an_identity_that_nobody_could_seal_to_asks_in_vain() -> None:
    """Its signatures are right; but no member could ever offer it a link."""
    odd = OddKey()

    class Odd:
        public = odd.verify_key

        def sign(self, message: bytes) -> Signature:
            return Signature(odd.sign(message).signature)

    message, signature = b"hello", odd.sign(b"hello").signature
    VerifyKey(odd.verify_key).verify(message, signature)
    request = make_request(room=ROOM.id, nick="odd", identity=Odd(), vote=BOB.vote)
    assert not request.holds(room=ROOM.id, verify=ed25519_verify)
