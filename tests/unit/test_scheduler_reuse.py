"""Work keys name the work, and a pruned plan does what was left to do, and nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.plan import Plan, parse_plan
from reelmesh.scheduler.reuse import (
    clip_of,
    latent_key,
    loop_key,
    makes_clip,
    prune,
    work_keys,
)
from reelmesh.scheduler.sources import Given
from reelmesh.scheduler.spec import JobSpec, Repair, TextToVideo, parse_spec
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.templates import make_plan

SPEC = TextToVideo(prompt="a red ball", seconds=2.0, width=256, height=256)
PLAN = make_plan(SPEC)
NAMES = [subtask.id for subtask in PLAN.subtasks]


def result(plan: Plan, name: str) -> Given:
    (kind,) = entry(plan[name].stage).outputs.values()
    return Given(sha256=hashlib.sha256(name.encode()).hexdigest(), size=len(name), kind=kind)


def kept(*names: str) -> dict[SubtaskId, Given]:
    return {SubtaskId(name): result(PLAN, name) for name in names}


def changed(**changes: object) -> set[str]:
    """Names of the subtasks that are other work in a job with these changes."""
    other = work_keys(make_plan(SPEC.model_copy(update=changes)))
    return {name for name, key in work_keys(PLAN).items() if other.get(name) != key}


def test_a_key_changes_with_what_decides_the_result_and_with_nothing_else() -> None:
    assert changed() == set()
    assert changed(prompt="a blue ball") == set(NAMES)
    assert changed(seed=7) == set(NAMES) - {"encode_text"}
    assert changed(steps=10, guidance=3.0) == set(NAMES) - {"encode_text"}
    larger = changed(width=512)
    assert larger == {n for n in NAMES if n.startswith(("upscale", "encode_video", "assemble"))}
    assert changed(fps=12) >= {"interpolate", "assemble"}


def test_a_source_counts_as_its_hash_and_not_as_where_it_came_from() -> None:
    left = prune(PLAN, kept("decode")).plan
    assert left is not None
    again = prune(PLAN, {SubtaskId("decode"): result(PLAN, "decode")}).plan
    assert again is not None
    assert work_keys(left) == work_keys(again)
    assert work_keys(left)["interpolate"] != work_keys(PLAN)["interpolate"]


def test_nothing_kept_leaves_the_plan_as_it_is() -> None:
    assert prune(PLAN, {}).plan == PLAN
    assert prune(PLAN, {}).reused == ()


def test_the_last_result_kept_leaves_nothing_to_do() -> None:
    found = prune(PLAN, kept(*NAMES))
    assert found.plan is None
    assert found.reused == ("assemble",)


def test_what_only_a_kept_result_needed_is_left_out() -> None:
    found = prune(PLAN, kept("decode", "skeleton-0"))
    assert found.plan is not None
    assert found.reused == ("decode",)
    assert [s.id for s in found.plan.subtasks] == NAMES[NAMES.index("interpolate") :]
    (source,) = found.plan["interpolate"].sources
    assert (source.name, source.sha256) == ("frames", result(PLAN, "decode").sha256)
    assert parse_plan(found.plan.model_dump_json()) == found.plan


def test_a_kept_result_of_another_kind_is_refused() -> None:
    wrong = result(PLAN, "decode").model_copy(update={"kind": "latent"})
    with pytest.raises(ValueError, match="takes"):
        prune(PLAN, {SubtaskId("decode"): wrong})


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(NAMES)))
def test_whatever_is_kept_the_rest_is_a_whole_plan(names: set[str]) -> None:
    found = prune(PLAN, kept(*names))
    if found.plan is None:
        assert "assemble" in names
        return
    left = {s.id for s in found.plan.subtasks}
    assert parse_plan(found.plan.model_dump_json()) == found.plan
    assert found.plan.final().id == "assemble"
    assert not left & names
    assert set(found.reused) <= names
    # every input is made by one that is left, or is a kept result; and nothing is done for nothing
    taken = {s.sha256 for subtask in found.plan.subtasks for s in subtask.sources}
    assert taken == {result(PLAN, name).sha256 for name in found.reused}
    needed = {ref.subtask for subtask in found.plan.subtasks for ref in subtask.inputs}
    assert needed == left - {"assemble"}
    # pruning again by the receipt's own list gives the same plan
    assert prune(PLAN, kept(*found.reused)) == found


OTHER = "red ball, please"
AFTER_THE_LATENT = set(NAMES) - {"encode_text", "skeleton-0"}


def test_with_another_prompts_clip_the_rest_is_the_work_of_that_prompts_job() -> None:
    own, other = work_keys(PLAN), work_keys(make_plan(SPEC.model_copy(update={"prompt": OTHER})))
    like = work_keys(PLAN, OTHER)
    assert {name for name in NAMES if like[name] == other[name]} == AFTER_THE_LATENT
    assert {name for name in NAMES if like[name] == own[name]} == set(NAMES) - AFTER_THE_LATENT
    assert work_keys(PLAN, SPEC.prompt) == own
    clip = clip_of(PLAN)
    assert clip is not None
    seeded = make_plan(SPEC.model_copy(update={"prompt": OTHER, "seed": 7}))
    assert latent_key(PLAN, clip, OTHER, 7) == work_keys(seeded)[clip.latent]


def test_the_loops_key_is_of_everything_but_prompt_and_seed() -> None:
    def key(**changes: object) -> str:
        plan = make_plan(SPEC.model_copy(update=changes))
        clip = clip_of(plan)
        assert clip is not None
        return loop_key(plan, clip)

    assert key(prompt=OTHER, width=512, seconds=4.0, seed=7) == key()
    assert key(layer="preview") == key()
    assert key(repair=Repair(start=0.0, stop=1.0, seed=4)) == key()
    alone = {key(), key(steps=10), key(guidance=3.0), key(quality="high")}
    assert len(alone) == 4
    # a prompt that is planned with more steps is another loop
    assert key(quality="auto") != key(quality="auto", prompt="a red ball above a blue star")


def test_what_is_said_is_no_part_of_the_clips_prompt() -> None:
    spec = SPEC.model_copy(update={"prompt": 'a red ball says "hello"', "audio": True})
    plan = make_plan(spec)
    clip = clip_of(plan)
    assert clip is not None
    assert clip.prompt == "a red ball"
    like = work_keys(plan, OTHER)
    assert like["speech"] == work_keys(plan)["speech"]
    assert like["mux"] != work_keys(plan)["mux"]


PICTURE = {"sha256": "ab" * 32, "size": 10, "kind": "picture"}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "image_to_video", "prompt": "up", "image": PICTURE},
        {"prompt": "a fox", "model": "wan-t2v", "width": 832, "height": 480},
    ],
)
def test_only_what_the_built_in_model_makes_of_a_prompt_has_a_clip(
    fields: dict[str, object],
) -> None:
    spec: JobSpec = parse_spec(fields)
    plan = make_plan(spec)
    assert clip_of(plan) is None
    assert work_keys(plan, OTHER) == work_keys(plan)
    assert not makes_clip(plan)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(sorted(AFTER_THE_LATENT - {"assemble"}))), st.text(max_size=30))
def test_whatever_of_the_other_prompt_is_kept_a_clip_is_made_or_every_picture_is_of_it(
    names: set[str], prompt: str
) -> None:
    clip = clip_of(PLAN)
    assert clip is not None
    like = work_keys(PLAN, prompt)
    assert like[clip.latent] == latent_key(PLAN, clip, prompt)
    found = prune(PLAN, kept(*names))
    assert makes_clip(found.plan) == ("skeleton-1" in {s.id for s in found.plan.subtasks})  # type: ignore[union-attr]
    if not makes_clip(found.plan):
        assert found.reused
        assert all(like[name] != work_keys(PLAN)[name] for name in found.reused) == (
            prompt != SPEC.prompt
        )
