"""When a provider bids, for how much, and which reason it gives when it does not."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.provider.policy import PricePolicy, StageRate, Standing, decide
from reelmesh.proto import market_pb2

NOW = 1_000_000
MARKET = b"m" * 20
POLICY = PricePolicy(threads=2, wei_per_cpu_second=1000, margin=0.5, busy_surcharge=0.25)
STANDING = Standing(
    chain_id=31337,
    market=MARKET,
    rates={"upscale": StageRate("upscale", 1, seconds_per_unit=0.5, memory_mb=600)},
    memory_mb=4000,
    busy_slots=0,
    queue_s=0.0,
)


def offer(**fields: object) -> market_pb2.SubtaskOffer:
    values = {
        "id": "upscale-0",
        "stage": "upscale",
        "stage_version": 1,
        "units": 10.0,
        "memory_mb": 500,
        "reserve": "1000000",
    }
    return market_pb2.SubtaskOffer(**{**values, **fields})


def call(*offers: market_pb2.SubtaskOffer, **fields: object) -> market_pb2.Call:
    values = {
        "job_id": b"j" * 32,
        "chain_id": 31337,
        "market": MARKET,
        "subtasks": offers or [offer()],
        "closes_at_ms": NOW + 2000,
        "deadline_ms": NOW + 60_000,
    }
    return market_pb2.Call(**{**values, **fields})


def test_a_call_that_fits_is_bid_on_at_floor_and_margin() -> None:
    decision = decide(call(), STANDING, POLICY, NOW)
    (bid,) = decision.stages
    assert (bid.stage, bid.stage_version, bid.seconds_per_unit) == ("upscale", 1, 0.5)
    assert int(bid.price_per_unit) == 1500  # 0.5 s x 2 threads x 1000 wei x 1.5
    assert dict(decision.declined) == {}


def test_a_production_model_is_bid_on_by_who_has_it_and_declined_by_who_has_not() -> None:
    wanted = call(offer(id="denoise-0", stage="denoise", model="wan-t2v"), offer())
    without = decide(wanted, STANDING, POLICY, NOW)
    assert dict(without.declined) == {"denoise@wan-t2v": "model_not_offered"}
    assert [one.stage for one in without.stages] == ["upscale"]
    rate = StageRate("denoise", 1, 0.5, 600, model="wan-t2v", model_hash=b"h" * 32)
    rates = {**STANDING.rates, rate.offering: rate}
    policy = dataclasses.replace(POLICY, price_floors={"denoise@wan-t2v": 9, "denoise": 1})
    having = decide(wanted, dataclasses.replace(STANDING, rates=rates), policy, NOW)
    line = having.stages[0]
    assert (line.stage, line.model, line.model_hash) == ("denoise", "wan-t2v", b"h" * 32)
    assert int(line.price_per_unit) == 9
    # Another model's rate does not serve, nor the stage's embedded one.
    other = call(offer(id="denoise-0", stage="denoise", model="wan-t2v-14b"))
    refused = decide(other, dataclasses.replace(STANDING, rates=rates), policy, NOW)
    assert dict(refused.declined) == {"denoise@wan-t2v-14b": "model_not_offered"}


def test_a_given_floor_replaces_the_measured_one() -> None:
    policy = dataclasses.replace(POLICY, price_floors={"upscale": 7})
    assert int(decide(call(), STANDING, policy, NOW).stages[0].price_per_unit) == 7


def test_busy_slots_make_it_dearer() -> None:
    busy = dataclasses.replace(STANDING, busy_slots=2)
    assert int(decide(call(), busy, POLICY, NOW).stages[0].price_per_unit) == 2250


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chain_id": 1}, "wrong_chain"),
        ({"market": b"x" * 20}, "wrong_market"),
        ({"closes_at_ms": NOW}, "call_closed"),
        ({"deadline_ms": NOW, "closes_at_ms": NOW + 1}, "deadline_passed"),
        ({"job_id": b"short"}, "malformed"),
        ({"subtasks": []}, "malformed"),
        ({"subtasks": [offer(units=float("nan"))]}, "malformed"),
        ({"subtasks": [offer(units=-1.0)]}, "malformed"),
        ({"subtasks": [offer(reserve="1e9")]}, "malformed"),
    ],
)
def test_a_call_that_is_not_for_this_node(fields: dict[str, object], reason: str) -> None:
    decision = decide(call(**fields), STANDING, POLICY, NOW)
    assert (decision.refused, decision.bids) == (reason, False)


def test_a_node_that_shuts_down_bids_no_more() -> None:
    closing = dataclasses.replace(STANDING, accepting=False)
    assert decide(call(), closing, POLICY, NOW).refused == "shutting_down"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stage": "refine"}, "stage_not_offered"),
        ({"stage_version": 2}, "other_version"),
        ({"memory_mb": 4001}, "no_memory"),
        ({"units": 121.0}, "too_slow"),
        ({"reserve": "14999"}, "over_reserve"),
    ],
)
def test_a_stage_that_is_declined_says_why(fields: dict[str, object], reason: str) -> None:
    decision = decide(call(offer(**fields)), STANDING, POLICY, NOW)
    assert list(decision.declined.values()) == [reason]
    assert not decision.bids


def test_own_peak_memory_counts_when_it_is_larger_than_the_plans() -> None:
    rates = {"upscale": StageRate("upscale", 1, 0.5, memory_mb=5000)}
    standing = dataclasses.replace(STANDING, rates=rates)
    assert dict(decide(call(), standing, POLICY, NOW).declined) == {"upscale": "no_memory"}


def test_a_queue_takes_from_the_time_that_is_left() -> None:
    queued = dataclasses.replace(STANDING, queue_s=56.0)
    assert dict(decide(call(), queued, POLICY, NOW).declined) == {"upscale": "too_slow"}


def test_one_subtask_that_fits_is_reason_enough() -> None:
    both = call(offer(), offer(id="upscale-1", memory_mb=99_999))
    assert decide(both, STANDING, POLICY, NOW).bids


@given(
    st.floats(1e-6, 1e3),
    st.integers(0, 10**15),
    st.floats(0, 10),
    st.floats(0, 10),
    st.integers(0, 64),
)
def test_a_price_is_never_below_cost(
    seconds: float, wei: int, margin: float, surcharge: float, busy: int
) -> None:
    policy = PricePolicy(1, wei, margin, surcharge)
    rate = StageRate("upscale", 1, seconds, 0)
    assert policy.price(rate, busy) >= policy.floor(rate) >= int(seconds * wei)
