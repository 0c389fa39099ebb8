// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "solady/utils/EIP712.sol";
import {IMarket, Payout, State, Terms} from "./interfaces/IMarket.sol";
import {Jobs} from "./libraries/Jobs.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {SumTree} from "./libraries/SumTree.sol";
import {Types} from "./libraries/Types.sol";
import {Ledger} from "./Ledger.sol";

/// @title Market
/// @notice See IMarket. A job takes one storage slot, which holds a commitment; callers pass the
/// terms in calldata. The slot is cleared when the job closes.
contract Market is Ledger, EIP712 {
    /// @notice Longest time from posting to deadline: catches milliseconds given for seconds.
    uint256 public constant MAX_DURATION = 90 days;
    /// @notice Longest claim window.
    uint256 public constant MAX_CLAIM_WINDOW = 30 days;

    /// @inheritdoc IMarket
    mapping(bytes32 jobId => bytes32) public commitmentOf;
    /// @inheritdoc IMarket
    mapping(bytes32 jobId => mapping(address provider => uint256)) public paidOf;
    /// @inheritdoc IMarket
    mapping(bytes32 jobId => uint256) public claimedOf;

    constructor(address token) Ledger(token) {}

    /// @inheritdoc IMarket
    function post(
        bytes32 specHash,
        uint128 budget,
        uint64 deadline,
        uint64 claimWindow,
        address coordinator,
        address asset
    ) external payable returns (bytes32 jobId) {
        if (budget == 0) revert ZeroAmount();
        if (coordinator == address(0)) revert ZeroAddress();
        if (!_isAsset(asset)) revert UnknownAsset(asset);
        if (deadline <= block.timestamp || deadline > block.timestamp + MAX_DURATION) {
            revert BadDeadline(deadline);
        }
        if (claimWindow == 0 || claimWindow > MAX_CLAIM_WINDOW) revert BadClaimWindow(claimWindow);
        uint64 nonce = _escrow(asset, budget);
        jobId = Jobs.id(
            Terms({
                buyer: msg.sender,
                nonce: nonce,
                coordinator: coordinator,
                asset: asset,
                budget: budget,
                deadline: deadline,
                claimWindow: claimWindow,
                specHash: specHash
            })
        );
        commitmentOf[jobId] = Jobs.OPEN;
        emit JobPosted(
            jobId, msg.sender, coordinator, asset, budget, deadline, claimWindow, specHash, nonce
        );
    }

    /// @inheritdoc IMarket
    function award(Terms calldata terms, bytes32 root, uint128 sum) external {
        bytes32 jobId = _byCoordinator(terms);
        if (root == bytes32(0)) revert EmptyRoot();
        if (sum > terms.budget) revert SumAboveBudget(sum, terms.budget);
        if (commitmentOf[jobId] != Jobs.OPEN) revert JobNotOpen();
        commitmentOf[jobId] = Jobs.commitment(root, sum, false);
        emit Awarded(jobId, root, sum);
    }

    /// @inheritdoc IMarket
    function amend(
        Terms calldata terms,
        SumTree.Leaf[] calldata oldLeaves,
        SumTree.Leaf[] calldata newLeaves
    ) external {
        bytes32 jobId = _byCoordinator(terms);
        (bytes32 root, uint128 sum) = SumTree.rootOf(oldLeaves);
        _expect(jobId, Jobs.commitment(root, sum, false));
        Jobs.requireNoneLowered(oldLeaves, newLeaves);
        (root, sum) = SumTree.rootOf(newLeaves);
        if (sum > terms.budget) revert SumAboveBudget(sum, terms.budget);
        commitmentOf[jobId] = Jobs.commitment(root, sum, false);
        emit Amended(jobId, root, sum, Jobs.packLeaves(newLeaves));
    }

    /// @inheritdoc IMarket
    function settle(Terms calldata terms, Payout[] calldata payouts, bytes32 attestationsRoot)
        external
    {
        bytes32 jobId = _byCoordinator(terms);
        {
            (bytes32 root, uint128 sum) = Jobs.rootOf(payouts);
            _expect(jobId, Jobs.commitment(root, sum, false));
        }
        (uint256 paid, uint256 held) = _pay(terms.asset, jobId, payouts);
        // paid + held <= sum <= budget, the latter since the award.
        uint256 refunded = terms.budget - paid - held;
        if (refunded != 0) _credit(terms.asset, terms.buyer, refunded);
        emit Settled(
            jobId, attestationsRoot, uint128(paid), uint128(refunded), Jobs.packTotals(payouts)
        );
        if (held == 0) delete commitmentOf[jobId];
        else _lock(jobId, payouts, uint128(held));
    }

    /// @inheritdoc IMarket
    function claim(
        Terms calldata terms,
        bool settled,
        SumTree.Leaf calldata leaf,
        SumTree.Step[] calldata proof,
        uint128 amount,
        bytes32 r,
        bytes32 vs
    ) external {
        bytes32 jobId = Jobs.id(terms);
        {
            (bytes32 root, uint128 sum) = SumTree.climb(leaf, proof);
            _expect(jobId, Jobs.commitment(root, sum, settled));
        }
        if (!settled && block.timestamp <= terms.deadline) revert ClaimNotOpen();
        if (block.timestamp > Jobs.claimEnd(terms)) revert ClaimClosed();
        bytes32 digest = _hashTypedData(Types.hashVoucher(jobId, leaf.provider, amount));
        if (!Signatures.isFrom(terms.coordinator, digest, r, vs)) revert BadVoucher();

        uint256 due = amount < leaf.cap ? amount : leaf.cap;
        uint256 before = paidOf[jobId][leaf.provider];
        if (due <= before) revert NothingToClaim();
        uint256 pay = due - before;
        paidOf[jobId][leaf.provider] = due;
        claimedOf[jobId] += pay;
        _credit(terms.asset, leaf.provider, pay);
        emit Claimed(jobId, leaf.provider, uint128(pay));
    }

    /// @inheritdoc IMarket
    function cancel(Terms calldata terms) external {
        if (msg.sender != terms.buyer && msg.sender != terms.coordinator) {
            revert NotBuyerOrCoordinator();
        }
        bytes32 jobId = Jobs.id(terms);
        if (commitmentOf[jobId] != Jobs.OPEN) revert JobNotOpen();
        delete commitmentOf[jobId];
        _credit(terms.asset, terms.buyer, terms.budget);
        emit Cancelled(jobId, terms.budget);
    }

    /// @inheritdoc IMarket
    function refund(Terms calldata terms, State calldata state) external {
        bytes32 jobId = Jobs.id(terms);
        bool open = state.root == bytes32(0);
        _expect(jobId, open ? Jobs.OPEN : Jobs.commitment(state.root, state.sum, state.settled));
        if (block.timestamp <= (open ? terms.deadline : Jobs.claimEnd(terms))) {
            revert RefundNotOpen();
        }
        delete commitmentOf[jobId];
        // An open job's state is not in its commitment: only what the terms say may count.
        uint256 pot = !open && state.settled ? state.sum : terms.budget;
        uint256 rest = pot - claimedOf[jobId];
        _credit(terms.asset, terms.buyer, rest);
        emit Refunded(jobId, uint128(rest));
    }

    /// @inheritdoc IMarket
    function jobIdOf(Terms calldata terms) external view returns (bytes32) {
        return Jobs.id(terms);
    }

    /// @notice EIP-712 domain separator, for signers that want to check theirs.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparator();
    }

    /// @dev Takes the budget from the sender's credit (coins sent along first join it), and a nonce.
    function _escrow(address asset, uint128 budget) private returns (uint64 nonce) {
        Account storage account = _accounts[msg.sender];
        nonce = account.nonce;
        if (asset != address(0)) {
            if (msg.value != 0) revert ValueWithToken();
            _debit(asset, msg.sender, budget);
            account.nonce = nonce + 1;
            return nonce;
        }
        uint256 available = account.balance + msg.value;
        if (available < budget) revert InsufficientCredit(available, budget);
        // One write for both fields. The supply of no native coin comes near 2^128.
        _accounts[msg.sender] = Account(uint128(available - budget), nonce + 1);
        if (msg.value != 0) emit Deposited(address(0), msg.sender, msg.value);
    }

    /// @dev Credits every payout; returns what was paid and what must stay for later claims.
    function _pay(address asset, bytes32 jobId, Payout[] calldata payouts)
        private
        returns (uint256 paid, uint256 held)
    {
        bytes32 separator = _domainSeparator();
        for (uint256 i; i < payouts.length; ++i) {
            Payout calldata p = payouts[i];
            if (p.total > p.cap) revert TotalAboveCap(p.provider);
            if (Jobs.hasConsent(p)) {
                bytes32 digest = Types.digest(separator, Types.hashConsent(jobId, p.total));
                if (!Signatures.isFrom(p.provider, digest, p.r, p.vs)) {
                    revert BadConsent(p.provider);
                }
            } else {
                held += p.cap - p.total;
            }
            paid += p.total;
            if (p.total != 0) _credit(asset, p.provider, p.total);
        }
    }

    /// @dev Keeps a tree over the leaves that may still claim, each already paid its total.
    function _lock(bytes32 jobId, Payout[] calldata payouts, uint128 held) private {
        uint256 already;
        for (uint256 i; i < payouts.length; ++i) {
            Payout calldata p = payouts[i];
            if (p.total == 0 || p.total == p.cap || Jobs.hasConsent(p)) continue;
            already += p.total;
            paidOf[jobId][p.provider] = p.total;
        }
        if (already != 0) claimedOf[jobId] = already;
        SumTree.Leaf[] memory leaves = Jobs.openLeaves(payouts);
        (bytes32 root, uint128 sum) = SumTree.rootOf(leaves);
        commitmentOf[jobId] = Jobs.commitment(root, sum, true);
        emit Locked(jobId, root, sum, held, Jobs.packLeaves(leaves));
    }

    function _byCoordinator(Terms calldata terms) private view returns (bytes32) {
        if (msg.sender != terms.coordinator) revert NotCoordinator();
        if (block.timestamp > terms.deadline) revert DeadlinePassed();
        return Jobs.id(terms);
    }

    function _expect(bytes32 jobId, bytes32 commitment) private view {
        if (commitmentOf[jobId] != commitment) revert StateMismatch();
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
