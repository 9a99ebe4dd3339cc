"""The task that owns the replica: nothing leaves or shows before it is on disk; no timer makes it spin."""

import threading
from pathlib import Path

import trio
import trio.testing

from chain.effects import SetTimer
from node.events import PendingEvent
from tests.node.rooms import Person, room_of


async def test_nothing_is_sent_or_shown_before_it_is_on_disk(tmp_path: Path) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob), trio.open_nursery() as nursery:
        await ann.says("before")
        await bob.says("before that")
        assert ann.node._seat is not None
        assert bob.node._seat is not None
        store, place = ann.node._seat._shelf._store, ann.node._mesh._places[bob.node._seat.me]
        writing, may_write, apply = threading.Event(), threading.Event(), store.apply

        def slow(records: object) -> None:
            writing.set()
            assert may_write.wait(20)
            apply(records)  # type: ignore[arg-type]

        store.apply = slow  # type: ignore[method-assign, assignment]
        handed, told = place.handed, len(ann.told.events)
        nursery.start_soon(ann.says, "slowly")
        assert await trio.to_thread.run_sync(writing.wait, 20)
        await trio.testing.wait_all_tasks_blocked()
        assert (place.handed, list(place.outbox)) == (handed, [])
        assert not [event for event in ann.told.events[told:] if isinstance(event, PendingEvent)]
        may_write.set()
        await bob.hears("slowly")
        assert place.handed > handed


async def test_a_timer_in_the_past_is_looked_at_again_and_again_but_never_in_a_spin(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with ann.up():
        assert ann.node._seat is not None
        runtime = ann.node._seat._runtime
        steps, enough = 0, trio.Event()
        step = runtime.replica.step

        def counted(*args: object, **kwargs: object) -> object:
            nonlocal steps
            steps += 1
            if steps == 20:
                enough.set()
            return step(*args, **kwargs)  # type: ignore[arg-type]

        runtime.replica.step = counted  # type: ignore[method-assign, assignment]
        await runtime._carry_out(SetTimer(at=trio.current_time() - 1))
        began = trio.current_time()
        await ann.says("wakes it")
        with trio.fail_after(20):
            await enough.wait()
        assert trio.current_time() - began >= 19 * 0.001
        await ann.says("and still goes on")
