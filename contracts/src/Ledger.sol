// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IMarket} from "./interfaces/IMarket.sol";

/// @title Credits: who may withdraw how much of the native coin and of one token.
/// @notice Coins come in and go out here and nowhere else; jobs only move credit.
abstract contract Ledger is IMarket, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice The market's one token; address(0) where it trades the native coin alone.
    /// @dev A token whose balances change by themselves (rebasing) must not be used.
    address public immutable TOKEN;

    /// @dev Low 128 bits: native credit. High bits: how many jobs the account has posted, so that
    /// posting counts for free. The supply of no native coin comes near 2^128, so sums of credits
    /// never carry into the count.
    mapping(address account => uint256) internal _accounts;
    mapping(address account => uint256) private _tokenCredits;

    constructor(address token) {
        if (token != address(0) && token.code.length == 0) revert UnknownAsset(token);
        TOKEN = token;
    }

    /// @inheritdoc IMarket
    function deposit() external payable {
        if (msg.value == 0) revert ZeroAmount();
        _credit(address(0), msg.sender, msg.value);
        emit Deposited(address(0), msg.sender, msg.value);
    }

    /// @inheritdoc IMarket
    function depositToken(uint256 amount) external nonReentrant returns (uint256 received) {
        if (TOKEN == address(0)) revert UnknownAsset(TOKEN);
        IERC20 token = IERC20(TOKEN);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 holding = token.balanceOf(address(this));
        // All credits and escrows together are at most `holding`, so none can overflow uint128.
        if (holding > type(uint128).max) revert TokenSupplyTooLarge();
        received = holding - before;
        if (received == 0) revert ZeroAmount();
        _credit(TOKEN, msg.sender, received);
        emit Deposited(TOKEN, msg.sender, received);
    }

    /// @inheritdoc IMarket
    function withdraw(address asset, uint256 amount, address to) external nonReentrant {
        if (to == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        if (!_isAsset(asset)) revert UnknownAsset(asset);
        _debit(asset, msg.sender, amount);
        emit Withdrawn(asset, msg.sender, to, amount);
        if (asset == address(0)) {
            (bool ok,) = to.call{value: amount}("");
            if (!ok) revert NativeTransferFailed();
        } else {
            IERC20(asset).safeTransfer(to, amount);
        }
    }

    /// @inheritdoc IMarket
    function creditOf(address asset, address account) public view returns (uint256) {
        if (!_isAsset(asset)) revert UnknownAsset(asset);
        return asset == address(0) ? uint128(_accounts[account]) : _tokenCredits[account];
    }

    function _isAsset(address asset) internal view returns (bool) {
        return asset == address(0) || asset == TOKEN;
    }

    function _credit(address asset, address account, uint256 amount) internal {
        if (asset == address(0)) _accounts[account] += amount;
        else _tokenCredits[account] += amount;
    }

    function _debit(address asset, address account, uint256 amount) internal {
        uint256 available = creditOf(asset, account);
        if (available < amount) revert InsufficientCredit(available, amount);
        unchecked {
            if (asset == address(0)) _accounts[account] -= amount;
            else _tokenCredits[account] -= amount;
        }
    }
}
