// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket, Payout, State, Terms} from "../src/interfaces/IMarket.sol";
import {Market} from "../src/Market.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {Types} from "../src/libraries/Types.sol";
import {Base} from "./Base.sol";

/// @notice Vouchers, consents and refunds, as someone who wants more than its due would try them.
contract ClaimsTest is Base {
    Terms private terms;
    SumTree.Leaf[] private leaves;

    function setUp() public override {
        super.setUp();
        terms = post(BUDGET);
        SumTree.Leaf[] memory made = leavesOf(4, 0.2 ether);
        for (uint256 i; i < 4; ++i) {
            leaves.push(made[i]);
        }
        award(terms, made);
    }

    function _afterDeadline() private {
        vm.warp(terms.deadline + 1);
    }

    function _state() private view returns (State memory) {
        (bytes32 root, uint128 sum) = referenceRoot(leaves);
        return State(root, sum, false);
    }

    function test_claimAloneAfterTheDeadline() public {
        _afterDeadline();
        claim(terms, false, leaves, 1, 0.05 ether);
        vm.assertEq(market.creditOf(address(0), provider(1)), 0.05 ether);
        claim(terms, false, leaves, 1, 0.08 ether);
        vm.assertEq(market.creditOf(address(0), provider(1)), 0.08 ether);
        vm.assertEq(market.paidOf(idOf(terms), provider(1)), 0.08 ether);
    }

    function test_aVoucherNeverPaysTwice() public {
        _afterDeadline();
        claim(terms, false, leaves, 1, 0.05 ether);
        (bytes32 r, bytes32 vs) = voucher(terms, provider(1), 0.05 ether);
        _refuseClaim(false, 1, 0.05 ether, r, vs, IMarket.NothingToClaim.selector);
        (r, vs) = voucher(terms, provider(1), 0.04 ether);
        _refuseClaim(false, 1, 0.04 ether, r, vs, IMarket.NothingToClaim.selector);
    }

    function test_aVoucherAboveTheCapPaysTheCap() public {
        _afterDeadline();
        claim(terms, false, leaves, 1, type(uint128).max);
        vm.assertEq(market.creditOf(address(0), provider(1)), leaves[1].cap);
        (bytes32 r, bytes32 vs) = voucher(terms, provider(1), 0.9 ether);
        _refuseClaim(false, 1, 0.9 ether, r, vs, IMarket.NothingToClaim.selector);
    }

    function test_claimsOpenOnlyWhenSettlingEnds() public {
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 1);
        vm.warp(terms.deadline);
        _refuseClaim(false, 0, 1, r, vs, IMarket.ClaimNotOpen.selector);
        // The same second still settles: there is never a moment when both would work.
        settle(terms, payoutsOf(terms, leaves, 1, true));
    }

    function test_claimsEndWithTheWindow() public {
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 1);
        vm.warp(terms.deadline + terms.claimWindow + 1);
        _refuseClaim(false, 0, 1, r, vs, IMarket.ClaimClosed.selector);
    }

    function test_claimNeedsTheCoordinatorsSignature() public {
        _afterDeadline();
        bytes32 hash = Types.hashVoucher(idOf(terms), provider(0), 1);
        (bytes32 r, bytes32 vs) = signed(keys[0], hash);
        _refuseClaim(false, 0, 1, r, vs, IMarket.BadVoucher.selector);
        _refuseClaim(false, 0, 1, 0, 0, IMarket.BadVoucher.selector);
        (r, vs) = voucher(terms, provider(1), 1);
        _refuseClaim(false, 0, 1, r, vs, IMarket.BadVoucher.selector);
        (r, vs) = voucher(terms, provider(0), 1);
        _refuseClaim(false, 0, 2, r, vs, IMarket.BadVoucher.selector);
    }

    function test_voucherIsNoGoodForAnotherJobMarketOrChain() public {
        Terms memory other = post(BUDGET);
        (bytes32 r, bytes32 vs) = voucher(other, provider(0), 1);
        _afterDeadline();
        _refuseClaim(false, 0, 1, r, vs, IMarket.BadVoucher.selector);
        bytes32 hash = Types.hashVoucher(idOf(terms), provider(0), 1);
        address elsewhere = address(new Market(address(token)));
        (r, vs) = compact(COORDINATOR_KEY, Types.digest(separatorOf(elsewhere), hash));
        _refuseClaim(false, 0, 1, r, vs, IMarket.BadVoucher.selector);
        (r, vs) = voucher(terms, provider(0), 1);
        vm.chainId(block.chainid + 1);
        // On a fork of the chain the job's id itself is another.
        _refuseClaim(false, 0, 1, r, vs, IMarket.StateMismatch.selector);
    }

    function test_consentIsNoVoucher() public {
        _afterDeadline();
        (bytes32 r, bytes32 vs) = signed(COORDINATOR_KEY, Types.hashConsent(idOf(terms), 1));
        _refuseClaim(false, 0, 1, r, vs, IMarket.BadVoucher.selector);
    }

    function test_malleatedSignatureIsRefused() public {
        _afterDeadline();
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 1);
        // In EIP-2098 form only an s of 255 bits can be given; those above half the order are not
        // accepted, whatever they recover to.
        bytes32 high = bytes32((uint256(vs) | (uint256(1) << 255) - 1));
        _refuseClaim(false, 0, 1, r, high, IMarket.BadVoucher.selector);
        _refuseClaim(false, 0, 1, r, vs ^ bytes32(uint256(1) << 255), IMarket.BadVoucher.selector);
    }

    function test_claimNeedsItsLeafInTheTree() public {
        _afterDeadline();
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 1 ether);
        SumTree.Leaf[] memory greedy = leavesOf(4, 0.2 ether);
        greedy[0].cap = 1 ether;
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.claim(terms, false, greedy[0], proofOf(leaves, 0), 1 ether, r, vs);
        // A node of the tree is no leaf, and a leaf's proof is no other leaf's.
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.claim(terms, false, leaves[0], proofOf(leaves, 1), 1 ether, r, vs);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.claim(terms, true, leaves[0], proofOf(leaves, 0), 1 ether, r, vs);
    }

    function test_claimNeedsTheJobsOwnTerms() public {
        _afterDeadline();
        Terms memory forged = terms;
        forged.budget = 100 ether;
        (bytes32 r, bytes32 vs) = voucher(forged, provider(0), 1);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.claim(forged, false, leaves[0], proofOf(leaves, 0), 1, r, vs);
    }

    function test_hiddenSumCannotBeClaimed() public {
        // A coordinator commits a root whose sum it understates: those proofs lead elsewhere.
        Terms memory sly = post(BUDGET);
        SumTree.Leaf[] memory big = leavesOf(4, 5 ether);
        (bytes32 root,) = referenceRoot(big);
        vm.prank(coordinator);
        market.award(sly, root, BUDGET);
        (bytes32 r, bytes32 vs) = voucher(sly, provider(0), 5 ether);
        vm.warp(sly.deadline + 1);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.claim(sly, false, big[0], proofOf(big, 0), 5 ether, r, vs);
    }

    function test_sumOverflowIsRefused() public {
        SumTree.Leaf[] memory two = leavesOf(2, 1);
        SumTree.Step[] memory proof = proofOf(two, 0);
        proof[0].sum = type(uint128).max;
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 1);
        _afterDeadline();
        vm.expectRevert(abi.encodePacked(SumTree.SumOverflow.selector));
        market.claim(terms, false, two[0], proof, 1, r, vs);
    }

    function test_nothingPaysAfterSettlementWithConsents() public {
        settle(terms, payoutsOf(terms, leaves, 0.1 ether, true));
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 0.2 ether);
        _refuseClaim(true, 0, 0.2 ether, r, vs, IMarket.StateMismatch.selector);
        _afterDeadline();
        _refuseClaim(false, 0, 0.2 ether, r, vs, IMarket.StateMismatch.selector);
        State memory state = _state();
        vm.warp(terms.deadline + terms.claimWindow + 1);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.refund(terms, state);
    }

    function test_aConsentingProviderCannotClaimFromALockedJob() public {
        Payout[] memory payouts = payoutsOf(terms, leaves, 0.1 ether, true);
        (payouts[3].r, payouts[3].vs) = (0, 0);
        settle(terms, payouts);
        SumTree.Leaf[] memory open = new SumTree.Leaf[](1);
        open[0] = leaves[3];
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 0.2 ether);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.claim(terms, true, leaves[0], proofOf(open, 0), 0.2 ether, r, vs);
        // What settlement paid counts against the voucher.
        (r, vs) = voucher(terms, provider(3), 0.1 ether);
        vm.expectRevert(abi.encodePacked(IMarket.NothingToClaim.selector));
        market.claim(terms, true, open[0], proofOf(open, 0), 0.1 ether, r, vs);
        claim(terms, true, open, 0, 0.12 ether);
        vm.assertEq(market.creditOf(address(0), provider(3)), 0.12 ether);
    }

    function test_settlingTwiceIsRefused() public {
        Payout[] memory payouts = payoutsOf(terms, leaves, 0.1 ether, false);
        settle(terms, payouts);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        settle(terms, payouts);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        vm.prank(coordinator);
        market.amend(terms, leaves, leaves);
    }

    function test_forgedConsentIsRefused() public {
        Payout[] memory payouts = payoutsOf(terms, leaves, 0.1 ether, true);
        (payouts[1].r, payouts[1].vs) = consent(terms, COORDINATOR_KEY, 0.1 ether);
        _refuseSettle(payouts, 1);
        (payouts[1].r, payouts[1].vs) = consent(terms, keys[1], 0.09 ether);
        _refuseSettle(payouts, 1);
        (payouts[1].r, payouts[1].vs) = (bytes32(uint256(1)), 0);
        _refuseSettle(payouts, 1);
        (payouts[1].r, payouts[1].vs) = (0, bytes32(uint256(1)));
        _refuseSettle(payouts, 1);
        Terms memory other = post(BUDGET);
        (payouts[1].r, payouts[1].vs) = consent(other, keys[1], 0.1 ether);
        _refuseSettle(payouts, 1);
    }

    function _refuseSettle(Payout[] memory payouts, uint256 i) private {
        vm.expectRevert(abi.encodeWithSelector(IMarket.BadConsent.selector, provider(i)));
        settle(terms, payouts);
    }

    function test_refundWaitsForTheClaimWindow() public {
        State memory state = _state();
        vm.warp(terms.deadline + terms.claimWindow);
        vm.expectRevert(abi.encodePacked(IMarket.RefundNotOpen.selector));
        market.refund(terms, state);
        vm.warp(terms.deadline + terms.claimWindow + 1);
        market.refund(terms, state);
        vm.assertEq(market.creditOf(address(0), buyer), 10 ether);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.refund(terms, state);
    }

    function test_refundAfterClaimsReturnsTheRest() public {
        _afterDeadline();
        claim(terms, false, leaves, 0, 0.1 ether);
        claim(terms, false, leaves, 3, 0.15 ether);
        State memory state = _state();
        vm.warp(terms.deadline + terms.claimWindow + 1);
        market.refund(terms, state);
        vm.assertEq(market.creditOf(address(0), buyer), 9.75 ether);
    }

    function test_refundOfAnOpenJobTakesOnlyTheTermsWord() public {
        Terms memory open = post(BUDGET);
        vm.expectRevert(abi.encodePacked(IMarket.RefundNotOpen.selector));
        market.refund(open, State(0, 0, false));
        vm.warp(open.deadline + 1);
        // Made-up sum and flag of a state that nothing commits to must count for nothing.
        market.refund(open, State(0, type(uint128).max, true));
        vm.assertEq(market.creditOf(address(0), buyer), 9 ether);
    }

    function test_refundCannotInventAState() public {
        vm.warp(terms.deadline + terms.claimWindow + 1);
        (bytes32 root, uint128 sum) = referenceRoot(leaves);
        _refuseRefund(State(root, sum, true));
        _refuseRefund(State(root, sum - 1, false));
        _refuseRefund(State(0, 0, false));
    }

    function _refuseRefund(State memory state) private {
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        market.refund(terms, state);
    }

    function test_aReusedLaneForgetsTheOldJob() public {
        settle(terms, payoutsOf(terms, leaves, 0.1 ether, true));
        Terms memory next = post(BUDGET);
        vm.assertEq(uint16(next.nonce), uint16(terms.nonce));
        award(next, leaves);
        Payout[] memory again = payoutsOf(terms, leaves, 0.1 ether, true);
        vm.expectRevert(abi.encodePacked(IMarket.StateMismatch.selector));
        settle(terms, again);
        (bytes32 r, bytes32 vs) = voucher(terms, provider(0), 0.2 ether);
        vm.warp(next.deadline + 1);
        _refuseClaim(false, 0, 0.2 ether, r, vs, IMarket.StateMismatch.selector);
        vm.expectRevert(abi.encodePacked(IMarket.BadVoucher.selector));
        market.claim(next, false, leaves[0], proofOf(leaves, 0), 0.2 ether, r, vs);
    }

    function testFuzz_vouchersPayTheHighestOnce(uint128[6] memory amounts) public {
        _afterDeadline();
        uint128 highest;
        for (uint256 i; i < amounts.length; ++i) {
            uint128 amount = amounts[i] % 0.3 ether;
            uint128 due = amount < leaves[2].cap ? amount : leaves[2].cap;
            (bytes32 r, bytes32 vs) = voucher(terms, provider(2), amount);
            if (due <= highest) {
                _refuseClaim(false, 2, amount, r, vs, IMarket.NothingToClaim.selector);
            } else {
                claim(terms, false, leaves, 2, amount);
                highest = due;
            }
            vm.assertEq(market.creditOf(address(0), provider(2)), highest);
        }
    }

    function _refuseClaim(
        bool settled,
        uint256 i,
        uint128 amount,
        bytes32 r,
        bytes32 vs,
        bytes4 why
    ) private {
        SumTree.Step[] memory proof = proofOf(leaves, i);
        vm.expectRevert(abi.encodePacked(why));
        market.claim(terms, settled, leaves[i], proof, amount, r, vs);
    }
}
