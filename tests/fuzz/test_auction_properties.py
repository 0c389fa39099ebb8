"""The auction's promises, on worlds that nobody thought of.

A stage that stands in one group of the plan is sold once; for those the rule is exactly truthful
in the stage's price, whatever the rest of the plan and of the bids is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.scheduler.auction import (
    Clearing,
    LossReason,
    ProviderOffer,
    StageOffer,
    ask_wei,
    clear,
)
from reelmesh.scheduler.groups import parents_of
from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei, node_address
from reelmesh.scheduler.plan import InputRef, Subtask
from reelmesh.scheduler.stages import CATALOGUE

STAGES = ("decode", "interpolate", "upscale", "encode_video")
SOLD_ONCE = ("decode", "upscale", "encode_video")


@dataclass(frozen=True)
class World:
    """One call for bids, whole."""

    tasks: tuple[Subtask, ...]
    offers: tuple[ProviderOffer, ...]
    reserves: dict[SubtaskId, Wei]
    time_value: int
    deadline_s: float
    exclude: dict[SubtaskId, set[NodeAddress]]

    def clear(self, offers: tuple[ProviderOffer, ...] | None = None) -> Clearing:
        return clear(
            self.tasks,
            self.offers if offers is None else offers,
            self.reserves,
            time_value_wei_per_s=self.time_value,
            deadline_s=self.deadline_s,
            exclude=self.exclude,
        )

    def repriced(self, who: int, stage: str, price: int) -> Clearing:
        """The same world, but one provider asks another price for one stage."""
        offer = self.offers[who]
        changed = offer.stages[stage].model_copy(update={"price_per_unit": Wei(price)})
        new = offer.model_copy(update={"stages": {**offer.stages, stage: changed}})
        return self.clear((*self.offers[:who], new, *self.offers[who + 1 :]))

    def task(self, subtask: SubtaskId) -> Subtask:
        return next(task for task in self.tasks if task.id == subtask)


def _task(name: str, parents: list[str], units: float, memory_mb: int, size: int) -> Subtask:
    return Subtask(
        id=SubtaskId(name),
        stage=name.split("-", maxsplit=1)[0],
        stage_version=1,
        params={},
        inputs=tuple(
            InputRef(name=f"in-{i}", subtask=SubtaskId(p), output="out")
            for i, p in enumerate(parents)
        ),
        units=units,
        memory_mb=memory_mb,
        bytes_in=size * len(parents),
        bytes_out=size,
    )


@st.composite
def _tasks(draw: st.DrawFn) -> tuple[Subtask, ...]:
    """decode → interpolate → n upscale → n encode_video → interpolate, all optional in size."""
    count = draw(st.integers(1, 7))
    size = draw(st.sampled_from([0, 1000, 10**6]))
    units = draw(st.sampled_from([1.0, 0.25, 3.145728]))
    memory = draw(st.integers(1, 6))
    names = [f"upscale-{i}" for i in range(count)]
    return (
        _task("decode", [], units, 1, size),
        _task("interpolate-0", ["decode"], 1.0, 1, size),
        *(_task(name, ["interpolate-0"], units, memory, size) for name in names),
        *(_task(f"encode_video-{i}", [name], 0.5, 1, size) for i, name in enumerate(names)),
        _task("interpolate-1", [f"encode_video-{i}" for i in range(count)], 1.0, 1, size),
    )


@st.composite
def _offer(draw: st.DrawFn, number: int) -> ProviderOffer:
    stages = {
        stage: StageOffer(
            price_per_unit=Wei(draw(st.integers(0, 12_000))),
            seconds_per_unit=draw(st.sampled_from([0.1, 0.5, 1.0, 1.7, 4.0])),
            resident=draw(st.booleans()),
        )
        for stage in STAGES
        if draw(st.integers(0, 9)) > 0
    }
    return ProviderOffer(
        provider=node_address(bytes([number + 1]) * 20),
        stages=stages,
        slots=draw(st.integers(0, 3)),
        memory_mb=draw(st.integers(3, 20)),
        queue_s=draw(st.sampled_from([0.0, 0.0, 1.0, 6.5])),
        uplink_mbps=draw(st.sampled_from([10.0, 1000.0])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    tasks = draw(_tasks())
    bidders = draw(st.integers(0, 5))
    offers = tuple(draw(_offer(number)) for number in range(bidders))
    by_stage = {stage: Wei(draw(st.integers(1, 15_000))) for stage in STAGES}
    out: dict[SubtaskId, set[NodeAddress]] = {}
    one_failed: bool = draw(st.booleans())
    if offers and one_failed:
        task = draw(st.sampled_from(tasks))
        out[task.id] = {draw(st.sampled_from(offers)).provider}
    return World(
        tasks=tasks,
        offers=offers,
        reserves={task.id: by_stage[task.stage] for task in tasks},
        time_value=draw(st.sampled_from([0, 1000, 50_000, 10**7])),
        deadline_s=draw(st.sampled_from([3.0, 20.0, 1000.0])),
        exclude=out,
    )


def prices_won(found: Clearing, provider: NodeAddress, stage: str) -> list[int]:
    """What a provider is paid for each subtask of a stage, highest first."""
    return sorted(
        (
            won.price
            for subtask, won in found.assignments.items()
            if won.provider == provider and subtask.split("-")[0] == stage
        ),
        reverse=True,
    )


def _one_group(world: World, stage: str) -> bool:
    """An exclusion cuts a stage's subtasks into two groups."""
    return all(subtask.split("-")[0] != stage for subtask in world.exclude)


def _bidders(world: World, found: Clearing) -> list[tuple[int, str]]:
    return [
        (who, stage)
        for who, offer in enumerate(world.offers)
        for stage in SOLD_ONCE
        if stage in offer.stages and _one_group(world, stage)
    ]


def _units(world: World, stage: str) -> float:
    return next(task.units for task in world.tasks if task.stage == stage)


@settings(deadline=None)
@given(worlds())
def test_every_clearing_keeps_the_rules(world: World) -> None:
    found = world.clear()
    offers = {offer.provider: offer for offer in world.offers}
    assert set(found.assignments) | set(found.unplaced) == {task.id for task in world.tasks}
    assert not set(found.assignments) & set(found.unplaced)
    assert found.total <= sum(world.reserves.values())
    for subtask, won in found.assignments.items():
        task, offer = world.task(subtask), offers[won.provider]
        stage = offer.stages[task.stage]
        assert ask_wei(stage.price_per_unit, task.units) <= won.price <= world.reserves[subtask]
        assert max(task.memory_mb, stage.memory_mb) <= offer.memory_mb
        assert won.provider not in world.exclude.get(subtask, set())
        assert offer.queue_s <= won.start_s < won.finish_s
        assert won.finish_s - won.start_s >= task.units * stage.seconds_per_unit - 1e-6
        for parent in parents_of(task):
            if parent in found.assignments:
                assert found.assignments[parent].finish_s <= won.start_s


@settings(deadline=None)
@given(worlds())
def test_no_provider_runs_more_at_once_than_it_has_slots(world: World) -> None:
    found = world.clear()
    for offer in world.offers:
        runs = [won for won in found.assignments.values() if won.provider == offer.provider]
        for moment in {won.start_s for won in runs}:
            assert sum(won.start_s <= moment < won.finish_s for won in runs) <= offer.slots


@settings(deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_offers_does_not_matter(world: World, random: Any) -> None:
    shuffled = list(world.offers)
    random.shuffle(shuffled)
    assert world.clear(tuple(shuffled)) == world.clear()


@settings(deadline=None)
@given(worlds())
def test_everyone_who_does_not_win_a_subtask_is_told_why(world: World) -> None:
    found = world.clear()
    told = {(loss.subtask, loss.provider) for loss in found.losses}
    won = {(subtask, who.provider) for subtask, who in found.assignments.items()}
    everyone = {(task.id, offer.provider) for task in world.tasks for offer in world.offers}
    assert len(told) == len(found.losses)
    assert told | won == everyone
    assert not told & won
    for loss in found.losses:
        winner = found.assignments.get(loss.subtask)
        assert loss.winning_price == (winner.price if winner else None)
        assert loss.reason is not LossReason.NO_BIDS


@settings(deadline=None)
@given(worlds())
def test_every_reason_is_true(world: World) -> None:
    offers = {offer.provider: offer for offer in world.offers}
    found = world.clear()
    for loss in found.losses:
        task, offer = world.task(loss.subtask), offers[loss.provider]
        stage = offer.stages.get(task.stage)
        assert (loss.reason is LossReason.STAGE_NOT_OFFERED) <= (stage is None)
        assert (loss.reason is LossReason.EXCLUDED) == (
            loss.provider in world.exclude.get(task.id, set())
        )
        if stage is not None and loss.reason is not LossReason.EXCLUDED and offer.slots:
            ask = ask_wei(stage.price_per_unit, task.units)
            short = max(stage.memory_mb, task.memory_mb) > offer.memory_mb
            assert (loss.reason is LossReason.NO_MEMORY) == short
            if loss.reason is LossReason.OVER_RESERVE:
                assert ask > world.reserves[task.id]
            if loss.reason in (LossReason.OUTBID, LossReason.TOO_SLOW):
                winner = found.assignments[task.id].provider
                rival = ask_wei(offers[winner].stages[task.stage].price_per_unit, task.units)
                assert (loss.reason is LossReason.OUTBID) == (ask > rival)


@settings(deadline=None)
@given(worlds(), st.data())
def test_asking_less_never_wins_less(world: World, data: st.DataObject) -> None:
    bidders = _bidders(world, world.clear())
    if not bidders:
        return
    who, stage = data.draw(st.sampled_from(bidders))
    offer = world.offers[who]
    price = offer.stages[stage].price_per_unit
    less = data.draw(st.integers(0, price))
    before = prices_won(world.clear(), offer.provider, stage)
    after = prices_won(world.repriced(who, stage, less), offer.provider, stage)
    assert len(after) >= len(before)


@settings(deadline=None)
@given(worlds())
def test_a_payment_is_the_highest_ask_that_still_wins(world: World) -> None:
    found = world.clear()
    for who, stage in _bidders(world, found):
        provider, units = world.offers[who].provider, _units(world, stage)
        for k, paid in enumerate(prices_won(found, provider, stage), start=1):
            under = math.floor((paid - 1) / units)
            if under >= 0:
                assert ask_wei(under, units) < paid
                assert len(prices_won(world.repriced(who, stage, under), provider, stage)) >= k
            over = math.ceil((paid + 1) / units)
            assert ask_wei(over, units) > paid
            assert len(prices_won(world.repriced(who, stage, over), provider, stage)) < k


@settings(deadline=None)
@given(worlds(), st.data())
def test_no_other_price_for_a_stage_earns_more_than_the_true_one(
    world: World, data: st.DataObject
) -> None:
    bidders = _bidders(world, world.clear())
    if not bidders:
        return
    who, stage = data.draw(st.sampled_from(bidders))
    provider, units = world.offers[who].provider, _units(world, stage)
    cost = ask_wei(world.offers[who].stages[stage].price_per_unit, units)
    lie = data.draw(st.integers(0, 16_000))
    honest = sum(paid - cost for paid in prices_won(world.clear(), provider, stage))
    lying = prices_won(world.repriced(who, stage, lie), provider, stage)
    assert sum(paid - cost for paid in lying) <= honest


@st.composite
def _plain_groups(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, 4))
    tasks = tuple(_task(f"upscale-{i}", [], 1.0, 1, 0) for i in range(count))
    offers = tuple(
        ProviderOffer(
            provider=node_address(bytes([n + 1]) * 20),
            stages={
                "upscale": StageOffer(
                    price_per_unit=Wei(draw(st.integers(0, 5000))),
                    seconds_per_unit=draw(st.sampled_from([0.5, 1.0, 2.0])),
                    resident=True,
                )
            },
            memory_mb=10,
            uplink_mbps=1e7,
        )
        for n in range(draw(st.integers(1, 3)))
    )
    most = {task.id: Wei(10**9) for task in tasks}
    return World(tasks, offers, most, draw(st.sampled_from([0, 1000, 10_000])), 1000.0, {})


@settings(deadline=None)
@given(_plain_groups())
def test_no_other_split_has_less_cost_in_money_and_time(world: World) -> None:
    """The greedy choice is the best one: against all ways to hand out the subtasks."""

    def cost(counts: tuple[int, ...]) -> int:
        total = 0
        for offer, count in zip(world.offers, counts, strict=True):
            stage = offer.stages["upscale"]
            milli = round(stage.seconds_per_unit * 1000)
            for k in range(1, count + 1):
                total += stage.price_per_unit + k * milli * world.time_value // 1000
        return total

    size = len(world.tasks)
    splits = itertools.product(range(size + 1), repeat=len(world.offers))
    best = min(cost(split) for split in splits if sum(split) == size)
    found = world.clear()
    got = tuple(
        sum(won.provider == offer.provider for won in found.assignments.values())
        for offer in world.offers
    )
    assert cost(got) == best


@settings(max_examples=30, deadline=None)
@given(worlds())
def test_alone_a_provider_is_paid_every_reserve(world: World) -> None:
    for offer in world.offers:
        found = world.clear((offer,))
        for subtask, won in found.assignments.items():
            assert won.price == world.reserves[subtask]


def test_the_worlds_here_use_stages_of_the_catalogue() -> None:
    assert set(STAGES) <= set(CATALOGUE)
