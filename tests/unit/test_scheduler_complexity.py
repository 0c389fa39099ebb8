"""How deep a job is run: by its content and the quality asked for, and said in its plan."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.complexity import choose_depth, complexity, depth_of
from reelmesh.scheduler.plan import parse_plan
from reelmesh.scheduler.spec import GeneratedSpec, InvalidSpec, parse_spec
from reelmesh.scheduler.stages import InvalidParams, entry, parse_params
from reelmesh.scheduler.stages.upscale import SPARSE
from reelmesh.scheduler.templates import make_plan

PICTURE = {"kind": "image_to_video", "image": {"sha256": "ab" * 32, "size": 5000}}


@pytest.mark.parametrize(
    ("prompt", "word", "because"),
    [
        ("a red ball moving left", "simple", ()),
        ("big white ring, going up and to the left, in front of a dark red wall", "simple", ()),
        ("a ball of fire says “first, two of you go above”", "simple", ()),
        ("a green ball shrinks until it is tiny", "medium", ("a sequence",)),
        ("a red ball above a blue square", "complex", ("a relation",)),
        ("two stars", "complex", ("several things",)),
        ("a star and a heart moving down", "complex", ("several things",)),
        ("a ball behind a heart", "complex", ("a relation",)),
        ("the camera pans over grass", "complex", ("a camera move",)),
        (" ".join(["word"] * 60), "complex", ("a long text",)),
    ],
)
def test_a_prompt_is_judged_by_what_it_names(prompt: str, word: str, because: Any) -> None:
    found = complexity(prompt)
    assert (found.word, found.because) == (word, because)


@given(st.text(max_size=300), st.none() | st.floats(0, 1e6))
def test_any_text_has_a_level(prompt: str, detail: float | None) -> None:
    assert 0 <= complexity(prompt, detail).level <= 1


def test_a_photograph_is_more_than_a_drawing() -> None:
    assert complexity("it moves left", 0.02).word == "simple"
    assert complexity("it moves left", 4.0).word == "complex"


@given(st.sampled_from(["fixed", "draft", "auto"]), st.integers(4, 50), st.text(max_size=60))
def test_only_high_costs_more_than_was_asked_for(quality: Any, steps: int, prompt: str) -> None:
    content = complexity(prompt)
    depth = choose_depth(quality, steps, content)
    assert 4 <= depth.steps <= steps
    assert 0 < depth.guided <= depth.steps
    high = choose_depth("high", steps, content)
    assert high.steps == high.guided >= depth.steps
    assert high.steps <= 50


def _spec(**fields: Any) -> GeneratedSpec:
    spec = parse_spec({"prompt": "a red ball", "seed": 5, **fields})
    assert isinstance(spec, GeneratedSpec)
    return spec


def test_the_depth_of_every_clip_of_a_picture_stands_in_the_plan() -> None:
    for quality, steps, units in (("auto", 8, 6.4), ("fixed", 20, 20), ("high", 30, 30)):
        plan = make_plan(_spec(quality=quality, **PICTURE))
        clips = [task for task in plan.subtasks if task.stage == "animate"]
        assert [task.params["stop"] for task in clips] == [steps] * 2
        assert [task.units for task in clips] == [pytest.approx(units)] * 2


@pytest.mark.parametrize("kind", [{}])
def test_the_depth_stands_in_the_plan_and_in_its_price(kind: dict[str, Any]) -> None:
    plans = {q: make_plan(_spec(quality=q, **kind)) for q in ("fixed", "draft", "auto", "high")}
    loops = {
        quality: [task for task in plan.subtasks if task.stage in ("skeleton", "animate")]
        for quality, plan in plans.items()
    }
    assert [task.params["stop"] for task in loops["auto"]] == [4, 8]
    assert {task.params["guided"] for task in loops["auto"]} == {4}
    assert [task.units for task in loops["auto"]] == [4, pytest.approx(2.4)]
    assert [task.units for task in loops["fixed"]] == [10, 10]
    assert [task.units for task in loops["high"]] == [15, 15]
    assert all("guided" not in task.params for task in (*loops["fixed"], *loops["high"]))
    assert all(parse_plan(canonical(plan)) == plan for plan in plans.values())


@pytest.mark.parametrize(
    ("quality", "prompt", "sparse"),
    [
        ("auto", "a red ball", True),
        ("draft", "a red ball grows, then stops", True),
        ("auto", "two stars", False),
        ("draft", "two stars", False),
        ("fixed", "a red ball", False),
        ("high", "a red ball", False),
    ],
)
def test_plain_content_is_enlarged_sparsely(quality: str, prompt: str, sparse: bool) -> None:
    plan = make_plan(_spec(quality=quality, prompt=prompt))
    parts = [task for task in plan.subtasks if task.stage == "upscale"]
    assert {task.params.get("sparse") for task in parts} == {True if sparse else None}
    dense = make_plan(_spec(prompt=prompt))
    whole = [task for task in dense.subtasks if task.stage == "upscale"]
    share = SPARSE if sparse else 1
    assert parts[0].units == pytest.approx(share * whole[0].units)
    assert parts[0].memory_mb == whole[0].memory_mb
    assert parse_plan(canonical(plan)) == plan


def test_pictures_are_enlarged_whole() -> None:
    plan = make_plan(_spec(quality="auto", **PICTURE))
    assert not any("sparse" in task.params for task in plan.subtasks if task.stage == "upscale")


def test_a_spec_that_says_nothing_of_quality_stays_as_it_was() -> None:
    assert _spec(quality="fixed").canonical() == _spec().canonical()
    assert b"quality" not in _spec().canonical()
    assert b"auto" in _spec(quality="auto").canonical()
    assert depth_of(_spec()).predictions == 40
    with pytest.raises(InvalidSpec, match="quality"):
        _spec(quality="best")


def test_a_range_of_steps_knows_which_of_them_are_guided() -> None:
    whole = {"seed": 1, "start": 2, "stop": 6, "steps": 8, "guidance": 2.0}
    for guided, units in ((0, 2.4), (2, 2.4), (4, 3.2), (6, 4.0), (50, 4.0)):
        params = parse_params("skeleton", {**whole, "guided": guided})
        assert entry("skeleton").units(params) == pytest.approx(units)
    with pytest.raises(InvalidParams):
        parse_params("skeleton", {**whole, "guided": -1})
