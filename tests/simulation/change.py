"""A room whose committee changes: who goes, who lost a disk and comes back, and what must hold in the end."""

import hashlib
from collections.abc import Iterable
from functools import partial

from chain.control import AdmissionRule, Rekey, Remove, Request, make_request
from chain.effects import Asks, ComeBack, Input, Want
from chain.ids import MemberId
from chain.replica import Replica
from chain.store import Store
from tests.simulation.keys import HASHED, Scheme
from tests.simulation.machine import Node
from tests.simulation.network import Latency
from tests.simulation.room import Seat, make_room
from tests.simulation.signatures import LoggedSigner, Violation
from tests.simulation.world import World


def a_room(
    n: int,
    *,
    rule: AdmissionRule = AdmissionRule.ASK,
    latency: Latency | None = None,
    scheme: Scheme = HASHED,
    seed: int = 0,
) -> World:
    """n members, linked and at rest."""
    world = World(n, seed=seed, scheme=scheme, latency=latency, room=make_room(n, scheme, rule))
    world.populate()
    return world


# Who is in the room


def top(world: World) -> Replica:
    """The honest replica that has got furthest."""
    replicas = [node.running for node in world.nodes if node.honest and isinstance(node.replica, Replica)]
    return max(replicas, key=lambda replica: replica.tip.height)


def is_member(world: World, node: Node) -> bool:
    return top(world).tip.committee.place(node.id) is not None


def members(world: World) -> list[Node]:
    """The machines of today's members, by nick."""
    return sorted((node for node in world.nodes if is_member(world, node)), key=lambda node: node.name)


def others(world: World, *gone: Node) -> list[Node]:
    return [node for node in members(world) if node not in gone]


# What people do


def give_all(world: World, nodes: Iterable[Node], item: Input) -> None:
    for node in nodes:
        if node.replica is not None:
            world.give(node, item)


def remove(world: World, gone: Node) -> None:
    """Everybody else wants it out, at this instant; nothing to do for who went already."""
    give_all(world, others(world, gone), Want(Remove(gone.id)))


def leave(world: World, node: Node) -> None:
    """It wants out itself, and nobody else is asked."""
    world.give(node, Want(Remove(node.id)))


def chatter(world: World, *, lines: int, within: float) -> None:
    """So many lines, by whoever is a member and up when the time comes."""
    for _ in range(lines):
        world.at(world.dice.uniform(0, within), partial(_somebody_speaks, world))


def _somebody_speaks(world: World) -> None:
    speakers = [node for node in members(world) if node.replica is not None and node.honest]
    if speakers:
        world.say(world.dice.choice(speakers))


def say_yes(world: World, node: Node, asks: Asks) -> None:
    """What a user does that trusts everybody: for use as `world.on_asks` where the rule is to ask."""
    if asks.rekey and node.replica is not None:
        world.give(node, Want(Rekey(asks.request)))


# Lost disks


def lose_disk(world: World, node: Node) -> None:
    """It stops, and has nothing left but the genesis; what it had not said to others is lost with that."""
    world.crash(node)
    for said in world.properties.spoken.values():
        said.pending = said.pending and said.author != node.id
    node.store.close()
    node.store = Store.create(":memory:", genesis=world.room.genesis, me=node.id, verify=world.scheme.verify)
    world.properties.forget(node.name)
    world.properties.kept(node.name, ())


def new_key(world: World, node: Node, number: int = 1) -> Request:
    """The machine makes a vote key; the request that goes with it."""
    seed = hashlib.sha256(f"vote key {number} of {node.seat.nick}".encode()).digest()
    vote = world.scheme.signer(seed)
    node.key = LoggedSigner(vote)
    node.seat = Seat(node.seat.identity, vote, node.seat.nick)
    return make_request(room=world.room.id, nick=node.seat.nick, identity=node.seat.identity, vote=vote)


def come_back(world: World, node: Node, number: int = 1) -> Request:
    """With a new vote key; the machine is started first if it is down."""
    if node.replica is None:
        request = new_key(world, node, number)
        world.start(node, restarted=False)
        world.relink()
    else:
        request = new_key(world, node, number)
    world.give(node, ComeBack(request, node.key))
    return request


# What must hold in the end


def check_room(world: World) -> None:
    """At rest every member holds the whole record, and who was one holds it to where it went.

    All that a member of today was promised stands in it once.
    """
    if not world.idle:
        raise Violation("something is still under way")
    height = top(world).tip.height
    for node in members(world):
        if node.running.tip.height != height or node.running.me is None:
            raise Violation(f"{node} is at {node.running.tip.height} of {height}, or does not vote")
    ids: set[MemberId] = {node.id for node in members(world)}
    for said in world.properties.spoken.values():
        if said.pending and said.honest and said.author in ids and said.ordered != 1:
            raise Violation(f"a member's message stands in the record {said.ordered} times")
    for node in world.nodes:
        if node.honest and isinstance(node.replica, Replica):
            _check_record(world, node)


def _check_record(world: World, node: Node) -> None:
    """It is the agreed log, as far as this node may know it, bodies included; and nobody honest is blamed."""
    log = world.properties.log[: node.running.tip.frontier.size]
    items = list(node.store.items())
    if [(item.index, item.author, item.content) for item in items] != [
        (index, leaf.author, leaf.content) for index, leaf in enumerate(log)
    ]:
        raise Violation(f"{node} reads {len(items)} items of {len(log)}, or others")
    if any(item.data is None for item in items if isinstance(item.content, bytes)):
        raise Violation(f"{node} lacks a body")
    if problems := node.store.check():
        raise Violation(f"{node} has a damaged store: {problems[0]}")
    liars = {other.id for other in world.nodes if not other.honest}
    for fault in node.faults:
        if fault.peer not in liars:
            raise Violation(f"{node} blames an honest node: {fault.kind}, {fault.detail}")
