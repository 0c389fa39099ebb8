"""The auction by hand-made cases: prices, reasons, spread, exclusion, locality, deadlines."""

from __future__ import annotations

from typing import Any

import pytest

from reelmesh.scheduler.auction import (
    EXPLAIN,
    Clearing,
    LossReason,
    ProviderOffer,
    StageOffer,
    ask_wei,
    clear,
)
from reelmesh.scheduler.cost import least_budget, reserves
from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei, node_address
from reelmesh.scheduler.placement import place, problem
from reelmesh.scheduler.plan import InputRef, Subtask
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.stages import CATALOGUE
from reelmesh.scheduler.templates import make_plan

GWEI = 10**9


def who(number: int) -> NodeAddress:
    return node_address(bytes([number]) * 20)


def task(name: str, *parents: str, size: int = 0, memory_mb: int = 1) -> Subtask:
    return Subtask(
        id=SubtaskId(name),
        stage=name.split("-", maxsplit=1)[0],
        stage_version=1,
        params={},
        inputs=tuple(
            InputRef(name=f"in-{i}", subtask=SubtaskId(p), output="frames")
            for i, p in enumerate(parents)
        ),
        units=1.0,
        memory_mb=memory_mb,
        bytes_in=size * len(parents),
        bytes_out=size,
    )


def offer(
    number: int,
    price: int,
    *,
    pace: float = 1.0,
    resident: bool = True,
    stages: tuple[str, ...] = ("upscale", "encode_video", "decode", "interpolate"),
    **more: Any,
) -> ProviderOffer:
    return ProviderOffer(
        provider=who(number),
        stages={
            stage: StageOffer(price_per_unit=Wei(price), seconds_per_unit=pace, resident=resident)
            for stage in stages
        },
        **{"memory_mb": 10, "uplink_mbps": 1e7, **more},
    )


def run(
    tasks: list[Subtask], offers: list[ProviderOffer], reserve: int = 1000 * GWEI, **more: Any
) -> Clearing:
    most = {subtask.id: Wei(reserve) for subtask in tasks}
    return clear(tasks, offers, most, **{"time_value_wei_per_s": 0, "deadline_s": 1000.0, **more})


ONE = SubtaskId("upscale-0")


def test_one_subtask_goes_to_the_lowest_ask_at_the_next_ask() -> None:
    found = run([task("upscale-0")], [offer(1, 30), offer(2, 10), offer(3, 25)])
    assert (found.assignments[ONE].provider, found.assignments[ONE].price) == (who(2), 25)
    assert [(loss.provider, loss.reason, loss.winning_price) for loss in found.losses] == [
        (who(1), LossReason.OUTBID, 25),
        (who(3), LossReason.OUTBID, 25),
    ]


def test_alone_a_provider_is_paid_the_reserve() -> None:
    found = run([task(f"upscale-{i}") for i in range(3)], [offer(1, 10)], reserve=77)
    assert [won.price for won in found.assignments.values()] == [77, 77, 77]
    assert found.losses == []
    assert found.total == 231


def test_time_counts_and_is_paid_for() -> None:
    # The second needs 2 s more, which is worth 2 x 1000: it would have to ask 2000 less.
    offers = [offer(1, 5000, pace=1.0), offer(2, 4000, pace=3.0)]
    found = run([task("upscale-0")], offers, time_value_wei_per_s=1000)
    assert (found.assignments[ONE].provider, found.assignments[ONE].price) == (who(1), 6000)
    assert found.losses_of(who(2))[0].reason is LossReason.TOO_SLOW


def test_the_reserve_caps_what_time_is_worth() -> None:
    offers = [offer(1, 5000, pace=1.0), offer(2, 4000, pace=3.0)]
    found = run([task("upscale-0")], offers, reserve=5500, time_value_wei_per_s=1000)
    assert found.assignments[ONE].price == 5500


def test_parallel_chunks_spread_over_unequal_providers() -> None:
    chunks = [task(f"upscale-{i}") for i in range(9)]
    offers = [offer(1, 100, pace=1.0), offer(2, 100, pace=0.5)]
    found = run(chunks, offers, time_value_wei_per_s=10**6)
    assert found.makespan_s == pytest.approx(3.0, abs=0.01)
    assert sum(won.provider == who(2) for won in found.assignments.values()) == 6


def test_when_time_is_worth_nothing_the_cheapest_does_it_all() -> None:
    found = run([task(f"upscale-{i}") for i in range(4)], [offer(1, 100), offer(2, 101)])
    assert {won.provider for won in found.assignments.values()} == {who(1)}
    assert {won.price for won in found.assignments.values()} == {101}


def test_slots_run_side_by_side() -> None:
    chunks = [task(f"upscale-{i}") for i in range(4)]
    assert run(chunks, [offer(1, 1, slots=2)]).makespan_s == pytest.approx(2.0, abs=0.01)


REASONS: dict[LossReason, ProviderOffer] = {
    LossReason.OVER_RESERVE: offer(9, 1001),
    LossReason.NO_MEMORY: offer(9, 1, memory_mb=1),
    LossReason.STAGE_NOT_OFFERED: offer(9, 1, stages=("decode",)),
    LossReason.LATE: offer(9, 1, pace=101.0),
    LossReason.NO_SLOT: offer(9, 1, slots=0),
    LossReason.OUTBID: offer(9, 501),
    LossReason.TOO_SLOW: offer(9, 500, pace=50.0),
    LossReason.EXCLUDED: offer(8, 1),
}


@pytest.mark.parametrize("reason", REASONS)
def test_every_loser_is_told_why(reason: LossReason) -> None:
    found = run(
        [task("upscale-0", memory_mb=5)],
        [offer(1, 500), REASONS[reason]],
        reserve=1000,
        deadline_s=100.0,
        time_value_wei_per_s=1000,
        exclude={ONE: {who(8)}},
    )
    assert [(loss.provider == who(1), loss.reason) for loss in found.losses] == [(False, reason)]
    assert EXPLAIN[reason]


@pytest.mark.parametrize("reason", sorted(set(REASONS) - {LossReason.OUTBID, LossReason.TOO_SLOW}))
def test_a_subtask_that_nobody_can_have_says_why(reason: LossReason) -> None:
    found = run(
        [task("upscale-0", memory_mb=5)],
        [REASONS[reason]],
        reserve=1000,
        deadline_s=100.0,
        exclude={ONE: {who(8)}},
    )
    assert found.unplaced == {ONE: reason}
    assert [(loss.reason, loss.winning_price) for loss in found.losses] == [(reason, None)]


def test_without_bids_nothing_is_placed() -> None:
    found = run([task("upscale-0")], [])
    assert found.unplaced == {ONE: LossReason.NO_BIDS}
    assert (found.assignments, found.losses, found.total) == ({}, [], 0)


def test_what_does_not_fit_before_the_deadline_stays_open() -> None:
    found = run([task(f"upscale-{i}") for i in range(5)], [offer(1, 1)], deadline_s=3.5)
    assert len(found.assignments) == 3
    assert set(found.unplaced.values()) == {LossReason.LATE}


def test_time_is_left_for_the_work_that_follows() -> None:
    chain = [task("decode"), task("interpolate", "decode")]
    assert not run(chain, [offer(1, 1)], deadline_s=2.5).unplaced
    assert SubtaskId("decode") in run(chain, [offer(1, 1)], deadline_s=1.5).unplaced


def test_a_retender_leaves_out_who_failed() -> None:
    chunks = [task("upscale-0"), task("upscale-1")]
    found = run(chunks, [offer(1, 1), offer(2, 50)], exclude={ONE: {who(1)}})
    assert found.assignments[ONE].provider == who(2)
    assert found.assignments[SubtaskId("upscale-1")].provider == who(1)
    assert found.losses_of(who(1))[0].reason is LossReason.EXCLUDED


def test_work_stays_where_its_input_is_when_the_line_is_slow() -> None:
    pairs = [task("upscale-0", size=10**7), task("upscale-1", size=10**7)]
    pairs += [task(f"encode_video-{i}", f"upscale-{i}", size=10**7) for i in range(2)]
    offers = [offer(n, 100, uplink_mbps=20.0) for n in (1, 2)]
    found = run(pairs, offers, time_value_wei_per_s=10**6)
    made = {subtask: won.provider for subtask, won in found.assignments.items()}
    assert {made[SubtaskId(f"upscale-{i}")] for i in range(2)} == {who(1), who(2)}
    for i in range(2):
        assert made[SubtaskId(f"encode_video-{i}")] == made[SubtaskId(f"upscale-{i}")]


def test_inputs_done_before_are_known_by_holder_and_time() -> None:
    encode = [task("encode_video-0", "upscale-0", size=10**7)]
    offers = [offer(1, 100, uplink_mbps=20.0), offer(2, 100, uplink_mbps=20.0)]
    found = run(
        encode,
        offers,
        time_value_wei_per_s=10**6,
        held_by={ONE: who(2)},
        ready_s={ONE: 5.0},
    )
    won = found.assignments[SubtaskId("encode_video-0")]
    assert (won.provider, won.start_s) == (who(2), 5.0)
    assert won.finish_s == pytest.approx(5.0 + 1.0 + 4.0, abs=0.01)  # run, then deliver 10 MB


def test_a_loaded_model_wins_over_an_equal_ask() -> None:
    found = run(
        [task("upscale-0")],
        [offer(1, 100, resident=False), offer(2, 100)],
        time_value_wei_per_s=1000,
    )
    assert found.assignments[ONE].provider == who(2)


def test_equal_bids_are_decided_by_address() -> None:
    found = run([task("upscale-0")], [offer(2, 100), offer(1, 100)])
    assert (found.assignments[ONE].provider, found.assignments[ONE].price) == (who(1), 100)


def test_prices_beyond_64_bits_are_sold_too() -> None:
    big = 10**26
    found = run([task("upscale-0")], [offer(1, big), offer(2, 2 * big)], reserve=3 * big)
    price = found.assignments[ONE].price
    assert big <= price <= 3 * big
    assert price == pytest.approx(2 * big, rel=1e-9)


def test_caps_are_each_winners_sum() -> None:
    chunks = [task(f"upscale-{i}") for i in range(4)]
    found = run(chunks, [offer(1, 100), offer(2, 100)], time_value_wei_per_s=10**6)
    assert list(found.caps()) == sorted(found.caps())
    assert sum(found.caps().values()) == found.total


def test_the_demo_finishes_about_as_soon_as_if_prices_did_not_matter() -> None:
    plan = make_plan(parse_spec({"prompt": "a red ball"}))
    offers = [
        offer(n, GWEI, pace=0.5 * n, memory_mb=4000, stages=tuple(CATALOGUE)) for n in (1, 2, 3)
    ]
    most = reserves(plan, Wei(3 * least_budget(plan)))
    found = clear(plan.subtasks, offers, most, time_value_wei_per_s=10**18, deadline_s=10_000.0)
    assert not found.unplaced
    assert found.makespan_s <= 1.25 * place(problem(plan.subtasks, offers)).makespan_s


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="no reserve"):
        clear([task("upscale-0")], [offer(1, 1)], {}, time_value_wei_per_s=0, deadline_s=1)
    with pytest.raises(ValueError, match="one offer a provider"):
        run([task("upscale-0")], [offer(1, 1), offer(1, 2)])
    with pytest.raises(ValueError, match="negative"):
        run([task("upscale-0")], [offer(1, 1)], time_value_wei_per_s=-1)


def test_an_ask_is_rounded_up() -> None:
    assert ask_wei(3, 0.5) == 2
    assert ask_wei(10**13, 2.2) == 22 * 10**12
