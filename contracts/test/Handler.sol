// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Payout, State, Terms} from "../src/interfaces/IMarket.sol";
import {Market} from "../src/Market.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import {Base} from "./Base.sol";

/// @notice Plays jobs at random, in both assets, keeps books of its own, and tries to cheat.
contract Handler is Base {
    enum Phase {
        Open,
        Awarded,
        Locked,
        Closed
    }

    struct Job {
        Terms terms;
        Phase phase;
        uint256 paid;
        uint256 refunded;
    }

    Job[] internal jobs;
    /// The leaves that may still be paid, by job.
    mapping(uint256 job => SumTree.Leaf[]) internal leavesAt;
    mapping(uint256 job => mapping(address provider => uint256)) public paidTo;
    mapping(uint256 job => mapping(address provider => uint256)) public capOf;
    mapping(address asset => uint256) public deposited;
    mapping(address asset => uint256) public withdrawn;
    /// Names what went through that must not; empty as long as all is well.
    string public broken;
    /// How often each move came about.
    mapping(string move => uint256) public done;

    function setUp() public override {
        super.setUp();
        deposited[address(0)] = 10 ether;
        token.mint(buyer, 10 ether);
        vm.prank(buyer);
        token.approve(address(market), 10 ether);
        vm.prank(buyer);
        market.depositToken(10 ether);
        deposited[address(token)] = 10 ether;
    }

    function theMarket() external view returns (Market, address) {
        return (market, address(token));
    }

    function count() external view returns (uint256) {
        return jobs.length;
    }

    function jobAt(uint256 i) external view returns (Job memory) {
        return jobs[i];
    }

    function accounts() public view returns (address[] memory all) {
        all = new address[](keys.length + 1);
        for (uint256 i; i < keys.length; ++i) {
            all[i] = provider(i);
        }
        all[keys.length] = buyer;
    }

    // ---- the ordinary moves

    function deposit(uint96 amount) external {
        uint256 sent = uint256(amount) % 1 ether + 1;
        vm.deal(buyer, sent);
        vm.prank(buyer);
        market.deposit{value: sent}();
        deposited[address(0)] += sent;
    }

    function withdraw(uint256 who, uint256 amount, bool native) external {
        address account = accounts()[who % (keys.length + 1)];
        address asset = native ? address(0) : address(token);
        uint256 credit = market.creditOf(asset, account);
        if (credit == 0) return;
        amount = amount % credit + 1;
        vm.prank(account);
        market.withdraw(asset, amount, address(0xD00D));
        withdrawn[asset] += amount;
        ++done["withdraw"];
    }

    function postJob(uint96 amount, bool native) external {
        address asset = native ? address(0) : address(token);
        uint256 credit = market.creditOf(asset, buyer);
        if (credit == 0) return;
        uint128 budget = uint128(uint256(amount) % (credit / 4 + 1)) + 1;
        jobs.push(Job(post(asset, budget), Phase.Open, 0, 0));
        ++done["post"];
    }

    function awardJob(uint256 pick, uint256 seed, uint8 size) external {
        (bool found, uint256 i) = _pick(pick, Phase.Open);
        if (!found || block.timestamp > jobs[i].terms.deadline) return;
        uint256 n = uint256(size) % keys.length + 1;
        _store(i, _randomLeaves(seed, n, jobs[i].terms.budget));
        award(jobs[i].terms, leavesAt[i]);
        jobs[i].phase = Phase.Awarded;
        ++done["award"];
    }

    function amendJob(uint256 pick, uint256 raise, uint8 which) external {
        (bool found, uint256 i) = _pick(pick, Phase.Awarded);
        if (!found || block.timestamp > jobs[i].terms.deadline) return;
        SumTree.Leaf[] memory old = leavesAt[i];
        SumTree.Leaf[] memory fresh = leavesAt[i];
        (, uint128 sum) = referenceRoot(old);
        uint256 room = jobs[i].terms.budget - sum;
        fresh[uint256(which) % fresh.length].cap += uint128(raise % (room + 1));
        vm.prank(coordinator);
        market.amend(jobs[i].terms, old, fresh);
        _store(i, fresh);
        ++done["amend"];
    }

    function settleJob(uint256 pick, uint256 seed, uint8 consents) external {
        (bool found, uint256 i) = _pick(pick, Phase.Awarded);
        if (!found || block.timestamp > jobs[i].terms.deadline) return;
        SumTree.Leaf[] memory all = leavesAt[i];
        Payout[] memory payouts = payoutsOf(jobs[i].terms, all, 0, false);
        uint256 held;
        delete leavesAt[i];
        for (uint256 j; j < all.length; ++j) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint128 total = uint128(seed % (uint256(all[j].cap) + 1));
            payouts[j].total = total;
            _book(i, all[j].provider, total);
            if (consents & (1 << j) != 0) {
                (payouts[j].r, payouts[j].vs) = consent(jobs[i].terms, keys[j], total);
            } else if (total < all[j].cap) {
                held += all[j].cap - total;
                leavesAt[i].push(all[j]);
            }
        }
        settle(jobs[i].terms, payouts);
        jobs[i].refunded = jobs[i].terms.budget - jobs[i].paid - held;
        jobs[i].phase = held == 0 ? Phase.Closed : Phase.Locked;
        ++done[held == 0 ? "settle" : "lock"];
    }

    function claimJob(uint256 pick, uint8 which, uint128 amount, bool locked) external {
        (bool found, uint256 i) = _pick(pick, locked ? Phase.Locked : Phase.Awarded);
        if (!found) return;
        Terms memory terms = jobs[i].terms;
        if (block.timestamp > uint256(terms.deadline) + terms.claimWindow) return;
        if (!locked && block.timestamp <= terms.deadline) return;
        SumTree.Leaf[] memory open = leavesAt[i];
        uint256 j = uint256(which) % open.length;
        amount = uint128(uint256(amount) % (uint256(open[j].cap) * 2 + 1));
        uint256 due = amount < open[j].cap ? amount : open[j].cap;
        if (due <= paidTo[i][open[j].provider]) {
            _mustFail(i, j, amount, locked, "a spent voucher was paid");
            return;
        }
        claim(terms, locked, open, j, amount);
        _book(i, open[j].provider, due - paidTo[i][open[j].provider]);
        _mustFail(i, j, amount, locked, "a voucher was paid twice");
        ++done["claim"];
    }

    function endJob(uint256 pick, uint8 how) external {
        Phase phase = Phase(how % 3);
        (bool found, uint256 i) = _pick(pick, phase);
        if (!found) return;
        Terms memory terms = jobs[i].terms;
        if (phase == Phase.Open && block.timestamp > terms.deadline) {
            // Sum and flag of a state that nothing commits to must count for nothing.
            market.refund(terms, State(0, type(uint128).max, true));
        } else if (phase == Phase.Open) {
            vm.prank(buyer);
            market.cancel(terms);
        } else {
            if (block.timestamp <= uint256(terms.deadline) + terms.claimWindow) return;
            market.refund(terms, _state(i));
        }
        jobs[i].refunded = terms.budget - jobs[i].paid;
        jobs[i].phase = Phase.Closed;
        ++done["end"];
    }

    function pass(uint32 time) external {
        vm.warp(block.timestamp + uint256(time) % 3 hours);
    }

    // ---- cheating

    /// @dev A closed job must refuse everything, also when its lane has been taken again.
    function haunt(uint256 pick, uint256 seed) external {
        (bool found, uint256 i) = _pick(pick, Phase.Closed);
        if (!found) return;
        Terms memory terms = jobs[i].terms;
        SumTree.Leaf[] memory made = _randomLeaves(seed, 2, terms.budget);
        if (leavesAt[i].length != 0) made = leavesAt[i];
        (bytes32 root, uint128 sum) = referenceRoot(made);
        Payout[] memory payouts = payoutsOf(terms, made, made[0].cap, false);
        (bytes32 r, bytes32 vs) = voucher(terms, made[0].provider, made[0].cap);
        SumTree.Step[] memory proof = proofOf(made, 0);
        uint128 cap = made[0].cap;
        _try(abi.encodeCall(Market.award, (terms, root, sum)), "awarded after its end");
        _try(abi.encodeCall(Market.settle, (terms, payouts, root)), "settled after its end");
        _try(abi.encodeCall(Market.amend, (terms, made, made)), "amended after its end");
        _try(abi.encodeCall(Market.cancel, (terms)), "cancelled after its end");
        for (uint256 flag; flag < 2; ++flag) {
            bool settled = flag == 1;
            bytes memory data =
                abi.encodeCall(Market.claim, (terms, settled, made[0], proof, cap, r, vs));
            _try(data, "claimed after its end");
            State memory state = State(root, sum, settled);
            _try(abi.encodeCall(Market.refund, (terms, state)), "refunded after its end");
        }
        State memory none = State(0, type(uint128).max, true);
        _try(abi.encodeCall(Market.refund, (terms, none)), "refunded from nothing");
        ++done["haunt"];
    }

    function _try(bytes memory data, string memory what) private {
        vm.prank(coordinator);
        (bool ok,) = address(market).call(data);
        if (ok) broken = what;
    }

    function _mustFail(uint256 i, uint256 j, uint128 amount, bool settled, string memory what)
        private
    {
        SumTree.Leaf[] memory open = leavesAt[i];
        (bytes32 r, bytes32 vs) = voucher(jobs[i].terms, open[j].provider, amount);
        SumTree.Step[] memory proof = proofOf(open, j);
        _try(
            abi.encodeCall(Market.claim, (jobs[i].terms, settled, open[j], proof, amount, r, vs)),
            what
        );
    }

    // ---- the books

    function _book(uint256 i, address to, uint256 amount) private {
        paidTo[i][to] += amount;
        jobs[i].paid += amount;
    }

    function _store(uint256 i, SumTree.Leaf[] memory leaves) private {
        delete leavesAt[i];
        for (uint256 j; j < leaves.length; ++j) {
            leavesAt[i].push(leaves[j]);
            capOf[i][leaves[j].provider] = leaves[j].cap;
        }
    }

    function _state(uint256 i) private view returns (State memory) {
        (bytes32 root, uint128 sum) = referenceRoot(leavesAt[i]);
        return State(root, sum, jobs[i].phase == Phase.Locked);
    }

    function _pick(uint256 pick, Phase phase) private view returns (bool, uint256) {
        for (uint256 k; k < jobs.length; ++k) {
            uint256 i = (pick % jobs.length + k) % jobs.length;
            if (jobs[i].phase == phase) return (true, i);
        }
        return (false, 0);
    }

    function _randomLeaves(uint256 seed, uint256 n, uint128 budget)
        private
        view
        returns (SumTree.Leaf[] memory leaves)
    {
        leaves = new SumTree.Leaf[](n);
        for (uint256 j; j < n; ++j) {
            seed = uint256(keccak256(abi.encode(seed)));
            leaves[j] = SumTree.Leaf(provider(j), uint128(seed % (uint256(budget) / n + 1)));
        }
    }
}
