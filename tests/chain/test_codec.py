"""One value, one encoding; whatever else arrives, MalformedError and nothing else."""

import random
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.block import Block, Body, Certificate, Dep, Head, Leaf, Slot
from chain.codec import Record, decode, encode
from chain.control import Admit, Control, Genesis, Request, Voucher
from chain.errors import MalformedError
from chain.message import Envelope, Message, Precommit
from tests.chain.drawing import Person, Room, body, grown_room, seed
from tests.chain.test_message import one_of_each

LIMIT = 2**20


class Pair(Record, frozen=True):
    number: int
    text: str


ROOM = grown_room(nicks=["bob"], blocks=1)
SAMPLES: list[Record] = [
    Head(3, ROOM.tip.cut[0].id),
    Dep(0, 1, ROOM.tip.cut[0].id),
    body("hello"),
    ROOM.genesis,
    ROOM.tip.committee,
    *(record.slot for record in ROOM.history if hasattr(record, "slot")),
    *(
        part
        for record in ROOM.history
        if hasattr(record, "items")
        for part in (record.block, record.certificate)
    ),
    *(leaf for record in ROOM.history if hasattr(record, "items") for _, leaf in record.items),
    Envelope(1, tuple(one_of_each())),
]
KINDS = [
    Head,
    Dep,
    Body,
    Slot,
    Block,
    Certificate,
    Leaf,
    Genesis,
    Request,
    Voucher,
    Envelope,
    Message,
    Control,
]


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_what_is_encoded_decodes_to_the_same(value: Record) -> None:
    data = encode(value)
    again = decode(data, type(value), limit=len(data))
    assert again == value
    assert encode(again) == data


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_mutated_encoding_is_refused_or_is_the_encoding_of_something_else(value: Record) -> None:
    data, dice = encode(value), random.Random(0)
    refused = 0
    for _ in range(300):
        mutated = bytearray(data)
        match dice.randrange(3):
            case 0:
                mutated[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            case 1:
                at = dice.randrange(len(data))
                mutated[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
            case _:
                del mutated[dice.randrange(len(data)) :]
        if mutated == data:
            continue
        try:
            other = decode(bytes(mutated), type(value), limit=LIMIT)
        except MalformedError:
            refused += 1
        else:
            assert other != value
            assert encode(other) == mutated
    assert refused


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_malformed(kind: object, data: bytes) -> None:
    try:
        value = decode(data, cast(type[object], kind), limit=LIMIT)
    except MalformedError:
        return
    assert encode(value) == data


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(value=nested)
def test_any_other_messagepack_raises_nothing_but_malformed(kind: object, value: object) -> None:
    data = msgspec.msgpack.encode(value)
    try:
        again = decode(data, cast(type[object], kind), limit=LIMIT)
    except MalformedError:
        return
    assert encode(again) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x92\x01",  # too short
        b"\x92\x01\xa1a\x00",  # something follows
        b"\x93\x01\xa1a\x02",  # one field more
        b"\x91\x01",  # one field less
        b"\x92\xcc\x01\xa1a",  # the number in two bytes where one does
        b"\x92\x01\xd9\x01a",  # the text's length likewise
        b"\xdc\x00\x02\x01\xa1a",  # the array's length likewise
        b"\x92\xcb\x3f\xf0\0\0\0\0\0\0\xa1a",  # 1.0 for 1
        b"\x92\x01\xc4\x01a",  # bytes for text
        b"\x92\x01\xa1\xff",  # not UTF-8
        b"\x92\xc3\xa1a",  # true for 1
        b"\x82\xa6number\x01\xa4text\xa1a",  # a map
        b"\x91" * 5000,  # a tower of arrays
        b"\xdd\xff\xff\xff\xff",  # four billion entries, none there
    ],
    ids=lambda data: data[:12].hex(),
)
def test_only_the_canonical_form_decodes(data: bytes) -> None:
    assert decode(b"\x92\x01\xa1a", Pair, limit=10) == Pair(1, "a")
    with pytest.raises(MalformedError):
        decode(data, Pair, limit=LIMIT)


def test_the_size_is_looked_at_first() -> None:
    data = encode(Pair(1, "a" * 100))
    assert decode(data, Pair, limit=len(data)) == Pair(1, "a" * 100)
    with pytest.raises(MalformedError, match=f"{len(data)} bytes where at most {len(data) - 1} are allowed"):
        decode(data, Pair, limit=len(data) - 1)


def test_ids_have_exactly_their_size() -> None:
    head = Head(1, ROOM.tip.cut[0].id)
    for size in (0, 31, 33):
        with pytest.raises(MalformedError):
            decode(encode((1, bytes(size))), Head, limit=100)
    assert decode(encode((1, head.id)), Head, limit=100) == head


def test_counters_are_neither_negative_nor_beyond_what_every_language_counts() -> None:
    for number in (-1, 2**53 + 1):
        with pytest.raises(MalformedError):
            decode(encode((number, bytes(32))), Head, limit=100)
    assert decode(encode((2**53, bytes(32))), Head, limit=100).seq == 2**53


def test_a_slot_holds_at_most_what_the_rules_allow() -> None:
    room = Room()
    slot = room.say("ann", "x").slot
    request = Request(room.id, Person("bob").id, bytes(32), "bob", None, None, bytes(64), bytes(64), None)
    for field, value in [
        ("commitments", (seed("c"),) * 33),
        ("control", (Admit(request),) * 17),
        ("deps", (Dep(0, 1, slot.prev),) * 32),
        ("lane", 31),
    ]:
        data = encode(msgspec.structs.replace(slot, **{field: value}))
        with pytest.raises(MalformedError):
            decode(data, Slot, limit=LIMIT)


def test_a_signature_that_is_left_out_is_not_filled_in() -> None:
    vote = next(message for message in one_of_each() if isinstance(message, Precommit))
    fields = msgspec.msgpack.decode(encode(vote))
    with pytest.raises(MalformedError):
        decode(encode(fields[:-1]), Precommit, limit=LIMIT)
