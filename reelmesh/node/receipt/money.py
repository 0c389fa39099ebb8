"""Where the money went: awards under the escrow, pay under the awards, nothing left over."""

from __future__ import annotations

from collections.abc import Iterator

from reelmesh.contracts import eip712, merkle
from reelmesh.contracts.eip712 import BadSignature
from reelmesh.node.receipt.model import Awards, Payment, Receipt, wei
from reelmesh.node.receipt.origin import domain_of
from reelmesh.node.receipt.report import Check, holds, same


def check(receipt: Receipt) -> Iterator[Check]:
    """Awards' tree, payments with their vouchers and consents, and the ledger."""
    if receipt.awards is not None:
        yield from _awards(receipt, receipt.awards)
    caps = (
        {leaf.provider: wei(leaf.cap) for leaf in receipt.awards.leaves} if receipt.awards else {}
    )
    paid = [payment.provider for payment in receipt.payments]
    yield same("payments.providers", sorted(paid), sorted(caps), "a payment for each award")
    for payment in receipt.payments:
        yield from _payment(receipt, payment, caps.get(payment.provider, 0))
    yield from _ledger(receipt, caps)


def _awards(receipt: Receipt, awards: Awards) -> Iterator[Check]:
    leaves = [(leaf.provider, wei(leaf.cap)) for leaf in awards.leaves]
    root, total = merkle.sum_root(leaves)
    yield same("awards.root", awards.root, "0x" + root.hex(), "the root of these awards")
    yield same("awards.sum", awards.sum, str(total), "the sum of these awards")
    budget = wei(receipt.terms.budget)
    yield holds("awards.escrow", total <= budget, "within the escrow", "more than the escrow")
    for provider, cap in leaves:
        proof = merkle.sum_proof(leaves, provider)
        told = bytes.fromhex(awards.root[2:]), wei(awards.sum)
        yield holds(
            f"awards.{provider}",
            merkle.verify_sum_proof((provider, cap), proof, *told),
            "its award is proven under root and sum",
            "its award is not proven under root and sum",
        )


def _payment(receipt: Receipt, payment: Payment, cap: int) -> Iterator[Check]:
    name, total = f"payments.{payment.provider}", wei(payment.total)
    earned = sum(wei(one.price) for one in receipt.work if one.provider == payment.provider)
    yield holds(
        f"{name}.total",
        earned <= total <= cap,
        f"{total} wei: at least the {earned} of its finished subtasks, at most its award",
        f"{total} wei is not between its finished subtasks' {earned} and its award of {cap}",
    )
    job_id = bytes.fromhex(receipt.job_id[2:])
    yield _signer(
        f"{name}.voucher",
        receipt,
        eip712.Voucher(job_id, payment.provider, total),
        payment.voucher,
        receipt.terms.coordinator,
        "the coordinator's voucher over it",
    )
    if payment.consent is None:
        yield Check(f"{name}.consent", None, "none given: it may claim up to its award")
        return
    consent = eip712.Consent(job_id, total)
    yield _signer(
        f"{name}.consent", receipt, consent, payment.consent, payment.provider, "its own consent"
    )


def _signer(
    name: str,
    receipt: Receipt,
    message: eip712.Message,
    signature: str,
    expected: str,
    what: str,
) -> Check:
    try:
        signer = eip712.recover(domain_of(receipt), message, bytes.fromhex(signature[2:]))
    except BadSignature as error:
        return Check(name, False, error.message)
    return holds(name, signer == expected, what, f"{what} was signed by {signer}")


def _ledger(receipt: Receipt, caps: dict[str, int]) -> Iterator[Check]:
    ledger = receipt.ledger
    escrowed, paid = wei(ledger.escrowed), wei(ledger.paid)
    refunded, locked = wei(ledger.refunded), wei(ledger.locked)
    yield same("ledger.escrowed", ledger.escrowed, receipt.terms.budget, "the whole budget")
    yield holds(
        "ledger.sum",
        paid + refunded + locked == escrowed,
        f"paid {paid} + refunded {refunded} + locked {locked} = escrowed {escrowed}",
        f"paid {paid} + refunded {refunded} + locked {locked} is not {escrowed}",
    )
    totals = sum(wei(payment.total) for payment in receipt.payments)
    if any(tx.what == "settle" for tx in receipt.transactions):
        least, good = totals, "the payments, and what was claimed since"
    else:
        least, good = 0, "never settled: what was claimed by voucher"
    yield holds(
        "ledger.paid",
        least <= paid <= sum(caps.values()),
        good,
        f"{paid} wei paid, but the payments come to {totals}",
    )
