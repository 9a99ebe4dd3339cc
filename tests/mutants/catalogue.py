"""All mutants by name, and those that the protocol's own list of dangerous mistakes names."""

from tests.mutants import (
    of_broadcast,
    of_evidence,
    of_membership,
    of_proposals,
    of_record,
    of_recovery,
    of_votes,
)
from tests.mutants.mutation import Mutant

AREAS = (of_broadcast, of_votes, of_proposals, of_recovery, of_record, of_membership, of_evidence)

CATALOGUE: dict[str, Mutant] = {}
for _area in AREAS:
    for _mutant in _area.MUTANTS:
        assert _mutant.name not in CATALOGUE, f"two mutants named {_mutant.name}"
        CATALOGUE[_mutant.name] = _mutant

LISTED = (
    "double-precommit",
    "ack-both-branches",
    "votes-not-persisted",
    "acks-not-persisted",
    "prevote-quorum-minus-1",
    "vote-after-round-change",
    "ack-quorum-minus-1",
    "no-hello-reply",
    "vote-for-unacked-fork",
    "no-certificate-flooding",
    "flooding-not-repeated-on-hello",
    "round-change-hides-polka",
    "bound-value-ignored-by-voters",
    "deps-not-checked",
    "derived-fields-not-checked",
    "prevotes-counted-as-acks",
    "no-relay",
    "timer-re-sends",
    "observers-counted",
    "old-epoch-votes-counted",
    "void-forgets-a-slot",
)
"""Mistakes that break a room and that random schedules may miss: they must be here, and die."""
