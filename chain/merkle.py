"""The RFC 6962 Merkle tree over all ordered items: an appendable frontier, and the two proofs.

Leaves are hashed with 0x00, inner nodes with 0x01 before them (RFC 6962, 2.1), nothing else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from chain.ids import Hash

EMPTY_ROOT = Hash(hashlib.sha256(b"").digest())


def leaf_hash(data: bytes) -> Hash:
    """RFC 6962, 2.1: MTH of one leaf."""
    return Hash(hashlib.sha256(b"\x00" + data).digest())


def node_hash(left: Hash, right: Hash) -> Hash:
    """RFC 6962, 2.1: the hash of an inner node."""
    return Hash(hashlib.sha256(b"\x01" + left + right).digest())


@dataclass(frozen=True, slots=True)
class Frontier:
    """The perfect subtrees that cover the first `size` leaves, largest first: all an append needs."""

    size: int = 0
    peaks: tuple[Hash, ...] = ()

    def append(self, leaf: Hash) -> "Frontier":
        peaks, size, node = list(self.peaks), self.size, leaf
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*peaks, node))

    def root(self) -> Hash:
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def is_well_formed(self) -> bool:
        """As many peaks as the size has ones in binary: what a frontier from outside must satisfy."""
        return self.size >= 0 and len(self.peaks) == self.size.bit_count()


def root_of(leaves: Sequence[Hash]) -> Hash:
    """The root over leaf hashes, by appending them one by one."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root()


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_path(leaves: Sequence[Hash], index: int) -> tuple[Hash, ...]:
    """RFC 6962, 2.1.1: the audit path of leaf `index` in the tree over `leaves`, lowest sibling first."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    if len(leaves) == 1:
        return ()
    k = _split(len(leaves))
    if index < k:
        return (*inclusion_path(leaves[:k], index), root_of(leaves[k:]))
    return (*inclusion_path(leaves[k:], index - k), root_of(leaves[:k]))


def verify_inclusion(*, leaf: Hash, index: int, size: int, path: Sequence[Hash], root: Hash) -> bool:
    """Whether `leaf` stands at `index` in the tree of `size` leaves with this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            node = node_hash(node, sibling)
        fn >>= 1
        sn >>= 1
    return sn == 0 and node == root


def consistency_path(leaves: Sequence[Hash], old_size: int) -> tuple[Hash, ...]:
    """RFC 6962, 2.1.2: the proof that the first `old_size` leaves are a prefix of all of them."""
    if not 0 < old_size <= len(leaves):
        raise IndexError(old_size)
    return _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[Hash], m: int, *, whole: bool) -> tuple[Hash, ...]:
    if m == len(leaves):
        return () if whole else (root_of(leaves),)
    k = _split(len(leaves))
    if m <= k:
        return (*_subproof(leaves[:k], m, whole=whole), root_of(leaves[k:]))
    return (*_subproof(leaves[k:], m - k, whole=False), root_of(leaves[:k]))


def verify_consistency(*, old_size: int, old_root: Hash, size: int, root: Hash, path: Sequence[Hash]) -> bool:
    """Whether the tree of `old_size` leaves is a prefix of the tree of `size` leaves (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not path and old_root == root
    nodes = list(path)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        return False
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(node, old), node_hash(node, new)
            while not fn & 1 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            new = node_hash(new, node)
        fn >>= 1
        sn >>= 1
    return sn == 0 and old == old_root and new == root
