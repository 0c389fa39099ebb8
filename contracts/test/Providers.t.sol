// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IProviders} from "../src/interfaces/IProviders.sol";
import {Providers} from "../src/Providers.sol";
import {Types} from "../src/libraries/Types.sol";
import {Base} from "./Base.sol";

/// @notice The register: stakes, bindings and leaving.
contract ProvidersTest is Base {
    Providers private register;
    address private operator = address(0xABE0);
    uint256 private constant STAKE = 1 ether;
    uint256 private constant DELAY = 7 days;

    function setUp() public override {
        super.setUp();
        register = new Providers(STAKE, DELAY);
        vm.deal(operator, 10 ether);
    }

    function _binding(uint256 key, address to) private view returns (bytes32 r, bytes32 vs) {
        uint256 nonce = register.bindingNonceOf(vm.addr(key));
        bytes32 hash = Types.hashNodeBinding(to, nonce);
        return compact(key, Types.digest(separatorOf(address(register)), hash));
    }

    function _register(uint256 key, uint256 stake) private {
        (bytes32 r, bytes32 vs) = _binding(key, operator);
        vm.prank(operator);
        register.register{value: stake}(vm.addr(key), r, vs);
    }

    function test_registerStakesAndBinds() public {
        _register(keys[0], 2 ether);
        vm.assertTrue(register.isActive(provider(0)));
        vm.assertEq(register.stakeOf(provider(0)), 2 ether);
        vm.assertEq(register.operatorOf(provider(0)), operator);
        (address node, uint256 stake, uint256 unbondsAt) = register.providerOf(operator);
        vm.assertEq(node, provider(0));
        vm.assertEq(stake, 2 ether);
        vm.assertEq(unbondsAt, 0);
    }

    function test_strangersAreInactive() public view {
        vm.assertTrue(!register.isActive(provider(0)));
        vm.assertTrue(!register.isActive(address(0)));
        vm.assertEq(register.stakeOf(provider(0)), 0);
    }

    function test_registerNeedsTheNodesWord() public {
        (bytes32 r, bytes32 vs) = _binding(keys[1], operator);
        vm.expectRevert(abi.encodeWithSelector(IProviders.BadBinding.selector, provider(0)));
        vm.prank(operator);
        register.register{value: STAKE}(provider(0), r, vs);
        (r, vs) = _binding(keys[0], address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(IProviders.BadBinding.selector, provider(0)));
        vm.prank(operator);
        register.register{value: STAKE}(provider(0), r, vs);
        vm.expectRevert(abi.encodeWithSelector(IProviders.BadBinding.selector, address(0)));
        vm.prank(operator);
        register.register{value: STAKE}(address(0), 0, 0);
    }

    function test_registerNeedsTheStake() public {
        (bytes32 r, bytes32 vs) = _binding(keys[0], operator);
        vm.expectRevert(abi.encodeWithSelector(IProviders.StakeTooLow.selector, STAKE - 1, STAKE));
        vm.prank(operator);
        register.register{value: STAKE - 1}(provider(0), r, vs);
        vm.expectRevert(abi.encodePacked(IProviders.ZeroAmount.selector));
        new Providers(0, 1);
        vm.expectPartialRevert(IProviders.BadUnbondingDelay.selector);
        new Providers(1, 365 days + 1);
    }

    function test_oneNodeAnOperatorAndOneOperatorANode() public {
        _register(keys[0], STAKE);
        (bytes32 r, bytes32 vs) = _binding(keys[1], operator);
        vm.expectPartialRevert(IProviders.AlreadyRegistered.selector);
        vm.prank(operator);
        register.register{value: STAKE}(provider(1), r, vs);
        address rival = address(0x41);
        vm.deal(rival, STAKE);
        (r, vs) = _binding(keys[0], rival);
        vm.expectPartialRevert(IProviders.NodeTaken.selector);
        vm.prank(rival);
        register.register{value: STAKE}(provider(0), r, vs);
    }

    function test_leavingTakesTheDelay() public {
        _register(keys[0], STAKE);
        vm.expectRevert(abi.encodePacked(IProviders.NotUnbonding.selector));
        vm.prank(operator);
        register.withdrawStake(operator);
        vm.prank(operator);
        register.beginUnbonding();
        vm.assertTrue(!register.isActive(provider(0)));
        vm.assertEq(register.stakeOf(provider(0)), STAKE);
        vm.warp(START + DELAY - 1);
        vm.expectPartialRevert(IProviders.Unbonding.selector);
        vm.prank(operator);
        register.withdrawStake(operator);
        vm.warp(START + DELAY);
        vm.prank(operator);
        register.withdrawStake(address(0xCAFE));
        vm.assertEq(address(0xCAFE).balance, STAKE);
        vm.assertEq(register.operatorOf(provider(0)), address(0));
        vm.expectPartialRevert(IProviders.NotRegistered.selector);
        vm.prank(operator);
        register.withdrawStake(address(0xCAFE));
    }

    function test_whileLeavingNothingElseMoves() public {
        _register(keys[0], STAKE);
        vm.prank(operator);
        register.beginUnbonding();
        (bytes32 r, bytes32 vs) = _binding(keys[1], operator);
        vm.expectPartialRevert(IProviders.Unbonding.selector);
        vm.prank(operator);
        register.rotateNode(provider(1), r, vs);
        vm.expectPartialRevert(IProviders.Unbonding.selector);
        vm.prank(operator);
        register.topUp{value: 1}();
        vm.expectPartialRevert(IProviders.Unbonding.selector);
        vm.prank(operator);
        register.beginUnbonding();
    }

    function test_aBindingIsGoodForOnce() public {
        (bytes32 r, bytes32 vs) = _binding(keys[0], operator);
        vm.prank(operator);
        register.register{value: STAKE}(provider(0), r, vs);
        vm.prank(operator);
        register.beginUnbonding();
        vm.warp(START + DELAY);
        vm.prank(operator);
        register.withdrawStake(operator);
        vm.expectRevert(abi.encodeWithSelector(IProviders.BadBinding.selector, provider(0)));
        vm.prank(operator);
        register.register{value: STAKE}(provider(0), r, vs);
    }

    function test_rotateMovesTheStakeToTheNewNode() public {
        _register(keys[0], STAKE);
        (bytes32 r, bytes32 vs) = _binding(keys[1], operator);
        vm.prank(operator);
        register.rotateNode(provider(1), r, vs);
        vm.assertTrue(register.isActive(provider(1)));
        vm.assertTrue(!register.isActive(provider(0)));
        vm.assertEq(register.stakeOf(provider(1)), STAKE);
        vm.assertEq(register.stakeOf(provider(0)), 0);
    }

    function test_topUpRaisesTheStake() public {
        _register(keys[0], STAKE);
        vm.prank(operator);
        register.topUp{value: 3}();
        vm.assertEq(register.stakeOf(provider(0)), STAKE + 3);
        vm.expectRevert(abi.encodePacked(IProviders.ZeroAmount.selector));
        vm.prank(operator);
        register.topUp();
        vm.expectPartialRevert(IProviders.NotRegistered.selector);
        register.topUp{value: 1}();
    }

    function testFuzz_stakeComesBackWhole(uint96 first, uint96 more) public {
        vm.assume(first >= STAKE && more != 0);
        vm.deal(operator, uint256(first) + more);
        _register(keys[2], first);
        vm.prank(operator);
        register.topUp{value: more}();
        vm.prank(operator);
        register.beginUnbonding();
        vm.warp(START + DELAY);
        vm.prank(operator);
        register.withdrawStake(operator);
        vm.assertEq(operator.balance, uint256(first) + more);
        vm.assertEq(address(register).balance, 0);
    }
}
