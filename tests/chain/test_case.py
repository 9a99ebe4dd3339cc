import json

import pytest

from chain.case import (
    FORK,
    Accused,
    Fork,
    OtherVersionError,
    check_case,
    parse_reference,
    reference,
)
from chain.codec import encode
from chain.control import Anchor
from chain.crypto import ed25519_verify
from chain.errors import ChainError, InvalidBlockError, MalformedError
from chain.ids import BlockId
from chain.records import KeepEvidence
from chain.store import Store
from tests.chain.drawing import seed
from tests.chain.offences import Offences

GUILTY = 2


@pytest.fixture(scope="module")
def offences() -> Offences:
    return Offences()


def file_of(offences: Offences, kind: str = "two slots for one place") -> bytes:
    return offences.case(offences.every_kind()[kind](GUILTY))


@pytest.mark.parametrize("kind", Offences().every_kind())
def test_a_stranger_checks_a_case_with_nothing_but_the_file(offences: Offences, kind: str) -> None:
    case = check_case(file_of(offences, kind), verify=ed25519_verify)
    member = offences.committee.members[GUILTY]
    assert (case.room, case.epoch, case.kind) == (offences.room.id, offences.epoch, kind)
    assert case.accused == (Accused(member.identity.hex(), member.nick),)
    assert (case.smallest_quorum, case.anchored) == (1, False)


def test_an_anchor_has_to_lie_on_the_way(offences: Offences) -> None:
    final = offences.finals()[-1].block
    good = Anchor(final.height, final.id(offences.room.id))
    assert check_case(file_of(offences), verify=ed25519_verify, anchor=good).anchored
    for bad in (Anchor(final.height, BlockId(seed("other"))), Anchor(final.height + 1, good.block)):
        with pytest.raises(InvalidBlockError):
            check_case(file_of(offences), verify=ed25519_verify, anchor=bad)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("room", "00" * 32),
        ("kind", "two acks of one number"),
        ("where", "slot 2 of epoch 3"),
        ("accused", []),
        ("accused", [{"member": "00" * 32, "nick": "ann"}]),
    ],
)
def test_what_a_file_says_in_words_has_to_be_what_it_shows(
    offences: Offences, field: str, value: object
) -> None:
    said = json.loads(file_of(offences))
    said[field] = value
    with pytest.raises(InvalidBlockError, match="in words"):
        check_case(json.dumps(said).encode(), verify=ed25519_verify)


def test_a_case_without_the_whole_walk_is_refused(offences: Offences) -> None:
    for finals in (offences.finals()[:-1], offences.finals()[1:], ()):
        with pytest.raises(InvalidBlockError):
            offences.case(offences.two_slots(GUILTY), finals=finals)


def test_every_changed_character_of_the_proof_is_noticed(offences: Offences) -> None:
    said = json.loads(file_of(offences))
    whole: str = said["proof"]
    for place in range(0, len(whole) - 4, 41):
        for other in ("B" if whole[place] == "A" else "A", "=", "\u00e9"):
            said["proof"] = whole[:place] + other + whole[place + 1 :]
            with pytest.raises(ChainError):
                check_case(json.dumps(said).encode(), verify=ed25519_verify)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b"{}",
        b'{"pigeon": "proof", "v": 1}',
        b'{"pigeon": "evidence", "v": 1}',
        b"[" * 100_000,
        b" " * (16 * 1024 * 1024 + 1),
    ],
)
def test_what_is_no_case_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        check_case(data, verify=ed25519_verify)


def test_a_newer_case_says_so() -> None:
    with pytest.raises(OtherVersionError, match="version 2"):
        check_case(b'{"pigeon": "evidence", "v": 2, "new": []}', verify=ed25519_verify)


def test_a_fork_is_a_case_that_names_its_culprits(offences: Offences) -> None:
    one = offences.certified(offences.block(1), signers=range(3))
    other = offences.certified(offences.block(2), signers=range(1, 4))
    data = offences.case(Fork(one, other))
    case = check_case(data, verify=ed25519_verify)
    nicks = {offences.committee.members[place].nick for place in (1, 2)}
    assert (case.kind, {accused.nick for accused in case.accused}) == (FORK, nicks)


def test_two_blocks_that_agree_or_lack_a_quorum_are_no_fork(offences: Offences) -> None:
    one = offences.certified(offences.block(1))
    few = offences.certified(offences.block(2), signers=range(2))
    for other in (one, few):
        with pytest.raises(InvalidBlockError):
            offences.case(Fork(one, other))


def test_a_reference_is_a_fingerprint_or_an_anchor(offences: Offences) -> None:
    room, anchor = offences.room.id, Anchor(7, BlockId(seed("block")))
    assert parse_reference(room.hex().upper()) == (room, None)
    assert parse_reference(reference(room, anchor)) == (room, anchor)
    for wrong in ("", "ab", room.hex() + ":7", room.hex() + "::"):
        with pytest.raises(ValueError):
            parse_reference(wrong)
    for height in ("x", "", "-1", "+7", " 7", "1_0", "\u0667", "9" * 5000):  # below 0 lies on every way
        with pytest.raises(ValueError):
            parse_reference(f"{room.hex()}:{height}:{anchor.block.hex()}")


def test_a_store_makes_a_case_of_what_it_kept(offences: Offences) -> None:
    store = Store.create(
        ":memory:", genesis=offences.room.genesis, me=offences.room.me, verify=ed25519_verify
    )
    store.apply(offences.room.history)
    member = offences.committee.members[GUILTY]
    exhibit = offences.two_acks(GUILTY)
    kept = KeepEvidence(member.identity, member.vote_key, "two acks of one number", encode(exhibit))
    store.apply([kept])
    data = store.case(store.evidence()[0])
    assert data is not None
    assert check_case(data, verify=ed25519_verify).accused[0].nick == member.nick
    store.close()
