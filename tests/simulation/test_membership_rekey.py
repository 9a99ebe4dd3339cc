"""A member that lost its disk or journal comes back with a new vote key; what it said is there once."""

from functools import partial

import pytest

from chain.control import AdmissionRule, Admit, Parent, Rekey
from chain.effects import Asks, ComeBack, Want
from chain.ids import BlockId, MemberId
from chain.records import Enqueue
from tests.simulation.change import (
    a_room,
    chatter,
    check_room,
    come_back,
    give_all,
    leave,
    lose_disk,
    members,
    new_key,
    others,
    say_yes,
    top,
)
from tests.simulation.keys import HASHED
from tests.simulation.machine import Node
from tests.simulation.network import Latency, fixed, heavy_tailed, uniform
from tests.simulation.newcomer import Door
from tests.simulation.room import make_room, make_seat
from tests.simulation.world import World

LATENCIES = [fixed(1 / 16), uniform(0.001, 0.2), heavy_tailed(0.02, cap=1.0)]
RULES = list(AdmissionRule)


def trusting(n: int, *, rule: AdmissionRule, latency: Latency | None = None, seed: int = 0) -> World:
    world = a_room(n, rule=rule, latency=latency, seed=seed)
    if rule is AdmissionRule.ASK:
        world.on_asks = partial(say_yes, world)
    return world


def talk(world: World, *nodes: Node) -> None:
    for node in nodes:
        world.say(node)
    world.run()


def vote_key_of(world: World, node: Node) -> bytes:
    committee = top(world).tip.committee
    place = committee.place(node.id)
    assert place is not None
    return committee.members[place].vote_key


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_a_member_without_a_disk_comes_back_and_holds_the_whole_record(
    n: int, rule: AdmissionRule, latency: Latency
) -> None:
    world = trusting(n, rule=rule, latency=latency, seed=n)
    node = world.dice.choice(world.nodes)
    talk(world, *world.nodes)
    lose_disk(world, node)
    chatter(world, lines=6, within=3)
    world.at(1, partial(come_back, world, node))
    world.run()
    assert vote_key_of(world, node) == node.key.public
    assert not node.running.coming_back
    talk(world, *world.nodes)
    check_room(world)


def test_who_was_let_in_meanwhile_hears_who_asks_over_the_link_it_had_as_a_guest() -> None:
    """Its vote is needed, and what it was told while it was no member reached nobody."""
    world = a_room(4)
    sponsor, _, _, lost = world.nodes
    lose_disk(world, lost)
    request = come_back(world, lost)
    world.run()
    door, first, second = Door(world), make_seat(HASHED, "first"), make_seat(HASHED, "second")
    wanted = first.request(world.room.id)
    let_in = door.knock(first, wanted, sponsor=sponsor)
    waits = door.knock(second, second.request(world.room.id), sponsor=lost)
    world.may_link = lambda one, other: waits not in (one, other) or lost in (one, other)
    world.relink()
    heard: list[tuple[Node, MemberId]] = []
    world.on_asks = lambda node, asks: heard.append((node, asks.request.identity))
    give_all(world, others(world, lost), Want(Admit(wanted)))
    door.run()
    assert let_in in members(world)
    assert {asked for node, asked in heard if node is let_in} == {lost.id, waits.id}
    give_all(world, others(world, lost), Want(Rekey(request)))
    world.run()
    assert vote_key_of(world, lost) == request.vote_key


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [4, 6])
def test_what_was_in_slots_of_the_old_key_is_ordered_once_under_the_new_one(
    n: int, rule: AdmissionRule
) -> None:
    """The member is alone with what it says; then its journal is found to be lost."""
    world = trusting(n, rule=rule)
    node = world.nodes[1]
    world.may_link = lambda one, other: node not in (one, other)
    world.relink()
    said = [world.say(node) for _ in range(3)]
    world.run()
    for again in range(2):
        said.append(world.say(node))
        world.run()
        assert [body.data[:16] for body in node.running.own_unordered()] == said, again
    node.running.state.lose_journal("the test says so")
    come_back(world, node)
    world.may_link = lambda one, other: True
    world.relink()
    world.run()
    assert vote_key_of(world, node) == node.key.public
    assert all(world.properties.spoken[uuid].ordered == 1 for uuid in said if uuid is not None)
    node.journal_lost = False
    check_room(world)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("queued", [False, True])
def test_what_others_hold_of_a_lost_disk_comes_back_to_its_author(rule: AdmissionRule, queued: bool) -> None:
    """Its last slot reached one member only, too few to order it; of the disk a queue may have been saved."""
    world = trusting(5, rule=rule)
    node, witness = world.nodes[0], world.nodes[3]
    world.may_link = lambda one, other: {one, other} == {node, witness}
    world.relink()
    uuid = world.say(node)
    world.run()
    saved = node.running.own_unordered() if queued else ()
    lose_disk(world, node)
    node.store.apply([Enqueue(body) for body in saved])
    come_back(world, node)
    world.run()
    assert node.running.tip == witness.running.tip
    assert [body.data[:16] for body in node.running.own_unordered()] == [uuid]
    world.may_link = lambda one, other: True
    world.relink()
    world.run()
    assert uuid is not None
    assert world.properties.spoken[uuid].ordered == 1
    check_room(world)


@pytest.mark.parametrize("queued", [False, True])
def test_a_slot_that_its_author_got_back_is_in_the_record_once(queued: bool) -> None:
    """Who held it is away again when the new key comes into force; a queue may have been saved beside it."""
    world = trusting(7, rule=AdmissionRule.AUTO)
    node, witness = world.nodes[0], world.nodes[3]
    world.may_link = lambda one, other: {one, other} == {node, witness}
    world.relink()
    uuid = world.say(node)
    world.run()
    saved = node.running.own_unordered() if queued else ()
    lose_disk(world, node)
    node.store.apply([Enqueue(body) for body in saved])
    come_back(world, node)
    world.run()
    world.may_link = lambda one, other: witness not in (one, other)
    world.relink()
    world.run()
    assert vote_key_of(world, node) == node.key.public
    assert uuid is not None
    assert world.properties.spoken[uuid].ordered == 1
    world.may_link = lambda one, other: True
    world.relink()
    world.run()
    check_room(world)


def test_a_queue_from_an_old_disk_is_not_said_again() -> None:
    """The copy was made while something waited; it was ordered since, and the record shows that."""
    world = trusting(4, rule=AdmissionRule.AUTO)
    node = world.nodes[2]
    talk(world, *world.nodes)
    world.may_link = lambda one, other: node not in (one, other)
    world.relink()
    world.crash(node)
    world.start(node)  # it signs nothing before the others confirm its journal, so this stays in the queue
    waiting = [world.say(node), world.say(node)]
    world.run()
    copy = node.running.queue
    assert [body.data[:16] for body in copy] == waiting
    world.may_link = lambda one, other: True
    world.relink()
    world.run()
    assert not node.running.own_unordered()
    lose_disk(world, node)
    node.store.apply([Enqueue(body) for body in copy])
    come_back(world, node)
    world.run()
    assert not node.running.queue
    assert not node.store.snapshot().queue
    talk(world, *world.nodes)
    check_room(world)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("index", range(9))
def test_a_crash_anywhere_on_the_way_back_delays_it_only(rule: AdmissionRule, index: int) -> None:
    """The node of a user that waits is started again with the same new key."""
    for step in range(0, 8, 3):
        world = trusting(4, rule=rule)
        node = world.nodes[3]
        talk(world, *world.nodes)
        lose_disk(world, node)
        request = come_back(world, node)
        node.crash_at = step, index
        world.run(until=world.calendar.now + 30)
        node.crash_at = None
        if node.replica is None:
            world.start(node)
            world.relink()
            world.give(node, ComeBack(request, node.key))
            world.run()
        assert vote_key_of(world, node) == node.key.public
        talk(world, *world.nodes)
        assert node.running.signing
        check_room(world)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_members_that_crash_while_another_comes_back_find_the_right_epoch(victim: int) -> None:
    for step in range(0, 8, 2):
        for index in range(0, 6, 3):
            world = trusting(5, rule=AdmissionRule.AUTO)
            node = world.nodes[4]
            lose_disk(world, node)
            world.nodes[victim].crash_at = step, index
            world.restart_after = fixed(0.4)
            come_back(world, node)
            world.say(world.nodes[victim])
            world.run()
            world.nodes[victim].crash_at = None
            assert vote_key_of(world, node) == node.key.public
            check_room(world)


@pytest.mark.parametrize("n", [2, 3])
def test_below_four_nobody_comes_back_without_its_old_key_and_nothing_is_made_final(n: int) -> None:
    world = trusting(n, rule=AdmissionRule.AUTO)
    node = world.nodes[0]
    talk(world, *world.nodes)
    height = top(world).tip.height
    lose_disk(world, node)
    come_back(world, node)
    world.run()
    talk(world, *world.nodes)
    assert node.running.coming_back
    assert node.running.tip.height == top(world).tip.height == height


def test_by_rule_a_member_gets_one_new_key_an_hour_and_a_user_can_give_another() -> None:
    world = trusting(4, rule=AdmissionRule.AUTO)
    node = world.nodes[1]
    for number, epochs in ((1, 1), (2, 1)):
        come_back(world, node, number)
        world.run()
        assert top(world).tip.epoch == world.room.tip.epoch + epochs
    assert node.running.coming_back
    node.running.state.lose_journal("to be told twice")
    second = new_key(world, node, 3)
    for other in others(world, node):
        world.give(other, Want(Rekey(second)))
    world.give(node, ComeBack(second, node.key))
    world.run()
    assert vote_key_of(world, node) == node.key.public
    world.calendar.now += 3600
    come_back(world, node, 4)
    world.run()
    assert vote_key_of(world, node) == node.key.public
    node.journal_lost = False
    check_room(world)


def test_people_are_told_that_it_is_a_member_that_asks_and_by_what_key() -> None:
    world = a_room(4)
    asked: list[tuple[str, Asks]] = []
    world.on_asks = lambda node, asks: asked.append((node.name, asks))
    node = world.nodes[2]
    request = come_back(world, node)
    world.run()
    assert asked == [
        (other.name, Asks(request, None, frozenset(), verified=False, rekey=True))
        for other in sorted(others(world, node), key=lambda other: other.id)
    ]
    one = others(world, node)[0]
    world.give(one, Want(Rekey(request)))
    world.run()
    later = [asks for name, asks in asked[3:] if name != one.name]
    assert [asks.approvals for asks in later] == [frozenset({one.id})] * 2
    assert node.running.coming_back
    assert top(world).tip.epoch == world.room.tip.epoch


def test_people_are_asked_again_in_the_next_epoch() -> None:
    """What they heard and did not answer is not forgotten because somebody else left."""
    world = a_room(5)
    asked: list[str] = []
    world.on_asks = lambda node, asks: asked.append(node.name)
    node, gone = world.nodes[2:4]
    come_back(world, node)
    world.run()
    assert sorted(asked) == [other.name for other in others(world, node)]
    asked.clear()
    leave(world, gone)
    world.run()
    assert sorted(asked) == [other.name for other in others(world, node)]


def test_a_key_that_signed_nothing_waits_for_nobody_to_confirm_it() -> None:
    world = trusting(4, rule=AdmissionRule.AUTO)
    node = world.nodes[1]
    world.crash(node)
    world.start(node)
    assert node.running.recovering
    come_back(world, node)
    world.run(until=world.calendar.now)
    assert not node.running.recovering
    world.relink()
    world.run()
    assert node.running.signing
    check_room(world)


def test_a_key_that_is_not_the_committees_observes() -> None:
    world = trusting(4, rule=AdmissionRule.ASK)
    node = world.nodes[0]
    world.crash(node)
    new_key(world, node)
    world.start(node)
    world.relink()
    talk(world, *world.nodes)
    assert node.running.me is None
    assert not node.running.signing
    assert not node.key.made
    assert node.running.tip == top(world).tip
    assert len(node.running.own_unordered()) == 1


def test_who_observes_confirms_nobodys_journal() -> None:
    """It may have lost what it held of theirs: only a quorum that remembers lets a restarted key sign."""
    world = trusting(4, rule=AdmissionRule.ASK)
    amnesiac, node, absent = world.nodes[:3]
    lose_disk(world, amnesiac)
    new_key(world, amnesiac)
    world.crash(absent)
    world.start(amnesiac)
    world.relink()
    world.run()
    world.crash(node)
    world.restart(node)
    world.run()
    assert node.running.recovering
    assert not node.running.signing
    world.restart(absent)
    world.run()
    assert node.running.signing


@pytest.mark.parametrize("n", [2, 3])
def test_a_room_that_lost_a_member_for_good_goes_on_as_another_that_names_its_last_block(n: int) -> None:
    """Nobody can be removed or rekeyed there; who is left begins a room that commits to the record so far."""
    old = trusting(n, rule=AdmissionRule.AUTO)
    talk(old, *old.nodes)
    lost, *left = old.nodes
    lose_disk(old, lost)
    old.say(left[0])
    old.run()
    tip = top(old).tip
    parent = Parent(tip.room, tip.block)
    new = World(n, room=make_room(n, HASHED, AdmissionRule.AUTO, parent))
    new.populate()
    talk(new, *new.nodes)
    check_room(new)
    assert new.room.id not in (old.room.id, make_room(n, HASHED, AdmissionRule.AUTO).id)
    for node in new.nodes:
        cited = node.store.genesis.parent
        assert cited is not None
        assert cited.room == left[0].store.room
        assert left[0].store.height_of(cited.block) == tip.height
        assert node.store.height_of(cited.block) is None
    other = make_room(n, HASHED, AdmissionRule.AUTO, Parent(tip.room, BlockId(bytes(32))))
    assert other.id != new.room.id


def test_a_founder_back_at_the_beginning_is_not_sure_of_its_key_because_it_was_alone_there() -> None:
    """In epoch 0 there is nobody to ask; in the epochs that follow there is."""
    world = a_room(4)
    founder = next(node for node in world.nodes if node.id == world.room.genesis.founder)
    first, second = others(world, founder)[:2]
    lose_disk(world, founder)
    world.may_link = lambda one, other: {one, other} == {founder, first}
    world.start(founder)
    assert founder.running.signing
    world.relink()
    world.run()
    assert founder.running.tip == first.running.tip
    assert founder.running.recovering
    assert not founder.running.signing
    world.may_link = lambda one, other: second not in (one, other) or founder in (one, other)
    world.relink()
    world.run()
    assert founder.running.signing
