"""What stays locked comes back once nobody may claim it any more, on a chain of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from coordinator_world import BUDGET, Actor, Dead, World, actors, world

from reelmesh.contracts import chain
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender
from reelmesh.contracts.deploy import Deployment, deploy
from reelmesh.contracts.errors import TxReverted
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.terms import JobState
from reelmesh.contracts.terms import Phase as ChainPhase
from reelmesh.node.coordinator import settling
from reelmesh.node.provider.award import amount, proof_of, terms_of
from reelmesh.node.receipt.model import Receipt
from reelmesh.node.receipt.verify import verify, verify_chain
from reelmesh.proto import work_pb2

DEADLINE_S, WINDOW_S = 600, 60
WAIT_S = 60


@pytest.fixture
async def anvil() -> AsyncIterator[Anvil]:
    """A chain of the test's own, since its time is moved."""
    async with await Anvil().start() as running:
        yield running


@pytest.fixture
async def deployment(anvil: Anvil) -> Deployment:
    w3 = await chain.connect(anvil.rpc_url)
    try:
        sender = Sender(w3, await anvil.funded_key())
        return await deploy(sender, min_stake=10**16, unbonding_delay=3600, with_test_token=False)
    finally:
        await chain.disconnect(w3)


async def closed(here: World, job_id: str) -> JobState:
    """The job on chain, once its last coin has moved and the coordinator knows."""
    async with asyncio.timeout(WAIT_S):
        while (await here.show(job_id))["locked"] != "0":
            await asyncio.sleep(0.05)
    on_chain = await here.on_chain(job_id)
    assert (on_chain.phase, on_chain.escrow) == (ChainPhase.CLOSED, 0)
    assert on_chain.paid + on_chain.refunded == BUDGET
    job = await here.show(job_id)
    assert (int(job["paid_in_all"]), int(job["refunded"])) == (on_chain.paid, on_chain.refunded)
    return on_chain


async def receipt_names_the_refund(here: World, file: Path) -> None:
    data = file.read_bytes()
    receipt = Receipt.model_validate_json(data)
    assert receipt.transactions[-1].what == "refund"
    assert receipt.ledger.locked == "0"
    assert verify(data).ok, verify(data).wrong
    w3 = await chain.connect(here.anvil.rpc_url)
    try:
        told = await verify_chain(data, w3)
    finally:
        await chain.disconnect(w3)
    assert told.ok, told.wrong
    (named,) = [check for check in told.checks if check.name == "chain.transactions"]
    assert "refund" in named.detail
    (ledger,) = [check for check in told.checks if check.name == "chain.ledger"]
    assert ledger.detail == "as the receipt says"


async def vanish(grant: work_pb2.Grant) -> None:
    if grant.stage == "upscale":
        raise Dead


async def hold(grant: work_pb2.Grant) -> None:
    """Long enough that the other has leased its share."""
    if grant.stage == "upscale":
        await asyncio.sleep(0.3)


async def delivered_with_a_locked_part(here: World, a: Actor, b: Actor) -> str:
    a.before_work, b.before_work = vanish, hold
    job_id = await here.submit(deadline_s=DEADLINE_S)
    feed = await here.watch(job_id)
    assert feed[-1].type == "delivered", feed[-1]
    on_chain = await here.on_chain(job_id)
    assert on_chain.phase is ChainPhase.LOCKED
    assert on_chain.escrow == int((await here.show(job_id))["locked"]) > 0
    return job_id


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_locked_part_comes_back_after_the_claim_window(
    anvil: Anvil,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restarted: bool,
) -> None:
    monkeypatch.setattr(settling, "_LOOK_S", 0.1)
    terms = {"price": 0.3}, {"price": 0.35}
    async with (
        world(anvil, deployment, tmp_path / "c", claim_window_s=WINDOW_S) as here,
        actors(here, *terms) as (a, b),
    ):
        job_id = await delivered_with_a_locked_part(here, a, b)
        locked = (await here.on_chain(job_id)).escrow
        refunded = (await here.on_chain(job_id)).refunded
        await anvil.advance(DEADLINE_S)
        assert (await here.on_chain(job_id)).escrow == locked  # it may still be claimed
        if restarted:
            await here.stop()
        await anvil.advance(WINDOW_S + 10)
        if restarted:
            await here.start()
        assert (await closed(here, job_id)).refunded == refunded + locked
        job = await here.show(job_id)
        assert job["state"] == "delivered"
        await receipt_names_the_refund(here, Path(job["receipt"]))


async def test_claims_and_refund_share_what_a_coordinator_left_behind(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    """It stops in the middle of the work and comes back after every window has closed."""
    async with (
        world(anvil, deployment, tmp_path / "c", claim_window_s=WINDOW_S) as here,
        actors(here, {"price": 0.3}) as (a,),
    ):
        held = asyncio.Event()

        async def stop_there(grant: work_pb2.Grant) -> None:
            if grant.stage == "upscale":
                held.set()
                raise Dead

        a.before_work = stop_there
        job_id = await here.submit(deadline_s=DEADLINE_S)
        async with asyncio.timeout(WAIT_S):
            await held.wait()
        await here.stop()
        await anvil.advance(DEADLINE_S + 10)
        earned = await claim(here, a)
        assert earned == a.vouchers[-1] > 0
        await anvil.advance(WINDOW_S)
        await here.start()
        await here.cancel(job_id)
        on_chain = await closed(here, job_id)
        assert (on_chain.paid, on_chain.refunded) == (earned, BUDGET - earned)


async def test_a_receipt_tells_of_claims_where_the_settlement_came_too_late(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_LOOK_S", 0.1)
    async with (
        world(anvil, deployment, tmp_path / "c", claim_window_s=WINDOW_S) as here,
        actors(here, {"price": 0.3}) as (a,),
    ):

        async def late(grant: work_pb2.Grant) -> None:
            if grant.stage == "assemble":
                await anvil.advance(DEADLINE_S + 10)

        a.before_work = late
        job_id = await here.submit(deadline_s=DEADLINE_S)
        assert (await here.watch(job_id))[-1].type == "delivered"
        job = await here.show(job_id)
        assert int(job["locked"]) == BUDGET
        assert job["error"].startswith("settled_too_late")
        earned = await claim(here, a)
        assert earned == sum(int(one["price"]) for one in job["subtasks"])
        await anvil.advance(WINDOW_S + 10)
        on_chain = await closed(here, job_id)
        assert (on_chain.paid, on_chain.refunded) == (earned, BUDGET - earned)
        await receipt_names_the_refund(here, Path(job["receipt"]))


async def test_a_refund_opens_on_a_chain_that_makes_no_blocks_meanwhile(
    anvil: Anvil, deployment: Deployment
) -> None:
    w3 = await chain.connect(anvil.rpc_url)
    try:
        buyer = await anvil.funded_key()
        market = MarketClient(w3, deployment.market, Sender(w3, buyer))
        now_s = int((await w3.eth.get_block("latest"))["timestamp"])
        posted = await market.post(b"s" * 32, 1000, now_s + 600, 60, buyer.address, value=1000)
        with pytest.raises(TxReverted, match="RefundNotOpen"):
            await market.refund(posted.terms)
        await anvil.rpc("evm_increaseTime", hex(700))  # and no block in that time
        await market.refund(posted.terms)
        assert await market.credit_of(buyer.address) == 1000
    finally:
        await chain.disconnect(w3)


async def claim(here: World, actor: Actor) -> int:
    """The actor claims by its last voucher; returns what it then has in the market."""
    award = actor.awards[-1]
    w3 = await chain.connect(here.anvil.rpc_url)
    try:
        await here.anvil.fund(actor.key.address, 10**18)
        market = MarketClient(w3, here.deployment.market, Sender(w3, actor.key))
        leaf = (actor.key.address, amount(award.cap))
        total, signature = actor.vouchers[-1], actor.last_signature
        await market.claim(terms_of(award), leaf, proof_of(award), total, signature)
        return await market.credit_of(actor.key.address)
    finally:
        await chain.disconnect(w3)
