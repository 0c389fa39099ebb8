"""The two keccak trees: awards (a sum tree) and lists of hashes such as attestations.

leaf = keccak256(0x00 || ...), node = keccak256(0x01 || ...), so that neither passes for the other;
an odd node moves up unchanged. The sum tree's Solidity twin is contracts/src/libraries/SumTree.sol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from eth_utils.address import is_checksum_address, to_canonical_address
from eth_utils.crypto import keccak

from reelmesh.errors import ReelmeshError

MAX_LEAVES: Final = 4096
MAX_PROOF_STEPS: Final = 32
_UINT128_MAX: Final = 2**128 - 1


class BadTree(ReelmeshError, ValueError):
    """Leaves or proof steps that no valid tree has."""


@dataclass(frozen=True)
class SumStep:
    """A sibling on the way up a sum tree: 32-byte hash, its sum (uint128), and its side."""

    hash: bytes
    sum: int
    left: bool


@dataclass(frozen=True)
class Step:
    """A sibling on the way up a plain tree: 32-byte hash and its side."""

    hash: bytes
    left: bool


SumNode = tuple[bytes, int]
Leaf = tuple[str, int]


def sort_leaves(leaves: Sequence[Leaf]) -> list[Leaf]:
    """The (provider, cap) leaves in the order that tree and contract want: by address."""
    return sorted(leaves, key=lambda leaf: to_canonical_address(leaf[0]))


def sum_root(leaves: Sequence[Leaf]) -> SumNode:
    """Root (32 bytes) and sum of the awards' tree, in whatever order the leaves come.

    Args:
        leaves: 1..4096 pairs of checksummed provider address and cap (uint128), one per provider.

    Raises:
        BadTree: no leaf, too many, a provider twice, or a sum of more than uint128.
    """
    return _sum_levels(leaves)[-1][0]


def sum_proof(leaves: Sequence[Leaf], provider: str) -> list[SumStep]:
    """The steps from `provider`'s leaf up to the root. Raises BadTree if it has no leaf."""
    levels = _sum_levels(leaves)
    ordered = [leaf[0] for leaf in sort_leaves(leaves)]
    if provider not in ordered:
        raise BadTree(f"{provider} has no award in this tree")
    position = ordered.index(provider)
    steps: list[SumStep] = []
    for level in levels[:-1]:
        sibling = position ^ 1
        if sibling < len(level):
            steps.append(SumStep(*level[sibling], left=sibling < position))
        position //= 2
    return steps


def climb_sum(leaf: Leaf, proof: Sequence[SumStep]) -> SumNode:
    """Root and sum that `proof` leads to from a leaf. Raises BadTree for malformed input."""
    if len(proof) > MAX_PROOF_STEPS:
        raise BadTree("a proof has too many steps")
    node = _sum_leaf(leaf)
    for step in proof:
        sibling = (_hash32(step.hash), _uint128(step.sum))
        node = _join(sibling, node) if step.left else _join(node, sibling)
    return node


def verify_sum_proof(leaf: Leaf, proof: Sequence[SumStep], root: bytes, total: int) -> bool:
    """Whether `proof` leads from `leaf` to exactly this root *and* sum.

    A provider must ask this with the root and sum that its job's award committed on chain: a tree
    that hides awards in a smaller sum fails here for those it hides.
    """
    try:
        return climb_sum(leaf, proof) == (root, total)
    except BadTree:
        return False


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over 32-byte hashes in the order given. Raises BadTree for none, or too many."""
    return _levels(leaves)[-1][0]


def proof(leaves: Sequence[bytes], index: int) -> list[Step]:
    """The steps from leaf `index` up to the root. Raises BadTree if there is no such leaf."""
    levels = _levels(leaves)
    if not 0 <= index < len(leaves):
        raise BadTree(f"there is no leaf {index} among {len(leaves)}")
    steps: list[Step] = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            steps.append(Step(level[sibling], left=sibling < index))
        index //= 2
    return steps


def verify(leaf: bytes, steps: Sequence[Step], expected_root: bytes) -> bool:
    """Whether `steps` lead from `leaf` to `expected_root`."""
    if len(steps) > MAX_PROOF_STEPS or len(leaf) != 32 or any(len(s.hash) != 32 for s in steps):
        return False
    node = bytes(keccak(b"\x00" + leaf))
    for step in steps:
        pair = step.hash + node if step.left else node + step.hash
        node = bytes(keccak(b"\x01" + pair))
    return node == expected_root


def _sum_levels(leaves: Sequence[Leaf]) -> list[list[SumNode]]:
    _check_count(len(leaves))
    ordered = sort_leaves(leaves)
    for before, after in pairwise(ordered):
        if before[0] == after[0]:
            raise BadTree(f"{after[0]} stands twice among the awards")
    levels = [[_sum_leaf(leaf) for leaf in ordered]]
    while len(levels[-1]) > 1:
        level = levels[-1]
        pairs = zip(level[::2], level[1::2], strict=False)
        levels.append([_join(a, b) for a, b in pairs] + (level[-1:] if len(level) % 2 else []))
    return levels


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    _check_count(len(leaves))
    levels = [[bytes(keccak(b"\x00" + _hash32(leaf))) for leaf in leaves]]
    while len(levels[-1]) > 1:
        level = levels[-1]
        joined = [
            bytes(keccak(b"\x01" + a + b)) for a, b in zip(level[::2], level[1::2], strict=False)
        ]
        levels.append(joined + (level[-1:] if len(level) % 2 else []))
    return levels


def _sum_leaf(leaf: Leaf) -> SumNode:
    provider, cap = leaf
    if not is_checksum_address(provider) or int(provider, 16) == 0:
        raise BadTree("an award's provider is not a checksummed address")
    packed = b"\x00" + to_canonical_address(provider) + _uint128(cap).to_bytes(16, "big")
    return bytes(keccak(packed)), cap


def _join(left: SumNode, right: SumNode) -> SumNode:
    total = _uint128(left[1] + right[1])
    packed = b"\x01" + left[0] + left[1].to_bytes(16, "big")
    packed += right[0] + right[1].to_bytes(16, "big")
    return bytes(keccak(packed)), total


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_LEAVES:
        raise BadTree(f"a tree has 1 to {MAX_LEAVES} leaves, not {count}")


def _uint128(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _UINT128_MAX:
        raise BadTree("an amount or sum is not within uint128")
    return value


def _hash32(value: bytes) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise BadTree("a tree's hashes have 32 bytes")
    return value
