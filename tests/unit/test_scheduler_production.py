"""A spec that asks for a production model: what is possible, its plan, and who may do it."""

from __future__ import annotations

from typing import Any

import pytest

from reelmesh.node.stages.mag_ratios import MAG_RATIOS, ratios_of
from reelmesh.scheduler.auction import clear
from reelmesh.scheduler.camera import parse_orbit
from reelmesh.scheduler.clearing import LossReason
from reelmesh.scheduler.cost import estimate, fits, least_budget, reserves
from reelmesh.scheduler.ids import Wei, node_address
from reelmesh.scheduler.models import MODELS
from reelmesh.scheduler.offers import ProviderOffer, StageOffer
from reelmesh.scheduler.placement import place, problem
from reelmesh.scheduler.plan import parse_plan
from reelmesh.scheduler.spec import InvalidSpec, parse_spec
from reelmesh.scheduler.stages import InvalidParams, parse_params
from reelmesh.scheduler.templates import make_plan

WAN: dict[str, Any] = {"prompt": "a red fox runs", "model": "wan-t2v", "seed": 1}
LTX: dict[str, Any] = {**WAN, "model": "ltx-2", "width": 768, "height": 512}


def test_a_spec_that_names_no_model_keeps_its_hash_and_one_that_does_has_its_own() -> None:
    plain = parse_spec({"prompt": "a red fox runs", "seed": 1})
    assert b"model" not in plain.canonical()
    assert parse_spec({"prompt": "a red fox runs", "seed": 1, "model": "embedded"}) == plain
    wan = parse_spec(WAN)
    assert wan.spec_hash() != plain.spec_hash()
    assert parse_spec(wan.canonical()) == wan


def test_a_model_brings_its_own_guidance_unless_the_buyer_says() -> None:
    assert parse_spec(WAN).guidance == 5.0  # type: ignore[attr-defined]
    assert parse_spec({**WAN, "guidance": 3.0}).guidance == 3.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": "sora"}, "no model is named 'sora'"),
        ({"seconds": 20}, "at most 5.1 seconds"),
        ({"step_cache": "first_block", "model": "embedded"}, "does not run with the step cache"),
        ({"quality": "high"}, "goes with the built-in model"),
        ({"audio": True}, "goes with the built-in model"),
        (
            {"kind": "image_to_video", "image": {"sha256": "0" * 64, "size": 9, "kind": "picture"}},
            "does not make image to video",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_line(change: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSpec, match=why) as caught:
        parse_spec({**WAN, **change})
    assert caught.value.hint


def test_a_plan_names_the_model_where_it_is_needed_and_nowhere_else() -> None:
    plan = make_plan(parse_spec({**WAN, "seconds": 4, "step_cache": "first_block"}))
    assert parse_plan(plan.model_dump_json()) == plan
    by_model = {task.id: task.model for task in plan.subtasks}
    assert by_model["denoise-0"] == by_model["decode_latent"] == "wan-t2v"
    assert by_model["interpolate-0"] == by_model["assemble"] == ""
    assert plan["denoise-1"].offering == "denoise@wan-t2v"
    assert plan["denoise-0"].params["cache"] == "first_block"
    assert plan["denoise-0"].params["frames"] == 65
    assert sum(t.params["frames"] for t in plan.subtasks if t.stage == "encode_video") == 96  # type: ignore[misc]
    assert make_plan(parse_spec({**WAN, "width": 832, "height": 480})).final().id == "assemble"
    mag = make_plan(parse_spec({**WAN, "seconds": 4, "step_cache": "mag"}))
    assert mag["denoise-1"].params["cache"] == "mag"
    off = make_plan(parse_spec({**WAN, "seconds": 4}))
    assert "cache" not in off["denoise-0"].params


def test_ltx2_is_made_small_doubled_refined_and_its_sound_joined_only_if_asked_for() -> None:
    silent = make_plan(parse_spec({**LTX, "seconds": 4}))
    assert parse_plan(silent.model_dump_json()) == silent
    made = {task.id: task.params for task in silent.subtasks}
    assert (made["denoise-1"]["width"], made["denoise-1"]["height"]) == (384, 256)
    assert (made["upsample_latent"]["width"], made["refine_latent"]["width"]) == (384, 768)
    # 97 frames are made, since 8n + 1 must be, and four seconds of them are kept.
    assert (made["decode_latent"]["frames"], made["decode_latent"]["keep"]) == (97, 96)
    assert silent.final().id == "assemble"
    loud = make_plan(parse_spec({**LTX, "seconds": 4, "audio": True}))
    assert loud.final().id == "mux"
    assert [task.stage for task in loud.subtasks if task not in silent.subtasks] == [
        "decode_audio",
        "mux",
    ]
    assert loud["decode_audio"].params["seconds"] == 4.0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"width": 480}, "multiples of 64"),
        ({"seconds": 12}, "at most 10.0 seconds"),
        ({"audio": True, "audio_style": "metallic"}, "audio_style goes with the built-in model"),
        ({"step_cache": "first_block"}, "does not run with the step cache"),
    ],
)
def test_what_ltx2_cannot_do_is_refused_in_one_line(change: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSpec, match=why):
        parse_spec({**LTX, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"model": "embedded"},
        {"model": "../wan"},
        {"frames": 16},
        {"frames": 85},
        {"width": 500},
        {"stop": 21},
        {"cache": "taylor_seer"},
    ],
)
def test_params_that_a_model_cannot_take_are_refused(change: dict[str, Any]) -> None:
    good = {"model": "wan-t2v", "width": 512, "height": 512, "frames": 65}
    good |= {"seed": 1, "start": 0, "stop": 10, "steps": 20, "guidance": 5.0}
    parse_params("denoise", good)
    with pytest.raises(InvalidParams):
        parse_params("denoise", {**good, **change})


def test_subtasks_go_to_who_offers_the_model_and_the_others_are_told_why() -> None:
    plan = make_plan(parse_spec({**WAN, "seconds": 1, "width": 256, "height": 256}))

    def offer(number: int, *, wan: bool) -> ProviderOffer:
        names = {task.offering for task in plan.subtasks if wan or not task.model}
        line = StageOffer(price_per_unit=Wei(1), seconds_per_unit=0.001)
        return ProviderOffer(
            provider=node_address(bytes([number]) * 20),
            stages=dict.fromkeys(names, line),
            memory_mb=64_000,
        )

    offers = [offer(1, wan=True), offer(2, wan=False)]
    budget = least_budget(plan)
    done = clear(
        plan.subtasks, offers, reserves(plan, budget), time_value_wei_per_s=0, deadline_s=600
    )
    assert not done.unplaced
    for task in plan.subtasks:
        if task.model:
            assert done.assignments[task.id].provider == offers[0].provider
    told = {loss.subtask: loss.reason for loss in done.losses_of(offers[1].provider)}
    assert told[plan["denoise-0"].id] is LossReason.MODEL_NOT_OFFERED
    assert fits(offers[1], plan["denoise-0"]) is LossReason.MODEL_NOT_OFFERED
    missing = estimate(plan, offers[1:]).missing
    assert set(missing.values()) == {LossReason.MODEL_NOT_OFFERED}
    nobody = clear(
        plan.subtasks, offers[1:], reserves(plan, budget), time_value_wei_per_s=0, deadline_s=600
    )
    assert nobody.unplaced[plan["denoise-0"].id] is LossReason.MODEL_NOT_OFFERED
    assert place(problem(plan.subtasks, offers)).makespan_s < 600


FOOTAGE: dict[str, Any] = {
    "kind": "video_to_4d",
    "prompt": "around the table",
    "video": {"sha256": "0" * 64, "size": 9, "kind": "footage"},
    "camera": parse_orbit("-15:15", 4.0).model_dump(mode="json"),
    "seed": 1,
}
DEPTH = "depth-anything-v2-small"


def test_footage_may_name_what_tells_near_from_far() -> None:
    plain = parse_spec(FOOTAGE)
    assert b"model" not in plain.canonical()
    assert all("model" not in task.params for task in make_plan(plain).subtasks)
    named = parse_spec({**FOOTAGE, "model": DEPTH})
    assert parse_spec(named.canonical()) == named
    plan = make_plan(named)
    assert parse_plan(plan.model_dump_json()) == plan
    assert {task.offering for task in plan.subtasks if task.model} == {f"depth@{DEPTH}"}
    assert {task.params["total"] for task in plan.subtasks if task.stage == "depth"} == {48}
    assert least_budget(plan) > 0


@pytest.mark.parametrize(
    ("spec", "model", "why"),
    [
        (FOOTAGE, "wan-t2v", "does not make video to 4d"),
        (FOOTAGE, "midas", "no model is named"),
        (WAN, DEPTH, "does not make text to video"),
    ],
)
def test_a_model_of_another_kind_is_refused(spec: dict[str, Any], model: str, why: str) -> None:
    with pytest.raises(InvalidSpec, match=why) as caught:
        parse_spec({**spec, "model": model})
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"model": "wan-t2v", "total": 8},
        {"model": DEPTH},
        {"model": DEPTH, "total": 7},
        {"total": 8},
    ],
)
def test_depth_params_that_fit_no_backend_are_refused(change: dict[str, Any]) -> None:
    good = {"start": 0, "stop": 8, "width": 512, "height": 320}
    assert parse_params("depth", good).model_dump() == good
    parse_params("depth", {**good, "model": DEPTH, "total": 8})
    with pytest.raises(InvalidParams):
        parse_params("depth", {**good, **change})


def test_a_model_makes_the_size_that_it_was_trained_for() -> None:
    plan = make_plan(parse_spec({**WAN, "width": 832, "height": 480}))
    assert plan["encode_video-0"].params["height"] == 480


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if "mag" in model.caches])
def test_a_model_that_takes_mag_has_ratios_for_every_number_of_steps(name: str) -> None:
    for steps in (2, 3, 20, 50, 100):
        found = ratios_of(name, steps)
        assert len(found) == steps
        assert found[0] == 1.0
        assert found[-1] == MAG_RATIOS[name][-1]
        assert all(0.7 < ratio < 1.1 for ratio in found)
