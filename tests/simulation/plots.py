"""Who takes part in a random story: sizes of rooms, the ways to lie, and lies that serve one another."""

import random
from collections.abc import Sequence

from tests.simulation.adversary import Lie
from tests.simulation.lies_lanes import AcksEverything, BadDeps, Floods, ForksSlots, WithholdsBodies
from tests.simulation.lies_votes import (
    ForgesJustification,
    HidesPolka,
    IgnoresBoundValue,
    Omits,
    OneEar,
    ProposesTwo,
    ProposesWrong,
    VotesTwice,
    VotesWithoutCause,
)
from tests.simulation.lies_wire import FalseHello, Garbage, Late, NearlyTrue, Replays, Selective, WrongAnswers

SIZES = (1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 7, 7, 7, 8, 9, 10, 10, 13)
LARGE = (16, 19, 22, 25, 28, 31)
LIES: Sequence[type[Lie]] = (
    ForksSlots,
    BadDeps,
    WithholdsBodies,
    AcksEverything,
    Floods,
    ProposesTwo,
    ProposesWrong,
    IgnoresBoundValue,
    Omits,
    VotesTwice,
    VotesWithoutCause,
    HidesPolka,
    ForgesJustification,
    OneEar,
    Selective,
    Late,
    Replays,
    NearlyTrue,
    Garbage,
    WrongAnswers,
    FalseHello,
)

PLOTS: Sequence[tuple[type[Lie], ...]] = (
    (ForksSlots, ProposesTwo, VotesTwice, AcksEverything),
    (ForksSlots, BadDeps, AcksEverything, Selective),
    (ProposesTwo, VotesTwice, OneEar),
    (HidesPolka, IgnoresBoundValue, ForgesJustification, VotesTwice),
    (Omits, OneEar, Late),
    (ProposesWrong, VotesWithoutCause, IgnoresBoundValue),
    (FalseHello, WrongAnswers, WithholdsBodies, Replays),
    (Floods, NearlyTrue, Garbage, Replays),
)
"""Lies that serve one another; a whole gang may follow one."""


def some_size(dice: random.Random) -> int:
    return dice.choice(LARGE) if dice.random() < 0.01 else dice.choice(SIZES)
