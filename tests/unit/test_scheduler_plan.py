"""Plans: the text→video template, and what a plan from outside must not say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.plan import InvalidPlan, Plan, parse_plan
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan
from reelmesh.scheduler.templates.layers import small_clip
from reelmesh.scheduler.templates.text_to_video import cuts, plan

SPEC = parse_spec({"prompt": "a red ball", "seed": 5})


@pytest.fixture(scope="module")
def demo() -> Plan:
    return make_plan(SPEC)


def test_the_demo_plan(demo: Plan) -> None:
    names = [subtask.id for subtask in demo.subtasks]
    assert names[:5] == ["encode_text", "skeleton-0", "skeleton-1", "decode", "interpolate"]
    assert names[5:13] == [f"upscale-{i}" for i in range(8)]
    assert names[13:21] == [f"encode_video-{i}" for i in range(8)]
    assert names[21:] == ["assemble"]
    assert demo.final().id == "assemble"


def test_chunks_cover_every_frame_once(demo: Plan) -> None:
    ranges = [
        (subtask.params["start"], subtask.params["stop"])
        for subtask in demo.subtasks
        if subtask.stage == "upscale"
    ]
    frames = [frame for start, stop in ranges for frame in range(start, stop)]  # type: ignore[call-overload]
    assert frames == list(range(96))


def test_the_denoise_loop_is_cut_in_two_that_join(demo: Plan) -> None:
    loops = [subtask.params for subtask in demo.subtasks if subtask.stage == "skeleton"]
    assert [(p["start"], p["stop"], p["seed"]) for p in loops] == [(0, 10, 5), (10, 20, 5)]


def test_the_plan_of_a_spec_never_changes(demo: Plan) -> None:
    assert make_plan(SPEC).plan_hash() == demo.plan_hash()
    other = make_plan(parse_spec({"prompt": "a red ball", "seed": 6}))
    assert other.plan_hash() != demo.plan_hash()


def test_a_plan_survives_its_canonical_bytes(demo: Plan) -> None:
    again = parse_plan(canonical(demo))
    assert again == demo
    assert again.plan_hash() == demo.plan_hash()


@pytest.mark.parametrize("seconds", [1, 1.3, 4, 20])
@pytest.mark.parametrize("fps", [12, 24, 60])
def test_every_length_gives_a_valid_plan(seconds: float, fps: int) -> None:
    made = make_plan(parse_spec({"prompt": "x", "seconds": seconds, "fps": fps, "steps": 5}))
    sizes = [s.params["frames"] for s in made.subtasks if s.stage == "encode_video"]
    assert sum(sizes) == round(seconds * fps)  # type: ignore[arg-type]
    assert max(sizes) <= 12  # type: ignore[type-var, operator]


def test_children_are_the_reverse_of_inputs(demo: Plan) -> None:
    children = demo.children()
    assert children[demo["encode_text"].id] == ("skeleton-0", "skeleton-1")
    assert len(children[demo["interpolate"].id]) == 8
    assert children[demo.final().id] == ()


def test_a_subtask_that_is_not_there_is_a_key_error(demo: Plan) -> None:
    with pytest.raises(KeyError):
        demo["upscale-99"]


def test_cuts_are_even() -> None:
    assert cuts(96, 12) == list(range(0, 97, 12))
    assert cuts(25, 12) == [0, 8, 16, 25]
    assert cuts(1, 12) == [0, 1]


def test_the_longest_video_in_the_smallest_chunks() -> None:
    longest = parse_spec({"prompt": "x", "seconds": 20, "fps": 60})
    assert len(plan(longest, chunk_frames=1).subtasks) == 5 + 2 * 1200 + 1


def test_chunk_frames_are_bounded() -> None:
    with pytest.raises(ValueError, match="1 to 240"):
        plan(SPEC, chunk_frames=0)


def _changed(demo: Plan, index: int, **fields: Any) -> bytes:
    value = json.loads(canonical(demo))
    value["subtasks"][index].update(fields)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("index", "fields", "says"),
    [
        (1, {"id": "encode_text"}, "two subtasks"),
        (1, {"stage": "relight"}, "No stage"),
        (1, {"stage_version": 9}, "version"),
        (1, {"units": 1}, "states"),
        (1, {"bytes_in": 0}, "states"),
        (1, {"memory_mb": 1}, "states"),
        (1, {"units": -1}, "greater than 0"),
        (1, {"params": {"seed": 1}}, "skeleton"),
        (1, {"inputs": []}, "takes"),
        (1, {"inputs": [{"name": "features", "subtask": "assemble", "output": "video"}]}, "before"),
        (1, {"inputs": [{"name": "features", "subtask": "encode_text", "output": "x"}]}, "output"),
        (3, {"inputs": [{"name": "latent", "subtask": "encode_text", "output": "features"}]}, "t"),
        (1, {"colour": "red"}, "not permitted"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(
    demo: Plan, index: int, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidPlan, match=says):
        parse_plan(_changed(demo, index, **fields))


def _of_an_earlier_release() -> dict[str, Any]:
    """A plan in which `anchor` is as it was in its first version."""
    image = {"sha256": "ab" * 32, "size": 1000, "kind": "picture"}
    made = make_plan(parse_spec({"kind": "image_to_video", "prompt": "it moves", "image": image}))
    value: dict[str, Any] = json.loads(canonical(made))
    for subtask in value["subtasks"]:
        if subtask["stage"] == "anchor":
            inputs = [ref for ref in subtask["inputs"] if ref["name"] in ("clip-0", "picture")]
            subtask["inputs"] = [{**inputs[0], "name": "frames"}, inputs[1]]
            params = {"width": 512, "height": 512}
            subtask |= {"stage_version": 1, "params": params, "units": 16.0, "bytes_in": 5}
    return value


def test_a_plan_of_an_earlier_release_can_be_read_as_it_was() -> None:
    earlier = _of_an_earlier_release()
    read = parse_plan(earlier)
    assert json.loads(canonical(read)) == earlier
    small_clip(read)  # a coordinator asks for it whenever a subtask is done
    wrong = next(task for task in earlier["subtasks"] if task["stage"] == "anchor")
    wrong["inputs"][0]["subtask"] = "assemble"
    with pytest.raises(InvalidPlan, match="before"):
        parse_plan(earlier)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec_hash":"00","subtasks":[]}', b"\xff"])
def test_a_plan_that_is_none_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidPlan):
        parse_plan(text)


IMAGE = parse_spec(
    {
        "kind": "image_to_video",
        "prompt": "it moves left",
        "seconds": 10,
        "image": {"sha256": "ab" * 32, "size": 5000},
    }
)


def test_image_to_video_takes_the_picture_where_it_is_decoded_and_nowhere_else() -> None:
    made = make_plan(IMAGE)
    users = [task for task in made.subtasks if task.sources]
    assert [task.id for task in users] == ["encode_image"]
    (source,) = users[0].sources
    assert (source.name, source.sha256, source.kind) == ("image", "ab" * 32, "picture")
    assert users[0].bytes_in == 5000
    assert parse_plan(canonical(made)) == made


@pytest.mark.parametrize("seconds", [1, 3.3, 10, 20])
def test_windows_of_image_to_video_cover_the_timeline_once(seconds: float) -> None:
    spec = parse_spec({**IMAGE.model_dump(), "seconds": seconds})
    made = make_plan(spec)
    windows = [task for task in made.subtasks if task.id.startswith("anchor-")]
    clips = {task.id for task in made.subtasks if task.stage == "decode"}
    assert (len(clips) - 1) * 2 < seconds <= max(2.5, len(clips) * 2 + 0.5)
    frames: list[int] = []
    for window in windows:
        start, stop = int(str(window.params["start"])), int(str(window.params["stop"]))
        assert window.params["total"] == spec.frames
        assert {ref.subtask for ref in window.inputs} == {*clips, "encode_image"}
        chunks = [made[child] for child in made.children()[window.id]]
        inner = [n for c in chunks for n in range(c.params["start"], c.params["stop"])]  # type: ignore[call-overload]
        assert inner == list(range(stop - start))
        frames += range(start, stop)
    assert frames == list(range(spec.frames))
    order = [ref.subtask for ref in made.final().inputs]
    assert order == [f"encode_video-{i}" for i in range(len(order))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "cd"}, "sha256"),
        ({"size": 0}, "size"),
        ({"size": 5001}, "states"),
        ({"kind": "footage"}, "takes"),
        ({"name": "picture"}, "takes"),
        ({"path": "/etc/passwd"}, "not permitted"),
    ],
)
def test_a_source_that_does_not_fit_its_stage_is_refused(
    change: dict[str, object], says: str
) -> None:
    value = json.loads(canonical(make_plan(IMAGE)))
    value["subtasks"][1]["sources"][0].update(change)
    with pytest.raises(InvalidPlan, match=says):
        parse_plan(value)


def test_a_source_may_not_stand_in_for_a_result() -> None:
    value = json.loads(canonical(make_plan(IMAGE)))
    value["subtasks"][1]["sources"] *= 2
    with pytest.raises(InvalidPlan):
        parse_plan(value)


FIRST_PLANS = {
    "9fa103a9033dd25fda7ad669d579165b87a3edd3ccf09c1af46393ef8a63c7fa": {
        "prompt": "a red ball",
        "seed": 5,
    },
    "802544a58d246bdc827dc699304522d3be2ba1d100a16b386745d34839a1b617": {
        "prompt": "x",
        "width": 1024,
        "height": 256,
        "seconds": 3.3,
        "fps": 60,
    },
    "bb379e29785e5cbca14906ca8ade364917440bfb19ff89c3f7e516b9b24a56a5": IMAGE.model_dump(),
}


@pytest.mark.parametrize("known", FIRST_PLANS)
def test_plans_of_the_first_sizes_stay_as_they_were(known: str) -> None:
    assert make_plan(parse_spec(FIRST_PLANS[known])).plan_hash() == known


@pytest.mark.parametrize(
    ("width", "height", "tiles"),
    [(1920, 1080, 2), (3840, 2160, 6), (2160, 3840, 6), (854, 480, 1), (128, 3840, 3)],
)
def test_any_size_is_made_from_tiles(width: int, height: int, tiles: int) -> None:
    spec = parse_spec({"prompt": "x", "seconds": 2, "width": width, "height": height})
    made = make_plan(spec)
    assert parse_plan(canonical(made)) == made
    stages = [subtask.stage for subtask in made.subtasks]
    assert stages[:5] == ["encode_text", "skeleton", "skeleton", "decode", "refine"]
    assert stages.count("join_tiles") == 4
    assert stages.count("upscale_tile") == 4 * tiles
    for joined in (made[f"join_tiles-{i}"] for i in range(4)):
        assert [ref.name for ref in joined.inputs] == [f"tile-{i}" for i in range(tiles)]
        assert {made[ref.subtask].params["tile"] for ref in joined.inputs} == set(range(tiles))
    assert sum(int(str(made[f"join_tiles-{i}"].params["frames"])) for i in range(4)) == spec.frames
    assert all(subtask.memory_mb < 2048 for subtask in made.subtasks)
    # What travels for a frame of 4K is less than half of what it has raw.
    raw = spec.frames * width * height * 3
    assert sum(s.bytes_out for s in made.subtasks if s.stage == "upscale_tile") < raw / 2


def test_the_longest_4k_video_has_a_plan() -> None:
    spec = {"prompt": "x", "seconds": 20, "fps": 60, "width": 3840, "height": 2160}
    assert len(make_plan(parse_spec(spec)).subtasks) < 1100


def test_smaller_tiles_can_be_asked_for() -> None:
    spec = parse_spec({"prompt": "x", "seconds": 1, "width": 640, "height": 384, "fps": 12})
    first = plan(spec, tile_side=256)
    assert not any(subtask.stage == "upscale_tile" for subtask in first.subtasks)
    spec = parse_spec({"prompt": "x", "seconds": 1, "width": 640, "height": 386, "fps": 12})
    cut = plan(spec, tile_side=256)
    assert sum(subtask.stage == "upscale_tile" for subtask in cut.subtasks) == 6


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (854, 480), (128, 3840)])
@pytest.mark.parametrize("seconds", [1, 10, 20])
def test_a_picture_becomes_a_video_of_any_size(width: int, height: int, seconds: int) -> None:
    spec = {**IMAGE.model_dump(), "seconds": seconds, "width": width, "height": height}
    made = make_plan(parse_spec(spec))
    assert parse_plan(canonical(made)) == made
    stages = [subtask.stage for subtask in made.subtasks]
    assert "upscale" not in stages
    assert stages[stages.index("anchor") + 1] == "refine"


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "restyle_video", "style": "noir", "fps": 60},
        {"kind": "retime_video", "speed": 0.25},
        {"kind": "extend_video", "more": 4, "fps": 60},
        {"kind": "text_to_video", "model": "wan-t2v"},
    ],
)
def test_a_joined_video_may_have_what_its_segments_are_expected_to(said: dict[str, Any]) -> None:
    footage = {"video": {"sha256": "ab" * 32, "size": 9, "kind": "footage"}}
    size = {"prompt": "x", "width": 1024, "height": 1024, "seconds": 5}
    given = {} if said["kind"] == "text_to_video" else footage
    plan = make_plan(parse_spec({**size, **said, **given}))
    segments = [task for task in plan.subtasks if task.stage == "encode_video"]
    assert sum(task.bytes_out for task in segments) <= 2 * plan["assemble"].bytes_out
