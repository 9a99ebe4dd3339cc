"""Who is to go, as one member sees it: found by nick or id, told once, with what it means for the rest."""

import pytest

from chain.committee import Committee, Member
from chain.control import Remove
from chain.effects import Input, Want
from chain.ids import Hash, MemberId, SlotId, VoteKey
from chain.ledger import Tip, first_cut
from chain.membership import MotionId
from chain.merkle import Frontier
from node.errors import Exit, NodeError
from node.removal import Removals

NICKS = ("ann", "bob", "cal", "dee")
ANN, BOB, CAL, DEE = (MemberId(bytes([number]) * 32) for number in range(4))


class Desk:
    """What Removals looks at, and what it asked for."""

    def __init__(self, *, me: MemberId = ANN, n: int = 4) -> None:
        members = tuple(
            Member(MemberId(bytes([number]) * 32), VoteKey(bytes([number + 100]) * 32), nick)
            for number, nick in enumerate(NICKS[:n])
        )
        self.tip = Tip(
            room=Hash(bytes(32)),
            epoch=0,
            height=0,
            block=Hash(bytes(32)),
            committee=Committee(members, Hash(bytes(32))),
            spent=(),
            leader=ANN,
            cut=first_cut(n, Hash(bytes(32))),
            frontier=Frontier(),
        )
        self.linked = {BOB, CAL, DEE}
        self.motions: dict[MotionId, tuple[Remove, set[MemberId]]] = {}
        self.asked: list[Input] = []
        self.removals = Removals(
            me=me,
            tip=lambda: self.tip,
            motions=lambda: self.motions,
            linked=lambda: self.linked,
            submit=self.asked.append,
        )

    def move(self, member: MemberId, *backers: MemberId, number: int = 1) -> None:
        self.motions[SlotId(bytes([number]) * 32), 0] = Remove(member), set(backers)


@pytest.mark.parametrize("who", ["dee", "DEE", "0303", "03" * 32])
def test_a_member_is_named_by_nick_or_by_the_beginning_of_its_id(who: str) -> None:
    desk = Desk()
    event = desk.removals.remove(who)
    assert desk.asked == [Want(Remove(DEE))]
    assert (event.nick, event.by, event.have, event.need) == ("dee", ["ann"], 1, 3)


@pytest.mark.parametrize(
    ("who", "code"), [("eve", Exit.NO), ("03", Exit.NO), ("", Exit.NO), ("ann", Exit.USAGE)]
)
def test_nobody_and_oneself_are_refused_and_nothing_is_moved(who: str, code: Exit) -> None:
    desk = Desk()
    with pytest.raises(NodeError) as refused:
        desk.removals.remove(who)
    assert refused.value.exit_code is code
    assert desk.asked == []


def test_each_new_backer_is_news_once_and_several_motions_to_one_end_are_one() -> None:
    desk = Desk()
    desk.move(DEE, BOB)
    assert [(event.nick, event.by) for event in desk.removals.news()] == [("dee", ["bob"])]
    assert desk.removals.news() == []
    desk.linked.discard(BOB)
    assert desk.removals.news() == [], "who is up is told by other events"
    desk.move(DEE, CAL, number=2)
    assert [(event.by, event.have) for event in desk.removals.news()] == [(["bob", "cal"], 2)]
    desk.motions.clear()
    assert desk.removals.news() == []
    desk.move(DEE, BOB)
    assert len(desk.removals.news()) == 1, "moved again in the next epoch"


def test_who_asked_to_go_itself_is_said_to_leave() -> None:
    desk = Desk()
    desk.move(DEE, DEE)
    (event,) = desk.removals.news()
    assert event.leaves
    assert desk.removals.left(DEE)
    assert not desk.removals.left(BOB)


def test_a_removal_says_whether_enough_would_be_up_afterwards() -> None:
    desk = Desk()
    desk.linked = {BOB, CAL}
    assert (desk.removals.remove("bob").then_up, desk.removals.remove("bob").then_need) == (2, 3)
    assert (desk.removals.remove("dee").then_up, desk.removals.remove("dee").then_need) == (3, 3)


def test_one_may_leave_unless_one_is_the_last() -> None:
    desk = Desk()
    assert not desk.removals.left(ANN)
    assert desk.removals.leave().leaves
    assert desk.asked == [Want(Remove(ANN))]
    assert desk.removals.left(ANN), "also when the motion passes before it was seen"
    alone = Desk(n=1)
    with pytest.raises(NodeError, match="nobody to leave to"):
        alone.removals.leave()
    assert alone.asked == []
