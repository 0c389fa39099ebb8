// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Merkle-sum tree: a commitment to who may earn how much, and to the total.
/// @notice leaf = keccak256(0x00 ‖ provider ‖ uint128 cap); node = keccak256(0x01 ‖ hash left ‖
/// uint128 sum left ‖ hash right ‖ uint128 sum right); an odd node moves up unchanged. Leaves are
/// sorted by provider, one per provider. Every node's sum is inside its parent's hash, so leaves
/// that can be proven never add up to more than the root's sum.
library SumTree {
    struct Leaf {
        address provider;
        uint128 cap;
    }

    /// @notice A sibling on the way from a leaf to the root.
    struct Step {
        bytes32 hash;
        uint128 sum;
        /// Whether the sibling stands on the left.
        bool left;
    }

    error EmptyTree();
    error UnsortedLeaves();
    error SumOverflow();

    /// @notice Root and sum of `leaves`.
    function rootOf(Leaf[] memory leaves) internal pure returns (bytes32 root, uint128 sum) {
        uint256 n = leaves.length;
        uint256[] memory nodes = room(n);
        address last;
        for (uint256 i; i < n; ++i) {
            Leaf memory leaf = leaves[i];
            if (leaf.provider <= last) revert UnsortedLeaves();
            last = leaf.provider;
            setLeaf(nodes, i, leaf.provider, leaf.cap);
        }
        return reduce(nodes, n);
    }

    /// @notice Root and sum that `proof` leads to from a leaf.
    function climb(Leaf calldata leaf, Step[] calldata proof)
        internal
        pure
        returns (bytes32 root, uint128 sum)
    {
        uint256[] memory nodes = room(2);
        setLeaf(nodes, 0, leaf.provider, leaf.cap);
        (root, sum) = (bytes32(nodes[0]), leaf.cap);
        for (uint256 i; i < proof.length; ++i) {
            Step calldata s = proof[i];
            (uint256 own, uint256 other) = s.left ? (2, 0) : (0, 2);
            (nodes[own], nodes[own + 1]) = (uint256(root), sum);
            (nodes[other], nodes[other + 1]) = (uint256(s.hash), s.sum);
            (root, sum) = reduce(nodes, 2);
        }
    }

    /// @notice Room for `n` leaves: node i's hash stands at 2i and its sum at 2i + 1.
    function room(uint256 n) internal pure returns (uint256[] memory) {
        if (n == 0) revert EmptyTree();
        return new uint256[](2 * n);
    }

    /// @notice Writes leaf `i` < n into `room(n)`.
    function setLeaf(uint256[] memory nodes, uint256 i, address provider, uint128 cap)
        internal
        pure
    {
        assembly ("memory-safe") {
            // 1 + 20 + 16 bytes in the scratch space: 00, provider, cap.
            mstore(0x00, shl(88, shr(96, shl(96, provider))))
            mstore(0x15, shl(128, cap))
            let at := add(add(nodes, 0x20), shl(6, i))
            mstore(at, keccak256(0x00, 0x25))
            mstore(add(at, 0x20), shr(128, shl(128, cap)))
        }
    }

    /// @notice Folds the first `n` >= 1 nodes, in place, into root and sum.
    function reduce(uint256[] memory nodes, uint256 n)
        internal
        pure
        returns (bytes32 root, uint128 sum)
    {
        uint256 carries;
        assembly ("memory-safe") {
            let base := add(nodes, 0x20)
            let m := mload(0x40) // 97 bytes of free memory, left free
            mstore8(m, 0x01)
            for {} gt(n, 1) {} {
                let to := base
                let from := base
                let end := add(base, shl(6, and(n, not(1))))
                for {} lt(from, end) {} {
                    // 01, left hash, left sum, right hash, right sum
                    mstore(add(m, 0x01), mload(from))
                    mstore(add(m, 0x21), shl(128, mload(add(from, 0x20))))
                    mstore(add(m, 0x31), mload(add(from, 0x40)))
                    mstore(add(m, 0x51), shl(128, mload(add(from, 0x60))))
                    let total := add(mload(add(from, 0x20)), mload(add(from, 0x60)))
                    carries := or(carries, shr(128, total))
                    mstore(to, keccak256(m, 0x61))
                    mstore(add(to, 0x20), total)
                    to := add(to, 0x40)
                    from := add(from, 0x80)
                }
                if and(n, 1) {
                    mstore(to, mload(from))
                    mstore(add(to, 0x20), mload(add(from, 0x20)))
                }
                n := shr(1, add(n, 1))
            }
            root := mload(base)
            sum := mload(add(base, 0x20))
        }
        if (carries != 0) revert SumOverflow();
    }
}
