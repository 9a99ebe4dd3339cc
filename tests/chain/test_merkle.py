"""The Merkle log against the shared vectors of certificate transparency, the RFC's definition, and liars."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.ids import Hash
from chain.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves and their roots that certificate-transparency implementations share.
INPUTS = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes.fromhex(text)) for text in INPUTS]

A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


@pytest.mark.parametrize("size", range(1, 9))
def test_the_shared_roots_come_out(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Frontier().root() == root_of([]) == EMPTY_ROOT


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [(0, 1, []), (0, 8, [A, B, C]), (5, 8, [D, E, ROOTS[3]]), (2, 3, [ROOTS[1]])],
)
def test_the_shared_inclusion_paths_come_out(index: int, size: int, path: list[str]) -> None:
    assert [node.hex() for node in inclusion_path(LEAVES[:size], index)] == path


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[3]]), (2, 5, [B, D])],
)
def test_the_shared_consistency_paths_come_out(old: int, new: int, path: list[str]) -> None:
    assert [node.hex() for node in consistency_path(LEAVES[:new], old)] == path


def defined_root(leaves: Sequence[Hash]) -> bytes:
    """MTH as RFC 6962, 2.1 writes it down."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


def some(size: int) -> list[Hash]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


@pytest.mark.parametrize("size", range(70))
def test_appending_one_by_one_gives_the_defined_root(size: int) -> None:
    frontier = Frontier()
    for leaf in some(size):
        frontier = frontier.append(leaf)
        assert frontier.is_well_formed()
    assert (frontier.size, frontier.root()) == (size, defined_root(some(size)))


def test_a_frontier_from_outside_needs_one_peak_for_each_one_in_its_size() -> None:
    peak = leaf_hash(b"")
    assert Frontier(5, (peak, peak)).is_well_formed()
    assert not Frontier(5, (peak,)).is_well_formed()
    assert not Frontier(4, (peak, peak)).is_well_formed()
    assert not Frontier(-1, (peak,)).is_well_formed()


@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_every_leaf_is_proven_at_its_place_and_no_other(case: tuple[int, int]) -> None:
    size, index = case
    leaves = some(size)
    root, path = root_of(leaves), inclusion_path(leaves, index)
    assert len(path) <= (size - 1).bit_length()

    def accepted(**change: object) -> bool:
        given = {"leaf": leaves[index], "index": index, "size": size, "path": path, "root": root}
        return verify_inclusion(**{**given, **change})  # type: ignore[arg-type]

    assert accepted()
    assert not any(accepted(index=other) for other in range(-1, size + 1) if other != index)
    assert not accepted(leaf=leaf_hash(b"another"))
    assert not accepted(root=leaf_hash(b"another"))
    assert not accepted(path=(*path, leaf_hash(b"more")))
    for place in range(len(path)):
        assert not accepted(path=(*path[:place], *path[place + 1 :]))
        assert not accepted(path=(*path[:place], leaf_hash(b"another"), *path[place + 1 :]))


@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size))))
def test_a_log_is_proven_to_extend_its_past_and_no_other(case: tuple[int, int]) -> None:
    size, old_size = case
    leaves = some(size)
    path = consistency_path(leaves, old_size)

    def accepted(**change: object) -> bool:
        given = {
            "old_size": old_size,
            "old_root": root_of(leaves[:old_size]),
            "size": size,
            "root": root_of(leaves),
            "path": path,
        }
        return verify_consistency(**{**given, **change})  # type: ignore[arg-type]

    assert accepted()
    assert not accepted(old_root=leaf_hash(b"another"))
    assert not accepted(root=leaf_hash(b"another"))
    assert not accepted(path=(*path, leaf_hash(b"more")))
    assert not accepted(old_size=0)
    assert not accepted(old_size=size + 1)
    for place in range(len(path)):
        assert not accepted(path=(*path[:place], *path[place + 1 :]))
        assert not accepted(path=(*path[:place], leaf_hash(b"another"), *path[place + 1 :]))


@given(st.integers(2, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size - 1))))
def test_a_rewritten_past_has_no_proof(case: tuple[int, int]) -> None:
    size, old_size = case
    rewritten = some(size)
    rewritten[old_size - 1] = leaf_hash(b"rewritten")
    assert not verify_consistency(
        old_size=old_size,
        old_root=root_of(some(old_size)),
        size=size,
        root=root_of(rewritten),
        path=consistency_path(rewritten, old_size),
    )


def test_there_is_no_path_for_what_is_not_in_the_log() -> None:
    for index in (-1, 8):
        with pytest.raises(IndexError):
            inclusion_path(LEAVES, index)
    for old_size in (0, 9):
        with pytest.raises(IndexError):
            consistency_path(LEAVES, old_size)


def test_a_leaf_never_passes_for_a_node() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])
