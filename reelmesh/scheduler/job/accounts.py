"""Who may still be paid how much. Reads a state, changes nothing."""

from __future__ import annotations

import math

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job.state import JobState, Lease, Subtask, SubtaskStatus
from reelmesh.scheduler.offers import ask_wei

DELIVERY_PERCENT = 90
"""Share of a price that a delivery's chunks earn; the attestation earns the rest. The provider
computes the same."""


def chunk_pay(lease: Lease, accepted_bytes: int) -> Wei:
    """What a delivery is worth when so many of its bytes have been accepted."""
    if lease.total_bytes == 0:
        return Wei(0)
    accepted = min(accepted_bytes, lease.total_bytes)
    return Wei(lease.price * DELIVERY_PERCENT * accepted // (100 * lease.total_bytes))


def leased_price(state: JobState, provider: NodeAddress) -> Wei:
    """The full prices of what this provider has in hand."""
    return Wei(sum(lease.price for lease in leases_of(state, provider)))


def leases_of(state: JobState, provider: NodeAddress) -> list[Lease]:
    """The leases that this provider holds now."""
    return [
        subtask.lease
        for subtask in state.subtasks.values()
        if subtask.lease is not None and subtask.lease.provider == provider
    ]


def room(state: JobState, provider: NodeAddress) -> int:
    """What the provider's cap leaves for further leases."""
    account = state.providers[provider]
    return account.cap - account.earned - account.sunk - leased_price(state, provider)


def advance(subtask: Subtask, provider: NodeAddress) -> Wei:
    """What this provider was promised for earlier leases of an open subtask."""
    return subtask.advances.get(provider, Wei(0))


def still_to_promise(subtask: Subtask, provider: NodeAddress, price: Wei) -> int:
    """How much of its cap a lease at this price would take beyond what is promised already."""
    return max(0, price - advance(subtask, provider))


def spoken_for(state: JobState, provider: NodeAddress) -> Wei:
    """What the open subtasks that were awarded to this provider may still cost."""
    return Wei(
        sum(
            still_to_promise(subtask, provider, subtask.price)
            for subtask in state.subtasks.values()
            if subtask.status is SubtaskStatus.OPEN and subtask.assignee == provider
        )
    )


def unallocated(state: JobState) -> Wei:
    """The part of the budget that no provider's cap covers yet."""
    return Wei(state.budget - sum(leaf.cap for leaf in state.leaves))


def asked_price(state: JobState, subtask: Subtask, provider: NodeAddress) -> Wei | None:
    """What the provider's last bid asks for this subtask; None if it does not offer the stage."""
    seconds_and_price = stage_terms(state, subtask, provider)
    if seconds_and_price is None:
        return None
    return ask_wei(seconds_and_price[1], subtask.item.units)


def expected_ms(state: JobState, subtask: Subtask, provider: NodeAddress) -> int:
    """How long the provider says that this subtask runs there; 0 if it does not offer it."""
    terms = stage_terms(state, subtask, provider)
    return 0 if terms is None else math.ceil(terms[0] * subtask.item.units * 1000)


def stage_terms(
    state: JobState, subtask: Subtask, provider: NodeAddress
) -> tuple[float, int] | None:
    """(seconds per unit, wei per unit) of the provider's last bid for the subtask's stage."""
    offer = state.offers.get(provider)
    if offer is None or subtask.item.memory_mb > offer.memory_mb:
        return None
    for line in offer.stages:
        item = subtask.item
        same_work = (line.stage, line.model) == (item.stage, item.model)
        if same_work and line.stage_version == item.stage_version:
            return line.seconds_per_unit, line.price_per_unit
    return None


def total_promised(state: JobState) -> dict[NodeAddress, Wei]:
    """Each provider's whole pay as it stands: its highest voucher."""
    return {address: Wei(account.promised) for address, account in state.providers.items()}


def subtask_ids(state: JobState, status: SubtaskStatus) -> list[SubtaskId]:
    """The subtasks in this status, in the plan's order."""
    return [name for name, subtask in state.subtasks.items() if subtask.status is status]
