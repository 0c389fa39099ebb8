// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumTree} from "../libraries/SumTree.sol";

/// @notice What a buyer fixes when it posts a job. Its hash, with chain and market, is the job's id,
/// so nobody can act on a job under other terms and the contract need not store them.
struct Terms {
    /// Who pays, and whom every refund goes to.
    address buyer;
    /// The buyer's number for this job, never used twice: its count of jobs, then 16 bits of lane.
    uint64 nonce;
    /// Who awards and settles, and whose key signs vouchers. May be the buyer.
    address coordinator;
    /// address(0) for the native coin, otherwise the market's token.
    address asset;
    /// Coins put in escrow, in the asset's smallest unit.
    uint128 budget;
    /// Last second (inclusive) at which the coordinator may award or settle.
    uint64 deadline;
    /// Seconds after the deadline during which providers may still claim alone.
    uint64 claimWindow;
    /// Hash of the canonical job spec.
    bytes32 specHash;
}

/// @notice What has been committed about a job since it was posted; its hash is all that is stored.
struct State {
    /// Sum tree root over the leaves that may still be paid; zero while nothing is awarded.
    bytes32 root;
    /// The tree's sum: at most what those leaves may be paid over the job's whole life.
    uint128 sum;
    /// Whether the coordinator has settled and only unconsented leaves are left.
    bool settled;
}

/// @notice One line of a settlement: an award's leaf and what it is paid in all.
struct Payout {
    address provider;
    /// As awarded.
    uint128 cap;
    /// Whole pay, at most `cap`.
    uint128 total;
    /// The provider's signed Consent to `total`, EIP-2098 form; both zero where there is none.
    bytes32 r;
    bytes32 vs;
}

/// @title Escrow and settlement of video generation jobs.
/// @notice Nobody owns it, nothing can be upgraded or paused, and every coin in it is either the
/// credit of one account or held by one job.
interface IMarket {
    event Deposited(address indexed asset, address indexed account, uint256 amount);
    event Withdrawn(
        address indexed asset, address indexed account, address indexed to, uint256 amount
    );
    event JobPosted(
        bytes32 indexed jobId,
        address indexed buyer,
        address indexed coordinator,
        address asset,
        uint128 budget,
        uint64 deadline,
        uint64 claimWindow,
        bytes32 specHash,
        uint64 nonce
    );
    event Awarded(bytes32 indexed jobId, bytes32 root, uint128 sum);
    /// @dev `leaves` packs provider (20 bytes) and cap (16 bytes) for every new leaf, so that each
    /// provider can make its new proof whether or not the coordinator cares to send it.
    event Amended(bytes32 indexed jobId, bytes32 root, uint128 sum, bytes leaves);
    /// @dev paid + refunded + (what `Locked` holds) = budget. `payouts` packs provider (20 bytes)
    /// and total (16 bytes, big endian) for every leaf, in the tree's order.
    event Settled(
        bytes32 indexed jobId,
        bytes32 attestationsRoot,
        uint128 paid,
        uint128 refunded,
        bytes payouts
    );
    /// @dev Follows `Settled` where providers did not consent: the tree that they may claim under,
    /// its leaves packed as in `Amended`.
    event Locked(bytes32 indexed jobId, bytes32 root, uint128 sum, uint128 held, bytes leaves);
    event Claimed(bytes32 indexed jobId, address indexed provider, uint128 amount);
    event Cancelled(bytes32 indexed jobId, uint128 refunded);
    event Refunded(bytes32 indexed jobId, uint128 refunded);

    error ZeroAmount();
    error ZeroAddress();
    error UnknownAsset(address asset);
    error ValueWithToken();
    error InsufficientCredit(uint256 available, uint256 needed);
    error TokenSupplyTooLarge();
    error NativeTransferFailed();
    error BadDeadline(uint256 deadline);
    error BadClaimWindow(uint256 claimWindow);
    error NotCoordinator();
    error NotBuyerOrCoordinator();
    error LaneBusy(uint16 lane);
    error TooManyJobs();
    error StateMismatch();
    error EmptyRoot();
    error SumAboveBudget(uint256 sum, uint256 budget);
    error DeadlinePassed();
    error AwardLowered(address provider);
    error TotalAboveCap(address provider);
    error BadConsent(address provider);
    error BadVoucher();
    error ClaimNotOpen();
    error ClaimClosed();
    error NothingToClaim();
    error RefundNotOpen();

    /// @notice Adds the coins sent to the sender's credit.
    function deposit() external payable;

    /// @notice Moves up to `amount` tokens in and credits what really arrived.
    /// @return received What was credited; less than `amount` for a token that takes a fee.
    function depositToken(uint256 amount) external returns (uint256 received);

    /// @notice Pays `amount` of the sender's credit out to `to`.
    function withdraw(address asset, uint256 amount, address to) external;

    /// @notice Puts `budget` of the sender's credit in escrow; coins sent along are credited first.
    /// @param lane Which of the sender's 65536 lanes the job takes: one whose last job is closed.
    /// A lane that was used before is cheaper. `nextNonce` names the first free one.
    /// @return jobId Hash of the terms: see `jobIdOf`.
    function post(
        bytes32 specHash,
        uint128 budget,
        uint64 deadline,
        uint64 claimWindow,
        address coordinator,
        address asset,
        uint16 lane
    ) external payable returns (bytes32 jobId);

    /// @notice Coordinator, up to the deadline: commits who may earn how much at most.
    /// @param root Sum tree root over one leaf per provider. See `SumTree`.
    /// @param sum The tree's sum. A provider must check that its proof leads to root *and* sum.
    function award(Terms calldata terms, bytes32 root, uint128 sum) external;

    /// @notice Coordinator, up to the deadline: replaces the awards; no provider's cap may fall.
    function amend(
        Terms calldata terms,
        SumTree.Leaf[] calldata oldLeaves,
        SumTree.Leaf[] calldata newLeaves
    ) external;

    /// @notice Coordinator, up to the deadline: pays every award's leaf its total and refunds the
    /// rest, except what providers without a consent could still claim.
    function settle(Terms calldata terms, Payout[] calldata payouts, bytes32 attestationsRoot)
        external;

    /// @notice Anyone, for the provider of `leaf`: pays what a voucher promises beyond what was
    /// paid. Open from the deadline, or from settlement, to the end of the claim window.
    /// @param settled Whether the job is settled (the proof is then under `Locked`'s root).
    /// @param amount The voucher's cumulative amount; more than the cap pays the cap.
    /// @param r The coordinator's signature over Voucher(jobId, provider, amount), EIP-2098 form.
    /// @param vs As `r`.
    function claim(
        Terms calldata terms,
        bool settled,
        SumTree.Leaf calldata leaf,
        SumTree.Step[] calldata proof,
        uint128 amount,
        bytes32 r,
        bytes32 vs
    ) external;

    /// @notice Buyer or coordinator: ends a job that has no award; its budget returns at once.
    function cancel(Terms calldata terms) external;

    /// @notice Anyone: returns what is left to the buyer, after the deadline where nothing was
    /// awarded, otherwise after the claim window. Nothing is paid from the job after it.
    function refund(Terms calldata terms, State calldata state) external;

    /// @notice Credit of `account` in `asset` (address(0): native coin).
    function creditOf(address asset, address account) external view returns (uint256);

    /// @notice The nonce that the next job of `buyer` takes if it is posted to its first free lane,
    /// which is the nonce's low 16 bits.
    function nextNonce(address buyer) external view returns (uint64);

    /// @notice keccak256(abi.encode(chain id, this market, terms)).
    function jobIdOf(Terms calldata terms) external view returns (bytes32);

    /// @notice What the lane of that nonce holds. Zero: never used. One: its last job is closed. A
    /// job id: that job is open. Otherwise keccak256(abi.encode(job id, State)).
    function commitmentOf(address buyer, uint64 nonce) external view returns (bytes32);

    /// @notice Paid to `provider` by claims, and by a settlement that it did not consent to.
    function paidOf(bytes32 jobId, address provider) external view returns (uint256);

    /// @notice Sum of `paidOf` over the leaves that may still claim.
    function claimedOf(bytes32 jobId) external view returns (uint256);
}
