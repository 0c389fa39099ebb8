// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Market} from "../src/Market.sol";
import {Handler} from "./Handler.sol";
import {Vm} from "./Base.sol";

/// @notice What holds after any sequence of moves.
contract InvariantsTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Handler private handler;
    Market private market;
    address private token;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function setUp() public {
        handler = new Handler();
        handler.setUp();
        (market, token) = handler.theMarket();
    }

    /// @dev Read by forge: which functions it may call at random.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory moves = new bytes4[](10);
        moves[0] = Handler.deposit.selector;
        moves[1] = Handler.withdraw.selector;
        moves[2] = Handler.postJob.selector;
        moves[3] = Handler.awardJob.selector;
        moves[4] = Handler.amendJob.selector;
        moves[5] = Handler.settleJob.selector;
        moves[6] = Handler.claimJob.selector;
        moves[7] = Handler.endJob.selector;
        moves[8] = Handler.pass.selector;
        moves[9] = Handler.haunt.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), moves);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @notice Coins held = coins in - coins out = credits + escrows, for each asset.
    function invariant_theLedgerIsConserved() public view {
        _conserved(address(0), address(market).balance);
        (, bytes memory answer) =
            token.staticcall(abi.encodeWithSignature("balanceOf(address)", market));
        _conserved(token, abi.decode(answer, (uint256)));
    }

    function _conserved(address asset, uint256 holding) private view {
        uint256 owed;
        address[] memory accounts = handler.accounts();
        for (uint256 i; i < accounts.length; ++i) {
            owed += market.creditOf(asset, accounts[i]);
        }
        uint256 n = handler.count();
        for (uint256 i; i < n; ++i) {
            Handler.Job memory job = handler.jobAt(i);
            if (job.terms.asset != asset) continue;
            // Checked subtraction: an escrow below zero fails here.
            owed += job.terms.budget - job.paid - job.refunded;
        }
        vm.assertEq(holding, owed, "held is not what is owed");
        vm.assertEq(holding, handler.deposited(asset) - handler.withdrawn(asset), "in - out");
    }

    /// @notice A closed job holds nothing, and no job gives out more than it took.
    function invariant_escrowsNeverGoNegative() public view {
        uint256 n = handler.count();
        for (uint256 i; i < n; ++i) {
            Handler.Job memory job = handler.jobAt(i);
            vm.assertLe(job.paid + job.refunded, job.terms.budget, "more out than in");
            if (job.phase == Handler.Phase.Closed) {
                vm.assertEq(job.paid + job.refunded, job.terms.budget, "closed with coins in it");
            }
        }
    }

    function invariant_nobodyEarnsMoreThanItsCap() public view {
        uint256 n = handler.count();
        address[] memory accounts = handler.accounts();
        for (uint256 i; i < n; ++i) {
            for (uint256 j; j + 1 < accounts.length; ++j) {
                uint256 paid = handler.paidTo(i, accounts[j]);
                vm.assertLe(paid, handler.capOf(i, accounts[j]), "above the cap");
            }
        }
    }

    /// @notice No voucher pays twice, and nothing moves a job after its end.
    function invariant_noCheatGetsThrough() public view {
        string memory what = handler.broken();
        vm.assertTrue(bytes(what).length == 0, what);
    }
}
