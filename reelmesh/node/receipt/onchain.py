"""What only the chain can say: escrow, awards, settlement, and where the money is now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from reelmesh.contracts import chain
from reelmesh.contracts.chain import Web3Client
from reelmesh.contracts.events import (
    Amended,
    Awarded,
    Cancelled,
    JobPosted,
    MarketEvent,
    Settled,
)
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.terms import JobState
from reelmesh.node.receipt.model import Receipt, wei
from reelmesh.node.receipt.origin import terms_of
from reelmesh.node.receipt.report import Check, holds, same

NAMES = (
    "chain.id",
    "chain.escrow",
    "chain.awards",
    "chain.settlement",
    "chain.payments",
    "chain.ledger",
    "chain.transactions",
)
E = TypeVar("E", bound=MarketEvent)

_WHY_NOT = "not checked: only the chain knows; give --rpc, or a local chain's saved state"


def not_checked() -> list[Check]:
    """The same checks where no chain was given."""
    return [Check(name, None, _WHY_NOT) for name in NAMES]


async def check(receipt: Receipt, w3: Web3Client) -> list[Check]:
    """Look the job up. Raises ChainError where the chain does not answer."""
    async with chain.rpc_errors("eth_chainId"):
        chain_id = int(await w3.eth.chain_id)
    first = same("chain.id", receipt.chain_id, chain_id, "the chain that the job is on")
    if not first.ok:
        reason = "not checked: the chain given is another"
        return [first, *(Check(name, None, reason) for name in NAMES[1:])]
    await chain.require_code(w3, "Market", receipt.market)
    market = MarketClient(w3, receipt.market)
    job_id = bytes.fromhex(receipt.job_id[2:])
    state = await market.job_state(job_id, from_block=receipt.first_block)
    events = await market.events(receipt.first_block, state.block, job_id)
    return [first, *_checks(receipt, state, events)]


def _checks(receipt: Receipt, state: JobState, events: list[MarketEvent]) -> Iterator[Check]:
    posted = _last(events, JobPosted)
    yield holds(
        "chain.escrow",
        posted is not None and posted.terms == terms_of(receipt),
        "these terms were posted and their budget escrowed",
        "no job with these terms was posted",
    )
    awarded = _last(events, Amended) or _last(events, Awarded)
    roots = ("0x" + awarded.root.hex(), str(awarded.total)) if awarded else None
    told = (receipt.awards.root, receipt.awards.sum) if receipt.awards else None
    yield same("chain.awards", told, roots, "the awards' root and sum")
    yield from _settlement(receipt, state, events)
    known = {event.tx_hash for event in events}
    missing = [tx.what for tx in receipt.transactions if tx.tx not in known]
    yield holds(
        "chain.transactions",
        not missing,
        f"all are there: {', '.join(tx.what for tx in receipt.transactions)}",
        f"not of this job: {', '.join(missing)}",
    )


def _settlement(receipt: Receipt, state: JobState, events: list[MarketEvent]) -> Iterator[Check]:
    settled, cancelled = _last(events, Settled), _last(events, Cancelled)
    if settled is not None:
        root = "0x" + settled.attestations_root.hex()
        yield same("chain.settlement", receipt.attestations_root, root, "the attestations' root")
        told = sorted((payment.provider, wei(payment.total)) for payment in receipt.payments)
        yield same("chain.payments", told, sorted(settled.payouts), "what each provider was paid")
    else:
        found = "cancelled" if cancelled is not None else "not settled"
        # Without a settlement providers are paid by their claims alone.
        agrees = wei(receipt.ledger.paid) <= state.paid
        yield holds("chain.settlement", agrees, f"the job was {found}", f"the job was {found}")
        yield Check("chain.payments", None, f"not checked: the job was {found}")
    ledger = receipt.ledger
    told_sums = (wei(ledger.paid), wei(ledger.refunded), wei(ledger.locked))
    now = (state.paid, state.refunded, state.escrow)
    moved = told_sums[0] <= now[0] and told_sums[1] <= now[1] and now[2] <= told_sums[2]
    yield holds(
        "chain.ledger",
        now == told_sums or moved,
        "as the receipt says" if now == told_sums else "what was locked has moved on since",
        f"the chain says paid {now[0]}, refunded {now[1]}, locked {now[2]}",
    )


def _last(events: list[MarketEvent], kind: type[E]) -> E | None:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)
