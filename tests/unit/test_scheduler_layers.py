"""The first layer is the same work as in the whole job, and small beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.cli import layered
from reelmesh.node.cli.control import Order
from reelmesh.node.cli.layered import share
from reelmesh.scheduler.cost import least_budget
from reelmesh.scheduler.reuse import prune, work_keys
from reelmesh.scheduler.sources import Given, Picture
from reelmesh.scheduler.spec import ImageToVideo, InvalidSpec, JobSpec, TextToVideo, parse_spec
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.stages.preview import preview_params
from reelmesh.scheduler.templates import make_plan

IMAGE = Picture.model_validate({"sha256": "ab" * 32, "size": 9})
SPECS = [
    TextToVideo(prompt="a red ball", width=512, height=320),
    ImageToVideo(prompt="it moves", image=IMAGE),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_a_preview_is_the_whole_jobs_first_layer(spec: JobSpec) -> None:
    whole = make_plan(spec)
    layer = make_plan(spec.model_copy(update={"layer": "preview"}))
    assert layer.final().stage == "preview"
    assert layer.spec_hash != whole.spec_hash
    keys = work_keys(whole)
    made = {name: key for name, key in work_keys(layer).items() if name != "preview"}
    assert made.items() <= keys.items()
    assert least_budget(layer) * 4 < least_budget(whole)

    kept = {}
    for name in made:
        (kind,) = entry(whole[name].stage).outputs.values()
        kept[name] = Given(sha256=hashlib.sha256(name.encode()).hexdigest(), size=9, kind=kind)
    rest = prune(whole, kept).plan
    assert rest is not None
    assert not {subtask.id for subtask in rest.subtasks} & set(made)


def test_a_spec_that_says_nothing_of_layers_keeps_its_hash() -> None:
    assert "layer" not in SPECS[0].model_dump()
    assert parse_spec({"prompt": "x", "layer": "preview"}).model_dump()["layer"] == "preview"
    with pytest.raises(InvalidSpec, match="layer"):
        parse_spec({"prompt": "x", "layer": "second"})


@given(st.integers(256, 3840), st.integers(256, 3840), st.floats(1, 20))
def test_a_preview_has_the_videos_shape(width: int, height: int, seconds: float) -> None:
    params = preview_params(seconds, width, height)
    assert max(params.width, params.height) == 384
    assert abs(params.width / params.height - width / height) <= 0.07 * width / height


@given(st.integers(0, 10**20), st.integers(1, 10**18), st.integers(1, 10**18))
def test_a_layers_share_of_a_budget_is_enough_to_be_put_to_the_market(
    budget: int, least: int, more: int
) -> None:
    found = share(budget, {"least": str(least)}, str(least + more))
    assert found >= 2 * least
    assert found <= max(budget, 2 * least)


async def test_a_preview_never_costs_more_than_the_whole_was_to_cost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Node:
        def __init__(self, _socket: Path) -> None: ...
        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...
        async def quote(self, spec_json: str, _reuse: str) -> dict[str, str]:
            least = "80" if "preview" in spec_json else "100"
            return {"least": least, "least_whole": "100"}

    monkeypatch.setattr(layered, "ControlClient", Node)
    order = Order(SPECS[0].canonical().decode(), 110, 600, tmp_path, "one")
    first = await layered.preview_order(tmp_path, order)
    assert (first.budget, first.name) == (110, "one.preview")


def test_going_on_from_a_preview_that_was_given_again_makes_what_is_asked_now(
    tmp_path: Path,
) -> None:
    shown = {"job_id": "0x1", "spec": {"fps": 24, "layer": "preview"}, "budget": "9"}
    shown |= {"out_dir": "/old", "name": "old.preview"}
    now = Order('{"fps": 60, "layer": "preview"}', 5, 600, tmp_path, "new.preview")
    asked = layered.as_asked(shown, now)
    assert (asked["spec"]["fps"], asked["name"], asked["budget"]) == (60, "new.preview", "9")
    assert asked["out_dir"] == str(tmp_path)
