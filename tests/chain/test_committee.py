"""Thresholds of a committee: the specified table, and the reasons for it."""

import itertools

import msgspec
import pytest

from chain.committee import MAX_MEMBERS, Committee, Member, faults_tolerated, quorum_size, spent_digest
from chain.ids import Hash, MemberId, VoteKey
from tests.chain.drawing import seed

SPECIFIED = {1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 9: 6, 10: 7, 13: 9, 16: 11, 31: 21}
SIZES = range(1, MAX_MEMBERS + 1)


def committee_of(n: int) -> Committee:
    members = [
        Member(MemberId(seed("identity", number)), VoteKey(seed("vote", number)), f"m{number}")
        for number in range(n)
    ]
    return Committee(tuple(sorted(members, key=lambda member: member.identity)), Hash(seed("spent")))


def test_the_quorums_are_the_specified_ones() -> None:
    assert {n: quorum_size(n) for n in SPECIFIED} == SPECIFIED
    assert {n: committee_of(n).quorum for n in SPECIFIED} == SPECIFIED


@pytest.mark.parametrize("n", SIZES)
def test_two_quorums_always_share_an_honest_member(n: int) -> None:
    shared = 2 * quorum_size(n) - n
    assert shared >= faults_tolerated(n) + 1


@pytest.mark.parametrize("n", SIZES)
def test_a_quorum_is_no_larger_than_that_and_with_four_or_more_the_honest_suffice(n: int) -> None:
    q, f = quorum_size(n), faults_tolerated(n)
    assert q <= n
    if n >= 4:
        assert q <= n - f, "the honest alone must be able to go on"
        assert 2 * (q - 1) - n < f + 1, "one less would not do"
    else:
        assert q == n, "below four nobody can be outvoted"


@pytest.mark.parametrize("n", SIZES)
def test_an_honest_witness_is_one_more_than_may_lie(n: int) -> None:
    committee = committee_of(n)
    assert (committee.n, committee.f) == (n, (n - 1) // 3)
    assert committee.honest_witness == committee.f + 1 <= committee.quorum


def test_a_place_is_the_index_by_identity() -> None:
    committee = committee_of(7)
    assert [committee.place(member.identity) for member in committee.members] == list(range(7))
    assert committee.place(MemberId(seed("stranger"))) is None
    assert committee.is_well_formed()


def test_a_committee_with_members_out_of_order_twice_or_with_shared_keys_is_ill_formed() -> None:
    good = committee_of(4)
    a, b, c, d = good.members
    shared = msgspec.structs.replace(b, vote_key=a.vote_key)
    for members in [(), (b, a), (a, a), (a, b, b), (a, shared), (d, c, b, a)]:
        assert not Committee(members, good.spent).is_well_formed()
    assert not committee_of(MAX_MEMBERS + 1).is_well_formed()
    assert committee_of(MAX_MEMBERS).is_well_formed()


def test_the_digest_names_every_key_nick_and_what_is_spent() -> None:
    good = committee_of(3)
    first, *rest = good.members
    changed = [
        msgspec.structs.replace(first, identity=MemberId(seed("other"))),
        msgspec.structs.replace(first, vote_key=VoteKey(seed("other"))),
        msgspec.structs.replace(first, nick="other"),
    ]
    others = [Committee((one, *rest), good.spent) for one in changed]
    others += [Committee(good.members, Hash(seed("more"))), Committee(tuple(rest), good.spent)]
    digests = {committee.digest for committee in [good, *others]}
    assert len(digests) == len(others) + 1
    assert committee_of(3).digest == good.digest


def test_the_digest_of_what_is_spent_depends_on_the_order() -> None:
    keys = (seed("a"), seed("b"), seed("c"))
    digests = {spent_digest(order) for order in itertools.permutations(keys)}
    assert len(digests | {spent_digest(()), spent_digest(keys[:2])}) == 8
