// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket, Payout, Terms} from "../interfaces/IMarket.sol";
import {SumTree} from "./SumTree.sol";

/// @title What a job's slot commits to, and checks on lists of awards.
library Jobs {
    /// @notice The slot of a job that was posted and has no award yet.
    bytes32 internal constant OPEN = bytes32(uint256(1));

    /// @notice The id binds every term, the chain and the market: a signature over it is good for
    /// this job alone, also after a reorganisation gives the same nonce to another post.
    function id(Terms memory terms) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), terms));
    }

    /// @notice keccak256(abi.encode(State)).
    function commitment(bytes32 root, uint128 sum, bool settled) internal pure returns (bytes32) {
        return keccak256(abi.encode(root, sum, settled));
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
        bytes32[] memory hashes = new bytes32[](payouts.length);
        uint128[] memory caps = new uint128[](payouts.length);
        address last;
        for (uint256 i; i < payouts.length; ++i) {
            Payout calldata p = payouts[i];
            if (p.provider <= last) revert SumTree.UnsortedLeaves();
            last = p.provider;
            hashes[i] = SumTree.hashLeaf(last, p.cap);
            caps[i] = p.cap;
        }
        return SumTree.reduce(hashes, caps, payouts.length);
    }

    /// @notice provider ‖ uint128 total, for every payout.
    function packTotals(Payout[] calldata payouts) internal pure returns (bytes memory packed) {
        packed = new bytes(payouts.length * 36);
        for (uint256 i; i < payouts.length; ++i) {
            _put(packed, i, payouts[i].provider, payouts[i].total);
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
