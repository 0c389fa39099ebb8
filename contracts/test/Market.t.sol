// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket, Payout, State, Terms} from "../src/interfaces/IMarket.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {Base} from "./Base.sol";

/// @notice The ordinary life of a job, and who may do what when.
contract MarketTest is Base {
    function test_postEscrowsTheBudget() public {
        post(BUDGET);
        vm.assertEq(market.creditOf(address(0), buyer), 9 ether);
        vm.assertEq(address(market).balance, 10 ether);
    }

    function test_postTakesCoinsSentAlong() public {
        vm.prank(buyer);
        market.post{value: 3 ether}(
            SPEC, 12 ether, uint64(block.timestamp + 1), 1, coordinator, address(0), 0
        );
        vm.assertEq(market.creditOf(address(0), buyer), 1 ether);
    }

    function test_noncesNeverRepeatAndLanesAreReused() public {
        Terms memory first = post(BUDGET);
        Terms memory second = post(BUDGET);
        vm.assertEq(uint16(first.nonce), 0);
        vm.assertEq(uint16(second.nonce), 1);
        vm.prank(buyer);
        market.cancel(first);
        Terms memory third = post(BUDGET);
        vm.assertEq(uint16(third.nonce), 0);
        vm.assertEq(third.nonce >> 16, 2);
        vm.assertTrue(idOf(third) != idOf(first));
    }

    function test_postRefusesABusyLane() public {
        post(BUDGET);
        vm.expectRevert(abi.encodeWithSelector(IMarket.LaneBusy.selector, 0));
        vm.prank(buyer);
        market.post(SPEC, 1, uint64(block.timestamp + 1), 1, coordinator, address(0), 0);
    }

    function test_postChecksItsTerms() public {
        uint64 soon = uint64(block.timestamp + 1);
        _refusePost(IMarket.ZeroAmount.selector, 0, soon, 1, coordinator, address(0));
        _refusePost(IMarket.ZeroAddress.selector, 1, soon, 1, address(0), address(0));
        _refusePost(IMarket.UnknownAsset.selector, 1, soon, 1, coordinator, address(1));
        _refusePost(IMarket.BadDeadline.selector, 1, soon - 1, 1, coordinator, address(0));
        uint64 milliseconds = soon * 1000;
        _refusePost(IMarket.BadDeadline.selector, 1, milliseconds, 1, coordinator, address(0));
        _refusePost(IMarket.BadDeadline.selector, 1, type(uint64).max, 1, coordinator, address(0));
        _refusePost(IMarket.BadClaimWindow.selector, 1, soon, 0, coordinator, address(0));
        uint64 most = type(uint64).max;
        _refusePost(IMarket.BadClaimWindow.selector, 1, soon, most, coordinator, address(0));
        _refusePost(
            IMarket.InsufficientCredit.selector, 10 ether + 1, soon, 1, coordinator, address(0)
        );
    }

    function _refusePost(
        bytes4 why,
        uint128 budget,
        uint64 deadline,
        uint64 window,
        address to,
        address asset
    ) private {
        vm.expectPartialRevert(why);
        vm.prank(buyer);
        market.post(SPEC, budget, deadline, window, to, asset, 0);
    }

    function test_settleWithConsentsClosesTheJob() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(4, 0.2 ether);
        award(terms, leaves);
        settle(terms, payoutsOf(terms, leaves, 0.1 ether, true));
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(market.creditOf(address(0), provider(i)), 0.1 ether);
        }
        vm.assertEq(market.creditOf(address(0), buyer), 9.6 ether);
        vm.assertEq(market.commitmentOf(buyer, terms.nonce), bytes32(uint256(1)));
    }

    function test_settleEmitsEveryPayout() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(3, 0.2 ether);
        award(terms, leaves);
        Payout[] memory payouts = payoutsOf(terms, leaves, 7, true);
        bytes memory packed = abi.encodePacked(
            provider(0), uint128(7), provider(1), uint128(7), provider(2), uint128(7)
        );
        vm.expectEmit(address(market));
        emit IMarket.Settled(idOf(terms), ATTESTATIONS, 21, BUDGET - 21, packed);
        settle(terms, payouts);
    }

    function test_settleWithoutConsentLocksTheRest() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(4, 0.2 ether);
        award(terms, leaves);
        Payout[] memory payouts = payoutsOf(terms, leaves, 0.1 ether, true);
        (payouts[2].r, payouts[2].vs) = (0, 0);
        SumTree.Leaf[] memory open = new SumTree.Leaf[](1);
        open[0] = leaves[2];
        (bytes32 root, uint128 sum) = referenceRoot(open);
        vm.expectEmit(address(market));
        emit IMarket.Locked(
            idOf(terms),
            root,
            sum,
            leaves[2].cap - 0.1 ether,
            abi.encodePacked(leaves[2].provider, leaves[2].cap)
        );
        settle(terms, payouts);

        claim(terms, true, open, 0, 0.15 ether);
        vm.assertEq(market.creditOf(address(0), provider(2)), 0.15 ether);
        vm.warp(terms.deadline + terms.claimWindow + 1);
        market.refund(terms, State(root, sum, true));
        vm.assertEq(market.creditOf(address(0), buyer), 10 ether - 0.45 ether);
    }

    function test_aFullyPaidLeafNeedsNoConsent() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(1, 0.2 ether);
        award(terms, leaves);
        settle(terms, payoutsOf(terms, leaves, 0.2 ether, false));
        vm.assertEq(market.commitmentOf(buyer, terms.nonce), bytes32(uint256(1)));
    }

    function test_cancelReturnsTheBudget() public {
        Terms memory terms = post(BUDGET);
        vm.expectRevert(abi.encodePacked(IMarket.NotBuyerOrCoordinator.selector));
        market.cancel(terms);
        vm.prank(coordinator);
        market.cancel(terms);
        vm.assertEq(market.creditOf(address(0), buyer), 10 ether);
    }

    function test_cancelEndsWithTheAward() public {
        Terms memory terms = post(BUDGET);
        award(terms, leavesOf(1, 1));
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        vm.prank(buyer);
        market.cancel(terms);
    }

    function test_onlyTheCoordinatorAwardsAmendsAndSettles() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(2, 1);
        vm.expectRevert(abi.encodePacked(IMarket.NotCoordinator.selector));
        vm.prank(buyer);
        market.award(terms, bytes32(uint256(1)), 1);
        vm.expectRevert(abi.encodePacked(IMarket.NotCoordinator.selector));
        vm.prank(buyer);
        market.amend(terms, leaves, leaves);
        vm.expectRevert(abi.encodePacked(IMarket.NotCoordinator.selector));
        vm.prank(buyer);
        market.settle(terms, payoutsOf(terms, leaves, 0, false), 0);
    }

    function test_nothingIsAwardedOrSettledAfterTheDeadline() public {
        Terms memory terms = post(BUDGET);
        Terms memory awarded = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(2, 1);
        award(awarded, leaves);
        Payout[] memory payouts = payoutsOf(awarded, leaves, 1, true);
        vm.warp(terms.deadline + 1);
        vm.expectRevert(abi.encodePacked(IMarket.DeadlinePassed.selector));
        vm.prank(coordinator);
        market.award(terms, bytes32(uint256(1)), 1);
        vm.expectRevert(abi.encodePacked(IMarket.DeadlinePassed.selector));
        settle(awarded, payouts);
        vm.expectRevert(abi.encodePacked(IMarket.DeadlinePassed.selector));
        vm.prank(coordinator);
        market.amend(awarded, leaves, leaves);
    }

    function test_awardIsHeldToTheEscrow() public {
        Terms memory terms = post(BUDGET);
        vm.expectRevert(abi.encodeWithSelector(IMarket.SumAboveBudget.selector, BUDGET + 1, BUDGET));
        vm.prank(coordinator);
        market.award(terms, bytes32(uint256(1)), BUDGET + 1);
        vm.expectRevert(abi.encodePacked(IMarket.EmptyRoot.selector));
        vm.prank(coordinator);
        market.award(terms, 0, 1);
    }

    function test_awardHappensOnce() public {
        Terms memory terms = post(BUDGET);
        award(terms, leavesOf(2, 1));
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        vm.prank(coordinator);
        market.award(terms, bytes32(uint256(1)), 1);
    }

    function test_amendAddsAProviderAndRaisesCaps() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory old = leavesOf(2, 0.2 ether);
        SumTree.Leaf[] memory fresh = leavesOf(3, 0.3 ether);
        award(terms, old);
        vm.prank(coordinator);
        market.amend(terms, old, fresh);
        settle(terms, payoutsOf(terms, fresh, 0.3 ether, true));
        vm.assertEq(market.creditOf(address(0), provider(2)), 0.3 ether);
    }

    function test_amendNeverLowersOrDropsAnAward() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory old = leavesOf(3, 0.2 ether);
        award(terms, old);
        SumTree.Leaf[] memory lower = leavesOf(3, 0.2 ether);
        lower[1].cap -= 1;
        _refuseAmend(terms, old, lower, IMarket.AwardLowered.selector);
        _refuseAmend(terms, old, leavesOf(2, 0.3 ether), IMarket.AwardLowered.selector);
        _refuseAmend(terms, old, leavesOf(3, 0.4 ether), IMarket.SumAboveBudget.selector);
        _refuseAmend(terms, lower, old, IMarket.StateMismatch.selector);
        SumTree.Leaf[] memory unsorted = leavesOf(3, 0.2 ether);
        (unsorted[0], unsorted[1]) = (unsorted[1], unsorted[0]);
        _refuseAmend(terms, old, unsorted, IMarket.AwardLowered.selector);
        SumTree.Leaf[] memory twice = leavesOf(4, 0.2 ether);
        twice[3] = twice[2];
        _refuseAmend(terms, old, twice, SumTree.UnsortedLeaves.selector);
    }

    function _refuseAmend(
        Terms memory terms,
        SumTree.Leaf[] memory old,
        SumTree.Leaf[] memory fresh,
        bytes4 why
    ) private {
        vm.expectPartialRevert(why);
        vm.prank(coordinator);
        market.amend(terms, old, fresh);
    }

    function test_settleMustNameEveryLeafAsAwarded() public {
        Terms memory terms = post(BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(3, 0.2 ether);
        award(terms, leaves);
        Payout[] memory payouts = payoutsOf(terms, leavesOf(2, 0.2 ether), 1, true);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        settle(terms, payouts);
        payouts = payoutsOf(terms, leaves, 1, true);
        payouts[1].cap -= 1;
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        settle(terms, payouts);
        vm.expectRevert(abi.encodePacked(SumTree.EmptyTree.selector));
        settle(terms, new Payout[](0));
        payouts = payoutsOf(terms, leaves, 0.3 ether, true);
        vm.expectRevert(abi.encodeWithSelector(IMarket.TotalAboveCap.selector, provider(0)));
        settle(terms, payouts);
    }

    function test_tokenJobsKeepToTheToken() public {
        token.mint(buyer, 5 ether);
        vm.prank(buyer);
        token.approve(address(market), 5 ether);
        vm.prank(buyer);
        market.depositToken(5 ether);
        Terms memory terms = post(address(token), BUDGET);
        SumTree.Leaf[] memory leaves = leavesOf(2, 0.2 ether);
        award(terms, leaves);
        settle(terms, payoutsOf(terms, leaves, 0.1 ether, true));
        vm.assertEq(market.creditOf(address(token), provider(0)), 0.1 ether);
        vm.assertEq(market.creditOf(address(0), provider(0)), 0);
        vm.assertEq(market.creditOf(address(token), buyer), 4.8 ether);
        vm.assertEq(market.creditOf(address(0), buyer), 10 ether);
        vm.prank(provider(0));
        market.withdraw(address(token), 0.1 ether, provider(0));
        vm.assertEq(token.balanceOf(provider(0)), 0.1 ether);
    }

    function test_tokenJobRefusesCoins() public {
        vm.expectRevert(abi.encodePacked(IMarket.ValueWithToken.selector));
        vm.prank(buyer);
        market.post{value: 1}(
            SPEC, 1, uint64(block.timestamp + 1), 1, coordinator, address(token), 0
        );
    }

    function testFuzz_settleConservesTheBudget(
        uint128 budget,
        uint8 n,
        uint8 consents,
        uint256 seed
    ) public {
        budget = uint128(uint256(budget) % (10 ether - 5)) + 6;
        n = n % 6 + 1;
        Terms memory terms = post(budget);
        SumTree.Leaf[] memory leaves = new SumTree.Leaf[](n);
        Payout[] memory payouts = new Payout[](n);
        uint256 held;
        uint256 paid;
        for (uint256 i; i < n; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint128 cap = uint128(seed % (budget / n + 1));
            uint128 total = uint128((seed >> 128) % (uint256(cap) + 1));
            leaves[i] = SumTree.Leaf(provider(i), cap);
            payouts[i] = Payout(provider(i), cap, total, 0, 0);
            paid += total;
            if (consents & (1 << i) == 0) held += cap - total;
            else (payouts[i].r, payouts[i].vs) = consent(terms, keys[i], total);
        }
        award(terms, leaves);
        settle(terms, payouts);
        uint256 credits = market.creditOf(address(0), buyer);
        for (uint256 i; i < n; ++i) {
            vm.assertEq(market.creditOf(address(0), provider(i)), payouts[i].total);
            credits += payouts[i].total;
        }
        vm.assertEq(credits + held, 10 ether);
        bool closed = market.commitmentOf(buyer, terms.nonce) == bytes32(uint256(1));
        vm.assertTrue(closed == (held == 0));
    }
}
