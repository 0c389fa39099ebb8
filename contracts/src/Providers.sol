// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "solady/utils/EIP712.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Types} from "./libraries/Types.sol";

/// @title Providers
/// @notice See IProviders. Nobody owns it; only an operator can move its own stake.
contract Providers is IProviders, EIP712, ReentrancyGuardTransient {
    struct Entry {
        address node;
        uint64 unbondsAt;
        uint128 stake;
    }

    /// @notice Longest unbonding delay that can be deployed: a slip must not lock stakes for good.
    uint256 public constant MAX_UNBONDING_DELAY = 365 days;
    /// @notice Least stake, in wei.
    uint256 public immutable MIN_STAKE;
    /// @notice Seconds between leaving and taking the stake.
    uint256 public immutable UNBONDING_DELAY;

    /// @inheritdoc IProviders
    mapping(address node => address) public operatorOf;
    /// @inheritdoc IProviders
    mapping(address node => uint256) public bindingNonceOf;
    mapping(address operator => Entry) private _entries;

    constructor(uint256 minStake, uint256 unbondingDelay) {
        if (minStake == 0) revert ZeroAmount();
        if (unbondingDelay > MAX_UNBONDING_DELAY) revert BadUnbondingDelay(unbondingDelay);
        MIN_STAKE = minStake;
        UNBONDING_DELAY = unbondingDelay;
    }

    /// @inheritdoc IProviders
    function register(address node, bytes32 r, bytes32 vs) external payable {
        Entry storage entry = _entries[msg.sender];
        if (entry.node != address(0)) revert AlreadyRegistered(msg.sender);
        if (msg.value < MIN_STAKE) revert StakeTooLow(msg.value, MIN_STAKE);
        _bind(node, r, vs);
        entry.node = node;
        entry.stake = _narrow(msg.value);
        emit Registered(msg.sender, node, msg.value);
    }

    /// @inheritdoc IProviders
    function topUp() external payable {
        if (msg.value == 0) revert ZeroAmount();
        Entry storage entry = _bonded();
        uint256 stake = entry.stake + msg.value;
        entry.stake = _narrow(stake);
        emit ToppedUp(msg.sender, stake);
    }

    /// @inheritdoc IProviders
    function rotateNode(address newNode, bytes32 r, bytes32 vs) external {
        Entry storage entry = _bonded();
        address oldNode = entry.node;
        _bind(newNode, r, vs);
        delete operatorOf[oldNode];
        entry.node = newNode;
        emit NodeRotated(msg.sender, oldNode, newNode);
    }

    /// @inheritdoc IProviders
    function beginUnbonding() external {
        Entry storage entry = _bonded();
        uint256 until = block.timestamp + UNBONDING_DELAY;
        entry.unbondsAt = uint64(until);
        emit UnbondingBegun(msg.sender, entry.node, until);
    }

    /// @inheritdoc IProviders
    function withdrawStake(address to) external nonReentrant {
        if (to == address(0)) revert ZeroAddress();
        Entry memory entry = _entries[msg.sender];
        if (entry.node == address(0)) revert NotRegistered(msg.sender);
        if (entry.unbondsAt == 0) revert NotUnbonding();
        if (block.timestamp < entry.unbondsAt) revert Unbonding(entry.unbondsAt);
        delete _entries[msg.sender];
        delete operatorOf[entry.node];
        emit StakeWithdrawn(msg.sender, entry.node, to, entry.stake);
        (bool ok,) = to.call{value: entry.stake}("");
        if (!ok) revert NativeTransferFailed();
    }

    /// @inheritdoc IProviders
    function isActive(address node) external view returns (bool) {
        Entry storage entry = _entries[operatorOf[node]];
        // An operator always has its minimum: nothing but leaving lowers a stake.
        return node != address(0) && entry.node == node && entry.unbondsAt == 0;
    }

    /// @inheritdoc IProviders
    function stakeOf(address node) external view returns (uint256) {
        return _entries[operatorOf[node]].stake;
    }

    /// @inheritdoc IProviders
    function providerOf(address operator)
        external
        view
        returns (address node, uint256 stake, uint256 unbondsAt)
    {
        Entry storage entry = _entries[operator];
        return (entry.node, entry.stake, entry.unbondsAt);
    }

    /// @notice EIP-712 domain separator, for signers that want to check theirs.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparator();
    }

    /// @dev The sender's entry, if it is registered and not leaving.
    function _bonded() private view returns (Entry storage entry) {
        entry = _entries[msg.sender];
        if (entry.node == address(0)) revert NotRegistered(msg.sender);
        if (entry.unbondsAt != 0) revert Unbonding(entry.unbondsAt);
    }

    /// @dev Makes the sender `node`'s operator, with the node key's word for it, good for once.
    function _bind(address node, bytes32 r, bytes32 vs) private {
        if (operatorOf[node] != address(0)) revert NodeTaken(node);
        bytes32 digest = _hashTypedData(Types.hashNodeBinding(msg.sender, bindingNonceOf[node]));
        if (!Signatures.isFrom(node, digest, r, vs)) revert BadBinding(node);
        ++bindingNonceOf[node];
        operatorOf[node] = msg.sender;
    }

    function _narrow(uint256 stake) private pure returns (uint128) {
        if (stake > type(uint128).max) revert StakeTooLarge();
        return uint128(stake);
    }

    function _domainNameAndVersion()
        internal
        pure
        override
        returns (string memory name, string memory version)
    {
        return ("reelmesh", "1");
    }
}
