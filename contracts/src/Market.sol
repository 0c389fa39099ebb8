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
/// @notice See IMarket. A job takes one storage slot, its lane, which holds a commitment; callers
/// pass the terms in calldata. When the job closes, the lane is free for its buyer's next job.
contract Market is Ledger, EIP712 {
    /// @notice Longest time from posting to deadline: catches milliseconds given for seconds.
    uint256 public constant MAX_DURATION = 90 days;
    /// @notice Longest claim window.
    uint256 public constant MAX_CLAIM_WINDOW = 30 days;
    /// @dev Jobs of one buyer that fit a nonce beside the lane.
    uint64 private constant MAX_JOBS = type(uint48).max;

    mapping(uint256 lane => bytes32) private _lanes;
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
        address asset,
        uint16 lane
    ) external payable returns (bytes32 jobId) {
        if (budget == 0) revert ZeroAmount();
        if (coordinator == address(0)) revert ZeroAddress();
        if (!_isAsset(asset)) revert UnknownAsset(asset);
        if (deadline <= block.timestamp || deadline > block.timestamp + MAX_DURATION) {
            revert BadDeadline(deadline);
        }
        if (claimWindow == 0 || claimWindow > MAX_CLAIM_WINDOW) revert BadClaimWindow(claimWindow);
        uint64 nonce = (_escrow(asset, budget) << 16) | lane;
        jobId = Jobs.idOf(
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
        uint256 key = Jobs.lane(msg.sender, nonce);
        if (uint256(_lanes[key]) > uint256(Jobs.CLOSED)) revert LaneBusy(lane);
        _lanes[key] = jobId;
        emit JobPosted(
            jobId, msg.sender, coordinator, asset, budget, deadline, claimWindow, specHash, nonce
        );
    }

    /// @inheritdoc IMarket
    function award(Terms calldata terms, bytes32 root, uint128 sum) external {
        bytes32 jobId = _byCoordinator(terms);
        if (root == bytes32(0)) revert EmptyRoot();
        if (sum > terms.budget) revert SumAboveBudget(sum, terms.budget);
        uint256 lane = _laneIn(terms, jobId);
        _lanes[lane] = Jobs.commitment(jobId, root, sum, false);
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
        uint256 lane = _laneIn(terms, Jobs.commitment(jobId, root, sum, false));
        Jobs.requireNoneLowered(oldLeaves, newLeaves);
        (root, sum) = SumTree.rootOf(newLeaves);
        if (sum > terms.budget) revert SumAboveBudget(sum, terms.budget);
        _lanes[lane] = Jobs.commitment(jobId, root, sum, false);
        emit Amended(jobId, root, sum, Jobs.packLeaves(newLeaves));
    }

    /// @inheritdoc IMarket
    function settle(Terms calldata terms, Payout[] calldata payouts, bytes32 attestationsRoot)
        external
    {
        bytes32 jobId = _byCoordinator(terms);
        (bytes32 root, uint128 sum) = Jobs.rootOf(payouts);
        uint256 lane = _laneIn(terms, Jobs.commitment(jobId, root, sum, false));
        (uint256 paid, uint256 held) = _pay(terms.asset, jobId, payouts);
        // paid + held <= sum <= budget, the latter since the award.
        uint256 refunded = terms.budget - paid - held;
        if (refunded != 0) _credit(terms.asset, terms.buyer, refunded);
        emit Settled(
            jobId, attestationsRoot, uint128(paid), uint128(refunded), Jobs.packTotals(payouts)
        );
        _lanes[lane] = held == 0 ? Jobs.CLOSED : _lock(jobId, payouts, uint128(held));
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
            _laneIn(terms, Jobs.commitment(jobId, root, sum, settled));
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
        _lanes[_laneIn(terms, jobId)] = Jobs.CLOSED;
        _credit(terms.asset, terms.buyer, terms.budget);
        emit Cancelled(jobId, terms.budget);
    }

    /// @inheritdoc IMarket
    function refund(Terms calldata terms, State calldata state) external {
        bytes32 jobId = Jobs.id(terms);
        bool open = state.root == bytes32(0);
        uint256 lane = _laneIn(
            terms, open ? jobId : Jobs.commitment(jobId, state.root, state.sum, state.settled)
        );
        if (block.timestamp <= (open ? terms.deadline : Jobs.claimEnd(terms))) {
            revert RefundNotOpen();
        }
        _lanes[lane] = Jobs.CLOSED;
        // An open job's commitment does not cover `state`: only what the terms say may count.
        uint256 pot = !open && state.settled ? state.sum : terms.budget;
        uint256 rest = pot - claimedOf[jobId];
        if (rest != 0) _credit(terms.asset, terms.buyer, rest);
        emit Refunded(jobId, uint128(rest));
    }

    /// @inheritdoc IMarket
    function jobIdOf(Terms calldata terms) external view returns (bytes32) {
        return Jobs.id(terms);
    }

    /// @inheritdoc IMarket
    function commitmentOf(address buyer, uint64 nonce) external view returns (bytes32) {
        return _lanes[Jobs.lane(buyer, nonce)];
    }

    /// @inheritdoc IMarket
    function nextNonce(address buyer) external view returns (uint64) {
        for (uint256 lane; lane <= type(uint16).max; ++lane) {
            if (uint256(_lanes[Jobs.lane(buyer, uint64(lane))]) <= uint256(Jobs.CLOSED)) {
                return (uint64(_accounts[buyer] >> 128) << 16) | uint64(lane);
            }
        }
        revert LaneBusy(type(uint16).max);
    }

    /// @notice EIP-712 domain separator, for signers that want to check theirs.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparator();
    }

    /// @dev Takes the budget from the sender's credit (coins sent along first join it), and counts
    /// the job; returns how many the sender had posted before.
    function _escrow(address asset, uint128 budget) private returns (uint64 jobs) {
        uint256 account = _accounts[msg.sender];
        jobs = uint64(account >> 128);
        if (jobs >= MAX_JOBS) revert TooManyJobs();
        account += 1 << 128;
        if (asset == address(0)) {
            uint256 available = uint128(account) + msg.value;
            if (available < budget) revert InsufficientCredit(available, budget);
            account = account + msg.value - budget;
            if (msg.value != 0) emit Deposited(address(0), msg.sender, msg.value);
        } else {
            if (msg.value != 0) revert ValueWithToken();
            _debit(asset, msg.sender, budget);
        }
        _accounts[msg.sender] = account;
    }

    /// @dev Credits every payout; returns what was paid and what must stay for later claims.
    function _pay(address asset, bytes32 jobId, Payout[] calldata payouts)
        private
        returns (uint256 paid, uint256 held)
    {
        bytes32 separator = _domainSeparator();
        for (uint256 i; i < payouts.length; ++i) {
            Payout calldata p = payouts[i];
            (address provider, uint128 cap, uint128 total) = (p.provider, p.cap, p.total);
            if (total > cap) revert TotalAboveCap(provider);
            (bytes32 r, bytes32 vs) = (p.r, p.vs);
            if (r | vs == bytes32(0)) {
                unchecked {
                    held += cap - total; // both sums stay within the tree's, which fits uint128
                }
            } else {
                bytes32 digest = Types.digest(separator, Types.hashConsent(jobId, total));
                if (!Signatures.isFrom(provider, digest, r, vs)) revert BadConsent(provider);
            }
            unchecked {
                paid += total;
            }
            if (total != 0) _credit(asset, provider, total);
        }
    }

    /// @dev Makes a tree over the leaves that may still claim, each already paid its total.
    function _lock(bytes32 jobId, Payout[] calldata payouts, uint128 held)
        private
        returns (bytes32)
    {
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
        emit Locked(jobId, root, sum, held, Jobs.packLeaves(leaves));
        return Jobs.commitment(jobId, root, sum, true);
    }

    function _byCoordinator(Terms calldata terms) private view returns (bytes32) {
        if (msg.sender != terms.coordinator) revert NotCoordinator();
        if (block.timestamp > terms.deadline) revert DeadlinePassed();
        return Jobs.id(terms);
    }

    /// @dev The job's lane, which must hold `expected`.
    function _laneIn(Terms calldata terms, bytes32 expected) private view returns (uint256 lane) {
        lane = Jobs.lane(terms.buyer, terms.nonce);
        if (_lanes[lane] != expected) revert StateMismatch();
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
