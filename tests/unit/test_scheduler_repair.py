"""A repair does again what shows the bad part, and nothing else is other work than before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.node.cli.repairing import NotRepairable, repair_order
from reelmesh.scheduler.plan import parse_plan
from reelmesh.scheduler.reuse import work_keys
from reelmesh.scheduler.spec import InvalidSpec, Repair, TextToVideo, parse_spec
from reelmesh.scheduler.stages.repair import CHUNKS
from reelmesh.scheduler.templates import make_plan
from reelmesh.scheduler.templates.repair import part_of

SPEC = TextToVideo(prompt="a red ball", width=256, height=256)
WHOLE = make_plan(SPEC)


def repaired(**asked: Any) -> TextToVideo:
    return SPEC.model_copy(update={"repair": Repair(**asked)})


def test_segments_outside_the_part_are_the_same_work() -> None:
    plan = make_plan(repaired(start=1.0, stop=2.0, seed=7))
    again = {subtask.id for subtask in plan.subtasks if "again" in subtask.id} | {"repair"}
    keys, before = work_keys(plan), work_keys(WHOLE)
    assert {name: key for name, key in keys.items() if name not in again}.items() <= before.items()
    taken = [ref.subtask for ref in plan.final().inputs]
    assert taken[0] == "encode_video-0"
    assert taken[5:] == ["encode_video-5", "encode_video-6", "encode_video-7"]
    assert taken[1:5] == [f"encode_video_again-{i}" for i in range(1, 5)]
    assert plan["repair"].params["seed"] == 7
    assert not [s.id for s in plan.subtasks if s.id == "encode_text_again"]


@pytest.mark.parametrize("asked", [{"width": 1920, "height": 1080}, {"audio": True}])
def test_tiles_and_sound_are_made_again_where_the_part_is(asked: dict[str, Any]) -> None:
    spec = TextToVideo(prompt="a red ball bouncing", seed=3, **asked)
    whole = make_plan(spec)
    plan = make_plan(spec.model_copy(update={"repair": Repair(start=0.0, stop=0.5)}))
    assert plan.final().id == f"{whole.final().id}_again"
    assert plan.final().stage == whole.final().stage
    join, before = plan["assemble_again"], whole["assemble"]
    assert join.inputs[-1] == before.inputs[-1]
    stem, _, number = before.inputs[0].subtask.partition("-")
    assert join.inputs[0].subtask == f"{stem}_again-{number}"


def test_another_prompt_is_read_for_the_new_part_alone() -> None:
    plan = make_plan(repaired(start=1.0, stop=2.0, prompt="a blue ball"))
    assert plan["encode_text_again"].params == {"prompt": "a blue ball"}
    assert {r.name: r.subtask for r in plan["repair"].inputs} == {
        "features": "encode_text_again",
        "latent": "skeleton-1",
    }
    assert plan["skeleton-1"] == WHOLE["skeleton-1"]


def test_a_spec_without_a_repair_keeps_its_hash_and_a_bad_span_is_refused() -> None:
    assert "repair" not in SPEC.model_dump()
    for span in ({"start": 2, "stop": 1}, {"start": 1, "stop": 9}, {"start": -1, "stop": 1}):
        with pytest.raises(InvalidSpec):
            parse_spec({"prompt": "x", "repair": span})
    with pytest.raises(InvalidSpec, match="preview"):
        parse_spec({"prompt": "x", "layer": "preview", "repair": {"start": 1, "stop": 2}})
    spec = repaired(start=1.0, stop=2.0)
    assert parse_spec(spec.canonical()) == spec


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1, 20),
    st.sampled_from([12, 24, 30, 60]),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_part_covers_what_was_asked_for(
    seconds: float, fps: int, ends: tuple[float, float]
) -> None:
    start, stop = (min(seconds, end * seconds) for end in sorted(ends))
    if stop - start < 0.05:
        return
    repair = Repair(start=start, stop=stop)
    frames = round(seconds * fps)
    part = part_of(repair, frames, fps)
    assert 0 <= part.first < part.end <= CHUNKS
    assert 0 <= part.start < part.stop <= frames
    assert part.start <= min(frames - 1, int(start * fps))
    assert part.stop >= min(frames, round(stop * fps))
    spec = TextToVideo(prompt="x", seconds=seconds, fps=fps, repair=repair)
    plan = make_plan(spec)
    assert parse_plan(plan.model_dump_json()) == plan
    whole = make_plan(spec.model_copy(update={"repair": None}))
    assert len(plan.final().inputs) == len(whole.final().inputs)


@pytest.mark.parametrize(
    ("change", "span"),
    [
        ({"kind": "image_to_video"}, (0.0, 1.0)),
        ({"repair": {"start": 0, "stop": 1}}, (0.0, 1.0)),
        ({"layer": "preview"}, (0.0, 1.0)),
        ({}, (3.0, 5.0)),
        ({}, (2.0, 1.0)),
    ],
)
async def test_what_cannot_be_repaired_is_told_before_anyone_is_asked(
    tmp_path: Any, change: dict[str, Any], span: tuple[float, float]
) -> None:
    job = {"job_id": "0x1", "spec": SPEC.model_dump(mode="json") | change, "budget": "1"}
    with pytest.raises(NotRepairable):
        await repair_order(tmp_path / "none.sock", job, span, 1, None, 60)
