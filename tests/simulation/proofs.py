"""What a stranger could check of a record at rest: proofs show what was ordered, and nothing else."""

import random
from collections.abc import Sequence

from msgspec.structs import replace

from chain.block import Certificate, certificate_holds
from chain.codec import encode
from chain.committee import Committee
from chain.ids import Hash
from chain.ledger import genesis_tip
from chain.merkle import consistency_path, inclusion_path, leaf_hash, verify_consistency, verify_inclusion
from chain.records import KeepBlock
from chain.walk import Walk
from tests.simulation.signatures import Violation
from tests.simulation.world import World


def check_proofs(world: World) -> None:
    """A light client walks the final blocks from the genesis, and checks one block and one item by chance."""
    properties, dice = world.properties, random.Random(len(world.properties.log))
    blocks = [properties.blocks[height] for height in sorted(properties.blocks)]
    if not blocks:
        return
    committees = _walked(world, blocks)
    some = dice.choice(blocks)
    _check_certificate(world, some, committees[some.block.epoch], dice)
    leaves = [leaf_hash(encode(leaf)) for leaf in properties.log]
    _check_item(leaves, some, blocks[-1], dice)


def _walked(world: World, blocks: Sequence[KeepBlock]) -> list[Committee]:
    """The committee of each epoch, as somebody learns them who knows the genesis and trusts nobody."""
    genesis = world.room.genesis
    walk = Walk.from_genesis(genesis, verify=world.scheme.verify)
    committees = [genesis_tip(genesis).committee]
    for kept in blocks:
        if kept.block.next_committee is not None:
            walk.follow(kept.block, kept.certificate)
            committees.append(walk.committee)
    return committees


def _check_certificate(world: World, kept: KeepBlock, committee: Committee, dice: random.Random) -> None:
    block, certificate = kept.block, kept.certificate

    def holds(certificate: Certificate, **changed: object) -> bool:
        return certificate_holds(
            certificate,
            replace(block, **changed),
            room=world.room.id,
            committee=committee,
            verify=world.scheme.verify,
        )

    few = Certificate(certificate.round, certificate.signatures[: committee.quorum - 1])
    if not holds(certificate):
        raise Violation(f"the certificate of block {block.height} does not hold")
    if (
        holds(few)
        or holds(Certificate(certificate.round + 1, certificate.signatures))
        or holds(certificate, log_root=Hash(dice.randbytes(32)))
        or holds(certificate, log_size=block.log_size + 1)
        or holds(certificate, height=block.height + 1)
    ):
        raise Violation(f"a certificate of block {block.height} shows what nobody signed")


def _check_item(leaves: Sequence[Hash], some: KeepBlock, last: KeepBlock, dice: random.Random) -> None:
    size, root = last.block.log_size, last.block.log_root
    if size != len(leaves):
        raise Violation(f"the last block counts {size} items of {len(leaves)}")
    if not size:
        return
    index = dice.randrange(size)
    path = inclusion_path(leaves, index)
    if not verify_inclusion(leaf=leaves[index], index=index, size=size, path=path, root=root):
        raise Violation(f"item {index} cannot be proven")
    if verify_inclusion(leaf=Hash(dice.randbytes(32)), index=index, size=size, path=path, root=root):
        raise Violation(f"something else can be proven to stand at {index}")
    old, old_root = some.block.log_size, some.block.log_root
    if old and not verify_consistency(
        old_size=old, old_root=old_root, size=size, root=root, path=consistency_path(leaves, old)
    ):
        raise Violation(f"the log of block {some.block.height} is no prefix of the last")
