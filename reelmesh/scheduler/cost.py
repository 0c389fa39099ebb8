"""What a job should cost: reserves out of a budget, and the least budget that can do.

The reference rates only say how a budget is split over subtasks and when it is hopeless. What is
paid comes from the bids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reelmesh.errors import UserError
from reelmesh.scheduler.clearing import LossReason
from reelmesh.scheduler.ids import MAX_WEI, SubtaskId, Wei, WeiField, ether
from reelmesh.scheduler.models import MODELS, offering
from reelmesh.scheduler.offers import ProviderOffer, ask_wei
from reelmesh.scheduler.placement import place, problem
from reelmesh.scheduler.plan import Plan, Subtask
from reelmesh.scheduler.stages import UnknownStage

WEI_PER_CPU_S = 10**13
"""What a second of one CPU thread is taken to cost: 0.00001 ether."""
WEI_PER_GPU_S = 2 * 10**14
"""What a second of a data-centre GPU is taken to cost: 20 CPU threads' worth."""
TIME_VALUE_WEI_PER_S = 10**13
"""What a second's earlier delivery of a subtask is worth to a buyer who says nothing else."""
OVERHEAD_S = 0.25
"""What every subtask costs its provider beside the run: fetching, delivering, signing."""


class BudgetTooLow(UserError):
    """No provider could be expected to do the job for this budget. `least`: what would do, wei."""

    def __init__(self, budget: int, least: Wei) -> None:
        self.least = least
        super().__init__(
            f"A budget of {budget} wei ({ether(budget)} ether) is too low for this job",
            f"offer at least {least} wei ({ether(least)} ether), or ask for less video",
        )


class ReferenceRate(BaseModel):
    """One stage on the reference machine, one thread of a plain server CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds_per_unit: Annotated[float, Field(gt=0, le=1e6)]
    wei_per_unit: WeiField


def _rate(seconds_per_unit: float) -> ReferenceRate:
    wei = ask_wei(WEI_PER_CPU_S, seconds_per_unit)
    return ReferenceRate(seconds_per_unit=seconds_per_unit, wei_per_unit=wei)


_EMBEDDED: Mapping[str, ReferenceRate] = MappingProxyType(
    {
        "encode_text": _rate(0.05),
        "skeleton": _rate(0.05),
        "decode": _rate(0.01),
        "interpolate": _rate(0.01),
        "upscale": _rate(1.0),
        "encode_video": _rate(0.08),
        "assemble": _rate(0.01),
        "encode_image": _rate(0.3),
        "animate": _rate(0.05),
        "anchor": _rate(0.02),
        "preview": _rate(0.2),
        "repair": _rate(0.05),
        "depth": _rate(1.3),
        "steady_depth": _rate(0.6),
        "warp": _rate(4.0),
        "refine_views": _rate(7.0),
        "retime_views": _rate(0.8),
        "view_layers": _rate(1.6),
        "pack_4d": _rate(0.02),
        "decode_video": _rate(0.03),
        "carry_on": _rate(0.25),
        "restyle": _rate(0.4),
        "find_events": _rate(0.002),
        "render_sound": _rate(0.1),
        "speech": _rate(0.005),
        "mux": _rate(0.05),
        "refine": _rate(1.0),
        "upscale_tile": _rate(1.0),
        "join_tiles": _rate(0.08),
    }
)
"""Stage → reference rate: seconds of one CPU thread for one of the catalogue's units.

Measured with `reelmesh provider`'s own rates on a two-core cloud machine and rounded up, as a
provider's neighbours are not always quiet.
"""

_PRODUCTION = {
    offering(stage, model.name): ReferenceRate(
        seconds_per_unit=seconds, wei_per_unit=ask_wei(WEI_PER_GPU_S, seconds)
    )
    for model in MODELS.values()
    for stage, seconds in model.reference_s.items()
}

REFERENCE: Mapping[str, ReferenceRate] = MappingProxyType({**_EMBEDDED, **_PRODUCTION})
"""Offering → reference rate. Those of production models are reckoned, not measured: from their
number of weights, for a GPU that does 10**14 operations a second.
"""


def reference_cost(subtask: Subtask, reference: Mapping[str, ReferenceRate] = REFERENCE) -> Wei:
    """What a subtask costs at the reference rates, its overhead included; at least 1 wei.

    Raises `UnknownStage` where no rate is known.
    """
    rate = reference.get(subtask.offering)
    if rate is None:
        raise UnknownStage(f"No reference rate is known for {subtask.offering!r}")
    overhead = Fraction(rate.wei_per_unit) / Fraction(rate.seconds_per_unit) * Fraction(OVERHEAD_S)
    return Wei(max(1, math.ceil(Fraction(rate.wei_per_unit) * Fraction(subtask.units) + overhead)))


def least_budget(plan: Plan, reference: Mapping[str, ReferenceRate] = REFERENCE) -> Wei:
    """The least budget at which the plan is put to the market: its whole cost at the rates."""
    return Wei(sum(reference_cost(subtask, reference) for subtask in plan.subtasks))


def reserves(
    plan: Plan, budget: Wei, reference: Mapping[str, ReferenceRate] = REFERENCE
) -> dict[SubtaskId, Wei]:
    """The most that is paid for each subtask: the budget, shared out by reference cost.

    The reserves add up to at most the budget, so that awards always fit the escrow. Subtasks that
    are the same work have the same reserve.

    Raises:
        BudgetTooLow: the budget is below `least_budget`; names what would do.
        UserError: it is more than a contract can hold.
    """
    if budget > MAX_WEI:
        raise UserError("The budget is more than the market can hold", f"offer at most {MAX_WEI}")
    costs = {subtask.id: reference_cost(subtask, reference) for subtask in plan.subtasks}
    least = Wei(sum(costs.values()))
    if budget < least:
        raise BudgetTooLow(budget, least)
    return {subtask: Wei(cost * budget // least) for subtask, cost in costs.items()}


@dataclass(frozen=True)
class Estimate:
    """What a plan may cost and take with given offers.

    cheapest: the sum of the lowest asks, in wei. fastest_s: seconds to the finished video when
    prices do not matter. missing: subtasks that no offer covers, and why.
    """

    cheapest: Wei
    fastest_s: float
    missing: Mapping[SubtaskId, LossReason]


def estimate(plan: Plan, offers: Sequence[ProviderOffer]) -> Estimate:
    """Bounds on price and time before an auction; what is paid is decided there."""
    cheapest = 0
    missing: dict[SubtaskId, LossReason] = {}
    for subtask in plan.subtasks:
        asks = [
            ask_wei(offer.stages[subtask.offering].price_per_unit, subtask.units)
            for offer in offers
            if fits(offer, subtask) is None
        ]
        if asks:
            cheapest += min(asks)
        else:
            missing[subtask.id] = _why(subtask, offers)
    able = [subtask for subtask in plan.subtasks if subtask.id not in missing]
    fastest = place(problem(able, offers)).makespan_s if able else 0.0
    return Estimate(Wei(cheapest), fastest, missing)


def fits(offer: ProviderOffer, subtask: Subtask) -> LossReason | None:
    """Why an offer cannot do a subtask at any price; None where it can."""
    stage = offer.stages.get(subtask.offering)
    if stage is None:
        return LossReason.MODEL_NOT_OFFERED if subtask.model else LossReason.STAGE_NOT_OFFERED
    if offer.slots == 0:
        return LossReason.NO_SLOT
    if max(stage.memory_mb, subtask.memory_mb) > offer.memory_mb:
        return LossReason.NO_MEMORY
    return None


def _why(subtask: Subtask, offers: Sequence[ProviderOffer]) -> LossReason:
    reasons = {fits(offer, subtask) for offer in offers}
    order = (
        *(LossReason.NO_MEMORY, LossReason.NO_SLOT),
        *(LossReason.MODEL_NOT_OFFERED, LossReason.STAGE_NOT_OFFERED),
    )
    for reason in order:
        if reason in reasons:
            return reason
    return LossReason.NO_BIDS
