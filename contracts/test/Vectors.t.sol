// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Terms} from "../src/interfaces/IMarket.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {Types} from "../src/libraries/Types.sol";
import {Base} from "./Base.sol";

/// @notice The same files as tests/unit/test_eip712.py and test_merkle.py read: what Python signs
/// and folds is what Solidity does.
contract VectorsTest is Base {
    string private json;
    bytes32 private separator;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("test/vectors/eip712.json");
        bytes32 typeHash = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        );
        separator = keccak256(
            abi.encode(
                typeHash,
                keccak256(bytes(_text(".domain.name"))),
                keccak256(bytes(_text(".domain.version"))),
                _number(".domain.chainId"),
                _address(".domain.verifyingContract")
            )
        );
    }

    function test_separator() public {
        vm.assertEq(separator, _word(".separator"));
        // The market's own is made from the same name and version.
        vm.assertEq(market.DOMAIN_SEPARATOR(), separatorOf(address(market)));
        vm.chainId(4242);
        vm.assertEq(market.DOMAIN_SEPARATOR(), separatorOf(address(market)));
    }

    function test_voucher() public view {
        bytes32 hash = Types.hashVoucher(
            _word(".voucher.message.jobId"),
            _address(".voucher.message.provider"),
            uint128(_number(".voucher.message.amount"))
        );
        _check(hash, ".voucher");
    }

    function test_consent() public view {
        bytes32 hash = Types.hashConsent(
            _word(".consent.message.jobId"), uint128(_number(".consent.message.total"))
        );
        _check(hash, ".consent");
    }

    function test_nodeBinding() public view {
        bytes32 hash = Types.hashNodeBinding(
            _address(".nodeBinding.message.operator"), _number(".nodeBinding.message.nonce")
        );
        _check(hash, ".nodeBinding");
    }

    function test_attestation() public view {
        Types.Attestation memory a;
        a.jobId = _word(".attestation.message.jobId");
        a.subtask = _word(".attestation.message.subtask");
        a.attempt = uint32(_number(".attestation.message.attempt"));
        a.inputsRoot = _word(".attestation.message.inputsRoot");
        a.outputsRoot = _word(".attestation.message.outputsRoot");
        a.trajectoryRoot = _word(".attestation.message.trajectoryRoot");
        a.stage = _text(".attestation.message.stage");
        a.stageVersion = uint32(_number(".attestation.message.stageVersion"));
        a.modelHash = _word(".attestation.message.modelHash");
        a.deviceClass = _text(".attestation.message.deviceClass");
        a.startedAt = uint64(_number(".attestation.message.startedAt"));
        a.finishedAt = uint64(_number(".attestation.message.finishedAt"));
        _check(Types.hashAttestation(a), ".attestation");
    }

    function test_sumTrees() public view {
        string memory trees = vm.readFile("test/vectors/sum_tree.json");
        string[5] memory names = [".one", ".two", ".three", ".four", ".seven"];
        for (uint256 i; i < names.length; ++i) {
            address[] memory providers =
                vm.parseJsonAddressArray(trees, string.concat(names[i], ".providers"));
            uint256[] memory caps = vm.parseJsonUintArray(trees, string.concat(names[i], ".caps"));
            SumTree.Leaf[] memory leaves = new SumTree.Leaf[](caps.length);
            for (uint256 j; j < caps.length; ++j) {
                leaves[j] = SumTree.Leaf(providers[j], uint128(caps[j]));
            }
            (bytes32 root, uint128 sum) = SumTree.rootOf(leaves);
            vm.assertEq(root, vm.parseJsonBytes32(trees, string.concat(names[i], ".root")));
            vm.assertEq(sum, vm.parseJsonUint(trees, string.concat(names[i], ".sum")));
        }
    }

    function _check(bytes32 structHash, string memory key) private view {
        bytes32 digest = Types.digest(separator, structHash);
        vm.assertEq(digest, _word(string.concat(key, ".digest")));
        bytes memory signature = vm.parseJsonBytes(json, string.concat(key, ".signature"));
        (bytes32 r, bytes32 vs) = compact(_number(".key"), digest);
        bytes32 s = (vs << 1) >> 1;
        vm.assertEq(signature, abi.encodePacked(r, s, uint8(27 + (uint256(vs) >> 255))));
    }

    function _word(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, key);
    }

    function _number(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, key);
    }

    function _address(string memory key) private view returns (address) {
        return vm.parseJsonAddress(json, key);
    }

    function _text(string memory key) private view returns (string memory) {
        return vm.parseJsonString(json, key);
    }
}
