"""Which provider may run which subtask now. Reads a state, changes nothing.

The auction's assignment comes first. A subtask whose provider is gone may be run by any other
awarded provider that offered its stage; a busy provider's queue may be shortened by an idle one
that would be done sooner. In both cases the price fits under the cap that is on chain.
"""

from __future__ import annotations

from typing import NamedTuple

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job.accounts import (
    asked_price,
    expected_ms,
    leases_of,
    room,
    spoken_for,
    still_to_promise,
)
from reelmesh.scheduler.job.state import JobState, Phase, Subtask, SubtaskStatus

OWN_DISK = "coordinator_storage"
"""Why a lease was given back when the coordinator itself could not write: says nothing against the
provider, and another one would be paid for the same chunks again."""


class Choice(NamedTuple):
    subtask: SubtaskId
    price: Wei


def choose(state: JobState, provider: NodeAddress) -> Choice | str:
    """The subtask to lease to this provider, or the reason code why there is none."""
    if provider not in state.providers:
        return "not_awarded"
    if state.phase is not Phase.WORKING:
        return "work_is_over"
    if struck_out(state, provider):
        return "struck_out"
    if not has_free_slot(state, provider):
        return "slots_taken"
    ready = [s for s in state.subtasks.values() if is_ready(state, s)]
    mine = [s for s in ready if s.assignee == provider]
    freed = [s for s in ready if s.assignee != provider and not in_good_hands(state, s)]
    for subtask in [*mine, *freed, *worth_taking_over(state, provider, ready)]:
        price = price_for(state, subtask, provider)
        if price is not None:
            return Choice(subtask.item.id, price)
    return _why_idle(state, ready)


def is_ready(state: JobState, subtask: Subtask) -> bool:
    """Open, its inputs there, and not under the hammer."""
    return (
        subtask.status is SubtaskStatus.OPEN
        and subtask.ready_ms is not None
        and not (state.tender is not None and subtask.item.id in state.tender.subtasks)
    )


def may_run(state: JobState, subtask: Subtask, provider: NodeAddress) -> bool:
    """Awarded, present, offers the stage, and did not fail at this very subtask."""
    account = state.providers.get(provider)
    return (
        account is not None
        and not account.absent
        and not struck_out(state, provider)
        and asked_price(state, subtask, provider) is not None
        and not excluded(subtask, provider)
    )


def excluded(subtask: Subtask, provider: NodeAddress) -> bool:
    """Failed at this subtask: once without hope, or twice at all."""
    failures = [f for f in subtask.failures if f.provider == provider and f.reason != OWN_DISK]
    return len(failures) >= 2 or any(not f.may_retry for f in failures)


def struck_out(state: JobState, provider: NodeAddress) -> bool:
    """Failed too often to be given anything more in this job."""
    return state.providers[provider].strikes >= state.limits.strikes


def has_free_slot(state: JobState, provider: NodeAddress) -> bool:
    """Whether it may run one more subtask at once.

    A result on its way holds no slot, so that the next run does not wait for the line; but no more
    results than slots may be under way.
    """
    offer = state.offers.get(provider)
    if offer is None:
        return False
    leases = leases_of(state, provider)
    running = sum(lease.deliver_until_ms is None for lease in leases)
    return running < offer.slots and len(leases) < 2 * offer.slots


def has_idle_slot(state: JobState, provider: NodeAddress) -> bool:
    """Whether it has a slot that neither runs a subtask nor waits for a result to be taken."""
    offer = state.offers.get(provider)
    return offer is not None and len(leases_of(state, provider)) < offer.slots


def in_good_hands(state: JobState, subtask: Subtask) -> bool:
    """Whether the provider that it is awarded to can be expected to run it."""
    return subtask.assignee is not None and may_run(state, subtask, subtask.assignee)


def price_for(state: JobState, subtask: Subtask, provider: NodeAddress) -> Wei | None:
    """What this provider would be paid for the subtask; None if it may not or cannot be paid."""
    if not may_run(state, subtask, provider):
        return None
    if subtask.assignee == provider:
        needs = still_to_promise(subtask, provider, subtask.price)
        return Wei(subtask.price) if needs <= room(state, provider) else None
    asked = asked_price(state, subtask, provider)
    if asked is None or asked > max(subtask.reserve, subtask.price):
        return None
    price = Wei(max(asked, subtask.price))
    # A cap holds first of all what its provider was awarded.
    needs = still_to_promise(subtask, provider, price)
    return price if needs <= room(state, provider) - spoken_for(state, provider) else None


def orphans(state: JobState) -> list[SubtaskId]:
    """Open subtasks that no awarded provider can be expected to run at a price under its cap."""
    rooms = {provider: room(state, provider) for provider in state.providers}

    def is_orphan(subtask: Subtask) -> bool:
        owner = subtask.assignee
        if owner is not None and in_good_hands(state, subtask):
            needs = still_to_promise(subtask, owner, subtask.price)
            if needs <= rooms[owner]:
                return False
        return all(price_for(state, subtask, provider) is None for provider in state.providers)

    return [
        name
        for name, subtask in state.subtasks.items()
        if subtask.status is SubtaskStatus.OPEN and is_orphan(subtask)
    ]


def worth_taking_over(
    state: JobState, provider: NodeAddress, ready: list[Subtask]
) -> list[Subtask]:
    """Subtasks in others' queues that this provider would finish sooner, the latest ones first."""
    found: list[tuple[int, Subtask]] = []
    waiting: dict[NodeAddress, int] = {}
    for subtask in ready:
        owner = subtask.assignee
        if owner is None or owner == provider or not in_good_hands(state, subtask):
            continue
        elsewhere = state.providers[owner].busy
        if has_free_slot(state, owner) and not elsewhere:
            continue  # it is about to take it itself
        if owner not in waiting:
            # nobody knows how long other jobs keep it
            waiting[owner] = _busy_ms(state, owner) + elsewhere * state.limits.take_up_ms
        waiting[owner] += expected_ms(state, subtask, owner)
        if expected_ms(state, subtask, provider) < waiting[owner] // state.offers[owner].slots:
            found.append((waiting[owner], subtask))
    return [subtask for _, subtask in sorted(found, key=lambda pair: -pair[0])]


def _busy_ms(state: JobState, provider: NodeAddress) -> int:
    return sum(
        max(0, lease.granted_ms + lease.expected_ms - state.at_ms)
        for lease in leases_of(state, provider)
    )


def _why_idle(state: JobState, ready: list[Subtask]) -> str:
    if ready:
        return "awarded_to_others"
    if any(s.status is SubtaskStatus.OPEN for s in state.subtasks.values()):
        return "inputs_not_ready"
    return "all_leased"
