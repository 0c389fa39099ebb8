"""A job's whole life through the Python clients, on a real local chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from reelmesh.contracts import chain, eip712, events, merkle
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender
from reelmesh.contracts.deploy import Deployment, deploy
from reelmesh.contracts.eip712 import Consent, Domain, Voucher
from reelmesh.contracts.errors import TxReverted
from reelmesh.contracts.keys import LocalKey
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.merkle import Leaf
from reelmesh.contracts.terms import NATIVE, Payment, Phase, Terms
from reelmesh.contracts.token import TokenClient

BUDGET = 10**17
HOUR = 3600
SPEC = b"\x51" * 32
ATTESTATIONS = b"\xa7" * 32


@dataclass
class World:
    """A chain of this test's own, so that it may let time pass."""

    anvil: Anvil
    deployment: Deployment
    domain: Domain
    buyer: LocalKey
    market: MarketClient
    """Signs as the buyer, who is its own coordinator."""
    nodes: list[LocalKey]

    async def now(self) -> int:
        return int((await self.market.w3.eth.get_block("latest"))["timestamp"])

    async def post(self, asset: str = NATIVE) -> Terms:
        deadline = await self.now() + HOUR
        posted = await self.market.post(SPEC, BUDGET, deadline, HOUR, self.buyer.address, asset)
        assert posted.terms.job_id(self.domain) == posted.job_id
        return posted.terms

    def leaves(self) -> list[Leaf]:
        return [(node.address, BUDGET // 5 + i) for i, node in enumerate(self.nodes)]

    async def posted_and_awarded(self) -> Terms:
        terms = await self.post()
        await self.market.award(terms, *merkle.sum_root(self.leaves()))
        return terms

    def payments(self, terms: Terms, total: int, consenting: int) -> list[Payment]:
        """`total` to each; the first `consenting` nodes consent."""
        consent = Consent(terms.job_id(self.domain), total)
        made: list[Payment] = []
        for node, (address, cap) in zip(self.nodes, self.leaves(), strict=True):
            agrees = len(made) < consenting
            signature = eip712.sign(self.domain, consent, node) if agrees else None
            made.append(Payment(address, cap, total, signature))
        return made

    def voucher(self, terms: Terms, node: LocalKey, amount: int) -> bytes:
        message = Voucher(terms.job_id(self.domain), node.address, amount)
        return eip712.sign(self.domain, message, self.buyer)

    async def claim(self, terms: Terms, index: int, amount: int) -> None:
        leaf = self.leaves()[index]
        proof = merkle.sum_proof(self.leaves(), leaf[0])
        voucher = self.voucher(terms, self.nodes[index], amount)
        await self.market.claim(terms, leaf, proof, amount, voucher)

    async def credits(self) -> list[int]:
        return [await self.market.credit_of(node.address) for node in self.nodes]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with await Anvil().start() as anvil:
        w3 = await chain.connect(anvil.rpc_url)
        try:
            buyer = await anvil.funded_key()
            sender = Sender(w3, buyer)
            made = await deploy(sender, min_stake=1, unbonding_delay=1, with_test_token=True)
            market = MarketClient(w3, made.market, sender)
            nodes = [LocalKey.generate() for _ in range(4)]
            yield World(anvil, made, await market.domain(), buyer, market, nodes)
        finally:
            await chain.disconnect(w3)


async def test_settlement_with_consents(world: World) -> None:
    market = world.market
    await market.deposit(BUDGET)
    terms = await world.post()
    job_id = terms.job_id(world.domain)
    state = await market.job_state(job_id)
    assert (state.phase, state.terms, state.escrow) == (Phase.OPEN, terms, BUDGET)

    root, total = merkle.sum_root(world.leaves())
    await market.award(terms, root, total)
    state = await market.job_state(job_id)
    assert (state.phase, state.root, state.total) == (Phase.AWARDED, root, total)

    tx = await market.settle(terms, world.payments(terms, 1000, 4), ATTESTATIONS)
    (settled,) = market.events_of(tx)
    assert isinstance(settled, events.Settled)
    assert dict(settled.payouts) == {node.address: 1000 for node in world.nodes}
    assert (settled.paid, settled.refunded) == (4000, BUDGET - 4000)
    state = await market.job_state(job_id)
    assert (state.phase, state.paid, state.escrow) == (Phase.CLOSED, 4000, 0)
    assert state.attestations_root == ATTESTATIONS
    assert await world.credits() == [1000] * 4
    assert await market.credit_of(world.buyer.address) == BUDGET - 4000


async def test_providers_withdraw_what_they_earned(world: World) -> None:
    terms = await _paid(world, 4)
    node = world.nodes[0]
    await world.anvil.fund(node.address, 10**18)
    own = MarketClient(world.market.w3, world.market.address, Sender(world.market.w3, node))
    target = LocalKey.generate().address
    await own.withdraw(NATIVE, 1000, target)
    assert await world.market.w3.eth.get_balance(target) == 1000  # type: ignore[arg-type]
    with pytest.raises(TxReverted) as caught:
        await own.withdraw(NATIVE, 1, target)
    assert (caught.value.error, caught.value.arguments) == ("InsufficientCredit", (0, 1))
    assert "deposit" in caught.value.hint
    assert terms.buyer == world.buyer.address


async def _paid(world: World, consenting: int) -> Terms:
    await world.market.deposit(BUDGET)
    terms = await world.posted_and_awarded()
    await world.market.settle(terms, world.payments(terms, 1000, consenting), ATTESTATIONS)
    return terms


async def test_without_consent_the_rest_stays_claimable_then_returns(world: World) -> None:
    terms = await _paid(world, 1)
    state = await world.market.job_state(terms.job_id(world.domain))
    held = sum(cap - 1000 for _, cap in world.leaves()[1:])
    assert (state.phase, state.escrow) == (Phase.LOCKED, held)
    assert state.leaves is not None
    assert sorted(state.leaves) == sorted(world.leaves()[1:])

    await world.claim(terms, 2, 5000)
    assert await world.credits() == [1000, 1000, 5000, 1000]
    assert await world.market.paid_of(state.job_id, world.nodes[2].address) == 5000
    with pytest.raises(TxReverted, match="NothingToClaim"):
        await world.claim(terms, 2, 5000)
    with pytest.raises(TxReverted):
        await world.claim(terms, 0, 5000)  # it consented to 1000
    with pytest.raises(TxReverted, match="RefundNotOpen"):
        await world.market.refund(terms)

    await world.anvil.advance(3 * HOUR)
    with pytest.raises(TxReverted, match="ClaimClosed"):
        await world.claim(terms, 3, 5000)
    await world.market.refund(terms)
    state = await world.market.job_state(state.job_id)
    assert (state.phase, state.escrow, state.paid) == (Phase.CLOSED, 0, 8000)
    assert await world.market.credit_of(world.buyer.address) == BUDGET - 8000


async def test_the_coordinator_vanishes_and_providers_claim_alone(world: World) -> None:
    await world.market.deposit(BUDGET)
    terms = await world.posted_and_awarded()
    with pytest.raises(TxReverted, match="ClaimNotOpen"):
        await world.claim(terms, 0, 700)
    await world.anvil.advance(HOUR + 60)
    with pytest.raises(TxReverted, match="DeadlinePassed"):
        await world.market.settle(terms, world.payments(terms, 1000, 4), ATTESTATIONS)
    await asyncio.gather(*(world.claim(terms, i, 700 + i) for i in range(4)))
    assert await world.credits() == [700, 701, 702, 703]
    await world.anvil.advance(HOUR)
    await world.market.refund(terms)
    assert await world.market.credit_of(world.buyer.address) == BUDGET - 2806


async def test_amended_awards_are_found_on_chain(world: World) -> None:
    """A provider whose proof an amendment outdated claims with what the chain tells."""
    await world.market.deposit(BUDGET)
    terms = await world.posted_and_awarded()
    late = LocalKey.generate()
    fresh = [*world.leaves(), (late.address, 500)]
    await world.market.amend(terms, world.leaves(), fresh)
    state = await world.market.job_state(terms.job_id(world.domain))
    assert (state.root, state.total) == merkle.sum_root(fresh)
    with pytest.raises(TxReverted, match="AwardLowered"):
        await world.market.amend(terms, fresh, world.leaves())
    await world.anvil.advance(HOUR + 60)
    await world.claim(terms, 1, 900)  # with the old proof
    assert (await world.credits())[1] == 900


async def test_cancel_and_refund_of_a_job_without_award(world: World) -> None:
    await world.market.deposit(2 * BUDGET)
    first, second = await world.post(), await world.post()
    assert (first.lane, second.lane) == (0, 1)
    await world.market.cancel(first)
    with pytest.raises(TxReverted, match="StateMismatch"):
        await world.market.cancel(first)
    with pytest.raises(TxReverted, match="RefundNotOpen"):
        await world.market.refund(second)
    await world.anvil.advance(HOUR + 60)
    await world.market.refund(second)
    assert await world.market.credit_of(world.buyer.address) == 2 * BUDGET
    state = await world.market.job_state(second.job_id(world.domain))
    assert (state.phase, state.refunded) == (Phase.CLOSED, BUDGET)


async def test_a_reused_lane_does_not_confuse_the_old_job(world: World) -> None:
    old = await _paid(world, 4)
    await world.market.deposit(BUDGET)
    new = await world.post()
    assert new.lane == old.lane
    assert (await world.market.job_state(old.job_id(world.domain))).phase is Phase.CLOSED
    assert (await world.market.job_state(new.job_id(world.domain))).phase is Phase.OPEN


async def test_a_planned_post_tells_its_id_before_it_is_sent(world: World) -> None:
    deadline = await world.now() + HOUR
    args = (SPEC, BUDGET, deadline, HOUR, world.buyer.address)
    planned = await world.market.plan_post(*args)
    job_id = planned.job_id(world.domain)
    assert (await world.market.job_state(job_id)).phase is Phase.UNKNOWN
    posted = await world.market.post(*args, value=BUDGET)
    assert (posted.job_id, posted.terms) == (job_id, planned)


async def test_concurrent_posts_take_lanes_and_nonces_of_their_own(world: World) -> None:
    await world.market.deposit(5 * BUDGET)
    posted = await asyncio.gather(*(world.post() for _ in range(5)))
    assert {terms.lane for terms in posted} == set(range(5))
    assert {terms.nonce >> 16 for terms in posted} == set(range(5))
    assert await world.market.credit_of(world.buyer.address) == 0


async def test_terms_that_differ_are_another_job(world: World) -> None:
    await world.market.deposit(BUDGET)
    terms = await world.post()
    for forged in (
        replace(terms, budget=BUDGET * 2),
        replace(terms, spec_hash=bytes(32)),
        replace(terms, deadline=terms.deadline + 1),
    ):
        with pytest.raises(TxReverted, match="StateMismatch"):
            await world.market.cancel(forged)


async def test_a_job_paid_in_tokens(world: World) -> None:
    assert world.deployment.token is not None
    token = TokenClient(world.market.w3, world.deployment.token, world.market.sender)
    assert await world.market.token() == world.deployment.token
    await token.mint(world.buyer.address, BUDGET)
    await token.approve(world.market.address, BUDGET)
    await world.market.deposit_token(BUDGET)
    terms = await world.post(world.deployment.token)
    await world.market.award(terms, *merkle.sum_root(world.leaves()))
    await world.market.settle(terms, world.payments(terms, 1000, 4), ATTESTATIONS)
    assert await world.credits() == [0] * 4
    node = world.nodes[0].address
    assert await world.market.credit_of(node, world.deployment.token) == 1000
    rest = BUDGET - 4000
    await world.market.withdraw(world.deployment.token, rest, world.buyer.address)
    assert await token.balance_of(world.buyer.address) == rest


async def test_events_tell_the_whole_story_in_order(world: World) -> None:
    terms = await _paid(world, 3)
    latest = await world.market.w3.eth.block_number
    told = await world.market.events(0, latest)
    assert [type(event).__name__ for event in told] == [
        "Deposited",
        "JobPosted",
        "Awarded",
        "Settled",
        "Locked",
    ]
    posted = told[1]
    assert isinstance(posted, events.JobPosted)
    assert posted.terms == terms
    of_job = await world.market.events(0, latest, terms.job_id(world.domain))
    assert of_job == told[1:]


async def test_a_race_that_is_lost_on_chain_tells_why(world: World) -> None:
    """Both dry runs pass, both transactions are mined, and the second finds the job closed."""
    rival = await world.anvil.funded_key()
    own = MarketClient(world.market.w3, world.market.address, Sender(world.market.w3, rival))
    await world.market.deposit(BUDGET)
    deadline = await world.now() + HOUR
    terms = (await world.market.post(SPEC, BUDGET, deadline, HOUR, rival.address)).terms
    await world.anvil.rpc("evm_setAutomine", False)
    both = [asyncio.create_task(client.cancel(terms)) for client in (world.market, own)]
    while int((await world.anvil.rpc("txpool_status"))["pending"], 16) < 2:
        await asyncio.sleep(0.01)
    await world.anvil.rpc("evm_mine")
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, TxReverted)]
    assert lost.error == "StateMismatch"
    assert lost.tx_hash.startswith("0x")
    assert await world.market.credit_of(world.buyer.address) == BUDGET
