"""A slice of `make pictures` that fits into the test suite, and its judgement tried on what must not pass."""

from tests.pictures.degrade import DEGRADATIONS
from tests.pictures.run import FLOORS, Outcome, print_sizes, rates, shortcomings

EACH = 2


def test_a_slice_of_degraded_pictures_is_read_as_well_as_it_was_measured() -> None:
    assert shortcomings(rates(list(DEGRADATIONS), each=EACH)) == []


def test_every_kind_of_token_fits_a_terminal_of_80_by_40() -> None:
    assert print_sizes() == []


def test_a_run_that_read_nothing_too_little_or_something_never_drawn_does_not_pass() -> None:
    good, bad = Outcome("photo", 0, True, 0.1), Outcome("photo", 1, False, 0.1)
    assert shortcomings({"photo": [good] * 10}) == []
    assert shortcomings({"photo": [good] * 6 + [bad] * 4})
    assert shortcomings({"photo": [bad]}) and shortcomings({"photo": []}) and shortcomings({})
    assert shortcomings({"clean": [Outcome("clean", 0, True, 0.1, "a token that was never drawn")]})
    assert set(FLOORS) < set(DEGRADATIONS)
