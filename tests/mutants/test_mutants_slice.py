"""A slice of `make mutants`: all still apply, some die, and the runner can tell if one does not."""

import re

import pytest

from tests.mutants.catalogue import CATALOGUE, LISTED
from tests.mutants.mutation import ROOT, DoesNotApplyError, Edit, Mutant, sources_of
from tests.mutants.run import Baseline, judge, paths_of, stale_text
from tests.mutants.trial import Task, trial

FINE = Baseline(seconds={}, failed=[], trouble=[])
QUICK = ["ack-quorum-minus-1", "round-change-hides-polka", "spent-invitation-accepted"]


def test_every_mutant_applies_to_the_source_as_it_is() -> None:
    assert [problem for mutant in CATALOGUE.values() if (problem := stale_text(mutant))] == []


def test_every_mutant_has_a_test_or_seeds_that_are_there_to_notice_it() -> None:
    for mutant in CATALOGUE.values():
        assert mutant.killers or mutant.seeds, mutant.name
        for test in paths_of(mutant.killers):
            file, _, name = test.partition("::")
            source = (ROOT / file).read_text()
            assert re.search(rf"^def {name.split('[')[0]}\(", source, re.MULTILINE), f"{mutant.name}: {test}"


def test_the_mistakes_that_every_version_has_to_survive_are_all_among_them() -> None:
    assert len(LISTED) == 21
    assert set(LISTED) <= CATALOGUE.keys()


@pytest.mark.parametrize(
    "name", ["ack-quorum-minus-1", "round-change-hides-polka", "spent-invitation-accepted"]
)
def test_a_mutant_dies_and_the_product_does_not(name: str) -> None:
    mutant = CATALOGUE[name]
    before = trial(Task(None, "tests", tuple(paths_of(mutant.killers)), exhaustive=True))
    assert (before.failed, before.trouble) == ([], "")
    assert judge(mutant, FINE).by in paths_of(mutant.killers)


def test_a_mutant_that_nothing_notices_survives() -> None:
    harmless = Edit("chain/parking.py", "8 * 1024 * 1024", "8 * 1024 * 1025")
    outcome = judge(Mutant("a little more", "None.", (harmless,), ("chain/test_linearize.py",)), FINE)
    assert outcome.by == ""


def test_a_mutant_that_trips_over_its_own_words_is_not_taken_for_dead() -> None:
    broken = Edit("chain/linearize.py", "    while left:\n", "    while left and no_such_name:\n")
    outcome = judge(Mutant("a slip", "None.", (broken,), ("chain/test_linearize.py",)), FINE)
    assert outcome.by == ""
    assert "no_such_name" in outcome.why


def test_a_mutant_whose_tests_fail_without_it_is_not_taken_for_dead() -> None:
    mutant = CATALOGUE["ack-quorum-minus-1"]
    outcome = judge(mutant, Baseline(seconds={}, failed=paths_of(mutant.killers), trouble=[]))
    assert outcome.by == ""


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit("chain/parking.py", "no such text", ""), "0 times"),
        (Edit("chain/parking.py", "self", "this"), "times, not once"),
        (Edit("chain/parking.py", "    def park(", "    def park(("), "no Python"),
        (Edit("chain/parking.py", "import Iterable\n", "import Iterable\n\n"), "changes nothing"),
        (Edit("chain/no_such_file.py", "x", "y"), "No such file"),
    ],
)
def test_a_mutant_that_does_not_apply_says_where(edit: Edit, said: str) -> None:
    with pytest.raises(DoesNotApplyError, match=said) as caught:
        sources_of(Mutant("stale", "None.", (edit,)))
    assert "stale" in str(caught.value)
    assert edit.file.removesuffix(".py").split("/")[-1] in str(caught.value)
