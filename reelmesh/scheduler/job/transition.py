"""The one way from state to state.

`transition` is deterministic and total: the same state and event always give the same result, and
an event that does not fit gives the state back unchanged. After every event `_advance` takes the
steps that follow by themselves, such as ending the work when all of it is done.
"""

from __future__ import annotations

from collections.abc import Iterable

from reelmesh.scheduler.job import closing, tendering, working
from reelmesh.scheduler.job.changes import Step, unchanged, with_fields
from reelmesh.scheduler.job.choosing import orphans
from reelmesh.scheduler.job.effects import Effect, Once
from reelmesh.scheduler.job.events import (
    AttestationReceived,
    AwardConfirmed,
    AwardDeclined,
    AwardExpired,
    AwardRejected,
    BidReceived,
    CallClosed,
    CancelRequested,
    ChunkAccepted,
    Cleared,
    ConsentReceived,
    ConsentsClosed,
    DeliveryCompleted,
    DeliveryStarted,
    EscrowConfirmed,
    EscrowRejected,
    Event,
    JobCreated,
    LeaseExpired,
    LeaseRequested,
    ProgressReceived,
    ProviderBusy,
    ProviderReturned,
    RefundConfirmed,
    ResultDelivered,
    ResultRejected,
    Resumed,
    SettlementConfirmed,
    SettlementRejected,
    SubtaskFailed,
    TakeUpExpired,
    WorkDeadlineReached,
)
from reelmesh.scheduler.job.resuming import resume
from reelmesh.scheduler.job.standing import standing
from reelmesh.scheduler.job.state import (
    JobState,
    Outcome,
    Phase,
    Subtask,
    SubtaskStatus,
    TenderPhase,
)


def create(event: JobCreated) -> JobState:
    """The first state of a job."""
    state = JobState(
        job_id=event.job_id,
        budget=event.budget,
        deadline_ms=event.deadline_ms,
        claim_window_ms=event.claim_window_ms,
        limits=event.limits,
        at_ms=event.at_ms,
        subtasks={item.id: Subtask(item=item) for item in event.items},
        first_reserves=event.reserves,
    )
    return working.mark_ready(state)


def transition(state: JobState, event: Event) -> tuple[JobState, tuple[Effect, ...]]:
    """The next state, the once-effects of this event, and the standing effects that are new."""
    after, once = apply(state, event)
    before = set(standing(state))
    fresh = tuple(effect for effect in standing(after) if effect not in before)
    return after, (*once, *fresh)


def replay(events: Iterable[Event]) -> JobState:
    """The state after these events; the first must be the JobCreated."""
    remaining = iter(events)
    first = next(remaining)
    if not isinstance(first, JobCreated):
        raise ValueError("a job's events begin with JobCreated")  # noqa: TRY004
    state = create(first)
    for event in remaining:
        state, _ = apply(state, event)
    return state


def apply(state: JobState, event: Event) -> Step:
    """The next state and the once-effects; the state itself, unchanged, if the event misfits."""
    # Time never runs backwards in a job, whatever a clock does.
    now = with_fields(state, at_ms=max(state.at_ms, event.at_ms))
    after, once = _handle(now, event)
    if after is now:
        return state, ()
    advanced, more = _advance(after)
    return advanced, (*once, *more)


def _handle(state: JobState, event: Event) -> Step:  # noqa: C901 - one case an event, by design
    if state.phase is Phase.ENDED:
        return unchanged(state)
    match event:
        case JobCreated():
            return unchanged(state)
        case EscrowConfirmed():
            return closing.confirm_escrow(state, event)
        case EscrowRejected():
            return closing.reject_escrow(state, event)
        case BidReceived():
            return tendering.receive_bid(state, event)
        case CallClosed():
            return tendering.close_call(state, event)
        case Cleared():
            return tendering.accept_clearing(state, event)
        case AwardConfirmed():
            return tendering.confirm_award(state, event)
        case AwardRejected():
            return tendering.reject_award(state, event)
        case AwardExpired():
            return tendering.expire_award(state, event)
        case LeaseRequested():
            return working.grant_lease(state, event)
        case ProviderReturned():
            return working.note_return(state, event)
        case ProviderBusy():
            return working.note_busy(state, event)
        case AwardDeclined():
            return working.decline_award(state, event)
        case ProgressReceived():
            return working.renew_lease(state, event)
        case DeliveryStarted():
            return working.start_delivery(state, event)
        case ChunkAccepted():
            return working.accept_chunk(state, event)
        case DeliveryCompleted():
            return working.complete_delivery(state, event)
        case AttestationReceived():
            return working.finish_subtask(state, event)
        case SubtaskFailed():
            return working.fail_subtask(state, event)
        case LeaseExpired():
            return working.expire_lease(state, event)
        case TakeUpExpired():
            return working.expire_take_up(state, event)
        case CancelRequested():
            return closing.cancel(state, event)
        case WorkDeadlineReached():
            return closing.reach_deadline(state, event)
        case ConsentReceived():
            return closing.receive_consent(state, event)
        case ConsentsClosed():
            return closing.close_consents(state, event)
        case SettlementConfirmed():
            return closing.confirm_settlement(state, event)
        case SettlementRejected():
            return closing.reject_settlement(state, event)
        case ResultDelivered():
            return closing.deliver_result(state, event)
        case ResultRejected():
            return closing.reject_result(state, event)
        case RefundConfirmed():
            return closing.confirm_refund(state, event)
        case Resumed():
            return resume(state, event)


def _advance(state: JobState) -> Step:
    """The steps that follow from a state by themselves."""
    once: tuple[Once, ...] = ()
    if state.phase is Phase.WORKING and state.outcome is Outcome.OPEN:
        if all(s.status is SubtaskStatus.DONE for s in state.subtasks.values()):
            state = with_fields(state, outcome=Outcome.DELIVERED)
        elif state.tender is None:
            state = _call_for_bids(state)
    if state.phase is Phase.WORKING and state.outcome is not Outcome.OPEN and not _in_doubt(state):
        state, once = working.take_back_all(state, "work_is_over")
        state = _ask_for_consents(state)
    if state.phase is Phase.CONSENTING and _all_consented(state):
        state = with_fields(state, phase=Phase.SETTLING, close_ms=None)
    return state, once


def _call_for_bids(state: JobState) -> JobState:
    lost = tuple(orphans(state)) if state.leaves else tuple(state.subtasks)
    return tendering.open_tender(state, lost) if lost else state


def _in_doubt(state: JobState) -> bool:
    """An awards' transaction is on its way; what to settle is known only when it is there."""
    return state.tender is not None and state.tender.phase is TenderPhase.COMMITTING


def _ask_for_consents(state: JobState) -> JobState:
    state = with_fields(state, tender=None)
    if not state.leaves:
        return with_fields(state, phase=Phase.SETTLING)
    close_ms = state.at_ms + state.limits.consent_ms
    return with_fields(state, phase=Phase.CONSENTING, close_ms=close_ms)


def _all_consented(state: JobState) -> bool:
    """Everyone who is still there has agreed; who is not there can still claim alone."""
    return all(
        account.consent is not None or account.absent for account in state.providers.values()
    )
