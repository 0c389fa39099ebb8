// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Register of providers and their stakes.
/// @notice The operator key (cold) owns the stake; the node key (hot) signs work and can take
/// nothing. There is no slashing yet: it comes with the juries that decide on it.
interface IProviders {
    event Registered(address indexed operator, address indexed node, uint256 stake);
    event ToppedUp(address indexed operator, uint256 stake);
    event NodeRotated(address indexed operator, address indexed oldNode, address indexed newNode);
    event UnbondingBegun(address indexed operator, address indexed node, uint256 until);
    event StakeWithdrawn(
        address indexed operator, address indexed node, address indexed to, uint256 stake
    );

    error StakeTooLow(uint256 stake, uint256 minimum);
    error StakeTooLarge();
    error AlreadyRegistered(address operator);
    error NotRegistered(address operator);
    error NodeTaken(address node);
    error BadBinding(address node);
    error Unbonding(uint256 until);
    error NotUnbonding();
    error BadUnbondingDelay(uint256 delay);
    error ZeroAmount();
    error ZeroAddress();
    error NativeTransferFailed();

    /// @notice Registers the sender as operator of `node`, with the coins sent as its stake.
    /// @param r The node key's signature over NodeBinding(sender, bindingNonceOf(node)), EIP-2098.
    /// @param vs As `r`.
    function register(address node, bytes32 r, bytes32 vs) external payable;

    /// @notice Adds the coins sent to the sender's stake.
    function topUp() external payable;

    /// @notice Replaces the sender's node key; the new one must agree as in `register`.
    function rotateNode(address newNode, bytes32 r, bytes32 vs) external;

    /// @notice Stops the sender's provider; its stake may leave after the unbonding delay.
    function beginUnbonding() external;

    /// @notice After the delay: pays the whole stake to `to` and forgets operator and node.
    function withdrawStake(address to) external;

    /// @notice Whether `node` is registered, staked and not leaving.
    function isActive(address node) external view returns (bool);

    /// @notice Stake behind `node`, also while it leaves.
    function stakeOf(address node) external view returns (uint256);

    /// @notice Operator of `node`; address(0) where it has none.
    function operatorOf(address node) external view returns (address);

    /// @notice What the operator registered. `unbondsAt` is zero unless it is leaving.
    function providerOf(address operator)
        external
        view
        returns (address node, uint256 stake, uint256 unbondsAt);

    /// @notice Number that the next binding signed by `node` must carry.
    function bindingNonceOf(address node) external view returns (uint256);
}
