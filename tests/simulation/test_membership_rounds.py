"""Committees that change while rounds fail: a leader is silent, stops, leaves, is removed; and partitions."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from chain.control import Admit, Motion, Rekey, Remove
from chain.effects import Asks, ComeBack, Want
from chain.message import Precommit, Prevote, Propose, RoundChange, pack, unpack
from chain.replica import Replica
from tests.simulation.change import (
    a_room,
    chatter,
    check_room,
    give_all,
    leave,
    lose_disk,
    members,
    new_key,
    others,
    remove,
    top,
)
from tests.simulation.keys import HASHED
from tests.simulation.machine import Node
from tests.simulation.network import Latency, fixed, heavy_tailed, uniform
from tests.simulation.newcomer import Door
from tests.simulation.room import make_seat
from tests.simulation.world import World

LATENCIES = [fixed(1 / 16), uniform(0.001, 0.2), heavy_tailed(0.02, cap=1.0)]


class Hall:
    """A room where everybody says yes to whoever asks; with its door, and somebody outside."""

    def __init__(self, n: int, *, latency: Latency, seed: int = 0) -> None:
        self.world = a_room(n, latency=latency, seed=seed)
        self.world.on_asks = self._yes
        self.door = Door(self.world)
        self.back: list[Node] = []

    def _yes(self, node: Node, asks: Asks) -> None:
        motion: Motion = Rekey(asks.request) if asks.rekey else Admit(asks.request)
        if node.replica is not None:
            self.world.give(node, Want(motion))

    def leader(self, round_: int = 0) -> Node:
        tip = top(self.world).tip
        place = tip.leader_of(round_)
        return next(node for node in self.world.nodes if node.id == tip.committee.members[place].identity)

    def running(self) -> list[Node]:
        """The machines on which a replica runs."""
        return [node for node in self.world.nodes if isinstance(node.replica, Replica)]

    def admit(self, name: str = "new", *, but: Sequence[Node] = ()) -> None:
        """Somebody asks a member; not one of those who go, or it would stay outside with it."""
        seat = make_seat(HASHED, name)
        asked = [node for node in others(self.world, *but) if node in self.running()]
        sponsor = self.world.dice.choice(asked)
        self.door.knock(seat, seat.request(self.world.room.id), sponsor=sponsor)

    def lose_and_come_back(self, node: Node) -> None:
        """Its disk is gone, it is started again at once, and asks."""
        lose_disk(self.world, node)
        request = new_key(self.world, node)
        self.world.start(node, restarted=False)
        self.world.relink()
        self.world.give(node, ComeBack(request, node.key))
        self.back.append(node)

    def end(self) -> None:
        self.door.run()
        for node in self.world.nodes:
            node.rewrite = None
        self.world.blocked.clear()
        self.world.relink()
        for node in members(self.world):
            self.world.say(node)
        self.door.run()
        check_room(self.world)


def without_votes(target: Node, data: bytes) -> list[bytes]:
    """For `rewrite`: it says everything but how it votes."""
    del target
    votes = (Propose, Prevote, Precommit, RoundChange)
    return pack([message for message in unpack(data) if not isinstance(message, votes)])


CHANGES: dict[str, Callable[[Hall, Node, Node], None]] = {
    "the leader is removed": lambda hall, leader, other: remove(hall.world, leader),
    "the next leader is removed": lambda hall, leader, other: remove(hall.world, hall.leader(1)),
    "another is removed": lambda hall, leader, other: remove(hall.world, other),
    "the leader leaves": lambda hall, leader, other: leave(hall.world, leader),
    "another leaves": lambda hall, leader, other: leave(hall.world, other),
    "somebody is let in": lambda hall, leader, other: hall.admit(),
    "another gets a new key": lambda hall, leader, other: hall.lose_and_come_back(other),
}


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("what", list(CHANGES))
@pytest.mark.parametrize("n", [6])
def test_a_change_passes_in_a_later_round_when_the_leader_does_not_vote(
    n: int, what: str, latency: Latency
) -> None:
    hall = Hall(n, latency=latency)
    world, leader = hall.world, hall.leader()
    other = others(world, leader, hall.leader(1))[0]
    leader.rewrite = without_votes
    epoch = top(world).tip.epoch
    CHANGES[what](hall, leader, other)
    world.run()
    assert top(world).tip.epoch == epoch + 1
    final = members(world)[0].store.finals_from(epoch, limit=2**20).finals[0]
    assert final.certificate.round > 0
    hall.end()


@pytest.mark.parametrize("what", list(CHANGES))
@pytest.mark.parametrize("crashes", ["leader", "other"])
def test_a_crash_at_any_boundary_while_a_change_passes_costs_time_only(crashes: str, what: str) -> None:
    for step in (1, 4):
        for index in (0, 3):
            hall = Hall(5, latency=fixed(1 / 16))
            world, leader = hall.world, hall.leader()
            other, victim = others(world, leader, hall.leader(1))[:2]
            world.restart_after = fixed(0.4)
            chatter(world, lines=6, within=1)
            CHANGES[what](hall, leader, other)
            (leader if crashes == "leader" else victim).crash_at = step, index
            hall.door.run()
            for node in world.nodes:
                node.crash_at = None
            if top(world).tip.epoch == world.room.tip.epoch:  # what it wanted was lost with its memory
                CHANGES[what](hall, leader, other)
                hall.door.run()
            assert top(world).tip.epoch == world.room.tip.epoch + 1
            hall.end()


def isolate(world: World, island: list[Node]) -> None:
    world.blocked = {
        frozenset((one, other)) for one in island for other in world.nodes if other not in island
    }
    world.relink()


@pytest.mark.parametrize("what", list(CHANGES))
@pytest.mark.parametrize(("n", "away"), [(5, 1), (7, 2)])
def test_a_change_passes_on_the_side_that_has_a_quorum_and_reaches_the_other(
    n: int, away: int, what: str
) -> None:
    """Some are cut off while it begins, the leader among them; on the smaller side people go on typing."""
    hall = Hall(n, latency=uniform(0.01, 0.1))
    world, leader = hall.world, hall.leader()
    other = others(world, leader, hall.leader(1))[0]
    island = [leader, other][:away]
    isolate(world, island)
    chatter(world, lines=8, within=1)
    CHANGES[what](hall, leader, other)
    world.run()
    while world.blocked:
        world.blocked.pop()
        world.relink()
        hall.door.run()
    assert top(world).tip.epoch == world.room.tip.epoch + 1
    hall.end()


@pytest.mark.parametrize("seed", range(6))
def test_two_join_while_one_leaves_and_one_is_removed(seed: int) -> None:
    hall = Hall(7, latency=uniform(0.01, 0.3), seed=seed)
    world = hall.world
    leaving, removed = gone = world.dice.sample(world.nodes, 2)
    for change in (
        partial(hall.admit, "one", but=gone),
        partial(hall.admit, "two", but=gone),
        partial(leave, world, leaving),
        partial(remove, world, removed),
    ):
        world.at(world.dice.uniform(0, 0.3), change)
    chatter(world, lines=20, within=2)
    hall.door.run()
    remove(world, removed)  # who was let in since has to be asked as well
    hall.door.run()
    assert len(members(world)) == 7
    assert {leaving, removed}.isdisjoint(members(world))
    hall.end()


@pytest.mark.parametrize("seed", range(4))
def test_motions_that_meet_in_one_block_pass_one_an_epoch(seed: int) -> None:
    """Everybody wants somebody out, at once: those with a quorum behind them go, one after the other."""
    hall = Hall(7, latency=uniform(0.01, 0.3), seed=seed)
    world = hall.world
    gone = world.dice.sample(world.nodes, 2)
    for target in gone:
        give_all(world, world.nodes, Want(Remove(target.id)))
    for node in members(world):
        world.give(node, Want(Remove(world.dice.choice(others(world, node)).id)))
    chatter(world, lines=10, within=1)
    world.run()
    assert set(gone).isdisjoint(members(world))
    hall.end()
