"""Schedules about who is let in, and by whose word.

Chance alone hardly finds them; `tests/mutants` breaks the rules one by one to see that these notice.
"""

import pytest

from chain.control import AdmissionRule, Admit, make_request, make_voucher
from chain.effects import Want
from chain.ids import Hash
from tests.simulation.keys import HASHED
from tests.simulation.liars import stranger_at
from tests.simulation.network import fixed
from tests.simulation.room import make_room
from tests.simulation.test_exact import DELAY, leader_of
from tests.simulation.world import World


@pytest.mark.parametrize(("expires", "members"), [(2**40, 5), (1, 4)])
def test_by_the_rule_auto_nobody_approves_an_invitation_that_is_over(expires: int, members: int) -> None:
    """The one who moves the admission lies about the time, or has a clock that does."""
    world = World(4, latency=fixed(DELAY), room=make_room(4, HASHED, AdmissionRule.AUTO))
    world.populate()
    sponsor = leader_of(world)
    guest = stranger_at(world, sponsor)
    secret = HASHED.signer(b"invitation")
    voucher = make_voucher(
        room=world.room.id, key=Hash(secret.public), expires=expires, inviter=sponsor.seat.identity
    )
    request = make_request(
        room=world.room.id,
        nick=guest.seat.nick,
        identity=guest.seat.identity,
        vote=guest.seat.vote,
        voucher=voucher,
        invitation=secret,
    )
    world.give(sponsor, Want(Admit(request)))
    world.run()
    others = [node for node in world.nodes if node is not guest]
    assert {node.running.tip.committee.n for node in others} == {members}
    assert all(node.running.desk.motions or members == 5 for node in others)
