"""A job's state from its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reelmesh.contracts import events
from reelmesh.contracts.events import MarketEvent
from reelmesh.contracts.terms import JobState, Phase


def replay(job_id: bytes, block: int, history: Iterable[MarketEvent]) -> JobState:
    """The state that a job's events, in order, lead to; UNKNOWN where there are none."""
    state = JobState(job_id, Phase.UNKNOWN, block)
    for event in history:
        if isinstance(event, events.JobEvent) and event.job_id == job_id:
            state = _step(state, event)
    return state


def _step(state: JobState, event: events.JobEvent) -> JobState:
    match event:
        case events.JobPosted(terms=terms):
            return replace(state, phase=Phase.OPEN, terms=terms)
        case events.Awarded(root=root, total=total):
            return replace(state, phase=Phase.AWARDED, root=root, total=total)
        case events.Amended(root=root, total=total, leaves=leaves):
            return replace(state, root=root, total=total, leaves=leaves)
        case events.Settled():
            # Where something stays locked, the event after this one says so.
            return replace(
                state,
                phase=Phase.CLOSED,
                attestations_root=event.attestations_root,
                paid=event.paid,
                refunded=event.refunded,
            )
        case events.Locked(root=root, total=total, leaves=leaves):
            return replace(state, phase=Phase.LOCKED, root=root, total=total, leaves=leaves)
        case events.Claimed(amount=amount):
            return replace(state, paid=state.paid + amount)
        case events.Cancelled(refunded=amount) | events.Refunded(refunded=amount):
            return replace(state, phase=Phase.CLOSED, refunded=state.refunded + amount)
        case _:
            return state
