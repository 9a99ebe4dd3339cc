"""Who is behind gets level though every answer failed at first, and no link breaks."""

from chain.message import SlotMessage
from tests.simulation.liars import losing, wait
from tests.simulation.rest import check_liveness, check_rest
from tests.simulation.run import REPLAY, attempt
from tests.simulation.test_exact import quiet_room

ONCE_FAILED = 2000345
"""All peers had been asked three times within a second, in vain, and none was asked again."""


def test_a_member_that_got_useless_answers_from_all_catches_up_over_the_same_links() -> None:
    world = quiet_room(4)
    back, *others = world.nodes
    world.crash(back)
    world.run()
    for node in others:
        world.say(node)
        world.run()
    back.filter = losing(lambda message: isinstance(message, SlotMessage))
    world.restart(back)
    wait(world, 5)
    assert back.running.tip.height < others[0].running.tip.height
    back.filter = None
    world.run()
    check_liveness(world)
    check_rest(world)


def test_the_seed_that_showed_it_passes() -> None:
    _, counts, problem = attempt(ONCE_FAILED)
    assert counts is not None, f"{problem}\n    replay: {REPLAY} {ONCE_FAILED}"
