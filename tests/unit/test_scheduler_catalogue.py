"""The stage catalogue: entries are whole, and parameters from outside are checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.stages import (
    CATALOGUE,
    KINDS,
    InvalidParams,
    UnknownStage,
    entry,
    parse_params,
)

GOOD: dict[str, dict[str, Any]] = {
    "encode_text": {"prompt": "a red ball"},
    "skeleton": {"seed": 1, "start": 0, "stop": 10, "steps": 20, "guidance": 3.0},
    "decode": {"frames": 16},
    "interpolate": {"start": 0, "stop": 96, "total": 96},
    "upscale": {"start": 12, "stop": 24, "width": 512, "height": 512},
    "encode_video": {"fps": 24, "crf": 18, "frames": 12, "width": 512, "height": 512},
    "assemble": {"fps": 24, "segments": 8},
    "encode_image": {"width": 512, "height": 320},
    "animate": {"seed": 1, "start": 0, "stop": 10, "steps": 20, "guidance": 3.0},
    "anchor": {
        "start": 0,
        "stop": 48,
        "total": 240,
        "fps": 24,
        "clips": 5,
        "width": 512,
        "height": 320,
    },
    "repair": {"seed": 1, "steps": 20, "guidance": 2.0, "first": 2, "end": 4},
    "preview": {"seconds": 4.0, "width": 384, "height": 216},
    "encode_prompt": {"model": "wan-t2v", "prompt": "a red fox runs"},
    "denoise": {
        "model": "wan-t2v",
        "width": 832,
        "height": 480,
        "frames": 81,
        "seed": 1,
        "start": 0,
        "stop": 10,
        "steps": 20,
        "guidance": 5.0,
    },
    "encode_first_frame": {"model": "wan-i2v", "width": 832, "height": 480, "frames": 81},
    "decode_latent": {"model": "wan-t2v", "width": 832, "height": 480, "frames": 81},
    "upsample_latent": {"model": "ltx-2", "width": 384, "height": 256, "frames": 121},
    "refine_latent": {"model": "ltx-2", "width": 768, "height": 512, "frames": 121, "seed": 1},
    "decode_audio": {
        "model": "ltx-2",
        "width": 768,
        "height": 512,
        "frames": 121,
        "seconds": 5.0,
    },
    "encode_frames": {
        "model": "ltx-2",
        "width": 512,
        "height": 288,
        "frames": 97,
        "count": 96,
        "fps": 24,
        "total": 96,
    },
    "denoise_audio": {
        "model": "ltx-2",
        "width": 512,
        "height": 288,
        "frames": 97,
        "seed": 1,
        "start": 0,
        "stop": 10,
        "steps": 20,
        "guidance": 4.0,
    },
    "carry_on": {"fps": 24, "seen": 9, "frames": 48, "width": 512, "height": 512},
    "restyle": {"style": "sketch", "lead": 6, "frames": 42, "width": 512, "height": 512},
    "decode_video": {"start": 1.5, "frames": 96, "fps": 24, "width": 512, "height": 288},
    "find_events": {"fps": 24, "frames": 16, "total": 96},
    "render_sound": {"seconds": 4.0, "style": "natural", "ambience": "room", "seed": 1},
    "speech": {"text": "Hello there.", "style": "soft", "seconds": 3.7},
    "mux": {"fps": 24, "frames": 96, "video_bytes": 1000000},
    "refine": {
        "start": 0,
        "stop": 16,
        "from_width": 64,
        "from_height": 64,
        "width": 214,
        "height": 120,
    },
    "upscale_tile": {
        "start": 0,
        "stop": 12,
        "width": 3840,
        "height": 2160,
        "columns": 3,
        "rows": 2,
        "tile": 4,
        "sparse": True,
    },
    "join_tiles": {
        "fps": 24,
        "crf": 18,
        "frames": 12,
        "width": 3840,
        "height": 2160,
        "columns": 3,
        "rows": 2,
    },
    "depth": {"start": 0, "stop": 8, "width": 512, "height": 320},
    "steady_depth": {"start": 0, "stop": 8, "width": 512, "height": 320, "runs": 2},
    "warp": {
        "start": 0,
        "stop": 8,
        "width": 512,
        "height": 320,
        "poses": [[0, 0, 0, 0, 0, 1, 44]] * 8,
    },
    "refine_views": {
        "start": 0,
        "stop": 8,
        "width": 512,
        "height": 320,
        "poses": [[0.1, 0, 0, 0, 0, 1, 44]] * 8,
        "before": True,
        "after": False,
    },
    "retime_views": {
        "start": 0,
        "stop": 8,
        "width": 512,
        "height": 320,
        "times": 2,
        "out": 16,
        "after": True,
    },
    "view_layers": {"start": 0, "stop": 8, "width": 512, "height": 320},
    "pack_4d": {"seconds": 4},
}
UNITS = {
    "encode_text": 1.0,
    "skeleton": 10.0,
    "decode": 16.0,
    "interpolate": 96.0,
    "upscale": 3.145728,
    "encode_video": 3.145728,
    "assemble": 8.0,
    "encode_image": 1.0,
    "animate": 10.0,
    "anchor": 48.0,
    "repair": 20.0,
    "preview": 1.0,
    "encode_prompt": 1.0,
    "denoise": 20 * 32760 * (1 + 32760 / (7 * 1536)) / 1e6,
    "encode_first_frame": 32.34816,
    "decode_latent": 32.34816,
    "upsample_latent": 47.579136,
    "refine_latent": 3 * 6144 * (1 + 6144 / (7 * 4096)) / 1e6,
    "decode_audio": 5.0,
    "encode_frames": 14.303232,
    "denoise_audio": 20 * 1872 * (1 + 1872 / (7 * 4096)) / 1e6,
    "carry_on": 12.582912,
    "restyle": 12.582912,
    "decode_video": 96.0,
    "find_events": 16.0,
    "render_sound": 4.0,
    "speech": 12.0,
    "mux": 4.0,
    "refine": 2.768896,
    "upscale_tile": 21.805056,
    "join_tiles": 99.5328,
    "depth": 1.31072,
    "steady_depth": 1.31072,
    "warp": 1.31072,
    "refine_views": 1.31072,
    "retime_views": 2.62144,
    "view_layers": 1.31072,
    "pack_4d": 4.0,
}


def test_every_stage_has_a_good_example_here() -> None:
    assert set(GOOD) == set(CATALOGUE) == set(UNITS)


@pytest.mark.parametrize("name", GOOD)
def test_an_entry_is_whole(name: str) -> None:
    found = entry(name)
    params = parse_params(name, GOOD[name])
    kinds = [*found.inputs.values(), *found.optional_inputs.values(), *found.outputs.values()]
    assert set(kinds) <= set(KINDS)
    assert len(found.outputs) == 1
    assert found.units(params) == UNITS[name]
    assert 0 < found.memory_mb(params) < (65536 if found.models else 4096)
    assert 0 < found.bytes_out(params) < found.bytes_limit(params)


@pytest.mark.parametrize("name", GOOD)
def test_params_survive_canonical_json(name: str) -> None:
    params = parse_params(name, GOOD[name])
    assert parse_params(name, canonical(params)) == params


@pytest.mark.parametrize("name", GOOD)
def test_unknown_and_missing_fields_are_refused(name: str) -> None:
    with pytest.raises(InvalidParams):
        parse_params(name, {**GOOD[name], "colour": "red"})
    first = next(iter(GOOD[name]))
    if name != "decode":
        with pytest.raises(InvalidParams, match=first):
            parse_params(name, {k: v for k, v in GOOD[name].items() if k != first})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("encode_text", {"prompt": " "}),
        ("skeleton", {"start": 10}),
        ("skeleton", {"stop": 21}),
        ("skeleton", {"guidance": float("nan")}),
        ("skeleton", {"seed": "1"}),
        ("decode", {"frames": 17}),
        ("interpolate", {"stop": 97}),
        ("interpolate", {"total": 10**9}),
        ("upscale", {"stop": 12}),
        ("upscale", {"start": 0, "stop": 241}),
        ("upscale", {"width": 500}),
        ("encode_video", {"frames": True}),
        ("assemble", {"segments": 0}),
        ("find_events", {"frames": 1}),
        ("render_sound", {"style": "loud"}),
        ("render_sound", {"seconds": 21.0}),
        ("speech", {"text": "two\nlines"}),
        ("speech", {"text": "x" * 241}),
        ("speech", {"text": "$(reboot)"}),
        ("mux", {"frames": 0}),
    ],
)
def test_params_out_of_range_are_refused(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        parse_params(name, {**GOOD[name], **change})


@pytest.mark.parametrize("text", ["", "null", '{"frames":16,"frames":16}', "{" * 3000, b"\xff"])
def test_params_that_are_no_json_object_are_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidParams):
        parse_params("decode", text)


def test_params_longer_than_a_grant_allows_are_refused() -> None:
    with pytest.raises(InvalidParams, match="longer"):
        parse_params("encode_text", json.dumps({"prompt": "x" * 5000}))


def test_a_stage_or_version_that_is_not_here_says_so() -> None:
    with pytest.raises(UnknownStage, match="relight"):
        entry("relight")
    with pytest.raises(UnknownStage, match="version 1 here, not 2"):
        entry("decode", 2)


def test_only_later_steps_of_the_loop_take_a_latent() -> None:
    skeleton = entry("skeleton")
    first = parse_params("skeleton", GOOD["skeleton"])
    later = parse_params("skeleton", {**GOOD["skeleton"], "start": 10, "stop": 20})
    assert set(skeleton.inputs_for(first)) == {"features"}
    assert set(skeleton.inputs_for(later)) == {"features", "latent"}


def test_assemble_takes_each_segment_by_its_number() -> None:
    params = parse_params("assemble", {"fps": 24, "segments": 3})
    assert list(entry("assemble").inputs_for(params)) == ["segment-0", "segment-1", "segment-2"]
