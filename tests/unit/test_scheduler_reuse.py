"""Work keys name the work, and a pruned plan does what was left to do, and nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.plan import Plan, parse_plan
from reelmesh.scheduler.reuse import prune, work_keys
from reelmesh.scheduler.sources import Given
from reelmesh.scheduler.spec import TextToVideo
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
