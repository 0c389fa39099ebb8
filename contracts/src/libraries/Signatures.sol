// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "solady/utils/ECDSA.sol";

/// @title Strict signature recovery.
library Signatures {
    /// @dev Half of secp256k1's order: a higher s is the second form of some signature (EIP-2).
    uint256 private constant HALF_ORDER =
        0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Whether (r, vs), in EIP-2098 form with a low s, is `signer`'s signature of `digest`.
    /// @dev Never true for address(0).
    function isFrom(address signer, bytes32 digest, bytes32 r, bytes32 vs)
        internal
        view
        returns (bool)
    {
        if ((uint256(vs) << 1) >> 1 > HALF_ORDER) return false;
        address recovered = ECDSA.tryRecover(digest, r, vs);
        return recovered != address(0) && recovered == signer;
    }
}
