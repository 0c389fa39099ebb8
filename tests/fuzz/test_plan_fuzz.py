"""Plans: every spec gives one that is valid, and a damaged one is never taken for another."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.cost import least_budget, reserves
from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.plan import InvalidPlan, parse_plan
from reelmesh.scheduler.spec import JobSpec, TextToVideo, parse_spec
from reelmesh.scheduler.templates import make_plan
from reelmesh.scheduler.templates.text_to_video import plan

silent = st.builds(
    TextToVideo,
    prompt=st.just("a red ball"),
    seconds=st.floats(1, 20),
    fps=st.integers(12, 60),
    width=st.integers(4, 16).map(lambda n: n * 64),
    height=st.integers(4, 16).map(lambda n: n * 64),
    steps=st.integers(4, 50),
    guidance=st.floats(1, 10),
    seed=st.integers(0, 2**32 - 1),
)
loud = st.builds(
    TextToVideo,
    prompt=st.just('a red ball says "hi"'),
    seconds=st.floats(1, 10),
    fps=st.integers(12, 60),
    width=st.integers(64, 960).map(lambda n: n * 2),
    height=st.integers(64, 960).map(lambda n: n * 2),
    steps=st.integers(4, 50),
    audio=st.just(True),
    audio_model=st.sampled_from(["embedded", "ltx-2"]),
)
specs = silent | loud
BASE = json.loads(canonical(make_plan(parse_spec({"prompt": "a red ball", "seconds": 1}))))


@settings(deadline=None, max_examples=40)
@given(specs, st.integers(1, 240))
def test_every_spec_has_a_plan_that_survives_its_bytes(spec: JobSpec, chunk_frames: int) -> None:
    made = plan(spec, chunk_frames=chunk_frames)
    again = parse_plan(canonical(made))
    assert again.plan_hash() == made.plan_hash()
    coded = ("encode_video", "join_tiles")
    frames = [task.params["frames"] for task in made.subtasks if task.stage in coded]
    assert sum(int(str(count)) for count in frames) == spec.frames


@settings(deadline=None)
@given(specs, st.integers(0, 10**20))
def test_reserves_never_exceed_the_budget(spec: JobSpec, above: int) -> None:
    made = make_plan(spec)
    budget = Wei(least_budget(made) + above)
    shares = reserves(made, budget)
    assert sum(shares.values()) <= budget
    assert min(shares.values()) > 0


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found.append((*at, key))
        if isinstance(item, dict | list):
            found.extend(_paths(item, (*at, key)))
    return found


@settings(deadline=None)
@given(
    st.sampled_from(_paths(BASE)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just([]),
)
def test_one_changed_field_is_refused_or_changes_the_hash(path: tuple[Any, ...], new: Any) -> None:
    changed = json.loads(json.dumps(BASE))
    place = changed
    for key in path[:-1]:
        place = place[key]
    old, place[path[-1]] = place[path[-1]], new
    try:
        found = parse_plan(changed)
    except InvalidPlan:
        return
    assert (found.plan_hash() == parse_plan(BASE).plan_hash()) == (new == old)
