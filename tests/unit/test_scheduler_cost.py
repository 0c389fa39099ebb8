"""Reserves out of a budget, the least budget, and bounds before an auction."""

from __future__ import annotations

import pytest

from reelmesh.errors import UserError
from reelmesh.scheduler.clearing import LossReason
from reelmesh.scheduler.cost import (
    REFERENCE,
    BudgetTooLow,
    ReferenceRate,
    estimate,
    least_budget,
    reserves,
)
from reelmesh.scheduler.ids import MAX_WEI, Wei, node_address
from reelmesh.scheduler.models import MODELS, offering
from reelmesh.scheduler.offers import ProviderOffer, StageOffer
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.stages import CATALOGUE, UnknownStage
from reelmesh.scheduler.templates import make_plan

PLAN = make_plan(parse_spec({"prompt": "a red ball"}))
FOUR_SECONDS = Wei(2 * 10**15)


def test_every_stage_has_a_reference_rate() -> None:
    embedded = {name for name, entry in CATALOGUE.items() if entry.embedded}
    offered = {offering(stage, name) for name, model in MODELS.items() for stage in model.stages}
    assert set(REFERENCE) == embedded | offered


def test_a_usual_budget_is_well_above_the_least() -> None:
    assert 2 * least_budget(PLAN) < FOUR_SECONDS


@pytest.mark.parametrize("budget", [least_budget(PLAN), FOUR_SECONDS, Wei(10**24), Wei(MAX_WEI)])
def test_reserves_add_up_to_no_more_than_the_budget(budget: Wei) -> None:
    shares = reserves(PLAN, budget)
    assert set(shares) == {subtask.id for subtask in PLAN.subtasks}
    assert all(share > 0 for share in shares.values())
    assert budget - len(shares) <= sum(shares.values()) <= budget


def test_equal_work_has_equal_reserves() -> None:
    shares = reserves(PLAN, FOUR_SECONDS)
    assert len({shares[s.id] for s in PLAN.subtasks if s.stage == "upscale"}) == 1


def test_a_budget_one_wei_short_names_the_least_that_would_do() -> None:
    least = least_budget(PLAN)
    with pytest.raises(BudgetTooLow) as caught:
        reserves(PLAN, Wei(least - 1))
    assert caught.value.least == least
    assert f"{least} wei" in caught.value.hint
    assert " ether" in caught.value.hint
    assert sum(reserves(PLAN, least).values()) <= least


def test_a_budget_beyond_the_contract_is_refused() -> None:
    with pytest.raises(UserError, match="more than the market can hold"):
        reserves(PLAN, Wei(MAX_WEI + 1))


def test_a_stage_without_a_rate_is_named() -> None:
    with pytest.raises(UnknownStage, match="encode_text"):
        least_budget(PLAN, {"upscale": ReferenceRate(seconds_per_unit=1, wei_per_unit=Wei(1))})


def _offer(number: int, pace: float, wei: int, memory_mb: int = 4000) -> ProviderOffer:
    return ProviderOffer(
        provider=node_address(bytes([number]) * 20),
        memory_mb=memory_mb,
        stages={
            stage: StageOffer(price_per_unit=Wei(wei), seconds_per_unit=pace, resident=True)
            for stage in CATALOGUE
        },
    )


def test_an_estimate_takes_the_cheapest_and_the_fastest() -> None:
    units = sum(subtask.units for subtask in PLAN.subtasks)
    found = estimate(PLAN, [_offer(1, 0.1, 1000), _offer(2, 10.0, 10)])
    assert found.cheapest == pytest.approx(10 * units, abs=len(PLAN.subtasks))
    assert found.fastest_s < estimate(PLAN, [_offer(2, 10.0, 10)]).fastest_s
    assert not found.missing


def test_an_estimate_names_what_nobody_can_do() -> None:
    found = estimate(PLAN, [_offer(1, 1.0, 10, memory_mb=710)])
    assert found.missing == {PLAN[f"upscale-{i}"].id: LossReason.NO_MEMORY for i in range(8)}
    nobody = estimate(PLAN, [])
    assert set(nobody.missing.values()) == {LossReason.NO_BIDS}
    assert nobody.fastest_s == 0
