// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IMarket} from "../src/interfaces/IMarket.sol";
import {Market} from "../src/Market.sol";
import {Base} from "./Base.sol";

/// @dev Takes a tenth of every transfer.
contract FeeToken is ERC20 {
    constructor() ERC20("fee", "FEE") {
        _mint(msg.sender, 100 ether);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0), value / 10);
    }
}

/// @dev Calls back into the market while it moves, as ERC-777 hooks would.
contract HookToken is ERC20 {
    Market public market;
    bool public reentered;

    constructor() ERC20("hook", "HOOK") {
        _mint(msg.sender, 100 ether);
    }

    function aim(Market target) external {
        market = target;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (address(market) == address(0) || from == address(0)) return;
        try market.depositToken(1) {
            reentered = true;
        } catch {}
    }
}

/// @dev Withdraws again from inside the payment.
contract Thief {
    Market private immutable MARKET;
    bytes public answer;

    constructor(Market market) payable {
        MARKET = market;
        market.deposit{value: msg.value}();
    }

    function steal(uint256 amount) external {
        MARKET.withdraw(address(0), amount, address(this));
    }

    receive() external payable {
        (bool ok, bytes memory data) = address(MARKET)
            .call(abi.encodeCall(IMarket.withdraw, (address(0), msg.value, address(this))));
        require(!ok, "reentered");
        answer = data;
    }
}

/// @notice Coins in and out.
contract LedgerTest is Base {
    function test_depositAndWithdraw() public {
        vm.prank(buyer);
        market.withdraw(address(0), 4 ether, address(0xCAFE));
        vm.assertEq(address(0xCAFE).balance, 4 ether);
        vm.assertEq(market.creditOf(address(0), buyer), 6 ether);
    }

    function test_withdrawNeverExceedsCredit() public {
        vm.expectRevert(
            abi.encodeWithSelector(IMarket.InsufficientCredit.selector, 10 ether, 10 ether + 1)
        );
        vm.prank(buyer);
        market.withdraw(address(0), 10 ether + 1, buyer);
        vm.expectPartialRevert(IMarket.InsufficientCredit.selector);
        vm.prank(buyer);
        market.withdraw(address(0), type(uint256).max, buyer);
        vm.expectPartialRevert(IMarket.InsufficientCredit.selector);
        vm.prank(buyer);
        market.withdraw(address(token), 1, buyer);
    }

    function test_withdrawChecksItsArguments() public {
        vm.expectRevert(abi.encodePacked(IMarket.ZeroAddress.selector));
        market.withdraw(address(0), 1, address(0));
        vm.expectRevert(abi.encodePacked(IMarket.ZeroAmount.selector));
        market.withdraw(address(0), 0, buyer);
        vm.expectPartialRevert(IMarket.UnknownAsset.selector);
        market.withdraw(address(1), 1, buyer);
        vm.expectRevert(abi.encodePacked(IMarket.ZeroAmount.selector));
        market.deposit();
        vm.expectRevert(abi.encodePacked(IMarket.NativeTransferFailed.selector));
        vm.prank(buyer);
        market.withdraw(address(0), 1, address(token));
    }

    function test_withdrawCannotBeReentered() public {
        vm.deal(address(this), 2 ether);
        Thief thief = new Thief{value: 2 ether}(market);
        thief.steal(1 ether);
        bytes4 guard = ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector;
        vm.assertEq(thief.answer(), abi.encodePacked(guard));
        vm.assertEq(address(thief).balance, 1 ether);
        vm.assertEq(market.creditOf(address(0), address(thief)), 1 ether);
    }

    function test_feeTokenCreditsWhatArrived() public {
        FeeToken fee = new FeeToken();
        Market other = new Market(address(fee));
        fee.approve(address(other), 10 ether);
        vm.assertEq(other.depositToken(10 ether), 9 ether);
        vm.assertEq(other.creditOf(address(fee), address(this)), 9 ether);
        other.withdraw(address(fee), 9 ether, address(0xCAFE));
        vm.assertEq(fee.balanceOf(address(other)), 0);
    }

    function test_hookTokenCannotReenterADeposit() public {
        HookToken hook = new HookToken();
        Market other = new Market(address(hook));
        hook.aim(other);
        hook.approve(address(other), 10 ether);
        other.depositToken(10 ether);
        vm.assertTrue(!hook.reentered());
        vm.assertEq(other.creditOf(address(hook), address(this)), 10 ether);
    }

    function test_marketWithoutATokenTakesNone() public {
        Market plain = new Market(address(0));
        vm.expectPartialRevert(IMarket.UnknownAsset.selector);
        plain.depositToken(1);
        vm.expectPartialRevert(IMarket.UnknownAsset.selector);
        new Market(address(0xDEAD));
    }

    function test_hugeTokenSupplyIsRefused() public {
        token.mint(address(this), type(uint256).max);
        token.approve(address(market), type(uint256).max);
        market.depositToken(type(uint128).max);
        vm.expectRevert(abi.encodePacked(IMarket.TokenSupplyTooLarge.selector));
        market.depositToken(1);
    }

    function test_coinsOnlyComeInThroughTheDoor() public {
        (bool ok,) = address(market).call{value: 1}("");
        vm.assertTrue(!ok);
    }

    function test_creditLeavesTheJobCountAlone() public {
        post(BUDGET);
        uint256 nonce = market.nextNonce(buyer);
        vm.prank(buyer);
        market.withdraw(address(0), 9 ether, buyer);
        vm.assertEq(market.nextNonce(buyer), nonce);
        vm.prank(buyer);
        market.deposit{value: 1}();
        vm.assertEq(market.nextNonce(buyer), nonce);
        vm.assertEq(market.creditOf(address(0), buyer), 1);
    }

    function testFuzz_depositsAndWithdrawalsAddUp(uint96 amountIn, uint96 amountOut) public {
        vm.assume(amountIn != 0 && amountOut != 0);
        address someone = address(0xABCD);
        vm.deal(someone, amountIn);
        vm.prank(someone);
        market.deposit{value: amountIn}();
        if (amountOut > amountIn) {
            vm.expectPartialRevert(IMarket.InsufficientCredit.selector);
        }
        vm.prank(someone);
        market.withdraw(address(0), amountOut, someone);
        uint256 left = amountOut > amountIn ? amountIn : amountIn - amountOut;
        vm.assertEq(market.creditOf(address(0), someone), left);
        vm.assertEq(address(market).balance, 10 ether + left);
    }
}
