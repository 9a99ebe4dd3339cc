"""What must hold once every fault is mended and nothing is left to happen."""

from chain.block import UUID_SIZE
from chain.effects import FaultKind
from chain.ids import MemberId
from chain.replica import Replica
from tests.simulation.machine import Node
from tests.simulation.properties import Said
from tests.simulation.signatures import Violation
from tests.simulation.world import World


def honest(world: World) -> list[Node]:
    """Every machine that keeps the rules, a former member's or a newcomer's as well."""
    return [node for node in world.nodes if node.honest]


def running(world: World) -> list[Node]:
    """The honest ones that run a replica: members, and who was one."""
    return [node for node in honest(world) if isinstance(node.replica, Replica)]


def present(world: World) -> list[Node]:
    """The honest ones that are members, as whoever got furthest knows it."""
    up = running(world)
    committee = max(up, key=lambda node: node.running.tip.height).running.tip.committee if up else None
    return [
        node
        for node in honest(world)
        if committee is not None and committee.place(node.id) is not None and not is_guest(node)
    ]


def is_guest(node: Node) -> bool:
    """Whether it runs what asks to be let in, and not a member's replica yet."""
    return node.replica is not None and not isinstance(node.replica, Replica)


def check_liveness(world: World) -> None:
    """Everything an honest member was promised is ordered, at every honest member's."""
    lost = _owed(world)
    unordered = [said for said in lost if said.ordered != 1]
    if unordered:
        whose = ", ".join(f"{name_of(world, said.author)} {said.uuid.hex()[:8]}" for said in unordered)
        raise Violation(f"{len(unordered)} of {len(lost)} promised messages are not ordered: {whose}")
    behind = {node.name: heights for node in present(world) if (heights := _missing(world, node))}
    if behind:
        raise Violation(f"not everybody has every block: {behind}")


def name_of(world: World, member: MemberId) -> str:
    return next(node.name for node in world.nodes if node.id == member)


def _owed(world: World) -> list[Said]:
    """What a member that still is one was promised; who left may have been too late."""
    members = {node.id for node in present(world)}
    spoken = world.properties.spoken.values()
    return [said for said in spoken if said.pending and said.honest and said.author in members]


def _missing(world: World, node: Node) -> list[int]:
    return sorted(world.properties.blocks.keys() - world.properties.nodes[node.name].history)


def everybody_is_level(world: World) -> bool:
    """Whether liveness holds already; for ending a run as soon as it does."""
    return all(said.ordered == 1 for said in _owed(world)) and not any(
        _missing(world, node) for node in present(world)
    )


AUDITED = 2
"""Whole stores verified at the end of each story; all of them are read."""


def check_rest(world: World) -> None:
    """The room is quiet, all members hold the same, who was one was told, and nobody blames an honest one."""
    if not world.idle:
        raise Violation("something is still under way")
    members = present(world)
    tips = {(node.running.tip.height, node.running.tip.block) for node in members}
    if len(tips) != 1:
        raise Violation(f"honest nodes end at different heights: {sorted(height for height, _ in tips)}")
    liars = {node.id for node in world.nodes if not node.honest or node.amnesiac}
    nodes = list(running(world))
    audited = world.dice.sample(nodes, min(AUDITED, len(nodes)))
    for node in nodes:
        check_blame(node, liars)
        _check_store(world, node, audit=node in audited)
        if node not in members and not node.running.removed:
            raise Violation(f"{node} is no member any more and does not know it")


def check_blame(node: Node, liars: set[MemberId]) -> None:
    """No honest member is blamed for anything, and no honest key is thought lost; `liars` may be."""
    check_convictions(node, liars)
    for fault in node.faults:
        # Who is behind takes a newcomer for a stranger, and who is ahead somebody removed: that is no blame.
        if fault.peer not in liars and fault.kind is not FaultKind.STRANGER:
            raise Violation(f"{node} blames an honest member: {fault.kind}, {fault.detail}")


def check_convictions(node: Node, liars: set[MemberId]) -> None:
    """No honest member is convicted of anything, and no honest key is thought lost."""
    if node.journal_lost and not node.amnesiac:
        raise Violation(f"{node} believes that it lost its journal")
    for found in node.evidence:
        if found.member not in liars:
            raise Violation(f"{node} holds evidence against an honest member: {found.kind}")


def _check_store(world: World, node: Node, *, audit: bool) -> None:
    """The store reads back as the agreed log, as far as it may know it, bodies included.

    An audit verifies every signature, hash and checksum in it.
    """
    properties, items = world.properties, list(node.store.items())
    log = properties.log[: node.running.tip.frontier.size]
    if [item.index for item in items] != list(range(len(log))):
        raise Violation(f"{node} reads {len(items)} items of {len(log)}")
    for item, leaf in zip(items, log, strict=True):
        if (item.author, item.position, item.content) != (leaf.author, leaf.position, leaf.content):
            raise Violation(f"{node} reads another item at {item.index}")
        if isinstance(leaf.content, bytes) and (
            item.data is None or item.data[:UUID_SIZE] not in properties.spoken
        ):
            raise Violation(f"{node} has no body for item {item.index}")
    if audit and (problems := node.store.check()):
        raise Violation(f"{node} has a damaged store: {problems[0]}")
