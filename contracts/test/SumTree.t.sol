// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumTree} from "../src/libraries/SumTree.sol";
import {Base} from "./Base.sol";

contract Trees {
    function rootOf(SumTree.Leaf[] calldata leaves) external pure returns (bytes32, uint128) {
        return SumTree.rootOf(leaves);
    }

    function climb(SumTree.Leaf calldata leaf, SumTree.Step[] calldata proof)
        external
        pure
        returns (bytes32, uint128)
    {
        return SumTree.climb(leaf, proof);
    }
}

/// @notice The optimised tree against its definition.
contract SumTreeTest is Base {
    Trees private trees;

    function setUp() public override {
        super.setUp();
        trees = new Trees();
    }

    function testFuzz_rootAndProofsAgreeWithTheDefinition(uint256 seed, uint8 size) public view {
        SumTree.Leaf[] memory leaves = _random(seed, uint256(size) % 33 + 1);
        (bytes32 wanted, uint128 total) = referenceRoot(leaves);
        (bytes32 root, uint128 sum) = trees.rootOf(leaves);
        vm.assertEq(root, wanted);
        vm.assertEq(sum, total);
        uint256 index = seed % leaves.length;
        (root, sum) = trees.climb(leaves[index], proofOf(leaves, index));
        vm.assertEq(root, wanted);
        vm.assertEq(sum, total);
    }

    function testFuzz_anotherLeafLeadsElsewhere(uint256 seed, uint8 size, uint128 cap) public view {
        SumTree.Leaf[] memory leaves = _random(seed, uint256(size) % 8 + 1);
        uint256 index = seed % leaves.length;
        vm.assume(cap != leaves[index].cap);
        SumTree.Step[] memory proof = proofOf(leaves, index);
        (bytes32 root,) = referenceRoot(leaves);
        try trees.climb(SumTree.Leaf(leaves[index].provider, cap), proof) returns (
            bytes32 other, uint128
        ) {
            vm.assertTrue(other != root);
        } catch {} // too large a cap overflows the sum
    }

    function test_overflowAtAnyLevelIsRefused() public {
        SumTree.Leaf[] memory leaves = leavesOf(5, 1);
        for (uint256 i; i < 5; ++i) {
            leaves[i].cap = type(uint128).max / 5 + 1;
        }
        vm.expectRevert(abi.encodePacked(SumTree.SumOverflow.selector));
        trees.rootOf(leaves);
        leaves = leavesOf(2, type(uint128).max - 1);
        vm.expectRevert(abi.encodePacked(SumTree.SumOverflow.selector));
        trees.rootOf(leaves);
    }

    function test_emptyUnsortedAndZeroAreRefused() public {
        vm.expectRevert(abi.encodePacked(SumTree.EmptyTree.selector));
        trees.rootOf(new SumTree.Leaf[](0));
        SumTree.Leaf[] memory leaves = leavesOf(2, 1);
        leaves[1] = leaves[0];
        vm.expectRevert(abi.encodePacked(SumTree.UnsortedLeaves.selector));
        trees.rootOf(leaves);
        leaves[0].provider = address(0);
        vm.expectRevert(abi.encodePacked(SumTree.UnsortedLeaves.selector));
        trees.rootOf(leaves);
    }

    function _random(uint256 seed, uint256 n) private pure returns (SumTree.Leaf[] memory leaves) {
        leaves = new SumTree.Leaf[](n);
        uint160 last;
        for (uint256 i; i < n; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            last += uint160(seed % (uint256(type(uint160).max) / 64)) + 1;
            leaves[i] = SumTree.Leaf(address(last), uint128(seed >> 136));
        }
    }
}
