"""The order inside a block: the same for everyone, causal, and none of the leader's business."""

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.block import Dep, Head, Slot
from chain.errors import InvalidBlockError
from chain.ids import SlotId
from chain.linearize import linearize
from chain.message import UNSIGNED
from tests.chain.drawing import seed

Lanes = dict[int, list[tuple[SlotId, Slot]]]


def slot_id(lane: int, seq: int) -> SlotId:
    return SlotId(seed("slot", lane, seq))


def a_slot(lane: int, seq: int, deps: Mapping[int, int]) -> tuple[SlotId, Slot]:
    named = tuple(Dep(other, at, slot_id(other, at)) for other, at in sorted(deps.items()))
    slot = Slot(0, lane, seq, slot_id(lane, seq - 1), named, (), (), 0, UNSIGNED)
    return slot_id(lane, seq), slot


def drawn(dice: random.Random, *, n: int, steps: int, after: list[int]) -> Lanes:
    """Slots as members append them one after another, each knowing some of what was there."""
    heads, lanes = list(after), {lane: [] for lane in range(n)}
    for _ in range(steps):
        lane = dice.randrange(n)
        deps = {
            other: dice.randint(after[other] + 1, heads[other])
            for other in range(n)
            if other != lane and heads[other] > after[other] and dice.random() < 0.6
        }
        heads[lane] += 1
        lanes[lane].append(a_slot(lane, heads[lane], deps))
    return lanes


def heads_at(after: list[int]) -> tuple[Head, ...]:
    return tuple(Head(seq, slot_id(lane, seq)) for lane, seq in enumerate(after))


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 40))
def test_every_slot_comes_once_in_lane_order_after_what_it_knew(number: int, n: int, steps: int) -> None:
    dice = random.Random(number)
    after = [dice.randrange(5) for _ in range(n)]
    lanes = drawn(dice, n=n, steps=steps, after=after)
    order = list(linearize(lanes, after=heads_at(after)))
    assert sorted(order, key=lambda pair: pair[1].position) == [
        pair for lane in lanes.values() for pair in lane
    ]
    emitted = list(after)
    for _, slot in order:
        assert slot.seq == emitted[slot.lane] + 1
        assert all(dep.seq <= emitted[dep.lane] for dep in slot.deps)
        emitted[slot.lane] = slot.seq


@given(st.integers(0, 2**32), st.permutations(range(5)))
def test_how_the_set_was_put_together_does_not_matter(number: int, permutation: list[int]) -> None:
    dice = random.Random(number)
    lanes = drawn(dice, n=5, steps=25, after=[0] * 5)
    mixed = {lane: lanes[lane] for lane in permutation}
    assert list(linearize(mixed, after=heads_at([0] * 5))) == list(linearize(lanes, after=heads_at([0] * 5)))


def test_lanes_come_in_member_order_each_as_far_as_it_can() -> None:
    lanes: Lanes = {
        0: [a_slot(0, 1, {}), a_slot(0, 2, {1: 2}), a_slot(0, 3, {})],
        1: [a_slot(1, 1, {}), a_slot(1, 2, {2: 1})],
        2: [a_slot(2, 1, {0: 1}), a_slot(2, 2, {0: 3})],
    }
    order = [slot.position for _, slot in linearize(lanes, after=heads_at([0, 0, 0]))]
    assert order == [(0, 1), (1, 1), (2, 1), (1, 2), (0, 2), (0, 3), (2, 2)]


def test_what_lies_below_the_old_cut_holds_nobody_up() -> None:
    lanes: Lanes = {0: [a_slot(0, 1, {1: 7})], 1: []}
    assert len(list(linearize(lanes, after=heads_at([0, 7])))) == 1


@pytest.mark.parametrize("deps", [{1: 1}, {1: 9}])
def test_a_set_that_lacks_what_a_slot_knew_is_no_block(deps: dict[int, int]) -> None:
    lanes: Lanes = {0: [a_slot(0, 1, {}), a_slot(0, 2, deps)]}
    with pytest.raises(InvalidBlockError, match="not closed under dependencies"):
        list(linearize(lanes, after=heads_at([0, 0])))


def test_slots_that_claim_to_know_each_other_are_no_block() -> None:
    lanes: Lanes = {0: [a_slot(0, 1, {1: 1})], 1: [a_slot(1, 1, {0: 1})]}
    with pytest.raises(InvalidBlockError):
        list(linearize(lanes, after=heads_at([0, 0])))


def test_nothing_makes_nothing() -> None:
    assert list(linearize({}, after=heads_at([3, 4]))) == []
