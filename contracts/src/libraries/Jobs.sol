// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket, Payout, Terms} from "../interfaces/IMarket.sol";
import {SumTree} from "./SumTree.sol";

/// @title What a job's slot commits to, and checks on lists of awards.
library Jobs {
    /// @notice What a lane holds whose last job is closed. Not zero: overwriting it is cheap.
    bytes32 internal constant CLOSED = bytes32(uint256(1));

    /// @notice The id binds every term, the chain and the market: a signature over it is good for
    /// this job alone, also after a reorganisation gives the same nonce to another post.
    function id(Terms calldata terms) internal view returns (bytes32 jobId) {
        assembly ("memory-safe") {
            let m := mload(0x40) // ten words of free memory, left free
            mstore(m, chainid())
            mstore(add(m, 0x20), address())
            // Stray high bits in a field make another id, which no job has.
            calldatacopy(add(m, 0x40), terms, 0x100)
            jobId := keccak256(m, 0x140)
        }
    }

    /// @notice Same, for the terms of a job that is being posted.
    function idOf(Terms memory terms) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), terms));
    }

    /// @notice Where a job's commitment stands: its buyer, and the low 16 bits of its nonce.
    function lane(address buyer, uint64 nonce) internal pure returns (uint256) {
        return (uint256(uint160(buyer)) << 16) | uint16(nonce);
    }

    /// @notice keccak256(abi.encode(job id, State)): what the lane of an awarded job holds.
    function commitment(bytes32 jobId, bytes32 root, uint128 sum, bool settled)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(jobId, root, sum, settled));
    }

    /// @notice Last second at which a provider may claim.
    function claimEnd(Terms calldata terms) internal pure returns (uint256) {
        return uint256(terms.deadline) + terms.claimWindow;
    }

    function hasConsent(Payout calldata p) internal pure returns (bool) {
        return p.r | p.vs != bytes32(0);
    }

    /// @notice Root and sum of the payouts' leaves.
    function rootOf(Payout[] calldata payouts) internal pure returns (bytes32, uint128) {
        uint256 n = payouts.length;
        uint256[] memory nodes = SumTree.room(n);
        address last;
        for (uint256 i; i < n; ++i) {
            Payout calldata p = payouts[i];
            address provider = p.provider;
            if (provider <= last) revert SumTree.UnsortedLeaves();
            last = provider;
            SumTree.setLeaf(nodes, i, provider, p.cap);
        }
        return SumTree.reduce(nodes, n);
    }

    /// @notice provider ‖ uint128 total, for every payout; both were checked to be in range.
    function packTotals(Payout[] calldata payouts) internal pure returns (bytes memory packed) {
        packed = new bytes(payouts.length * 36);
        assembly ("memory-safe") {
            let from := payouts.offset
            let to := add(packed, 0x20)
            for { let end := add(from, mul(payouts.length, 0xa0)) } lt(from, end) {} {
                // As in `_put`; a payout is five words: provider, cap, total, r, vs.
                let total := calldataload(add(from, 0x40))
                mstore(add(to, 4), total)
                mstore(to, or(shl(96, calldataload(from)), shr(32, total)))
                from := add(from, 0xa0)
                to := add(to, 36)
            }
        }
    }

    /// @notice provider ‖ uint128 cap, for every leaf.
    function packLeaves(SumTree.Leaf[] memory leaves) internal pure returns (bytes memory packed) {
        packed = new bytes(leaves.length * 36);
        for (uint256 i; i < leaves.length; ++i) {
            _put(packed, i, leaves[i].provider, leaves[i].cap);
        }
    }

    /// @notice The leaves that a settlement leaves open: no consent, and less paid than the cap.
    function openLeaves(Payout[] calldata payouts)
        internal
        pure
        returns (SumTree.Leaf[] memory leaves)
    {
        leaves = new SumTree.Leaf[](payouts.length);
        uint256 n;
        for (uint256 i; i < payouts.length; ++i) {
            Payout calldata p = payouts[i];
            if (hasConsent(p) || p.total == p.cap) continue;
            leaves[n++] = SumTree.Leaf(p.provider, p.cap);
        }
        assembly ("memory-safe") {
            mstore(leaves, n)
        }
    }

    /// @notice Reverts unless every old leaf's provider is among the new with at least its cap.
    function requireNoneLowered(SumTree.Leaf[] calldata olds, SumTree.Leaf[] calldata news)
        internal
        pure
    {
        uint256 j;
        for (uint256 i; i < olds.length; ++i) {
            address provider = olds[i].provider;
            // Both lists are sorted (their roots' computation rejects others): one pass does.
            while (j < news.length && news[j].provider < provider) ++j;
            if (j == news.length || news[j].provider != provider || news[j].cap < olds[i].cap) {
                revert IMarket.AwardLowered(provider);
            }
        }
    }

    /// @dev Writes the i-th record of 36 bytes.
    function _put(bytes memory packed, uint256 i, address who, uint128 amount) private pure {
        assembly ("memory-safe") {
            let at := add(add(packed, 0x20), mul(i, 36))
            // Neither write reaches past these 36 bytes: the first ends with them, and the second
            // keeps what the first put into its tail.
            mstore(add(at, 4), amount)
            mstore(at, or(shl(96, who), shr(160, mload(add(at, 20)))))
        }
    }
}
