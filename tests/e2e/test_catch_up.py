"""A member comes back to three peers of whom one lies, over lines of 40 ms: it ends with the right record."""

from pathlib import Path

from tests.bench.catch_up import Outcome, one_run
from tests.bench.catch_up_homes import Shape, make_homes
from tests.bench.catch_up_lies import MIXED

RTT_MS = 40.0


async def outcomes(place: Path, *, lie: str, newcomer: bool) -> list[Outcome]:
    """Some hundred messages, each in a block of its own: several answers, and a liar that is asked first."""
    shape = Shape(600)
    missed = make_homes(place / "made", shape, lobby=place / "lobby")
    return await one_run(missed, shape, place / "run", lie=lie, rtt_ms=RTT_MS, newcomer=newcomer)


async def test_a_liar_with_a_new_lie_for_each_answer_spoils_neither_a_return_nor_an_arrival(
    tmp_path: Path,
) -> None:
    back, joined = await outcomes(tmp_path, lie=MIXED, newcomer=True)
    assert (back.who, joined.who) == ("m0", "new")
    assert min(back.rss_mb, joined.rss_mb) > 0


async def test_slots_that_a_liar_signed_twice_spoil_no_return(tmp_path: Path) -> None:
    (back,) = await outcomes(tmp_path, lie="own-slots", newcomer=False)
    assert back.messages == 600
