"""A provider's pay on a real chain: it is there before the work, and is got alone if need be."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reelmesh.contracts import chain, eip712, merkle
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.eip712 import Consent, Voucher
from reelmesh.contracts.errors import TxReverted
from reelmesh.contracts.keys import LocalKey
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.terms import Payment, Phase, Terms
from reelmesh.node.provider.award import AwardRefused, SentBid, check_escrow
from reelmesh.node.provider.ledger import JobLedger
from reelmesh.node.provider.paymaster import Paymaster
from reelmesh.node.provider.state import JobRecord, ProviderState, Standing
from reelmesh.node.storage.db import sqlite_url
from reelmesh.proto import market_pb2

CAP, EARNED = 600, 450
MINUTE = 60


def raw(address: str) -> bytes:
    return bytes.fromhex(address[2:])


def award_of(
    terms: Terms, job_id: bytes, leaves: list[tuple[str, int]], me: str
) -> market_pb2.Award:
    root, total = merkle.sum_root(leaves)
    return market_pb2.Award(
        job_id=job_id,
        provider=raw(me),
        cap=str(dict(leaves)[me]),
        awards_root=root,
        awards_sum=str(total),
        proof=[
            market_pb2.SumProofStep(hash=step.hash, sum=str(step.sum), left=step.left)
            for step in merkle.sum_proof(leaves, me)
        ],
        terms=market_pb2.Terms(
            buyer=raw(terms.buyer),
            nonce=terms.nonce,
            coordinator=raw(terms.coordinator),
            asset=raw(terms.asset),
            budget=str(terms.budget),
            deadline=terms.deadline,
            claim_window=terms.claim_window,
            spec_hash=terms.spec_hash,
        ),
    )


@dataclass
class Scene:
    """One posted job with two providers awarded, and one provider's paymaster."""

    coordinator: MarketClient
    me: LocalKey
    terms: Terms
    award: market_pb2.Award
    leaves: list[tuple[str, int]]
    state: ProviderState
    market: MarketClient
    clock_ms: list[int]
    ended: list[JobRecord] = field(default_factory=list)

    def paymaster(self) -> Paymaster:
        return Paymaster(
            self.market,
            self.state,
            self.me.address,
            from_block=0,
            clock_ms=lambda: self.clock_ms[0],
            finished=self.ended.append,
        )

    async def job(self, promised: int = EARNED, *, stopped: bool = True) -> JobRecord:
        domain = await self.market.domain()
        voucher = Voucher(self.award.job_id, self.me.address, promised)
        signature = eip712.sign(domain, voucher, self.coordinator.sender.key)
        bid = SentBid(
            coordinator=self.terms.coordinator,
            round=0,
            deadline_ms=0,
            prices={},
            work={},
            seconds_per_unit={},
        )
        ledger = JobLedger(cap=CAP).promise(promised, signature)
        record = JobRecord("0x" + self.award.job_id.hex(), self.award, bid, ledger, 0)
        record = record.stopped("coordinator_vanished") if stopped else record
        await self.state.save_job(record)
        return record

    async def past(self, anvil_time: Callable[[int], Awaitable[None]], seconds: int) -> None:
        await anvil_time(seconds)
        self.clock_ms[0] += seconds * 1000


@pytest.fixture
async def scene(
    tmp_path: Path,
    w3: Web3Client,
    deployment: Deployment,
    funded_key: Callable[[], Awaitable[LocalKey]],
):
    boss, me, other = [await funded_key() for _ in range(3)]
    coordinator = MarketClient(w3, deployment.market, Sender(w3, boss))
    now = int((await w3.eth.get_block("latest"))["timestamp"])
    deadline = max(now, int(time.time())) + 10 * MINUTE
    posted = await coordinator.post(
        b"s" * 32, 1000, deadline, 10 * MINUTE, boss.address, value=1000
    )
    leaves = [(me.address, CAP), (other.address, 300)]
    root, total = merkle.sum_root(leaves)
    await coordinator.award(posted.terms, root, total)
    state = await ProviderState.open(sqlite_url(tmp_path / "p.db"))
    award = award_of(posted.terms, posted.job_id, leaves, me.address)
    market = MarketClient(w3, deployment.market, Sender(w3, me))
    yield Scene(coordinator, me, posted.terms, award, leaves, state, market, [now * 1000])
    await state.close()


async def test_an_award_that_the_chain_holds_is_worth_working_for(scene: Scene) -> None:
    await check_escrow(scene.award, scene.market, 0)


async def test_an_award_that_the_chain_does_not_hold_is_refused(scene: Scene) -> None:
    greedy = award_of(scene.terms, scene.award.job_id, [(scene.me.address, 1000)], scene.me.address)
    with pytest.raises(AwardRefused) as caught:
        await check_escrow(greedy, scene.market, 0)
    assert caught.value.reason == "not_committed"


async def test_terms_of_another_job_are_refused(scene: Scene) -> None:
    scene.award.terms.budget = "100000"
    with pytest.raises(AwardRefused) as caught:
        await check_escrow(scene.award, scene.market, 0)
    assert caught.value.reason == "other_terms"


async def test_a_job_that_is_over_is_refused(scene: Scene) -> None:
    await settle(scene, consent=True)
    with pytest.raises(AwardRefused) as caught:
        await check_escrow(scene.award, scene.market, 0)
    assert caught.value.reason == "not_escrowed"


async def settle(scene: Scene, *, total: int = EARNED, consent: bool) -> None:
    domain = await scene.market.domain()
    signed = eip712.sign(domain, Consent(scene.award.job_id, total), scene.me)
    mine = Payment(scene.me.address, CAP, total, signed if consent else None)
    (other, cap) = scene.leaves[1]
    await scene.coordinator.settle(scene.terms, [mine, Payment(other, cap, 0)], b"a" * 32)


async def test_a_settlement_that_pays_ends_the_job(scene: Scene) -> None:
    job = await scene.job()
    await settle(scene, consent=True)
    await scene.paymaster().review(job)
    (ended,) = scene.ended
    assert (ended.standing, ended.reason, ended.paid) == (Standing.ENDED, "paid", EARNED)
    assert await scene.state.unfinished() == []


async def test_before_the_deadline_it_waits(scene: Scene) -> None:
    await scene.paymaster().review(await scene.job())
    assert scene.ended == []


async def test_a_coordinator_that_vanished_does_not_cost_the_pay(
    scene: Scene, anvil: Anvil
) -> None:
    job = await scene.job(stopped=False)
    await scene.past(anvil.advance, 10 * MINUTE + 10)
    await scene.paymaster().review(job)
    (ended,) = scene.ended
    assert (ended.reason, ended.paid) == ("claimed", EARNED)
    assert await scene.market.credit_of(scene.me.address) == EARNED


async def test_what_is_not_claimed_goes_back_to_the_buyer_and_nothing_is_lost(
    scene: Scene, anvil: Anvil
) -> None:
    """The coordinator is gone for good: the provider claims alone, the buyer gets the rest."""
    job = await scene.job(stopped=False)
    before = await scene.market.credit_of(scene.terms.buyer)
    await scene.past(anvil.advance, 10 * MINUTE + 10)
    await scene.paymaster().review(job)
    with pytest.raises(TxReverted, match="RefundNotOpen"):
        await scene.market.refund(scene.terms)  # others may still claim
    await scene.past(anvil.advance, 10 * MINUTE)
    await scene.market.refund(scene.terms)  # anyone may send it
    chain = await scene.market.job_state(scene.award.job_id)
    assert (chain.phase, chain.paid, chain.refunded, chain.escrow) == (Phase.CLOSED, EARNED, 550, 0)
    assert chain.paid + chain.refunded == scene.terms.budget
    assert await scene.market.credit_of(scene.terms.buyer) == before + 550
    assert await scene.market.credit_of(scene.me.address) == EARNED


async def test_the_chains_clock_decides_about_claims(scene: Scene, anvil: Anvil) -> None:
    """A machine whose clock runs ahead does not give its pay up, nor one that runs behind."""
    job = await scene.job()
    scene.clock_ms[0] += 60 * MINUTE * 1000
    with pytest.raises(TxReverted, match="ClaimNotOpen"):
        await scene.paymaster().review(job)
    assert scene.ended == []
    scene.clock_ms[0] -= 60 * MINUTE * 1000
    await anvil.advance(10 * MINUTE + 10)
    await scene.paymaster().review(job)
    assert [(one.reason, one.paid) for one in scene.ended] == [("claimed", EARNED)]


async def test_a_settlement_for_less_leaves_the_rest_to_claim_at_once(scene: Scene) -> None:
    job = await scene.job()
    await settle(scene, total=100, consent=False)
    await scene.paymaster().review(job)
    (ended,) = scene.ended
    assert (ended.reason, ended.paid) == ("claimed", EARNED)
    assert await scene.market.credit_of(scene.me.address) == EARNED


async def test_an_amended_tree_does_not_spoil_a_claim(scene: Scene, anvil: Anvil) -> None:
    job = await scene.job()
    grown = [(scene.me.address, CAP + 50), scene.leaves[1]]
    await scene.coordinator.amend(scene.terms, scene.leaves, grown)
    await scene.past(anvil.advance, 10 * MINUTE + 10)
    await scene.paymaster().review(job)
    assert [one.reason for one in scene.ended] == ["claimed"]


async def test_nothing_earned_is_nothing_to_wait_for(scene: Scene, anvil: Anvil) -> None:
    job = replace(await scene.job(), ledger=JobLedger(cap=CAP))
    await scene.past(anvil.advance, 10 * MINUTE + 10)
    await scene.paymaster().review(job)
    assert [one.reason for one in scene.ended] == ["nothing_owed"]


async def test_after_the_claim_window_it_gives_up(scene: Scene, anvil: Anvil) -> None:
    job = await scene.job()
    await scene.past(anvil.advance, 20 * MINUTE + 10)
    await scene.paymaster().review(job)
    assert [(one.reason, one.paid) for one in scene.ended] == [("claim_window_over", 0)]


async def test_only_what_is_deep_in_the_chain_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "confirmations_for", lambda _chain_id: 3)
    with pytest.raises(AwardRefused) as caught:
        await check_escrow(scene.award, scene.market, 0)
    assert caught.value.reason == "not_escrowed"
    await mine(scene, 2)
    await check_escrow(scene.award, scene.market, 0)
    job = await scene.job()
    await settle(scene, consent=True)
    await scene.paymaster().review(job)
    assert scene.ended == []
    await mine(scene, 2)
    await scene.paymaster().review(job)
    assert [one.reason for one in scene.ended] == ["paid"]


async def mine(scene: Scene, blocks: int) -> None:
    method: Any = "anvil_mine"
    await scene.market.w3.provider.make_request(method, [hex(blocks)])
