"""A few cells of `make paths`, on every run of the tests."""

from tests.bench.path_places import BOTH_BEHIND_NATS, RELAY_ONLY, SYMMETRIC
from tests.bench.path_ways import Linked, Verdict
from tests.bench.paths import failures, fill
from tests.e2e.networks import needs_hosts
from tests.e2e.turn import needs_coturn

CELLS = [
    (BOTH_BEHIND_NATS, "introduced"),
    (RELAY_ONLY, "hub:"),
    (SYMMETRIC, "paste, one scan"),
]


@needs_hosts
@needs_coturn
async def test_two_are_linked_through_what_stands_between_them_or_hear_that_they_are_not() -> None:
    found = await fill(CELLS, at_once=2)
    assert not failures(found), found
    assert [type(found[cell]) for cell in CELLS] == [Linked, Linked, Verdict]
