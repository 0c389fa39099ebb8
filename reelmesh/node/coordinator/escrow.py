"""Bringing a job's budget into escrow, once."""

from __future__ import annotations

from reelmesh.contracts.errors import InsufficientFunds, TxReverted
from reelmesh.contracts.events import JobPosted
from reelmesh.errors import ChainError
from reelmesh.node.coordinator.chainside import gas_of, look_up, nothing_pending
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.services import Services
from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.job.events import EscrowConfirmed, EscrowRejected
from reelmesh.scheduler.job.state import Outcome


class StillPending(ChainError):
    """A transaction of ours waits to be mined; nothing is sent before its fate is known."""


async def missing_credit(services: Services, budget: int) -> Wei:
    """What must be sent along with a job's posting because credit does not cover it, in wei."""
    credit = await services.market.credit_of(services.key.address)
    return Wei(max(0, budget - credit))


async def submit_escrow(job: JobDriver) -> None:
    """Post the job unless the chain has it; a posting that may be on its way is waited for."""
    services, record = job.services, job.record
    found = await look_up(services, record)
    posted = found.last(JobPosted)
    if posted is not None:
        await _confirm(job, posted.tx_hash, await gas_of(services, posted.tx_hash))
        return
    if not await nothing_pending(services):
        raise StillPending("a transaction of this account waits to be mined", "it is looked for")
    if job.state.outcome is not Outcome.OPEN:
        await _reject(job, "cancelled", "nothing was locked")
        return
    terms = record.terms.terms()
    if await services.market.next_nonce(terms.buyer) != terms.nonce:
        # The id holds the nonce: posting now would make another job than the one written down.
        await _reject(job, "nonce_taken", "another job of this account came first: submit it again")
        return
    try:
        result = await services.market.post(
            terms.spec_hash,
            terms.budget,
            terms.deadline,
            terms.claim_window,
            terms.coordinator,
            terms.asset,
            value=await missing_credit(services, terms.budget),
        )
    except (TxReverted, InsufficientFunds) as error:
        if (await look_up(services, record)).last(JobPosted) is None:
            await _reject(job, "not_posted", str(error))
            return
        raise
    if result.job_id != record.job_bytes:
        # Another program used this account between the look and the posting: undo it at once.
        await services.market.cancel(result.terms)
        await _reject(job, "nonce_taken", "another program posts from this account: submit again")
        return
    await _confirm(job, result.tx.tx_hash, result.tx.gas_used)


async def _confirm(job: JobDriver, tx: str, gas: int) -> None:
    await job.feed(EscrowConfirmed(at_ms=job.services.clock_ms(), tx=tx, gas=gas))


async def _reject(job: JobDriver, reason: str, hint: str) -> None:
    await job.feed(EscrowRejected(at_ms=job.services.clock_ms(), reason=reason, hint=hint))
