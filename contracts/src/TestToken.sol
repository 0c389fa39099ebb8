// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that anyone may mint: for local chains and tests alone.
contract TestToken is ERC20 {
    constructor() ERC20("reelmesh test token", "REELTEST") {}

    /// @notice Makes `amount` new tokens for `to`.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
