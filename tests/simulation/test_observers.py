"""What a liar cannot keep from a member that only observes."""

from chain.message import Committed, Hello, Precommit, unpack
from tests.simulation.liars import heights_above, room_with_liar, slot_of, tell, wait
from tests.simulation.machine import Node


def test_a_member_whose_key_stopped_hears_of_every_block_also_if_a_liar_hides_its_precommit() -> None:
    """It is linked to everybody and at their height; the honest precommits alone are one too few for it."""
    world, liar, (victim, *others) = room_with_liar(leads=True)
    tell(world, victim, others[0], slot_of(world, victim, 1))
    assert victim.journal_lost
    wait(world, 20)

    def hide(target: Node, data: bytes) -> bool:
        hidden = (Precommit, Committed, Hello)
        return target is victim and any(isinstance(message, hidden) for message in unpack(data))

    liar.withhold = hide
    world.say(liar)
    world.run()
    assert heights_above(world, others) == [1, 1]
    assert heights_above(world, [victim]) == [1]
