"""The rules of meeting as they are, without a hub: whole queues in and out, and whatever a crowd may do."""

import random
from itertools import count

import pytest

from signaling.hub.meet_queue import (
    MAX_ASKED,
    Arrival,
    Demote,
    Pair,
    Queue,
    Signal,
    Step,
    Waiting,
    arrive,
    decode_queue,
    encode_queue,
    free_again,
    leave,
    pair_name,
    pairs_to_ask,
    take,
    until_of,
)
from signaling.hub.meet_store import Holder


def waiting(name: str, *, offers: bool = True, until: float = 17.0, nonce: str = "", to: str = "") -> Waiting:
    signal = Signal(f"offer of {name}") if offers else None
    return Waiting(
        Holder(name), f"look:{name}", signal, until, nonce, to and f"look:{to}", 5.0 if nonce else 0.0
    )


def arrival(who: Waiting, *, now: float = 0.0, refuses: str = "") -> Arrival:
    return Arrival(who=who, now=now, answer_within=5.0, refuses=refuses)


def step_of(queue: Queue, what: Arrival, *met: Pair) -> Step:
    return arrive(queue, what, met=met, new_nonce=lambda: "n1")


def test_the_first_one_waits_and_the_second_is_demoted() -> None:
    ann, bob = waiting("ann"), waiting("bob")
    assert step_of((), arrival(ann)) == Step(queue=(ann,))
    assert step_of((ann,), arrival(bob)) == Step(
        queue=(waiting("ann", nonce="n1", to="bob"),),
        demoted=((Holder("bob"), Demote("n1", Signal("offer of ann"))),),
    )


def test_who_can_only_answer_is_demoted_by_the_next_one_who_offers() -> None:
    ann, bob, cal = waiting("ann", offers=False), waiting("bob", offers=False), waiting("cal")
    assert step_of((ann,), arrival(bob)) == Step(queue=(ann, bob))
    assert step_of((ann, bob), arrival(cal)) == Step(
        queue=(bob, waiting("cal", nonce="n1", to="ann")),
        demoted=((Holder("ann"), Demote("n1", Signal("offer of cal"))),),
    )


def test_who_is_over_is_nobodys_match_and_a_promise_ends() -> None:
    ann, bob = waiting("ann", nonce="n0", to="eve"), waiting("bob")
    assert step_of((ann,), arrival(bob, now=4.9)) == Step(queue=(ann, bob))
    assert step_of((ann,), arrival(bob, now=5.0)).demoted == (
        (Holder("bob"), Demote("n1", Signal("offer of ann"))),
    )
    assert step_of((ann,), arrival(bob, now=17.0)) == Step(queue=(bob,))


def test_those_who_met_wait_side_by_side_until_one_comes_for_each() -> None:
    ann, bob, cal, dee = map(waiting, ("ann", "bob", "cal", "dee"))
    met = ("look:ann", "look:bob")
    step = step_of((ann,), arrival(bob), met)
    assert step == Step(queue=(ann, bob))
    step = step_of(step.queue, arrival(cal), met)
    assert [holder for holder, _ in step.demoted] == ["cal"]
    step = step_of(step.queue, arrival(dee), met)
    assert step.demoted == ((Holder("dee"), Demote("n1", Signal("offer of bob"))),)


def test_who_refuses_frees_the_other_and_is_not_handed_it_again() -> None:
    ann, bob = waiting("ann", nonce="n0", to="bob"), waiting("bob")
    assert step_of((ann,), arrival(bob, refuses="n0")) == Step(queue=(waiting("ann"), bob))
    eve = waiting("eve")
    assert step_of((ann,), arrival(eve, refuses="n0")) == Step(queue=(ann, eve)), "it was promised to bob"
    cal = waiting("cal")
    assert step_of((ann, cal), arrival(bob, refuses="n0"), ("look:ann", "look:cal")).demoted == (
        (Holder("bob"), Demote("n1", Signal("offer of cal"))),
    )
    assert step_of((ann, cal), arrival(bob, refuses="n0"), ("look:bob", "look:cal")).demoted == (
        (Holder("cal"), Demote("n1", Signal("offer of ann"))),
    ), "the two that are left"


def test_an_answer_is_taken_once_from_whom_it_was_promised_to() -> None:
    queue = (waiting("ann", nonce="n0", to="bob"), waiting("cal"))
    assert take(queue, nonce="n0", client="look:bob", now=16.9) == ((queue[1],), queue[0])
    assert take(queue, nonce="n0", client="look:eve", now=0.0) is None
    assert take(queue, nonce="n0", client="look:bob", now=17.0) is None
    assert take(queue, nonce="", client="", now=0.0) is None, "who was promised to nobody has no nonce"
    assert take(queue[1:], nonce="n0", client="look:bob", now=0.0) is None


def test_leaving_and_being_freed() -> None:
    queue = (waiting("ann", nonce="n0", to="bob"), waiting("cal"), waiting("dee", until=3.0))
    assert leave(queue, Holder("cal"), now=2.0) == (queue[0], queue[2])
    assert leave(queue, Holder("eve"), now=4.0) == queue[:2]
    assert free_again(queue, "n0") == (waiting("ann"), *queue[1:])
    assert (until_of(queue), until_of(())) == (17.0, 0.0)


def test_a_queue_is_a_few_bytes_and_none_when_it_is_empty() -> None:
    queue = (waiting("ann", nonce="n0", to="bob"), waiting("cal", offers=False))
    assert decode_queue(encode_queue(queue)) == queue
    assert encode_queue(()) == b""
    assert decode_queue(b"") == ()
    for bad in (b"\x01", b"\x91\x01", encode_queue(queue)[:-1]):
        with pytest.raises(ValueError):
            decode_queue(bad)


def test_a_pair_has_one_name_whoever_came_first() -> None:
    assert pair_name(("a", "b")) == pair_name(("b", "a")) != pair_name(("a", "c"))


def test_in_a_crowd_of_acquaintances_only_so_many_pairs_are_looked_at() -> None:
    queue = tuple(waiting(f"somebody {number}") for number in range(256))
    asked = pairs_to_ask(queue, arrival(waiting("ann")))
    assert len(asked) == len(set(asked)) == MAX_ASKED
    assert sum("look:ann" in pair for pair in asked) == 256, "the newcomer's first"
    assert step_of(queue, arrival(waiting("ann")), *asked).demoted == ()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_a_crowd_does_everybody_hears_one_thing_and_nobody_waits_beside_a_match(seed: int) -> None:
    dice, numbers, now = random.Random(seed), count(), 0.0
    queue: Queue = ()
    met: set[Pair] = set()
    heard: set[Holder] = set()
    open_nonces: dict[str, tuple[str, Signal]] = {}  # who may use each, and whose offer it was for
    clients = [f"look:{number}" for number in range(8)]
    for _ in range(300):
        now += dice.choice((0.0, 0.1, 1.0, 6.0))
        nonce = dice.choice(list(open_nonces)) if open_nonces and dice.random() < 0.6 else ""
        client = open_nonces.pop(nonce)[0] if nonce else dice.choice(clients)
        what = dice.random()
        if what < 0.1 and queue:
            queue = leave(queue, dice.choice(queue).holder, now=now)
            continue
        if what < 0.6 and nonce:
            taken = take(queue, nonce=nonce, client=client, now=now)
            if taken is not None:
                queue, offerer = taken
                assert offerer.holder not in heard
                heard.add(offerer.holder)
                if offerer.client != client:  # else they cannot be told apart
                    met.add(_pair(offerer.client, client))
                continue
        name = Holder(str(next(numbers)))
        offers = not nonce or what >= 0.6
        newcomer = Waiting(name, client, Signal(f"{name}") if offers else None, now + 17)
        come = arrival(newcomer, now=now, refuses=nonce if offers else "")
        asked = pairs_to_ask(queue, come)
        before = {each.holder: each for each in (*queue, newcomer)}
        step = arrive(queue, come, met=met, new_nonce=lambda: f"n{next(numbers)}")
        for holder, demote in step.demoted:
            answerer, offerer = before[holder], before[Holder(demote.signal.text)]
            assert holder not in heard
            assert holder != offerer.holder
            assert offerer.until > now
            assert _pair(answerer.client, offerer.client) not in met
            assert _pair(answerer.client, offerer.client) in asked or answerer.client == offerer.client
            heard.add(holder)
            open_nonces[demote.nonce] = (answerer.client, demote.signal)
        queue = step.queue
        assert len({each.holder for each in queue}) == len(queue)
        assert not heard & {each.holder for each in queue}
        free = [each for each in queue if not each.nonce or each.promise_ends <= now]
        for index, one in enumerate(free):
            for other in free[index + 1 :]:
                can = one.signal is not None or other.signal is not None
                apart = _pair(one.client, other.client) in met or (
                    come.refuses and name in (one.holder, other.holder)
                )
                assert not can or apart, "two who might meet wait side by side"


def _pair(one: str, other: str) -> Pair:
    return (one, other) if one <= other else (other, one)
