// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Payout, Terms} from "../src/interfaces/IMarket.sol";
import {Market} from "../src/Market.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {Types} from "../src/libraries/Types.sol";
import {TestToken} from "../src/TestToken.sol";

/// @notice The cheatcodes of foundry's test machine that these tests use.
interface Vm {
    function warp(uint256 timestamp) external;
    function chainId(uint256 id) external;
    function deal(address account, uint256 balance) external;
    function prank(address sender) external;
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function expectRevert(bytes calldata data) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectEmit(address emitter) external;
    function assume(bool condition) external pure;
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonBytes(string calldata json, string calldata key)
        external
        pure
        returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key)
        external
        pure
        returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key)
        external
        pure
        returns (bytes32[] memory);
    function parseJsonAddress(string calldata json, string calldata key)
        external
        pure
        returns (address);
    function parseJsonAddressArray(string calldata json, string calldata key)
        external
        pure
        returns (address[] memory);
    function parseJsonUint(string calldata json, string calldata key)
        external
        pure
        returns (uint256);
    function parseJsonUintArray(string calldata json, string calldata key)
        external
        pure
        returns (uint256[] memory);
    function parseJsonString(string calldata json, string calldata key)
        external
        pure
        returns (string memory);
    function assertEq(uint256 a, uint256 b) external pure;
    function assertEq(uint256 a, uint256 b, string calldata why) external pure;
    function assertEq(address a, address b) external pure;
    function assertEq(bytes32 a, bytes32 b) external pure;
    function assertEq(bytes calldata a, bytes calldata b) external pure;
    function assertTrue(bool ok) external pure;
    function assertTrue(bool ok, string calldata why) external pure;
    function assertLe(uint256 a, uint256 b, string calldata why) external pure;
}

/// @notice A market with a token, a buyer, its coordinator and keys for providers.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant COORDINATOR_KEY = 0xC0FFEE;
    uint128 internal constant BUDGET = 1 ether;
    bytes32 internal constant SPEC = keccak256("spec");
    bytes32 internal constant ATTESTATIONS = keccak256("attestations");

    Market internal market;
    TestToken internal token;
    address internal buyer = address(0xB0B);
    address internal coordinator;
    /// Sorted by the address that each has.
    uint256[] internal keys;

    function setUp() public virtual {
        vm.warp(START);
        token = new TestToken();
        market = new Market(address(token));
        coordinator = vm.addr(COORDINATOR_KEY);
        _makeKeys(6);
        vm.deal(buyer, 100 ether);
        vm.prank(buyer);
        market.deposit{value: 10 ether}();
    }

    function _makeKeys(uint256 n) private {
        for (uint256 i; i < n; ++i) {
            keys.push(0x1000 + i);
            for (uint256 j = i; j > 0 && vm.addr(keys[j - 1]) > vm.addr(keys[j]); --j) {
                (keys[j - 1], keys[j]) = (keys[j], keys[j - 1]);
            }
        }
    }

    function provider(uint256 i) internal view returns (address) {
        return vm.addr(keys[i]);
    }

    function idOf(Terms memory terms) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(market), terms));
    }

    function post(uint128 budget) internal returns (Terms memory terms) {
        return post(address(0), budget);
    }

    function post(address asset, uint128 budget) internal returns (Terms memory terms) {
        terms = Terms({
            buyer: buyer,
            nonce: market.nextNonce(buyer),
            coordinator: coordinator,
            asset: asset,
            budget: budget,
            deadline: uint64(block.timestamp + 1 hours),
            claimWindow: 2 hours,
            specHash: SPEC
        });
        vm.prank(buyer);
        bytes32 id = market.post(
            SPEC, budget, terms.deadline, terms.claimWindow, coordinator, asset, uint16(terms.nonce)
        );
        vm.assertEq(id, idOf(terms));
    }

    /// @dev `n` leaves with these caps, rising by one wei each.
    function leavesOf(uint256 n, uint128 cap) internal view returns (SumTree.Leaf[] memory leaves) {
        leaves = new SumTree.Leaf[](n);
        for (uint256 i; i < n; ++i) {
            leaves[i] = SumTree.Leaf(provider(i), cap + uint128(i));
        }
    }

    function award(Terms memory terms, SumTree.Leaf[] memory leaves) internal {
        (bytes32 root, uint128 sum) = referenceRoot(leaves);
        vm.prank(coordinator);
        market.award(terms, root, sum);
    }

    /// @dev Payouts of `total` each, with consents where `consenting`.
    function payoutsOf(
        Terms memory terms,
        SumTree.Leaf[] memory leaves,
        uint128 total,
        bool consenting
    ) internal view returns (Payout[] memory payouts) {
        payouts = new Payout[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) {
            payouts[i] = Payout(leaves[i].provider, leaves[i].cap, total, 0, 0);
            if (consenting) {
                (payouts[i].r, payouts[i].vs) = consent(terms, keys[i], total);
            }
        }
    }

    function settle(Terms memory terms, Payout[] memory payouts) internal {
        vm.prank(coordinator);
        market.settle(terms, payouts, ATTESTATIONS);
    }

    function claim(
        Terms memory terms,
        bool settled,
        SumTree.Leaf[] memory leaves,
        uint256 i,
        uint128 amount
    ) internal {
        (bytes32 r, bytes32 vs) = voucher(terms, leaves[i].provider, amount);
        market.claim(terms, settled, leaves[i], proofOf(leaves, i), amount, r, vs);
    }

    function consent(Terms memory terms, uint256 key, uint128 total)
        internal
        view
        returns (bytes32 r, bytes32 vs)
    {
        return signed(key, Types.hashConsent(idOf(terms), total));
    }

    function voucher(Terms memory terms, address to, uint128 amount)
        internal
        view
        returns (bytes32 r, bytes32 vs)
    {
        return signed(COORDINATOR_KEY, Types.hashVoucher(idOf(terms), to, amount));
    }

    function signed(uint256 key, bytes32 structHash) internal view returns (bytes32 r, bytes32 vs) {
        return compact(key, Types.digest(separatorOf(address(market)), structHash));
    }

    function compact(uint256 key, bytes32 digest) internal pure returns (bytes32 r, bytes32 vs) {
        uint8 v;
        bytes32 s;
        (v, r, s) = vm.sign(key, digest);
        vs = s | bytes32(uint256(v - 27) << 255);
    }

    function separatorOf(address verifier) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        );
        return keccak256(
            abi.encode(typeHash, keccak256("reelmesh"), keccak256("1"), block.chainid, verifier)
        );
    }

    /// @dev The sum tree once more, written as its definition reads.
    function referenceRoot(SumTree.Leaf[] memory leaves)
        internal
        pure
        returns (bytes32 root, uint128 sum)
    {
        (bytes32[] memory hashes, uint128[] memory sums) = hashed(leaves);
        for (uint256 n = leaves.length; n > 1; n = (n + 1) / 2) {
            foldLevel(hashes, sums, n);
        }
        return (hashes[0], sums[0]);
    }

    function proofOf(SumTree.Leaf[] memory leaves, uint256 index)
        internal
        pure
        returns (SumTree.Step[] memory proof)
    {
        (bytes32[] memory hashes, uint128[] memory sums) = hashed(leaves);
        SumTree.Step[] memory steps = new SumTree.Step[](16);
        uint256 count;
        for (uint256 n = leaves.length; n > 1; n = (n + 1) / 2) {
            uint256 sibling = index ^ 1;
            if (sibling < n) {
                steps[count++] = SumTree.Step(hashes[sibling], sums[sibling], sibling < index);
            }
            foldLevel(hashes, sums, n);
            index /= 2;
        }
        proof = new SumTree.Step[](count);
        for (uint256 i; i < count; ++i) {
            proof[i] = steps[i];
        }
    }

    function hashed(SumTree.Leaf[] memory leaves)
        private
        pure
        returns (bytes32[] memory hashes, uint128[] memory sums)
    {
        hashes = new bytes32[](leaves.length);
        sums = new uint128[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) {
            sums[i] = leaves[i].cap;
            hashes[i] = keccak256(abi.encodePacked(hex"00", leaves[i].provider, leaves[i].cap));
        }
    }

    function foldLevel(bytes32[] memory hashes, uint128[] memory sums, uint256 n) private pure {
        for (uint256 i; i < n; i += 2) {
            if (i + 1 == n) {
                (hashes[i / 2], sums[i / 2]) = (hashes[i], sums[i]);
            } else {
                hashes[i / 2] = keccak256(
                    abi.encodePacked(hex"01", hashes[i], sums[i], hashes[i + 1], sums[i + 1])
                );
                sums[i / 2] = sums[i] + sums[i + 1];
            }
        }
    }
}
