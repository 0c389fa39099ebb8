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
        bytes32[] memory hashes = new bytes32[](n);
        uint128[] memory sums = new uint128[](n);
        address last;
        for (uint256 i; i < n; ++i) {
            Leaf memory leaf = leaves[i];
            if (leaf.provider <= last) revert UnsortedLeaves();
            last = leaf.provider;
            hashes[i] = hashLeaf(leaf.provider, leaf.cap);
            sums[i] = leaf.cap;
        }
        return reduce(hashes, sums, n);
    }

    /// @notice Folds the first `n` hashed leaves into root and sum; overwrites both arrays.
    function reduce(bytes32[] memory hashes, uint128[] memory sums, uint256 n)
        internal
        pure
        returns (bytes32, uint128)
    {
        if (n == 0) revert EmptyTree();
        while (n > 1) {
            uint256 half = n >> 1;
            for (uint256 i; i < half; ++i) {
                uint256 left = i << 1;
                (hashes[i], sums[i]) =
                    join(hashes[left], sums[left], hashes[left + 1], sums[left + 1]);
            }
            if (n & 1 == 1) (hashes[half], sums[half]) = (hashes[n - 1], sums[n - 1]);
            n = half + (n & 1);
        }
        return (hashes[0], sums[0]);
    }

    /// @notice Root and sum that `proof` leads to from a leaf.
    function climb(Leaf calldata leaf, Step[] calldata proof)
        internal
        pure
        returns (bytes32 root, uint128 sum)
    {
        (root, sum) = (hashLeaf(leaf.provider, leaf.cap), leaf.cap);
        for (uint256 i; i < proof.length; ++i) {
            Step calldata s = proof[i];
            (root, sum) = s.left ? join(s.hash, s.sum, root, sum) : join(root, sum, s.hash, s.sum);
        }
    }

    function hashLeaf(address provider, uint128 cap) internal pure returns (bytes32 digest) {
        // 1 + 20 + 16 bytes: 00 ‖ provider ‖ cap, in the scratch space.
        assembly ("memory-safe") {
            mstore(0x00, shl(88, shr(96, shl(96, provider))))
            mstore(0x15, shl(128, cap))
            digest := keccak256(0x00, 0x25)
        }
    }

    function join(bytes32 leftHash, uint128 leftSum, bytes32 rightHash, uint128 rightSum)
        internal
        pure
        returns (bytes32 digest, uint128 sum)
    {
        unchecked {
            uint256 wide = uint256(leftSum) + rightSum;
            if (wide > type(uint128).max) revert SumOverflow();
            sum = uint128(wide);
        }
        // 1 + 32 + 16 + 32 + 16 bytes in free memory, which is left free.
        assembly ("memory-safe") {
            let m := mload(0x40)
            mstore8(m, 0x01)
            mstore(add(m, 0x01), leftHash)
            mstore(add(m, 0x21), shl(128, leftSum))
            mstore(add(m, 0x31), rightHash)
            mstore(add(m, 0x51), shl(128, rightSum))
            digest := keccak256(m, 0x61)
        }
    }
}
