"""The next deadline of a job, and the event that its passing is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from reelmesh.scheduler.job.choosing import has_idle_slot
from reelmesh.scheduler.job.closing import work_ends
from reelmesh.scheduler.job.events import (
    AwardExpired,
    CallClosed,
    ConsentsClosed,
    Event,
    LeaseExpired,
    TakeUpExpired,
    WorkDeadlineReached,
)
from reelmesh.scheduler.job.state import JobState, Outcome, Phase, TenderPhase
from reelmesh.scheduler.job.working import lease_ends, take_up_ends


class Due(NamedTuple):
    """`event` is to be fed at `at_ms` or later (with the time it then is)."""

    at_ms: int
    event: Event


def due(state: JobState) -> Due | None:
    """The earliest deadline, or None where only the world can move the job on."""
    return min(_deadlines(state), key=lambda item: item.at_ms, default=None)


def _deadlines(state: JobState) -> Iterator[Due]:
    if state.phase in {Phase.POSTING, Phase.WORKING} and state.outcome is Outcome.OPEN:
        at_ms = work_ends(state)
        yield Due(at_ms, WorkDeadlineReached(at_ms=max(0, at_ms)))
    if state.phase is Phase.CONSENTING and state.close_ms is not None:
        yield Due(state.close_ms, ConsentsClosed(at_ms=state.close_ms))
    if state.phase is Phase.WORKING:
        yield from _tender_deadlines(state)
        yield from _subtask_deadlines(state)


def _tender_deadlines(state: JobState) -> Iterator[Due]:
    tender = state.tender
    if tender is None:
        return
    if tender.phase is TenderPhase.CALLING:
        yield Due(tender.closes_ms, CallClosed(at_ms=tender.closes_ms, round=tender.round))
    if tender.phase is TenderPhase.COMMITTING and tender.commit_by_ms is not None:
        at_ms = tender.commit_by_ms
        yield Due(at_ms, AwardExpired(at_ms=at_ms, round=tender.round))


def _subtask_deadlines(state: JobState) -> Iterator[Due]:
    idle = {provider for provider in state.providers if has_idle_slot(state, provider)}
    for name, subtask in state.subtasks.items():
        if subtask.lease is not None:
            at_ms = lease_ends(subtask.lease)
            expired = LeaseExpired(at_ms=at_ms, subtask=name, attempt=subtask.attempt)
            yield Due(at_ms, expired)
        elif subtask.assignee in idle:
            ends = take_up_ends(state, name)
            if ends is not None:
                yield Due(ends, TakeUpExpired(at_ms=ends, subtask=name))
