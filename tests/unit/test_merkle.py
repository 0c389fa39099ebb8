"""The awards' sum tree and the plain tree: against the shared vectors, and against forgery."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.contracts import merkle
from reelmesh.contracts.merkle import BadTree, Leaf, Step, SumStep

FOLDER = Path(__file__).parents[2] / "contracts/test/vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "sum_tree.json").read_text())

addresses = st.binary(min_size=20, max_size=20).filter(any).map(to_checksum_address).map(str)
leaf_lists = st.dictionaries(addresses, st.integers(0, 2**100), min_size=1, max_size=40).map(
    lambda caps: list(caps.items())
)
hash_lists = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


@pytest.mark.parametrize("name", VECTORS)
def test_sum_trees_are_soliditys(name: str) -> None:
    entry = VECTORS[name]
    leaves = list(zip(entry["providers"], map(int, entry["caps"]), strict=True))
    root, total = merkle.sum_root(leaves)
    assert "0x" + root.hex() == entry["root"]
    assert total == int(entry["sum"])


@given(leaf_lists, st.randoms())
def test_order_does_not_matter_and_the_sum_is_the_sum(leaves: list[Leaf], random: Any) -> None:
    root, total = merkle.sum_root(leaves)
    assert total == sum(cap for _, cap in leaves)
    random.shuffle(leaves)
    assert merkle.sum_root(leaves) == (root, total)
    ordered = [int(address, 16) for address, _ in merkle.sort_leaves(leaves)]
    assert all(a < b for a, b in pairwise(ordered))


@given(leaf_lists, st.data())
def test_every_leaf_has_a_proof_and_no_other_passes(leaves: list[Leaf], data: Any) -> None:
    root, total = merkle.sum_root(leaves)
    leaf = data.draw(st.sampled_from(leaves))
    proof = merkle.sum_proof(leaves, leaf[0])
    assert merkle.verify_sum_proof(leaf, proof, root, total)
    assert not merkle.verify_sum_proof((leaf[0], leaf[1] + 1), proof, root, total)
    assert not merkle.verify_sum_proof(leaf, proof, root, total + 1)
    assert not merkle.verify_sum_proof(leaf, proof, bytes(32), total)
    for position, step in enumerate(proof):
        for forged in (
            SumStep(step.hash, step.sum + 1, step.left),
            SumStep(keccak(step.hash), step.sum, step.left),
            SumStep(step.hash, step.sum, not step.left),
        ):
            changed = [*proof[:position], forged, *proof[position + 1 :]]
            assert not merkle.verify_sum_proof(leaf, changed, root, total)


def test_a_tree_that_hides_an_award_fails_for_it() -> None:
    """A coordinator that writes a smaller sum beside a subtree cannot prove what is in it."""
    a, b = merkle.sort_leaves([(_address(1), 10), (_address(2), 100)])
    honest = merkle.sum_proof([a, b], a[0])
    (hidden,) = honest
    lie = SumStep(hidden.hash, 0, hidden.left)
    root, total = merkle.climb_sum(a, [lie])
    assert total == a[1]
    assert merkle.verify_sum_proof(a, [lie], root, total)
    assert not merkle.verify_sum_proof(b, merkle.sum_proof([a, b], b[0]), root, total)


def test_malformed_sum_trees_are_refused() -> None:
    one = _address(1)
    for leaves in (
        [],
        [(one, 1), (one, 1)],
        [(one, -1)],
        [(one, 2**128)],
        [(one, True)],
        [("0x" + "ab" * 20, 1)],
        [("0x" + "00" * 20, 1)],
        [(one, 2**127), (_address(2), 2**127)],
    ):
        with pytest.raises(BadTree):
            merkle.sum_root(leaves)
    with pytest.raises(BadTree):
        merkle.sum_proof([(one, 1)], _address(2))


def test_malformed_sum_proofs_are_no_proofs() -> None:
    leaf = (_address(1), 1)
    root, total = merkle.sum_root([leaf])
    assert merkle.verify_sum_proof(leaf, [], root, total)
    for step in (
        SumStep(b"", 0, left=False),
        SumStep(bytes(32), -1, left=False),
        SumStep(bytes(32), 2**128 - 1, left=True),
    ):
        assert not merkle.verify_sum_proof(leaf, [step], root, total)
    assert not merkle.verify_sum_proof(leaf, [SumStep(bytes(32), 0, left=False)] * 33, root, total)


@given(hash_lists, st.data())
def test_plain_tree_proofs(leaves: list[bytes], data: Any) -> None:
    root = merkle.root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    steps = merkle.proof(leaves, index)
    assert merkle.verify(leaves[index], steps, root)
    assert not merkle.verify(keccak(leaves[index]), steps, root)
    assert not merkle.verify(leaves[index], [*steps, Step(bytes(32), left=False)], root)
    assert not merkle.verify(leaves[index], steps, keccak(root))


def test_plain_tree_by_hand() -> None:
    a, b, c = (bytes([i]) * 32 for i in (1, 2, 3))
    leaf = [bytes(keccak(b"\0" + x)) for x in (a, b, c)]
    left = bytes(keccak(b"\1" + leaf[0] + leaf[1]))
    assert merkle.root([a]) == leaf[0]
    assert merkle.root([a, b]) == left
    assert merkle.root([a, b, c]) == keccak(b"\1" + left + leaf[2])


def test_an_inner_node_passes_for_no_leaf() -> None:
    leaves = [bytes([i]) * 32 for i in range(4)]
    root = merkle.root(leaves)
    inner = merkle.root(leaves[:2])
    steps = merkle.proof(leaves, 0)
    assert not merkle.verify(inner, steps[1:], root)


def test_malformed_plain_trees_are_refused() -> None:
    for leaves in ([], [b"short"], [bytes(32)] * 4097):
        with pytest.raises(BadTree):
            merkle.root(leaves)
    with pytest.raises(BadTree):
        merkle.proof([bytes(32)], 1)
    assert not merkle.verify(b"short", [], bytes(32))
    assert not merkle.verify(bytes(32), [Step(b"short", left=True)], bytes(32))
    assert not merkle.verify(bytes(32), [Step(bytes(32), left=True)] * 33, bytes(32))


def _address(number: int) -> str:
    return str(to_checksum_address(number.to_bytes(20, "big")))
