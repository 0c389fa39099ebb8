"""Leases, deliveries, attestations, and what follows when one fails."""

from __future__ import annotations

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job.accounts import advance, chunk_pay, expected_ms, leases_of
from reelmesh.scheduler.job.changes import Step, unchanged, with_fields, with_provider, with_subtask
from reelmesh.scheduler.job.choosing import OWN_DISK, choose, has_idle_slot, in_good_hands, is_ready
from reelmesh.scheduler.job.effects import CancelLease, Once, RaiseVoucher, WakeProviders
from reelmesh.scheduler.job.events import (
    AttestationReceived,
    AwardDeclined,
    ChunkAccepted,
    DeliveryCompleted,
    DeliveryStarted,
    LeaseExpired,
    LeaseRequested,
    ProgressReceived,
    ProviderBusy,
    ProviderReturned,
    SubtaskFailed,
    TakeUpExpired,
)
from reelmesh.scheduler.job.state import (
    Done,
    Failure,
    JobState,
    Lease,
    Outcome,
    Phase,
    Reason,
    Subtask,
    SubtaskStatus,
)

RUN_FACTOR = 10
"""A run may take this many times what its provider said, and `run_slack_ms` more."""
BUSY_FACTOR = 6
"""A subtask waits this many times longer for a provider that says it is busy elsewhere."""
_HARMLESS = frozenset({"cancelled", "shutting_down", OWN_DISK})
"""Reasons for which a provider gives a lease back that say nothing against it."""


def grant_lease(state: JobState, event: LeaseRequested) -> Step:
    state = _returned(state, event.provider)
    choice = choose(state, event.provider)
    if isinstance(choice, str):
        return unchanged(state)
    subtask = state.subtasks[choice.subtask]
    expected = expected_ms(state, subtask, event.provider)
    promised = advance(subtask, event.provider)
    price = max(choice.price, promised)
    lease = Lease(
        provider=event.provider,
        token=event.token,
        price=price,
        vouchered=promised,
        granted_ms=event.at_ms,
        renewed_until_ms=event.at_ms + state.limits.lease_ms,
        run_until_ms=event.at_ms + expected * RUN_FACTOR + state.limits.run_slack_ms,
        expected_ms=expected,
    )
    leased = with_subtask(
        state,
        choice.subtask,
        status=SubtaskStatus.LEASED,
        assignee=event.provider,
        price=price,
        attempt=subtask.attempt + 1,
        lease=lease,
        advances={who: due for who, due in subtask.advances.items() if who != event.provider},
    )
    sunk = state.providers[event.provider].sunk - promised
    return with_provider(leased, event.provider, sunk=sunk), ()


def note_return(state: JobState, event: ProviderReturned) -> Step:
    return _returned(state, event.provider), ()


def note_busy(state: JobState, event: ProviderBusy) -> Step:
    account = state.providers.get(event.provider)
    if account is None or account.busy or state.phase is not Phase.WORKING:
        return unchanged(state)
    return with_provider(state, event.provider, busy=True), (WakeProviders(),)


def decline_award(state: JobState, event: AwardDeclined) -> Step:
    """A provider that declines is struck out, so that its subtasks go to others at once."""
    if event.provider not in state.providers or state.phase is not Phase.WORKING:
        return unchanged(state)
    strikes = state.limits.strikes
    return with_provider(state, event.provider, strikes=strikes), (WakeProviders(),)


def renew_lease(state: JobState, event: ProgressReceived) -> Step:
    lease = held(state, event.subtask, event.token)
    if lease is None:
        return unchanged(state)
    return _with_lease(state, event.subtask, lease), ()


def start_delivery(state: JobState, event: DeliveryStarted) -> Step:
    """A delivery that broke off may start again; what was vouchered counts towards it."""
    lease = held(state, event.subtask, event.token)
    if lease is None or lease.outputs is not None:
        return unchanged(state)
    until = lease.deliver_until_ms or event.at_ms + state.limits.deliver_ms
    started = lease.model_copy(update={"deliver_until_ms": until, "total_bytes": event.total_bytes})
    return _with_lease(state, event.subtask, started), ()


def accept_chunk(state: JobState, event: ChunkAccepted) -> Step:
    lease = held(state, event.subtask, event.token)
    if lease is None or lease.deliver_until_ms is None or lease.outputs is not None:
        return unchanged(state)
    worth = max(lease.vouchered, chunk_pay(lease, event.accepted_bytes))
    raised = Wei(worth - lease.vouchered)
    state = _with_lease(state, event.subtask, lease.model_copy(update={"vouchered": worth}))
    return _raise_voucher(state, lease.provider, raised)


def complete_delivery(state: JobState, event: DeliveryCompleted) -> Step:
    lease = held(state, event.subtask, event.token)
    if lease is None or lease.deliver_until_ms is None or lease.outputs is not None:
        return unchanged(state)
    complete = lease.model_copy(update={"outputs": event.outputs})
    return _with_lease(state, event.subtask, complete), ()


def finish_subtask(state: JobState, event: AttestationReceived) -> Step:
    lease = held(state, event.subtask, event.token)
    subtask = state.subtasks.get(event.subtask)
    if lease is None or lease.outputs is None or subtask is None:
        return unchanged(state)
    if event.attestation.attempt != subtask.attempt:
        return unchanged(state)
    done = Done(
        provider=lease.provider,
        price=lease.price,
        outputs=lease.outputs,
        attestation=event.attestation,
        ready_ms=subtask.ready_ms or lease.granted_ms,
        leased_ms=lease.granted_ms,
        done_ms=event.at_ms,
    )
    state = with_subtask(state, event.subtask, status=SubtaskStatus.DONE, lease=None, done=done)
    account = state.providers[lease.provider]
    state = with_provider(
        state,
        lease.provider,
        earned=account.earned + lease.price,
        idle_since_ms=event.at_ms,
    )
    state, once = _raise_voucher(state, lease.provider, Wei(lease.price - lease.vouchered))
    return mark_ready(state), (*once, WakeProviders())


def fail_subtask(state: JobState, event: SubtaskFailed) -> Step:
    lease = held(state, event.subtask, event.token)
    if lease is None:
        return unchanged(state)
    failure = Failure(provider=lease.provider, reason=event.reason, may_retry=event.may_retry)
    return take_back(state, event.subtask, failure, strike=event.reason not in _HARMLESS)


def expire_lease(state: JobState, event: LeaseExpired) -> Step:
    subtask = state.subtasks.get(event.subtask)
    if subtask is None or subtask.lease is None or subtask.attempt != event.attempt:
        return unchanged(state)
    if event.at_ms < lease_ends(subtask.lease):
        return unchanged(state)
    lease = subtask.lease
    silent = event.at_ms >= lease.renewed_until_ms
    reason = "lease_expired" if silent else "too_slow"
    if silent:
        state = with_provider(state, lease.provider, absent=True)
    failure = Failure(provider=lease.provider, reason=reason, may_retry=False)
    return take_back(state, event.subtask, failure, strike=True)


def expire_take_up(state: JobState, event: TakeUpExpired) -> Step:
    at_ms = take_up_ends(state, event.subtask)
    if at_ms is None or event.at_ms < at_ms:
        return unchanged(state)
    owner = state.subtasks[event.subtask].assignee
    assert owner is not None
    account = state.providers[owner]
    # One that never came for any work would win every further round and hold the job up.
    came = account.promised > 0 or account.busy or bool(leases_of(state, owner))
    strikes = account.strikes + (0 if came else 1)
    return with_provider(state, owner, absent=True, strikes=strikes), (WakeProviders(),)


def take_back(state: JobState, name: SubtaskId, failure: Failure, *, strike: bool) -> Step:
    """End a lease without a result. What its chunks were promised stays promised, as an advance on
    the same subtask should its provider get it again."""
    subtask = state.subtasks[name]
    lease = subtask.lease
    assert lease is not None
    state = with_subtask(
        state,
        name,
        status=SubtaskStatus.OPEN,
        lease=None,
        failures=(*subtask.failures, failure),
        advances=_with_advance(subtask, lease),
    )
    account = state.providers[lease.provider]
    state = with_provider(
        state,
        lease.provider,
        sunk=account.sunk + lease.vouchered,
        strikes=account.strikes + (1 if strike else 0),
        idle_since_ms=state.at_ms,
    )
    if subtask.attempt >= state.limits.attempts and state.outcome is Outcome.OPEN:
        hint = f"{name} failed {subtask.attempt} times, the last time: {failure.reason}"
        reason = Reason(code="too_many_attempts", hint=hint)
        state = with_fields(state, outcome=Outcome.FAILED, reason=reason)
    cancel = CancelLease(
        provider=lease.provider, subtask=name, token=lease.token, reason=failure.reason
    )
    return state, (cancel, WakeProviders())


def _with_advance(subtask: Subtask, lease: Lease) -> dict[NodeAddress, Wei]:
    known = dict(subtask.advances)
    return {**known, lease.provider: lease.vouchered} if lease.vouchered else known


def take_back_all(state: JobState, reason: str) -> Step:
    """End every lease because the work is over; it counts against nobody."""
    once: tuple[Once, ...] = ()
    for name, subtask in state.subtasks.items():
        if subtask.lease is not None:
            failure = Failure(provider=subtask.lease.provider, reason=reason, may_retry=True)
            state, more = take_back(state, name, failure, strike=False)
            once = (*once, *more)
    return state, once


def mark_ready(state: JobState) -> JobState:
    """Note the time at which a subtask's last input came in."""
    subtasks = dict(state.subtasks)
    for name, subtask in state.subtasks.items():
        needs = (state.subtasks[need] for need in subtask.item.needs)
        if subtask.ready_ms is None and all(n.status is SubtaskStatus.DONE for n in needs):
            subtasks[name] = subtask.model_copy(update={"ready_ms": state.at_ms})
    return with_fields(state, subtasks=subtasks)


def held(state: JobState, name: SubtaskId, token: str) -> Lease | None:
    """The lease that this token names, if it is the current one."""
    subtask = state.subtasks.get(name)
    if state.phase is not Phase.WORKING or subtask is None or subtask.lease is None:
        return None
    return subtask.lease if subtask.lease.token == token else None


def lease_ends(lease: Lease) -> int:
    """When the lease expires if nothing more is heard."""
    last = lease.run_until_ms if lease.deliver_until_ms is None else lease.deliver_until_ms
    return min(lease.renewed_until_ms, last)


def take_up_ends(state: JobState, name: SubtaskId) -> int | None:
    """When the provider that a ready subtask was awarded to counts as absent; None: not waiting."""
    subtask = state.subtasks.get(name)
    if subtask is None or not is_ready(state, subtask) or not in_good_hands(state, subtask):
        return None
    owner = subtask.assignee
    assert owner is not None
    assert subtask.ready_ms is not None
    if not has_idle_slot(state, owner):
        return None
    account = state.providers[owner]
    since = max(subtask.ready_ms, account.idle_since_ms)
    return since + state.limits.take_up_ms * (BUSY_FACTOR if account.busy else 1)


def _returned(state: JobState, provider: NodeAddress) -> JobState:
    account = state.providers.get(provider)
    if account is None or not (account.absent or account.busy):
        return state
    return with_provider(state, provider, absent=False, busy=False, idle_since_ms=state.at_ms)


def _with_lease(state: JobState, name: SubtaskId, lease: Lease) -> JobState:
    until = max(lease.renewed_until_ms, state.at_ms + state.limits.lease_ms)
    return with_subtask(state, name, lease=lease.model_copy(update={"renewed_until_ms": until}))


def _raise_voucher(state: JobState, provider: NodeAddress, by: Wei) -> Step:
    if by == 0:
        return state, ()
    promised = Wei(state.providers[provider].promised + by)
    state = with_provider(state, provider, promised=promised)
    return state, (RaiseVoucher(provider=provider, amount=promised),)
