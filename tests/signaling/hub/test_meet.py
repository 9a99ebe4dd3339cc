"""Meeting by the hub's own handler, with time as an input: the exchange, its fallbacks, who is met again."""

import pytest
import trio
import trio.testing

from tests.signaling.hub.meeting import UNLIMITED, crowd, pair_of


@pytest.mark.parametrize("hubs", [1, 2])
async def test_the_second_one_is_demoted_and_its_answer_ends_both_requests(
    autojump_clock: trio.testing.MockClock, hubs: int
) -> None:
    async with crowd(hubs=hubs) as all_:
        ann = await all_.holds("ann")
        demoted = await all_.ask("bob", hub=hubs - 1).wait()
        nonce = demoted.pop("NONCE")
        assert demoted == {"TYPE": "DEMOTE", "SIGNAL": "offer of ann"}
        bob = all_.ask("bob", hub=hubs - 1, NONCE=nonce, SIGNAL="answer of bob")
        assert await bob.wait() == {"TYPE": "DELIVERED"}
        assert await ann.wait() == {"TYPE": "ANSWER", "SIGNAL": "answer of bob"}
        assert (ann.status, bob.status) == (200, 200)
        assert trio.current_time() == ann.at == bob.at, "and nobody waited for anything but the other one"


async def test_a_nonce_is_good_once(autojump_clock: trio.testing.MockClock) -> None:
    async with crowd() as all_:
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        eve = await all_.holds("eve", NONCE=nonce, SIGNAL="answer of eve")
        assert ann.response is None, "it was handed to somebody else"
        assert await all_.ask("bob", NONCE=nonce, SIGNAL="answer").wait() == {"TYPE": "DELIVERED"}
        again = await all_.holds("bob", NONCE=nonce, SIGNAL="another answer")
        assert (await ann.wait())["SIGNAL"] == "answer"
        assert eve.response is again.response is None


async def test_a_bounces_whom_it_is_linked_to_and_both_are_matched_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """(a)"""
    async with crowd() as all_:
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        bob = await all_.holds("bob", TYPE="BOUNCE", NONCE=nonce, SIGNAL="new offer of bob")
        assert ann.response is None, "it is in the queue again"
        cal = await all_.ask("cal").wait()
        assert cal["SIGNAL"] == "offer of ann", "who waits longest comes first"
        dee = await all_.ask("dee").wait()
        assert dee["SIGNAL"] == "new offer of bob"
        assert (await all_.ask("cal", NONCE=cal["NONCE"], SIGNAL="c").wait())["TYPE"] == "DELIVERED"
        assert (await all_.ask("dee", NONCE=dee["NONCE"], SIGNAL="d").wait())["TYPE"] == "DELIVERED"
        assert [(await each.wait())["SIGNAL"] for each in (ann, bob)] == ["c", "d"]


async def test_a_bounce_finds_somebody_else_who_waits(autojump_clock: trio.testing.MockClock) -> None:
    """(a), where the other one is there already: it was held, as it knows A as well."""
    async with crowd() as all_:
        store = all_.meets[0]._store
        await all_.holds("ann")
        await store.remember(pair_of(ann="ann", cal="cal"), seconds=3600)
        cal = await all_.holds("cal")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        bounced = await all_.ask("bob", TYPE="BOUNCE", NONCE=nonce, SIGNAL="new").wait()
        assert (bounced["TYPE"], bounced["SIGNAL"]) == ("DEMOTE", "offer of cal")
        assert cal.response is None


async def test_b_ignores_the_answer_of_whom_it_is_linked_to_and_connects_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """(b)"""
    async with crowd() as all_:
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        await all_.ask("bob", NONCE=nonce, SIGNAL="answer").wait()
        assert (await ann.wait())["TYPE"] == "ANSWER"
        again = await all_.holds("ann", SIGNAL="new offer of ann")
        bob = await all_.holds("bob")
        cal = await all_.ask("cal").wait()
        assert cal["SIGNAL"] == "new offer of ann", "and not of bob, whom it had"
        assert again.response is bob.response is None


async def test_c_who_was_demoted_and_got_no_link_connects_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """(c), with the answer delivered, and with the answer never given"""
    async with crowd() as all_:
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        await all_.ask("bob", NONCE=nonce, SIGNAL="answer").wait()
        await ann.wait()
        bob = await all_.holds("bob", SIGNAL="new offer of bob")
        cal = await all_.ask("cal").wait()
        assert cal["SIGNAL"] == "new offer of bob"
        dee = await all_.holds("dee")
        assert bob.response is dee.response is None
        await trio.sleep(UNLIMITED.meet_answer)
        eve = await all_.ask("eve").wait()
        assert eve["SIGNAL"] == "new offer of bob", "cal never answered: it is handed out again"


async def test_d_who_waited_in_vain_connects_anew(autojump_clock: trio.testing.MockClock) -> None:
    """(d)"""
    async with crowd() as all_:
        ann = await all_.holds("ann")
        await all_.ask("bob").wait()  # who is never heard of again
        await ann.wait()
        assert (ann.status, ann.at) == (299, 15.0)
        again = await all_.holds("ann", SIGNAL="new offer of ann")
        assert (await all_.ask("cal").wait())["SIGNAL"] == "new offer of ann"
        assert again.response is None


async def test_e_an_answer_to_who_is_gone_gets_another_offer(autojump_clock: trio.testing.MockClock) -> None:
    """(e), somebody else waits"""
    async with crowd() as all_:
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        ann.scope.cancel()
        await ann.done.wait()
        cal = await all_.holds("cal")
        other = await all_.ask("bob", NONCE=nonce, SIGNAL="answer to ann").wait()
        assert (other["TYPE"], other["SIGNAL"]) == ("DEMOTE", "offer of cal")
        assert other["NONCE"] != nonce
        assert (await all_.ask("bob", NONCE=other["NONCE"], SIGNAL="b").wait())["TYPE"] == "DELIVERED"
        assert (await cal.wait())["SIGNAL"] == "b"


async def test_e_an_answer_to_who_is_gone_is_held_and_the_next_offer_is_handed_to_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """(e), nobody else waits"""
    async with crowd() as all_:
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        ann.scope.cancel()
        await ann.done.wait()
        bob = await all_.holds("bob", NONCE=nonce, SIGNAL="answer to ann")
        cal = await all_.holds("cal")
        other = await bob.wait()
        assert (other["TYPE"], other["SIGNAL"]) == ("DEMOTE", "offer of cal"), "nobody is shown an old answer"
        assert (await all_.ask("bob", NONCE=other["NONCE"], SIGNAL="b").wait())["TYPE"] == "DELIVERED"
        assert (await cal.wait())["SIGNAL"] == "b"


@pytest.mark.parametrize("hubs", [1, 2])
async def test_four_at_once_are_two_and_two(autojump_clock: trio.testing.MockClock, hubs: int) -> None:
    async with crowd(hubs=hubs) as all_:
        asked = {
            who: all_.ask(who, hub=number % hubs) for number, who in enumerate(("ann", "bob", "cal", "dee"))
        }
        await trio.testing.wait_all_tasks_blocked()
        demoted = {who: each.fields for who, each in asked.items() if each.response is not None}
        assert [fields["TYPE"] for fields in demoted.values()] == ["DEMOTE", "DEMOTE"]
        for who, fields in demoted.items():
            assert (await all_.ask(who, NONCE=fields["NONCE"], SIGNAL=f"answer of {who}").wait())[
                "TYPE"
            ] == "DELIVERED"
        answers = {(await asked[who].wait())["SIGNAL"] for who in asked if who not in demoted}
        assert answers == {f"answer of {who}" for who in demoted}


async def test_two_are_not_brought_together_again_for_an_hour(autojump_clock: trio.testing.MockClock) -> None:
    async with crowd(UNLIMITED) as all_:
        meet = all_.meets[0]
        all_._nursery.start_soon(meet.run)
        ann = all_.ask("ann")
        await trio.testing.wait_all_tasks_blocked()
        nonce = (await all_.ask("bob").wait())["NONCE"]
        await all_.ask("bob", NONCE=nonce, SIGNAL="b").wait()
        await ann.wait()
        assert len(meet._store) == 1
        await trio.sleep(3599 - 15)
        ann, bob = all_.ask("ann"), all_.ask("bob")
        assert [(await each.wait(), each.status)[1] for each in (ann, bob)] == [299, 299]
        await trio.sleep(UNLIMITED.meet_sweep + 1)
        assert len(meet._store) == 0, "swept"
        await all_.holds("ann")
        assert (await all_.ask("bob").wait())["TYPE"] == "DEMOTE"


async def test_two_of_whom_one_bounced_the_other_are_not_brought_together_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd() as all_:
        ann = await all_.holds("ann")
        await trio.sleep(5)
        nonce = (await all_.ask("bob").wait())["NONCE"]
        bob = await all_.holds("bob", TYPE="BOUNCE", NONCE=nonce, SIGNAL="new")
        await ann.wait()
        assert bob.response is None
        again = all_.ask("ann")
        await again.wait()
        assert again.status == 299


async def test_two_that_look_the_same_meet_as_often_as_they_like(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd() as all_:
        for _ in range(2):
            first = await all_.holds("a browser", address="one router", SIGNAL="1")
            second = await all_.ask("a browser", address="one router", SIGNAL="2").wait()
            answer = all_.ask("a browser", address="one router", NONCE=second["NONCE"], SIGNAL="3")
            assert (await answer.wait())["TYPE"] == "DELIVERED"
            assert (await first.wait())["SIGNAL"] == "3"
        assert len(all_.meets[0]._store) == 0, "that would be about everybody behind that router"


async def test_whom_a_dead_hub_was_to_tell_of_an_offer_keeps_nobody_from_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd(hubs=2) as all_:
        store = all_.meets[0]._store
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob").wait())["NONCE"]
        ann.scope.cancel()
        await ann.done.wait()
        await all_.holds("bob", NONCE=nonce, SIGNAL="an answer to nobody")
        killed = dict(store._held)
        store._held.clear()
        cal = await all_.holds("cal", hub=1)  # it was promised to bob, who cannot hear of it
        assert (await all_.ask("dee", hub=1).wait())["SIGNAL"] == "offer of cal"
        assert cal.response is None
        store._held.update(killed)


async def test_at_fifteen_seconds_one_hears_whether_somebody_waits_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd() as all_:
        ann = all_.ask("ann")
        await ann.wait()
        assert (ann.status, ann.at) == (299, 15.0)
        bob = all_.ask("bob", NAMESPACE="coffee")
        await trio.sleep(5)
        cal = all_.ask("cal", NAMESPACE="water")
        await cal.wait()
        assert (bob.status, bob.at) == (298, 30.0)
        assert (cal.status, cal.at) == (299, 35.0), "bob had gone by then"


async def test_who_is_in_the_right_namespace_is_not_told_of_another_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd() as all_:
        ann = await all_.holds("ann")
        await trio.sleep(1)
        nonce = (await all_.ask("bob").wait())["NONCE"]
        bob = all_.ask("bob", TYPE="BOUNCE", NONCE=nonce)  # they met already: both wait on
        await trio.sleep(9)
        all_.ask("cal", NAMESPACE="coffee")
        await ann.wait()
        assert (ann.status, ann.at) == (299, 15.0), "bob waits here"
        await bob.wait()
        assert bob.status == 298, "now there is nobody here"


async def test_a_crowd_that_comes_at_once_is_paired_off(autojump_clock: trio.testing.MockClock) -> None:
    async with crowd(hubs=2) as all_:
        heard: list[str] = []

        async def come(number: int) -> None:
            who = f"somebody {number}"
            fields = await all_.ask(who, hub=number % 2).wait()
            if fields["TYPE"] == "DEMOTE":
                fields = await all_.ask(who, hub=number % 2, NONCE=fields["NONCE"], SIGNAL="a").wait()
            heard.append(fields["TYPE"])

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(come, number)
        assert sorted(heard) == ["ANSWER"] * 100 + ["DELIVERED"] * 100
        assert trio.current_time() == 0.0
        assert [meet._turns for meet in all_.meets] == [{}, {}]


async def test_who_left_is_nobodys_match(autojump_clock: trio.testing.MockClock) -> None:
    async with crowd() as all_:
        ann = await all_.holds("ann")
        ann.scope.cancel()
        await ann.done.wait()
        bob = await all_.holds("bob")
        assert bob.response is None
        assert len(all_.meets[0]._store) == 1


async def test_a_hub_that_was_killed_holds_nobody_up(autojump_clock: trio.testing.MockClock) -> None:
    async with crowd(hubs=2) as all_:
        store = all_.meets[0]._store
        ann = await all_.holds("ann")
        nonce = (await all_.ask("bob", hub=1).wait())["NONCE"]
        killed = dict(store._held)
        store._held.clear()  # what a kill does to the requests of a hub, leaving the queue as it was
        bob = await all_.holds("bob", hub=1, NONCE=nonce, SIGNAL="answer to nobody")
        assert ann.response is None
        cal = await all_.holds("cal", hub=1)
        assert (await bob.wait())["SIGNAL"] == "offer of cal"
        assert cal.response is None
        store._held.update(killed)
