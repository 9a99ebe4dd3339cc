"""What must hold once every fault is mended and nothing is left to happen."""

from chain.block import UUID_SIZE
from chain.ids import MemberId
from tests.simulation.machine import Node
from tests.simulation.signatures import Violation
from tests.simulation.world import World


def check_liveness(world: World) -> None:
    """Everything an honest member was promised is ordered, at every honest node."""
    lost = [said for said in world.properties.spoken.values() if _is_owed(said.pending, said.honest)]
    unordered = [said for said in lost if said.ordered != 1]
    if unordered:
        whose = ", ".join(f"{name_of(world, said.author)} {said.uuid.hex()[:8]}" for said in unordered)
        raise Violation(f"{len(unordered)} of {len(lost)} promised messages are not ordered: {whose}")
    behind = {node.name: heights for node in honest(world) if (heights := _missing(world, node))}
    if behind:
        raise Violation(f"not everybody has every block: {behind}")


def name_of(world: World, member: MemberId) -> str:
    return next(node.name for node in world.nodes if node.id == member)


def _is_owed(pending: bool, honest_author: bool) -> bool:
    return pending and honest_author


def _missing(world: World, node: Node) -> list[int]:
    return sorted(world.properties.blocks.keys() - world.properties.nodes[node.name].history)


def everybody_is_level(world: World) -> bool:
    """Whether liveness holds already; for ending a run as soon as it does."""
    return all(
        said.ordered == 1 for said in world.properties.spoken.values() if _is_owed(said.pending, said.honest)
    ) and not any(_missing(world, node) for node in honest(world))


def honest(world: World) -> list[Node]:
    return [node for node in world.nodes if node.honest]


def check_rest(world: World) -> None:
    """The room is quiet, everybody holds the same, and nobody blames an honest member."""
    if not world.idle:
        raise Violation("something is still under way")
    tips = {(node.running.tip.height, node.running.tip.block) for node in honest(world)}
    if len(tips) != 1:
        raise Violation(f"honest nodes end at different heights: {sorted(height for height, _ in tips)}")
    liars = {node.id for node in world.nodes if not node.honest or node.amnesiac}
    for node in honest(world):
        _check_blame(node, liars)
        _check_store(world, node)


def _check_blame(node: Node, liars: set[MemberId]) -> None:
    if node.journal_lost and not node.amnesiac:
        raise Violation(f"{node} believes that it lost its journal")
    for fault in node.faults:
        if fault.peer not in liars:
            raise Violation(f"{node} blames an honest member: {fault.kind}, {fault.detail}")
    for found in node.evidence:
        if found.member not in liars:
            raise Violation(f"{node} holds evidence against an honest member: {found.kind}")


def _check_store(world: World, node: Node) -> None:
    """The store reads back as the agreed log, bodies included, and finds itself sound."""
    properties, items = world.properties, list(node.store.items())
    if [item.index for item in items] != list(range(len(properties.log))):
        raise Violation(f"{node} reads {len(items)} items of {len(properties.log)}")
    for item, leaf in zip(items, properties.log, strict=True):
        if (item.author, item.position, item.content) != (leaf.author, leaf.position, leaf.content):
            raise Violation(f"{node} reads another item at {item.index}")
        if isinstance(leaf.content, bytes) and (
            item.data is None or item.data[:UUID_SIZE] not in properties.spoken
        ):
            raise Violation(f"{node} has no body for item {item.index}")
    if problems := node.store.check():
        raise Violation(f"{node} has a damaged store: {problems[0]}")
