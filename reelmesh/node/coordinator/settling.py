"""Settling a job on chain, and bringing back what stayed locked."""

from __future__ import annotations

import asyncio

from reelmesh.contracts import chain, merkle
from reelmesh.contracts.errors import ChainInconsistent, TxReverted
from reelmesh.contracts.events import Cancelled, Refunded, Settled
from reelmesh.contracts.terms import Payment
from reelmesh.contracts.terms import Phase as ChainPhase
from reelmesh.node.coordinator import delivering
from reelmesh.node.coordinator.attested import attestations_root
from reelmesh.node.coordinator.awarding import tree
from reelmesh.node.coordinator.chainside import Found, gas_of, look_up
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.services import Services
from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.job import effects as fx
from reelmesh.scheduler.job.events import (
    RefundConfirmed,
    SettlementConfirmed,
    SettlementRejected,
)
from reelmesh.scheduler.job.state import JobState, Leaf
from reelmesh.scheduler.job.transition import apply

_TOO_LATE = frozenset({"DeadlinePassed"})
_NOT_YET_S = 2.0
_LOOK_S = 15.0


async def submit_settlement(job: JobDriver) -> None:
    """Settle the job unless the chain has it settled."""
    services, record = job.services, job.record
    found = await look_up(services, record)
    if await _confirm_known(job, found):
        return
    terms = record.terms.terms()
    if found.state.phase is ChainPhase.CLOSED:
        # Anyone may ask for a refund once it is due: then there is nothing left to settle.
        await _reject(job, "settled_too_late", "the job was refunded on chain before that")
        return
    try:
        if found.state.phase is ChainPhase.OPEN and _owes(job.state):
            # A reorganisation took the awards away; without them nobody could be paid.
            root, total = merkle.sum_root(tree(job.state.leaves))
            await services.market.award(terms, root, total)
            raise ChainInconsistent("the awards had left the chain", "they are there again")
        if found.state.phase is ChainPhase.OPEN:
            await services.market.cancel(terms)
        elif found.state.phase is ChainPhase.AWARDED:
            payments = _payments(job.state, _leaves_on_chain(job.state, found))
            root = attestations_root(record, job.state)
            await services.market.settle(terms, payments, root)
        else:
            raise ChainInconsistent("the job is not on chain", "it is asked again")
    except TxReverted as error:
        if error.error not in _TOO_LATE:
            raise
        hint = "providers may claim by their vouchers; the rest is refunded after that"
        await _reject(job, "settled_too_late", hint)
        return
    await _confirm_known(job, await look_up(services, record))


async def submit_refund(job: JobDriver, effect: fx.SubmitRefund) -> None:
    """Wait until nothing can be claimed any more, then bring back what is left."""
    services, record = job.services, job.record
    while (left_s := await _left_s(services, effect.not_before_ms)) > 0:
        await asyncio.sleep(min(left_s, _LOOK_S))
    while True:
        found = await look_up(services, record)
        if found.state.phase is ChainPhase.CLOSED:
            break
        try:
            await services.market.refund(record.terms.terms())
        except TxReverted as error:
            if error.error != "RefundNotOpen":
                raise
            await asyncio.sleep(_NOT_YET_S)  # its clock, not ours, decides
    last = found.last(Refunded) or found.last(Cancelled)
    tx = last.tx_hash if last is not None else ""
    event = RefundConfirmed(
        at_ms=services.clock_ms(),
        tx=tx,
        gas=await gas_of(services, tx) if tx else 0,
        amount=Wei(found.state.refunded - job.state.ledger.refunded),
    )
    # The receipt first: the event ends the job, and nobody comes back to one that has ended.
    await delivering.rewrite_receipt(job, apply(job.state, event)[0])
    await job.feed(event)


async def _left_s(services: Services, due_ms: int) -> float:
    """How long until a time has come by the chain's clock or by ours, whichever is ahead.

    A chain's blocks decide. But one without traffic makes none, and its time stands still then.
    """
    async with chain.rpc_errors("eth_getBlockByNumber"):
        block = await services.market.w3.eth.get_block("latest")
    now_ms = max(services.clock_ms(), int(block["timestamp"]) * 1000)
    return (due_ms - now_ms) / 1000


async def _reject(job: JobDriver, reason: str, hint: str) -> None:
    at_ms = job.services.clock_ms()
    await job.feed(SettlementRejected(at_ms=at_ms, reason=reason, hint=hint))


def _owes(state: JobState) -> bool:
    return any(account.promised for account in state.providers.values())


async def _confirm_known(job: JobDriver, found: Found) -> bool:
    """Feed the settlement that the chain has, if it has one."""
    settled, cancelled = found.last(Settled), found.last(Cancelled)
    latest = settled or cancelled
    if latest is None:
        return False
    paid = settled.paid if settled else 0
    refunded = settled.refunded if settled else job.state.budget
    root = settled.attestations_root if settled else bytes(32)
    await job.feed(
        SettlementConfirmed(
            at_ms=job.services.clock_ms(),
            tx=latest.tx_hash,
            gas=await gas_of(job.services, latest.tx_hash),
            attestations_root="0x" + root.hex(),
            paid=paid,
            refunded=refunded,
            locked=job.state.budget - paid - refunded,
        )
    )
    return True


def _leaves_on_chain(state: JobState, found: Found) -> tuple[Leaf, ...]:
    for leaves in (state.leaves, state.maybe_leaves):
        if leaves and merkle.sum_root(tree(leaves))[0] == found.state.root:
            return leaves
    raise ChainInconsistent("the awards on chain are not the ones known here", "it is asked again")


def _payments(state: JobState, leaves: tuple[Leaf, ...]) -> list[Payment]:
    payments = []
    for leaf in leaves:
        account = state.providers.get(leaf.provider)
        consent = account.consent if account is not None else None
        payments.append(
            Payment(
                provider=leaf.provider,
                cap=leaf.cap,
                total=account.promised if account is not None else 0,
                consent=bytes.fromhex(consent.signature[2:]) if consent is not None else None,
            )
        )
    return payments
