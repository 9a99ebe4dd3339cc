"""Who is behind says how far it has come: not for a handful of blocks, not too often, and when it is done."""

from pathlib import Path

from node.events import ProgressEvent
from node.progress import EVERY, WORTH_TELLING, Progress
from tests.node.rooms import Person, room_of

MISSED = WORTH_TELLING + 10


def test_little_that_is_missing_is_fetched_in_silence() -> None:
    progress = Progress(past=False)
    assert progress.look(height=10, target=10, now=0) is None
    assert progress.look(height=10, target=9 + WORTH_TELLING, now=1) is None
    assert progress.look(height=9 + WORTH_TELLING, target=9 + WORTH_TELLING, now=2) is None


def test_much_is_told_at_once_then_now_and_then_and_when_it_is_done() -> None:
    progress = Progress(past=True)

    def look(height: int, now: float) -> tuple[int, int] | None:
        event = progress.look(height=height, target=1000, now=now)
        assert event is None or event.past
        return None if event is None else (event.height, event.target)

    assert look(0, 0.0) == (0, 1000)
    assert look(10, EVERY / 2) is None
    assert look(20, EVERY) == (20, 1000)
    assert look(990, 2 * EVERY) == (990, 1000), "the rest is told too, however little it is"
    assert look(1000, 2 * EVERY) == (1000, 1000), "the end never waits"
    assert look(1000, 9.0) is None


def test_nobody_left_who_knows_of_more_is_no_end() -> None:
    progress = Progress(past=False)
    assert progress.look(height=0, target=100, now=0.0) == ProgressEvent(height=0, target=100, past=False)
    assert progress.look(height=60, target=60, now=0.1) is None
    assert progress.look(height=60, target=160, now=0.2) == ProgressEvent(height=60, target=160, past=False)
    assert progress.look(height=170, target=170, now=0.3) == ProgressEvent(height=170, target=170, past=False)


async def test_a_member_that_missed_much_shows_how_far_it_has_come(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob", "cal") as (ann, *_):
        dee = Person(tmp_path, "dee")
        async with dee.joining((await ann.node.invite()).token):
            await dee.admitted()
        for number in range(MISSED):
            await ann.says(f"missed {number}")
        async with dee.up():
            begun = await dee.told.wait(ProgressEvent)
            assert 0 < begun.height < begun.target and begun.target >= MISSED and not begun.past
            done = await dee.told.wait(ProgressEvent, lambda event: event.height == event.target)
            assert done.target >= begun.target
            await dee.hears(f"missed {MISSED - 1}")
            status = await dee.node.status()
            assert status.target == status.height >= MISSED


async def test_a_newcomer_shows_how_much_of_the_past_it_has(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        for number in range(MISSED):
            await ann.says(f"early {number}")
        async with Person(tmp_path, "bob").joining((await ann.node.invite()).token) as bob:
            begun = await bob.told.wait(ProgressEvent)
            assert begun.past and begun.height < begun.target and begun.target > MISSED
            done = await bob.told.wait(ProgressEvent, lambda event: event.height == event.target)
            assert done.past
            await bob.hears(f"early {MISSED - 1}")
