"""What has to be going on in a state. A restarted driver starts exactly this."""

from __future__ import annotations

from collections.abc import Iterator

from reelmesh.scheduler.job.choosing import struck_out
from reelmesh.scheduler.job.closing import refund_starts
from reelmesh.scheduler.job.effects import (
    ClearBids,
    CommitAwards,
    DeliverResult,
    PublishCall,
    SendAward,
    Standing,
    SubmitEscrow,
    SubmitRefund,
    SubmitSettlement,
)
from reelmesh.scheduler.job.state import JobState, Phase, TenderPhase


def standing(state: JobState) -> tuple[Standing, ...]:
    """The standing effects of a state, in a fixed order."""
    return tuple(_standing(state))


def _standing(state: JobState) -> Iterator[Standing]:
    match state.phase:
        case Phase.POSTING:
            yield SubmitEscrow()
        case Phase.WORKING:
            yield from _tendering(state)
            yield from _awards(state)
        case Phase.CONSENTING:
            yield from _awards(state)
        case Phase.SETTLING:
            yield SubmitSettlement()
        case Phase.DELIVERING:
            yield DeliverResult()
        case Phase.REFUNDING:
            yield SubmitRefund(not_before_ms=refund_starts(state))
        case Phase.ENDED:
            pass


def _tendering(state: JobState) -> Iterator[Standing]:
    tender = state.tender
    if tender is None:
        return
    match tender.phase:
        case TenderPhase.CALLING:
            yield PublishCall(round=tender.round, closes_ms=tender.closes_ms)
        case TenderPhase.CLEARING:
            yield ClearBids(round=tender.round)
        case TenderPhase.COMMITTING:
            yield CommitAwards(round=tender.round, leaves=tender.leaves)


def _awards(state: JobState) -> Iterator[Standing]:
    for provider, account in state.providers.items():
        if account.awarded and not struck_out(state, provider):
            yield SendAward(provider=provider, round=account.round)
