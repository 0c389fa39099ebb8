// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The EIP-712 types that reelmesh's parties sign.
/// @notice Domain: name "reelmesh", version "1", chain id, and the contract that reads the
/// signature (the market; for NodeBinding the register of providers). The Python twin is
/// reelmesh/contracts/eip712.py; test/vectors/eip712.json holds both to the same digests.
library Types {
    /// @notice Signed by a coordinator: `provider` has earned `amount` in this job so far.
    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 jobId,address provider,uint128 amount)");

    /// @notice Signed by a provider: `total` is my whole pay in this job.
    bytes32 internal constant CONSENT_TYPEHASH = keccak256("Consent(bytes32 jobId,uint128 total)");

    /// @notice Signed by a node key: `operator` may register me; `nonce` makes it good for once.
    bytes32 internal constant NODE_BINDING_TYPEHASH =
        keccak256("NodeBinding(address operator,uint256 nonce)");

    /// @notice Signed by a provider: what it ran and what came out. Its tree's root is recorded at
    /// settlement.
    bytes32 internal constant ATTESTATION_TYPEHASH = keccak256(
        "Attestation(bytes32 jobId,bytes32 subtask,uint32 attempt,bytes32 inputsRoot,bytes32 outputsRoot,bytes32 trajectoryRoot,string stage,uint32 stageVersion,bytes32 modelHash,string deviceClass,uint64 startedAt,uint64 finishedAt)"
    );

    struct Attestation {
        bytes32 jobId;
        bytes32 subtask;
        uint32 attempt;
        bytes32 inputsRoot;
        bytes32 outputsRoot;
        bytes32 trajectoryRoot;
        string stage;
        uint32 stageVersion;
        bytes32 modelHash;
        string deviceClass;
        /// Milliseconds since 1970.
        uint64 startedAt;
        uint64 finishedAt;
    }

    /// @notice The 32 bytes that are signed (EIP-712).
    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32 signed) {
        assembly ("memory-safe") {
            let m := mload(0x40) // 66 bytes of free memory, left free
            mstore(m, shl(240, 0x1901))
            mstore(add(m, 0x02), separator)
            mstore(add(m, 0x22), structHash)
            signed := keccak256(m, 0x42)
        }
    }

    function hashVoucher(bytes32 jobId, address provider, uint128 amount)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(VOUCHER_TYPEHASH, jobId, provider, amount));
    }

    function hashConsent(bytes32 jobId, uint128 total) internal pure returns (bytes32 hash) {
        bytes32 typeHash = CONSENT_TYPEHASH;
        assembly ("memory-safe") {
            let m := mload(0x40) // 96 bytes of free memory, left free
            mstore(m, typeHash)
            mstore(add(m, 0x20), jobId)
            mstore(add(m, 0x40), shr(128, shl(128, total)))
            hash := keccak256(m, 0x60)
        }
    }

    function hashNodeBinding(address operator, uint256 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(NODE_BINDING_TYPEHASH, operator, nonce));
    }

    function hashAttestation(Attestation memory a) internal pure returns (bytes32) {
        // In two halves only because one abi.encode of thirteen words is too deep for the stack.
        return keccak256(
            bytes.concat(
                abi.encode(
                    ATTESTATION_TYPEHASH,
                    a.jobId,
                    a.subtask,
                    a.attempt,
                    a.inputsRoot,
                    a.outputsRoot,
                    a.trajectoryRoot
                ),
                abi.encode(
                    keccak256(bytes(a.stage)),
                    a.stageVersion,
                    a.modelHash,
                    keccak256(bytes(a.deviceClass)),
                    a.startedAt,
                    a.finishedAt
                )
            )
        );
    }
}
