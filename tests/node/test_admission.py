"""What a node does about who asks: each event is judged by itself, and nothing done once stops it."""

from collections import Counter

import pytest
from nacl.signing import SigningKey

from chain.control import AdmissionRule, Admit, Request
from chain.effects import Asks, Input, Unwant, Want
from chain.ids import MemberId, SlotId
from node.admission import Admission
from node.events import AsksEvent
from tests.simulation.keys import ED25519
from tests.simulation.network import fixed
from tests.simulation.room import make_room, make_seat
from tests.simulation.test_membership_restarts import invited
from tests.simulation.world import World

WORDS = "four safety words here"


class Desk:
    """A member's admission at rest: who is linked is up to the test, and what it submits is kept."""

    def __init__(self, rule: AdmissionRule = AdmissionRule.AUTO) -> None:
        world = World(2, scheme=ED25519, latency=fixed(1 / 16), room=make_room(2, ED25519, rule))
        world.populate()
        self.dee = make_seat(ED25519, "dee")
        self.request = invited(world, self.dee, world.nodes[0])
        self.linked: set[MemberId] = {self.dee.id}
        self.submitted: list[Input] = []
        self.admission = Admission(
            room=world.room.id,
            rule=rule,
            identity=SigningKey(bytes(32)),
            max_peers=16,
            tip=lambda: world.nodes[0].running.tip,
            words=lambda who: WORDS if who in self.linked else "",
            guests_full=lambda: False,
            submit=self.submitted.append,
            faults=Counter(),
        )

    def asks(self, request: Request | None = None, *, moved: bool = False) -> AsksEvent | None:
        """The replica says that somebody asks; what people are told."""
        motion = (SlotId(bytes(32)), 0) if moved else None
        return self.admission.on_asks(
            Asks(request or self.request, motion, approvals=frozenset(), verified=True)
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_whoever_asks_again_over_another_link_is_wanted_again(desk: Desk) -> None:
    """The first want may have met a link that was gone, and the replica moves nobody who is not linked."""
    assert desk.asks() is not None
    assert desk.asks() is None, "people know"
    assert desk.submitted == [Want(Admit(desk.request))] * 2


def test_whose_motion_is_made_already_is_left_to_the_chain(desk: Desk) -> None:
    desk.asks(moved=True)
    assert desk.submitted == []


def test_whose_link_ended_is_wanted_no_more_until_it_is_back(desk: Desk) -> None:
    first = desk.asks()
    desk.linked.clear()
    desk.admission.on_gone(desk.dee.id)
    assert desk.admission.waiting() == []
    desk.linked.add(desk.dee.id)
    assert desk.asks() == first, "people are told again"
    want = Want(Admit(desk.request))
    assert desk.submitted == [want, Unwant(desk.dee.id), want]


def test_who_asked_before_its_link_ended_is_not_wanted_by_what_comes_after(desk: Desk) -> None:
    """The turn that takes its request in may end when the link is gone already."""
    desk.linked.clear()
    desk.admission.on_gone(desk.dee.id)
    desk.asks()
    assert desk.submitted == [Unwant(desk.dee.id)]


def test_whom_another_member_told_of_is_wanted_once_it_is_linked_here(desk: Desk) -> None:
    desk.linked.clear()
    assert desk.asks() is not None
    assert desk.submitted == []
    desk.linked.add(desk.dee.id)
    told = desk.asks()
    assert told is not None
    assert told.words == WORDS
    assert desk.submitted == [Want(Admit(desk.request))]


def test_people_are_asked_where_the_rule_says_so() -> None:
    desk = Desk(AdmissionRule.ASK)
    assert desk.asks() is not None
    assert desk.submitted == []
    desk.admission.admit("dee")
    assert desk.submitted == [Want(Admit(desk.request))]
