"""How a job ends: consents, settlement, delivery, and the refund of what stayed locked."""

from __future__ import annotations

from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.job.changes import Step, unchanged, with_fields, with_provider
from reelmesh.scheduler.job.events import (
    CancelRequested,
    ConsentReceived,
    ConsentsClosed,
    EscrowConfirmed,
    EscrowRejected,
    RefundConfirmed,
    ResultDelivered,
    ResultRejected,
    SettlementConfirmed,
    SettlementRejected,
    WorkDeadlineReached,
)
from reelmesh.scheduler.job.state import (
    Consent,
    JobState,
    Ledger,
    Outcome,
    Phase,
    Reason,
    Transaction,
)

REFUND_MARGIN_MS = 2_000
"""Chains count in seconds and blocks come late: ask for the refund a little after its time."""


def confirm_escrow(state: JobState, event: EscrowConfirmed) -> Step:
    if state.phase is not Phase.POSTING:
        return unchanged(state)
    ledger = Ledger(escrowed=state.budget, locked=state.budget)
    phase = Phase.WORKING if state.outcome is Outcome.OPEN else Phase.SETTLING
    confirmed = with_fields(state, phase=phase, ledger=ledger)
    return _noting(confirmed, "post", event.tx, event.gas), ()


def reject_escrow(state: JobState, event: EscrowRejected) -> Step:
    if state.phase is not Phase.POSTING:
        return unchanged(state)
    if state.outcome is Outcome.OPEN:
        reason = Reason(code=event.reason, hint=event.hint)
        state = with_fields(state, outcome=Outcome.FAILED, reason=reason)
    return with_fields(state, phase=Phase.ENDED), ()


def cancel(state: JobState, event: CancelRequested) -> Step:
    if state.outcome is not Outcome.OPEN:
        return unchanged(state)
    reason = Reason(code="cancelled", hint=event.reason)
    return with_fields(state, outcome=Outcome.CANCELLED, reason=reason), ()


def reach_deadline(state: JobState, event: WorkDeadlineReached) -> Step:
    if state.outcome is not Outcome.OPEN or event.at_ms < work_ends(state):
        return unchanged(state)
    hint = "what was finished is paid for and the rest refunded; allow more time"
    reason = Reason(code="deadline_reached", hint=hint)
    return with_fields(state, outcome=Outcome.FAILED, reason=reason), ()


def receive_consent(state: JobState, event: ConsentReceived) -> Step:
    account = state.providers.get(event.provider)
    if state.phase is not Phase.CONSENTING or account is None or account.consent is not None:
        return unchanged(state)
    if event.total != account.promised:
        return unchanged(state)
    consent = Consent(total=event.total, signature=event.signature)
    return with_provider(state, event.provider, consent=consent), ()


def close_consents(state: JobState, event: ConsentsClosed) -> Step:
    if state.phase is not Phase.CONSENTING or state.close_ms is None:
        return unchanged(state)
    if event.at_ms < state.close_ms:
        return unchanged(state)
    return with_fields(state, phase=Phase.SETTLING, close_ms=None), ()


def confirm_settlement(state: JobState, event: SettlementConfirmed) -> Step:
    if state.phase is not Phase.SETTLING:
        return unchanged(state)
    if event.paid + event.refunded + event.locked != state.ledger.escrowed:
        return unchanged(state)
    ledger = Ledger(
        escrowed=state.ledger.escrowed,
        paid=event.paid,
        refunded=event.refunded,
        locked=event.locked,
    )
    state = _noting(with_fields(state, ledger=ledger), "settle", event.tx, event.gas)
    return _after_settling(state), ()


def reject_settlement(state: JobState, event: SettlementRejected) -> Step:
    if state.phase is not Phase.SETTLING:
        return unchanged(state)
    if state.reason is None:
        reason = Reason(code=event.reason, hint=event.hint)
        state = with_fields(state, reason=reason)
    return _after_settling(state), ()


def deliver_result(state: JobState, event: ResultDelivered) -> Step:
    if state.phase is not Phase.DELIVERING:
        return unchanged(state)
    delivered = with_fields(state, video=event.video, receipt=event.receipt)
    return with_fields(delivered, phase=_last_phase(delivered)), ()


def reject_result(state: JobState, event: ResultRejected) -> Step:
    if state.phase is not Phase.DELIVERING:
        return unchanged(state)
    reason = Reason(code=event.reason, hint=event.hint)
    failed = with_fields(state, outcome=Outcome.FAILED, reason=reason)
    return with_fields(failed, phase=_last_phase(failed)), ()


def confirm_refund(state: JobState, event: RefundConfirmed) -> Step:
    """What did not come back had been claimed, so it counts as paid."""
    ledger = state.ledger
    if state.phase is not Phase.REFUNDING or event.amount > ledger.locked:
        return unchanged(state)
    moved = Ledger(
        escrowed=ledger.escrowed,
        paid=Wei(ledger.paid + ledger.locked - event.amount),
        refunded=Wei(ledger.refunded + event.amount),
    )
    state = with_fields(state, ledger=moved, phase=Phase.ENDED)
    return (_noting(state, "refund", event.tx, event.gas) if event.tx else state), ()


def work_ends(state: JobState) -> int:
    """When work must be over so that the settlement still lands before the deadline."""
    return state.deadline_ms - state.limits.settle_margin_ms


def refund_starts(state: JobState) -> int:
    """From when on what is locked may be brought back."""
    return state.deadline_ms + state.claim_window_ms + REFUND_MARGIN_MS


def _after_settling(state: JobState) -> JobState:
    delivers = state.outcome is Outcome.DELIVERED
    return with_fields(state, phase=Phase.DELIVERING if delivers else _last_phase(state))


def _last_phase(state: JobState) -> Phase:
    return Phase.REFUNDING if state.ledger.locked > 0 else Phase.ENDED


def _noting(state: JobState, what: str, tx: str, gas: int) -> JobState:
    noted = Transaction(what=what, tx=tx, gas=gas)
    return with_fields(state, transactions=(*state.transactions, noted))
