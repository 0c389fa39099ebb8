"""Placement: the textbook's order, memory, residency, transfers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from reelmesh.scheduler.ids import SubtaskId, Wei, node_address
from reelmesh.scheduler.offers import ProviderOffer, StageOffer
from reelmesh.scheduler.placement import place, problem, upward_rank
from reelmesh.scheduler.plan import InputRef, Subtask
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan


def task(
    name: str, *parents: str, units: float = 1.0, size: int = 0, memory_mb: int = 1
) -> Subtask:
    stage = name.split("-", maxsplit=1)[0]
    return Subtask(
        id=SubtaskId(name),
        stage=stage,
        stage_version=1,
        params={},
        inputs=tuple(
            InputRef(name=f"in-{i}", subtask=SubtaskId(p), output="frames")
            for i, p in enumerate(parents)
        ),
        units=units,
        memory_mb=memory_mb,
        bytes_in=size * len(parents),
        bytes_out=size,
    )


def offer(
    number: int,
    *,
    pace: float = 1.0,
    slots: int = 1,
    memory_mb: int = 10,
    mbps: float = 1e7,
    resident: bool = True,
    stages: tuple[str, ...] = ("upscale", "decode", "interpolate"),
) -> ProviderOffer:
    return ProviderOffer(
        provider=node_address(bytes([number]) * 20),
        stages={
            stage: StageOffer(price_per_unit=Wei(1), seconds_per_unit=pace, resident=resident)
            for stage in stages
        },
        slots=slots,
        memory_mb=memory_mb,
        uplink_mbps=mbps,
    )


def test_equal_subtasks_spread_by_speed() -> None:
    chunks = [task(f"upscale-{i}") for i in range(9)]
    found = place(problem(chunks, [offer(1, pace=1.0), offer(2, pace=0.5)]))
    assert np.bincount(found.lane).tolist() == [3, 6]
    assert found.makespan_s == pytest.approx(3.0)


def test_a_lane_runs_one_subtask_at_a_time_and_after_its_inputs() -> None:
    plan = make_plan(parse_spec({"prompt": "a red ball"}))
    stages = tuple({subtask.stage for subtask in plan.subtasks})
    offers = [offer(i, pace=0.1 * i, slots=i, memory_mb=4000, stages=stages) for i in (1, 2, 3)]
    given = problem(plan.subtasks, offers)
    found = place(given)
    for lane in range(len(given.provider)):
        mine = sorted(
            (found.start_s[i], found.finish_s[i]) for i in np.flatnonzero(found.lane == lane)
        )
        assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(mine))
    for child, parents in enumerate(given.parents):
        assert all(found.finish_s[p] <= found.start_s[child] + 1e-9 for p in parents)


def test_rank_falls_along_every_edge() -> None:
    plan = make_plan(parse_spec({"prompt": "a red ball"}))
    stages = tuple({subtask.stage for subtask in plan.subtasks})
    given = problem(plan.subtasks, [offer(1, memory_mb=4000, stages=stages)])
    rank = upward_rank(given)
    assert all(rank[p] > rank[i] for i, parents in enumerate(given.parents) for p in parents)


def test_too_little_memory_is_never_used() -> None:
    found = place(problem([task("upscale-0", memory_mb=20)], [offer(1, pace=0.1), offer(2)]))
    assert found.lane.tolist() == [-1]
    assert found.makespan_s == float("inf")
    roomy = offer(2, memory_mb=20)
    assert place(problem([task("upscale-0", memory_mb=20)], [offer(1), roomy])).lane.tolist() == [1]


def test_a_second_slot_needs_memory_for_both() -> None:
    chunks = [task(f"upscale-{i}", memory_mb=6) for i in range(2)]
    assert place(problem(chunks, [offer(1, slots=2, memory_mb=11)])).makespan_s == pytest.approx(2)
    assert place(problem(chunks, [offer(1, slots=2, memory_mb=12)])).makespan_s == pytest.approx(1)


def test_a_loaded_model_outweighs_a_little_speed() -> None:
    cold, warm = offer(1, pace=0.9, resident=False), offer(2, pace=1.0)
    assert place(problem([task("upscale-0")], [cold, warm])).lane.tolist() == [1]
    long = [task("upscale-0", units=100.0)]
    assert place(problem(long, [cold, warm])).lane.tolist() == [0]


def test_a_model_is_loaded_once() -> None:
    chunks = [task(f"upscale-{i}") for i in range(3)]
    found = place(problem(chunks, [offer(1, resident=False)]))
    assert found.makespan_s == pytest.approx(3.0 + 0.5)


def test_a_long_way_keeps_work_where_its_input_is() -> None:
    chain = [task("decode", size=10**7), task("interpolate", "decode", size=10**7)]
    slow_line = [
        offer(1, pace=1.0, mbps=10, stages=("decode", "interpolate")),
        offer(2, pace=0.5, mbps=10, stages=("interpolate",)),
    ]
    assert place(problem(chain, slow_line)).lane.tolist() == [0, 0]
    fast_line = [o.model_copy(update={"uplink_mbps": 1e6}) for o in slow_line]
    assert place(problem(chain, fast_line)).lane.tolist() == [0, 1]


def test_nothing_to_place() -> None:
    assert place(problem([], [offer(1)])).makespan_s == 0.0
