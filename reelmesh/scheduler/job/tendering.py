"""Calls, bids, clearing and the awards' commitment on chain."""

from __future__ import annotations

from collections import Counter

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job.accounts import (
    asked_price,
    leased_price,
    room,
    spoken_for,
    still_to_promise,
    unallocated,
)
from reelmesh.scheduler.job.changes import Step, unchanged, with_fields
from reelmesh.scheduler.job.choosing import excluded, struck_out
from reelmesh.scheduler.job.effects import SendLosses, WakeProviders
from reelmesh.scheduler.job.events import (
    AwardConfirmed,
    AwardExpired,
    AwardRejected,
    BidReceived,
    CallClosed,
    Cleared,
)
from reelmesh.scheduler.job.state import (
    JobState,
    Leaf,
    Outcome,
    Placement,
    Provider,
    Reason,
    Subtask,
    SubtaskStatus,
    Tender,
    TenderPhase,
    Transaction,
)

HEADROOM_PARTS = 4
"""A quarter of what the awards leave of the budget lets idle providers help busy ones; the rest
is kept for tenders after a failure."""
_PATIENCE_LATER = 2
"""Further rounds granted once work has been done that would be lost."""


def open_tender(state: JobState, subtasks: tuple[SubtaskId, ...]) -> JobState:
    """Call for bids on these subtasks."""
    window = state.limits.bid_window_ms * 2**state.empty_rounds
    tender = Tender(
        round=state.rounds,
        phase=TenderPhase.CALLING,
        subtasks=subtasks,
        reserves=_reserves(state, subtasks),
        closes_ms=state.at_ms + window,
    )
    return with_fields(state, tender=tender, rounds=state.rounds + 1)


def receive_bid(state: JobState, event: BidReceived) -> Step:
    tender = state.tender
    if not _is(tender, event.round, TenderPhase.CALLING) or tender is None:
        return unchanged(state)
    if event.at_ms >= tender.closes_ms or event.offer.provider in tender.bidders:
        return unchanged(state)
    bidders = {**tender.bidders, event.offer.provider: event.offer.nonce}
    return (
        with_fields(
            state,
            tender=tender.model_copy(update={"bidders": bidders}),
            offers={**state.offers, event.offer.provider: event.offer},
            bids=state.bids + 1,
        ),
        (),
    )


def close_call(state: JobState, event: CallClosed) -> Step:
    tender = state.tender
    if not _is(tender, event.round, TenderPhase.CALLING) or tender is None:
        return unchanged(state)
    if event.at_ms < tender.closes_ms:
        return unchanged(state)
    closed = tender.model_copy(update={"phase": TenderPhase.CLEARING, "peers": event.peers})
    return with_fields(state, tender=closed), ()


def accept_clearing(state: JobState, event: Cleared) -> Step:
    tender = state.tender
    if not _is(tender, event.round, TenderPhase.CLEARING) or tender is None:
        return unchanged(state)
    state = with_fields(state, losses=event.losses)
    placements = _valid_placements(state, tender, event.placements)
    if not state.leaves and len(placements) < len(tender.subtasks):
        return _empty_round(state, tender, event), (SendLosses(round=event.round),)
    placements, leaves = _fit(state, placements)
    if not placements:
        return _empty_round(state, tender, event), (SendLosses(round=event.round),)
    committing = tender.model_copy(
        update={
            "phase": TenderPhase.COMMITTING,
            "placements": placements,
            "losses": event.losses,
            "leaves": leaves,
            "commit_by_ms": state.at_ms + state.limits.award_ms,
        }
    )
    return with_fields(state, tender=committing), ()


def confirm_award(state: JobState, event: AwardConfirmed) -> Step:
    tender = state.tender
    if not _is(tender, event.round, TenderPhase.COMMITTING) or tender is None:
        return unchanged(state)
    subtasks = dict(state.subtasks)
    for placement in tender.placements:
        subtasks[placement.subtask] = subtasks[placement.subtask].model_copy(
            update={
                "assignee": placement.provider,
                "price": placement.price,
                "reserve": tender.reserves[placement.subtask],
            }
        )
    confirmed = with_fields(
        state,
        subtasks=subtasks,
        providers=_raised(state, tender),
        leaves=tender.leaves,
        root=event.root,
        award_tx=event.tx or state.award_tx,
        transactions=_noted(state, event),
        tender=None,
        empty_rounds=0,
    )
    return confirmed, (SendLosses(round=event.round), WakeProviders())


def reject_award(state: JobState, event: AwardRejected) -> Step:
    tender = state.tender
    if not _is(tender, event.round, TenderPhase.COMMITTING):
        return unchanged(state)
    return _give_up(state, Reason(code=event.reason, hint=event.hint)), ()


def expire_award(state: JobState, event: AwardExpired) -> Step:
    tender = state.tender
    if not _is(tender, event.round, TenderPhase.COMMITTING) or tender is None:
        return unchanged(state)
    if tender.commit_by_ms is None or event.at_ms < tender.commit_by_ms:
        return unchanged(state)
    hint = "is the chain reachable, and are fees high enough? what was locked is refunded"
    given_up = _give_up(state, Reason(code="award_not_confirmed", hint=hint))
    return with_fields(given_up, maybe_leaves=tender.leaves), ()


def _is(tender: Tender | None, number: int, phase: TenderPhase) -> bool:
    return tender is not None and tender.round == number and tender.phase is phase


def _give_up(state: JobState, reason: Reason) -> JobState:
    if state.outcome is Outcome.OPEN:
        state = with_fields(state, outcome=Outcome.FAILED, reason=reason)
    return with_fields(state, tender=None)


def _reserves(state: JobState, subtasks: tuple[SubtaskId, ...]) -> dict[SubtaskId, Wei]:
    first = {name: state.first_reserves[name] for name in subtasks}
    if not state.leaves:
        return first
    helpers = [p for p, account in state.providers.items() if not account.absent]
    spare = unallocated(state) + sum(max(0, room(state, p) - spoken_for(state, p)) for p in helpers)
    whole = sum(first.values())
    if whole <= spare:
        return first
    return {name: Wei(reserve * spare // whole) for name, reserve in first.items()}


def _valid_placements(
    state: JobState, tender: Tender, placements: tuple[Placement, ...]
) -> tuple[Placement, ...]:
    """One placement a subtask, to a bidder that may run it, between its ask and the reserve."""
    chosen: dict[SubtaskId, Placement] = {}
    for placement in placements:
        if placement.subtask in tender.subtasks and _is_valid(state, tender, placement):
            chosen.setdefault(placement.subtask, placement)
    return tuple(chosen[name] for name in tender.subtasks if name in chosen)


def _is_valid(state: JobState, tender: Tender, placement: Placement) -> bool:
    subtask, provider = state.subtasks[placement.subtask], placement.provider
    if provider not in tender.bidders or excluded(subtask, provider):
        return False
    if provider in state.providers and struck_out(state, provider):
        return False
    asked = asked_price(state, subtask, provider)
    return asked is not None and asked <= placement.price <= tender.reserves[placement.subtask]


def _fit(
    state: JobState, placements: tuple[Placement, ...]
) -> tuple[tuple[Placement, ...], tuple[Leaf, ...]]:
    """As many placements as the budget covers, with the awards' tree that they need."""
    kept: list[Placement] = []
    caps = {leaf.provider: leaf.cap for leaf in state.leaves}
    needs = {provider: _needed(state, provider) for provider in state.providers}
    for placement in placements:
        subtask = state.subtasks[placement.subtask]
        cost = still_to_promise(subtask, placement.provider, placement.price)
        need = needs.get(placement.provider, 0) + cost
        cap = max(caps.get(placement.provider, 0), need)
        raised = {**caps, placement.provider: Wei(cap)}
        if sum(raised.values()) > state.budget:
            continue
        caps = raised
        needs[placement.provider] = need
        kept.append(placement)
    if not state.leaves:
        caps = _with_headroom(state, caps)
    return tuple(kept), _sorted_leaves(caps)


def _needed(state: JobState, provider: NodeAddress) -> int:
    account = state.providers[provider]
    return (
        account.earned + account.sunk + leased_price(state, provider) + spoken_for(state, provider)
    )


def _with_headroom(state: JobState, caps: dict[NodeAddress, Wei]) -> dict[NodeAddress, Wei]:
    total = sum(caps.values())
    share = (state.budget - total) // HEADROOM_PARTS // max(1, len(caps))
    return {provider: Wei(cap + min(share, total - cap)) for provider, cap in caps.items()}


def _sorted_leaves(caps: dict[NodeAddress, Wei]) -> tuple[Leaf, ...]:
    ordered = sorted(caps.items(), key=lambda item: int(item[0], 16))
    return tuple(Leaf(provider=provider, cap=cap) for provider, cap in ordered)


def _raised(state: JobState, tender: Tender) -> dict[NodeAddress, Provider]:
    providers = dict(state.providers)
    for leaf in tender.leaves:
        won = tuple(p for p in tender.placements if p.provider == leaf.provider)
        known = providers.get(leaf.provider)
        if known is None:
            known = Provider(cap=leaf.cap, idle_since_ms=state.at_ms)
        update: dict[str, object] = {"cap": leaf.cap}
        if won:
            update |= {"round": tender.round, "awarded": won, "absent": False}
        providers[leaf.provider] = known.model_copy(update=update)
    return providers


def _noted(state: JobState, event: AwardConfirmed) -> tuple[Transaction, ...]:
    if not event.tx:
        return state.transactions
    what = "amend" if state.leaves else "award"
    return (*state.transactions, Transaction(what=what, tx=event.tx, gas=event.gas))


def _empty_round(state: JobState, tender: Tender, event: Cleared) -> JobState:
    """Nothing was placed: once more with a longer window, or give the job up."""
    empty = state.empty_rounds + 1
    patience = state.limits.empty_rounds + (_PATIENCE_LATER if state.leaves else 0)
    state = with_fields(state, tender=None, empty_rounds=empty)
    if empty >= patience:
        return _give_up(state, _why_empty(tender, event))
    if state.outcome is not Outcome.OPEN:
        return state
    forgiven = {
        name: _forgiven(subtask) if name in tender.subtasks else subtask
        for name, subtask in state.subtasks.items()
    }
    state = with_fields(state, subtasks=forgiven)
    return open_tender(state, tender.subtasks)


def _forgiven(subtask: Subtask) -> Subtask:
    """Nobody else wants it: those who merely went silent may try again."""
    if subtask.status is not SubtaskStatus.OPEN:
        return subtask
    kept = tuple(f for f in subtask.failures if f.reason != "lease_expired")
    return subtask.model_copy(update={"failures": kept})


def _why_empty(tender: Tender, event: Cleared) -> Reason:
    if tender.peers == 0:
        return Reason(code="no_peers", hint="no other node is connected: check the bootstrap peers")
    if not tender.bidders:
        return Reason(
            code="no_bids",
            hint=f"{tender.peers} nodes are connected, and none of them offered to do the work",
        )
    reasons = Counter(event.unplaced.values())
    worst = reasons.most_common(1)[0][0] if reasons else "nothing_fits"
    hints = {
        "over_reserve": "every offer was above what the budget allows: raise the budget",
        "no_memory": "no bidder has the memory that a subtask needs: ask for a smaller video",
        "stage_not_offered": "no bidder runs one of the stages",
        "too_slow": "no bidder would be done before the deadline: allow more time",
        "late": "no bidder would be done before the deadline: allow more time",
    }
    bidders = len(tender.bidders)
    return Reason(code=worst, hint=hints.get(worst, f"{bidders} bids could not cover the plan"))
