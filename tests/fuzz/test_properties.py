"""Properties of values rather than of bytes: every record that there is, tokens however wrapped, quorums."""

import importlib
import pkgutil
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from msgspec.structs import replace

import chain
from chain.block import Certificate, certificate_holds
from chain.codec import Record, decode, encode
from chain.committee import MAX_MEMBERS, faults_tolerated, quorum_size
from chain.crypto import ed25519_verify
from chain.message import weight
from chain.records import KeepBlock
from signaling.envelope import Envelope, open_envelope
from signaling.invitation import Invitation, decode_invitation, encode_invitation
from signaling.token import Kind, from_token, to_token
from tests.chain.drawing import Person, Room, seed, talk
from tests.fuzz.signal_borders import BOB, padded, sealed

steady = settings(derandomize=True, deadline=None, max_examples=40)
LIMIT = 2**24


def every_record(base: type[Record] = Record) -> list[type[Record]]:
    if base is Record:
        for module in pkgutil.iter_modules(chain.__path__):
            importlib.import_module(f"chain.{module.name}")
    found = [each for each in base.__subclasses__() if each.__module__.startswith("chain.")]
    return sorted({*found, *(deeper for each in found for deeper in every_record(each))}, key=str)


RECORDS = every_record()


def valid(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that the type allows, edges included, as the decoder itself reads the annotations."""
    return _values(inspect.type_info(kind))


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low, gt=above, le=high, lt=below):
            lowest = low if low is not None else above + 1 if above is not None else -(2**63)
            highest = high if high is not None else below - 1 if below is not None else 2**64 - 1
            return st.integers(lowest, highest)
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=most if most is not None else 80)
        case inspect.StrType(min_length=least, max_length=most):
            return st.text(min_size=least or 0, max_size=most if most is not None else 40)
        case inspect.EnumType(cls=cls):
            return st.sampled_from(cls)
        case inspect.UnionType(types=types):
            return st.one_of(*map(_values, types))
        case inspect.TupleType(item_types=types):
            return st.tuples(*map(_values, types))
        case inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            few = max(least or 0, 3)
            return st.lists(_values(item), min_size=least or 0, max_size=min(few, most or few)).map(tuple)
        case inspect.StructType(cls=cls, fields=fields):
            named = {field.name: _values(field.type) for field in fields}
            return st.builds(cls, **named)
        case inspect.Metadata(type=inner):
            return _values(inner)
    raise AssertionError(f"a record has a field of a type unknown here: {kind}")


def test_no_kind_of_record_is_left_out() -> None:
    kinds = {kind.__name__ for kind in RECORDS}
    assert {"Slot", "Block", "Genesis", "Envelope", "Hello", "TwoBranches", "Fork", "Head"} <= kinds
    assert len(kinds) >= 45


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_record_decodes_to_itself_from_its_one_encoding(kind: type[Record]) -> None:
    @steady
    @given(value=valid(kind))
    def holds(value: Record) -> None:
        data = encode(value)
        again = decode(data, kind, limit=len(data))
        assert again == value and encode(again) == data
        assert weight(value) == len(data)  # type: ignore[arg-type]

    holds()


@steady
@given(value=valid(Invitation))
def test_every_invitation_decodes_to_itself(value: Invitation) -> None:
    value = replace(value, version=1, expires=2**40 - 1)
    assert decode_invitation(encode_invitation(value), now=0) == value
    text = value.to_token()
    assert Invitation.from_token(text, now=0) == value


@steady
@given(value=valid(Envelope), number=st.integers(0, 2**32))
def test_every_sealed_envelope_opens_to_itself(value: Envelope, number: int) -> None:
    data = sealed(padded(msgspec.msgpack.encode(value)), random.Random(number))
    assert open_envelope(data, key=BOB) == value


SPACES = st.text(st.sampled_from(" \t\r\n\u00a0\u2003\u2028"), max_size=6)


@steady
@given(
    kind=st.sampled_from(Kind),
    payload=st.binary(max_size=300),
    gaps=st.lists(SPACES, min_size=1, max_size=20),
    upper=st.randoms(use_true_random=False),
)
def test_a_token_reads_the_same_however_it_was_wrapped_and_cased(
    kind: Kind, payload: bytes, gaps: list[str], upper: random.Random
) -> None:
    token = to_token(kind, payload)
    wrapped = "".join(
        (each.upper() if upper.random() < 0.5 else each.lower()) + gaps[at % len(gaps)]
        for at, each in enumerate(token)
    )
    assert from_token(gaps[0] + wrapped) == (kind, payload)


@pytest.mark.parametrize("n", range(1, MAX_MEMBERS + 1))
def test_any_two_quorums_share_somebody_whoever_lies(n: int) -> None:
    q, f = quorum_size(n), faults_tolerated(n)

    @steady
    @given(order=st.permutations(range(n)), other=st.permutations(range(n)), liars=st.permutations(range(n)))
    def holds(order: list[int], other: list[int], liars: list[int]) -> None:
        assert set(order[:q]) & set(other[:q]) - set(liars[:f])

    holds()
    # And the worst case there is: two quorums with nobody in common but those who had to be.
    common = set(range(q)) & set(range(n - q, n))
    assert len(common) > f


def _certified() -> tuple[Room, KeepBlock]:
    room = Room()
    for nick in ("bob", "cal", "dan"):
        room.admit(nick)
    talk(room, 1)
    return room, next(kept for kept in reversed(room.history) if isinstance(kept, KeepBlock))


ROOM, LAST = _certified()


@steady
@given(
    places=st.lists(st.integers(0, 6), max_size=8),
    forged=st.sets(st.integers(0, 6), max_size=2),
    round_=st.integers(0, 3),
)
def test_a_certificate_holds_exactly_with_a_quorum_of_true_signatures_in_order(
    places: list[int], forged: set[int], round_: int
) -> None:
    committee = ROOM.tip.committee
    true = dict(ROOM.certificate(LAST.block, round_=round_, signers=committee.n).signatures)
    stranger = Person("stranger").vote.sign(b"something else")
    signatures = tuple(
        (place, stranger if place in forged else true.get(place, stranger)) for place in places
    )
    expected = (
        places == sorted(set(places))
        and len(places) >= committee.quorum
        and not forged & set(places)
        and all(place < committee.n for place in places)
    )
    assert expected == certificate_holds(
        Certificate(round_, signatures), LAST.block, room=ROOM.id, committee=committee, verify=ed25519_verify
    )
    another = replace(LAST.block, log_root=seed("another root"))
    assert not certificate_holds(
        Certificate(round_, signatures), another, room=ROOM.id, committee=committee, verify=ed25519_verify
    )
