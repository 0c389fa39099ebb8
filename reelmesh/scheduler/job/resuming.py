"""After the coordinator was down: nobody is blamed for the silence that was its own."""

from __future__ import annotations

from reelmesh.scheduler.job.changes import Step, with_fields
from reelmesh.scheduler.job.events import Resumed
from reelmesh.scheduler.job.state import JobState, Lease, Phase, Tender, TenderPhase

GRACE_LEASES = 3
"""A lease lives on for so many lease times, so that its provider can find the way back."""


def resume(state: JobState, event: Resumed) -> Step:
    """Begin anew every wait for others; the job's own deadline stays."""
    limits = state.limits
    subtasks = {
        name: subtask.model_copy(update={"lease": _prolonged(state, subtask.lease)})
        if subtask.lease is not None
        else subtask
        for name, subtask in state.subtasks.items()
    }
    providers = {
        address: account.model_copy(update={"idle_since_ms": event.at_ms})
        for address, account in state.providers.items()
    }
    resumed = with_fields(
        state,
        subtasks=subtasks,
        providers=providers,
        tender=_reopened(state, state.tender) if state.tender is not None else None,
    )
    if state.phase is Phase.CONSENTING:
        again = event.at_ms + limits.consent_ms * GRACE_LEASES
        resumed = with_fields(resumed, close_ms=again)
    return resumed, ()


def _prolonged(state: JobState, lease: Lease) -> Lease:
    until = state.at_ms + state.limits.lease_ms * GRACE_LEASES
    update = {
        "renewed_until_ms": max(lease.renewed_until_ms, until),
        "run_until_ms": max(lease.run_until_ms, until),
    }
    if lease.deliver_until_ms is not None:
        update["deliver_until_ms"] = max(
            lease.deliver_until_ms, until, state.at_ms + state.limits.deliver_ms
        )
    return lease.model_copy(update=update)


def _reopened(state: JobState, tender: Tender) -> Tender:
    match tender.phase:
        case TenderPhase.CALLING:
            closes_ms = max(tender.closes_ms, state.at_ms + state.limits.bid_window_ms)
            return tender.model_copy(update={"closes_ms": closes_ms})
        case TenderPhase.COMMITTING:
            by_ms = state.at_ms + state.limits.award_ms
            return tender.model_copy(update={"commit_by_ms": by_ms})
        case TenderPhase.CLEARING:
            return tender
