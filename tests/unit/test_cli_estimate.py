"""A job's price, time and energy before it is posted: what they rest on is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reelmesh.errors import UserError
from reelmesh.node.cli.app import outcome
from reelmesh.node.cli.estimating import Known, estimate_job, print_estimate
from reelmesh.node.coordinator.offers import LiveOffer, live_offers
from reelmesh.node.p2p.books import AdBook
from reelmesh.proto import market_pb2
from reelmesh.scheduler.ids import node_address
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.stages import CATALOGUE

SPEC = parse_spec({"prompt": "a red ball", "seconds": 2, "seed": 1})
PROVIDER = node_address(bytes([7]) * 20)


def ad(device_class: str = "cpu-avx2", without: str = "", **changes: Any) -> market_pb2.CapacityAd:
    rates = [
        market_pb2.Rate(
            stage=name, stage_version=entry.version, seconds_per_unit=0.5, price_per_unit="1000"
        )
        for name, entry in CATALOGUE.items()
        if name != without
    ]
    fields = {"slots": 2, "memory_mb": 16000, "accepting": True, "expires_at_ms": 99, **changes}
    return market_pb2.CapacityAd(device_class=device_class, rates=rates, **fields)


def offers(*ads: market_pb2.CapacityAd) -> list[LiveOffer]:
    book = AdBook(lambda: 1)
    for number, each in enumerate(ads, start=7):
        book.put(node_address(bytes([number]) * 20), each)
    told = json.loads(json.dumps(live_offers(book)))
    return [LiveOffer.model_validate(each) for each in told]


def test_ads_come_through_the_socket_as_they_were() -> None:
    (live,) = offers(ad())
    assert live.offer.provider == PROVIDER
    assert set(live.offer.stages) == set(CATALOGUE)
    assert live.offer.stages["upscale"].price_per_unit == 1000
    large = ad()
    for number, model in enumerate(("wan-t2v", "wan-t2v-14b"), start=1):
        large.rates.add(
            stage="denoise",
            stage_version=1,
            model=model,
            seconds_per_unit=number,
            price_per_unit="9",
        )
    (live,) = offers(large)
    assert live.offer.stages["denoise@wan-t2v"].seconds_per_unit == 1
    assert live.offer.stages["denoise@wan-t2v-14b"].seconds_per_unit == 2
    assert offers(ad(accepting=False)) == []
    assert offers(ad(slots=65)) == []
    nonsense = ad()
    nonsense.rates[0].price_per_unit = "much"
    assert offers(nonsense) == []


def test_without_ads_the_cost_model_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    told = estimate_job(SPEC)
    assert (told["price"]["from"], told["time"]["from"]) == ("cost model", "cost model")
    assert 0 < told["time"]["seconds"] < told["time"]["on_one_thread_s"]
    assert told["energy"]["power"] == "assumed for the device class"
    print_estimate(told)
    out = capsys.readouterr().out
    assert "cost model" in out
    assert "Wh" in out
    assert "assumed" in out
    assert "3.67 for 5 s" in out


def test_live_ads_give_price_time_and_energy() -> None:
    units = sum(task["units"] for task in estimate_job(SPEC)["subtasks"])
    told = estimate_job(SPEC, Known(offers(ad())))
    assert told["price"]["from"] == "live ads"
    assert int(told["price"]["wei"]) == pytest.approx(1000 * units, abs=len(told["subtasks"]))
    assert told["energy"]["joules"] == pytest.approx(10 * 0.5 * units, rel=0.01)
    assert told["energy"]["measured_share"] == 0
    read = estimate_job(SPEC, Known(offers(ad()), {"cpu-avx2": 20.0}))
    assert read["energy"]["joules"] == pytest.approx(2 * told["energy"]["joules"], rel=0.01)
    assert read["energy"]["power"] == "measured"
    gpu = estimate_job(SPEC, Known(offers(ad("cuda-sm90"))))
    assert gpu["energy"]["joules"] == pytest.approx(60 * told["energy"]["joules"], rel=0.01)


def test_what_nobody_offers_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = estimate_job(SPEC, Known(offers(ad(without="upscale"))))
    assert told["price"]["from"] == "cost model"
    assert set(told["missing"]) == {f"upscale-{i}" for i in range(4)}
    print_estimate(told)
    assert "nobody offers upscale-0" in capsys.readouterr().out


def test_the_comparison_is_an_assumption_that_can_be_changed() -> None:
    one, two = (estimate_job(SPEC, Known(yuan_per_eth=rate))["anchor"] for rate in (1e4, 2e4))
    assert two["this_job_yuan"] == pytest.approx(2 * one["this_job_yuan"], rel=0.01)
    assert one["yuan_for_this_length"] == pytest.approx(1.47)
    with pytest.raises(UserError, match="yuan-per-eth"):
        estimate_job(SPEC, Known(yuan_per_eth=-1.0))


def test_the_command_needs_no_coordinator(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["job", "estimate", "a red ball", "--quality", "auto"]) == 0
    out = capsys.readouterr().out
    said = "auto: 8 steps, 4 of them guided, plain parts enlarged plainly; the prompt looks simple"
    assert said in out
    assert outcome(["job", "estimate", "a red ball", "--node", "/nowhere"]) == 2
