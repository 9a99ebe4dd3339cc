"""Who is asked for blocks: the best first, the next answer in advance, and nobody who wastes our time."""

import pytest

from chain.block import Block, Certificate, Head
from chain.effects import Send
from chain.fetch import FULL, MOST_HELD, PATIENCE, TRIES, Fetch
from chain.ids import BlockId, Hash, MemberId, SlotId
from chain.message import Committed, Message, PullRange, unpack
from chain.outbox import Outbox

ANN, BOB, CAL = (MemberId(name * 32) for name in (b"a", b"b", b"c"))
LAST = 10_000
ENOUGH = 2 * FULL


class Catch:
    """A fetch with three peers that claim all blocks, and where we are."""

    def __init__(self, *peers: MemberId) -> None:
        self.out = Outbox()
        self.out.linked |= {ANN, BOB, CAL}
        self.fetch = Fetch(self.out)
        self.height, self.now = 1, 0.0
        """The first block that we lack; seconds."""
        self.witnesses: int | None = None
        for peer in peers or (ANN, BOB, CAL):
            self.fetch.claim(peer, LAST)

    def pursue(self) -> tuple[list[tuple[MemberId, int]], float | None]:
        """Who is asked for which height now, and when to look again."""
        look_again = self.fetch.pursue(self.height, now=self.now, witnesses=self.witnesses)
        asked = [
            (effect.peer, message.height)
            for effect in self.out.flush()
            if isinstance(effect, Send)
            for message in unpack(effect.data)
            if isinstance(message, PullRange)
        ]
        return asked, look_again

    def answer(self, peer: MemberId, *heights: int, after: float = 0.05) -> bool:
        self.now += after
        return self.fetch.hold(peer, blocks(*heights), size=1000, now=self.now)

    def take(self, *, useful: int = ENOUGH, upto: int | None = None) -> MemberId:
        """Take in the next answer, up to its last block unless told otherwise; who brought it."""
        held = self.fetch.due(self.height)
        assert held is not None
        peer, messages = held
        self.fetch.heard(peer, useful, now=self.now)
        whole = [message.block.height for message in messages if isinstance(message, Committed)]
        self.height = (max(whole) if upto is None else upto) + 1
        return peer

    def round(self, peer: MemberId, *, blocks: int, useful: int, after: float = 0.05) -> MemberId:
        """The peer that is asked now answers with so much, which is right; who is asked next."""
        (asked,), _ = self.pursue()
        assert asked == (peer, self.height)
        assert self.answer(peer, *range(self.height, self.height + blocks), after=after)
        self.take(useful=useful)
        ((following, height),), _ = self.pursue()
        assert height == self.height
        return following


def blocks(*heights: int) -> tuple[Message, ...]:
    return tuple(
        Committed(
            Block(
                epoch=0,
                height=height,
                prev=BlockId(bytes(32)),
                leader=ANN,
                cut=(Head(0, SlotId(bytes(32))),),
                log_size=0,
                log_root=Hash(bytes(32)),
                committee=Hash(bytes(32)),
                next_committee=None,
            ),
            Certificate(0, ()),
        )
        for height in heights
    )


def test_one_peer_is_asked_and_its_answer_waits_a_tick_while_the_next_is_asked_for() -> None:
    catch = Catch()
    assert catch.pursue() == ([(ANN, 1)], PATIENCE)
    assert catch.pursue() == ([], PATIENCE)
    assert catch.answer(ANN, 1, 2, 3)
    assert catch.pursue() == ([(ANN, 4)], catch.now)
    assert catch.take() == ANN
    assert catch.pursue() == ([], catch.now + PATIENCE)


def test_no_more_than_two_answers_are_kept_whatever_comes() -> None:
    catch = Catch()
    catch.pursue()
    catch.answer(ANN, 1, 2, 3)
    catch.pursue()
    assert catch.answer(ANN, 4, 5, 6)
    assert catch.pursue() == ([], catch.now)
    assert not catch.answer(ANN, 7, 8, 9)
    assert not catch.answer(BOB, 1, 2, 3)


def test_the_rest_of_an_answer_of_several_envelopes_stays_behind_its_beginning() -> None:
    catch = Catch()
    catch.pursue()
    catch.answer(ANN, 1)
    rest: tuple[Message, ...] = (PullRange(1),)  # any message that is no block
    assert catch.fetch.hold(ANN, rest, size=1, now=catch.now)
    assert not catch.fetch.hold(BOB, rest, size=1, now=catch.now)
    assert catch.fetch.due(1) == (ANN, (*blocks(1), *rest))
    assert not catch.fetch.hold(ANN, rest, size=1, now=catch.now)


def test_an_answer_without_end_is_let_go_and_not_asked_for_in_advance_again() -> None:
    catch = Catch(ANN)
    catch.pursue()
    catch.answer(ANN, 1)
    assert catch.pursue()[0] == [(ANN, 2)]
    catch.fetch.due(1)  # the first block has more to come
    catch.answer(ANN, 2)
    rest: tuple[Message, ...] = (PullRange(1),)
    held = [catch.fetch.hold(ANN, rest, size=MOST_HELD // 4, now=catch.now) for _ in range(5)]
    assert held == [True, True, True, True, False]
    assert catch.fetch.due(2) is None
    assert catch.pursue()[0] == []
    catch.height = 2
    assert catch.pursue()[0] == [(ANN, 2)]


def test_who_says_nothing_gives_way_and_is_asked_three_times_at_most() -> None:
    catch = Catch(ANN)
    for tries in range(TRIES):
        assert catch.pursue() == ([(ANN, 1)], catch.now + PATIENCE * 2**tries)
        catch.now += PATIENCE * 2**tries
    assert catch.pursue() == ([], None)
    catch = Catch()
    catch.pursue()
    catch.now += PATIENCE
    assert catch.pursue() == ([(BOB, 1)], catch.now + PATIENCE)


def fail_all(catch: Catch) -> None:
    """Nobody answers, until nobody is asked any more."""
    while (asked := catch.pursue()[0]) or catch.now == 0:
        for peer, _ in asked:
            catch.fetch.failed(peer, now=catch.now)
        catch.now += 0.1


def test_what_as_many_members_claim_as_one_asks_for_is_asked_for_again_after_a_rest() -> None:
    catch = Catch()
    catch.out.members |= {ANN, BOB}
    catch.witnesses = 2
    fail_all(catch)
    asked, look_again = catch.pursue()
    assert not asked
    assert look_again is not None
    assert look_again > catch.now + PATIENCE * 2**TRIES - 1
    catch.now = look_again
    ((peer, height),), _ = catch.pursue()
    assert height == 1
    assert catch.answer(peer, 1, 2)
    catch.take()
    assert catch.height == 3
    assert catch.pursue()[0] == [(peer, 3)]


@pytest.mark.parametrize("members", [(ANN, BOB), (ANN, CAL)])
def test_what_strangers_or_too_few_claim_is_not_asked_for_again(members: tuple[MemberId, ...]) -> None:
    catch = Catch(ANN, CAL)
    catch.out.members |= {*members, BOB}
    catch.fetch.claim(BOB, 0)
    catch.witnesses = 2 if CAL not in members else 3
    fail_all(catch)
    assert catch.pursue() == ([], None)


def test_an_answer_with_a_hole_in_its_midst_is_given_up_at_once() -> None:
    catch = Catch()
    catch.pursue()
    catch.answer(ANN, 1, 2, 3)
    catch.pursue()
    catch.take(upto=1)
    assert catch.pursue() == ([(BOB, 2)], catch.now + PATIENCE)


def test_an_answer_whose_last_block_is_not_whole_may_go_on() -> None:
    catch = Catch()
    catch.pursue()
    catch.answer(ANN, 1, 2, 3)
    catch.pursue()
    catch.take(upto=2)
    assert catch.pursue() == ([], catch.now + PATIENCE)


def test_an_answer_that_is_of_no_use_any_more_is_dropped() -> None:
    catch = Catch()
    catch.pursue()
    catch.answer(ANN, 1, 2, 3)
    assert catch.pursue()[0] == [(ANN, 4)]
    catch.fetch.failed(ANN, now=catch.now)
    assert catch.pursue()[0] == [(BOB, 1)]
    assert catch.answer(ANN, 4, 5, 6)
    assert catch.fetch.due(4) is None
    assert not catch.answer(ANN, 4, 5, 6)


def test_who_gives_one_block_at_a_time_gives_way_to_who_may_give_more() -> None:
    assert Catch().round(ANN, blocks=1, useful=300) == BOB


def test_who_is_slow_gives_way_to_who_may_be_faster() -> None:
    assert Catch().round(ANN, blocks=100, useful=ENOUGH, after=4.0) == BOB


def test_who_is_fast_is_asked_again() -> None:
    assert Catch().round(ANN, blocks=100, useful=20 * ENOUGH, after=0.1) == ANN


def test_small_answers_at_the_end_of_all_that_is_claimed_are_held_against_nobody() -> None:
    catch = Catch(ANN, BOB)
    catch.height = LAST
    (asked,), _ = catch.pursue()
    assert asked == (ANN, LAST)
    catch.answer(ANN, LAST)
    catch.take(useful=300)
    assert catch.pursue() == ([], None)
    catch.fetch.claim(BOB, LAST + 1)
    catch.fetch.claim(ANN, LAST + 1)
    assert catch.pursue()[0] == [(ANN, LAST + 1)]


def test_a_new_link_does_not_make_a_liar_the_first_again_for_a_while() -> None:
    catch = Catch(ANN, BOB)
    catch.pursue()
    catch.fetch.failed(ANN, now=catch.now)
    catch.fetch.forget(ANN)
    catch.fetch.claim(ANN, LAST)
    assert catch.pursue()[0] == [(BOB, 1)]


def test_what_came_by_another_way_leaves_no_timer() -> None:
    catch = Catch(ANN)
    catch.pursue()
    catch.height = LAST + 1
    assert catch.pursue() == ([], None)
    assert catch.answer(ANN, 1, 2, 3)


@pytest.mark.parametrize(("count", "height"), [(1, 10**6), (2, 30), (3, 20), (4, 0)])
def test_how_far_the_room_is_takes_as_many_witnesses_as_one_asks_for(count: int, height: int) -> None:
    fetch = Fetch(Outbox())
    for peer, claimed in ((ANN, 20), (BOB, 10**6), (CAL, 30)):
        fetch.claim(peer, claimed)
    assert fetch.vouched(count) == height
