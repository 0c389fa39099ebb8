"""video→4D: footage, seen from a camera that moves, cut into runs that are made side by side.

decode_video → depth-i → steady_depth: what is near and what is far, in all of the clip; then
  for the path:  warp-i → refine_views-i → retime_views-i → upscale-i → encode_video-i → assemble-0
  for the page:  view_layers-i → encode_video-i → assemble-1
and both into pack_4d.

Where every frame is a view there is no retime_views, and at up to 512 pixels there is no upscale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from reelmesh.scheduler.models import EMBEDDED
from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.spec import VideoTo4D
from reelmesh.scheduler.stages.entry import MIB
from reelmesh.scheduler.stages.views import MAX_SIDE
from reelmesh.scheduler.templates.cutting import cuts
from reelmesh.scheduler.templates.text_to_video import CRF

DEPTH_RUN = 24
"""Frames: the network is quick, and its subtasks would otherwise be mostly transfers."""
VIEW_RUN = 8
LAYER_RUN = 24
LAYER_CRF = 23
"""The page holds four pictures in one, and is sent around whole."""


@dataclass(frozen=True)
class _Timing:
    """total: frames of the video; times: frames for each view; views: views in all."""

    total: int
    times: int

    @property
    def views(self) -> int:
        return -(-self.total // self.times)


def plan(spec: VideoTo4D) -> Plan:
    """Cut a spec into subtasks."""
    timing = _Timing(spec.frames, spec.fps // spec.views)
    size = work_size(spec.width, spec.height)
    decode = {
        "start": spec.start,
        "frames": timing.views,
        "fps": spec.views,
        **size,
        "fit": "cover",
    }
    footage = build_subtask("decode_video", "decode_video", decode, {}, {"video": spec.video})
    model = {} if spec.model == EMBEDDED else {"model": spec.model, "total": timing.views}
    depths = [
        build_subtask(
            f"depth-{i}", "depth", {"start": a, "stop": b, **size, **model}, {"frames": footage}
        )
        for i, (a, b) in enumerate(pairwise(cuts(timing.views, DEPTH_RUN)))
    ]
    steady = build_subtask(
        "steady_depth",
        "steady_depth",
        {"start": 0, "stop": timing.views, **size, "runs": len(depths)},
        {"frames": footage, **{f"depth-{i}": run for i, run in enumerate(depths)}},
    )
    seen = {"frames": footage, "depth": steady}
    path = _path(spec, timing, size, seen)
    layers = _layers(spec, timing, size, seen, first=len(path[-1]))
    films = [_join(spec, number, segments[-1]) for number, segments in enumerate((path, layers))]
    packed = build_subtask(
        "pack_4d",
        "pack_4d",
        {"seconds": math.ceil(spec.seconds)},
        {"video": films[0], "layers": films[1]},
    )
    work = [task for group in (*path, *layers) for task in group]
    tasks = (footage, *depths, steady, *work, *films, packed)
    return Plan(spec_hash=spec.spec_hash(), subtasks=tasks)


def work_size(width: int, height: int) -> dict[str, int]:
    """What depth and views are made at: the video's size, or the whole part of it that fits."""
    parts = -(-max(width, height) // MAX_SIDE)
    sides = (max(64, 32 * round(side / parts / 32)) for side in (width, height))
    return dict(zip(("width", "height"), sides, strict=True))


def _path(
    spec: VideoTo4D, timing: _Timing, size: Mapping[str, int], seen: Mapping[str, Subtask]
) -> list[list[Subtask]]:
    """Groups of subtasks, one group a step of the work, each with one subtask for every run."""
    runs = list(pairwise(cuts(timing.views, VIEW_RUN)))
    warped, refined = [], []
    for i, (start, stop) in enumerate(runs):
        where = {"start": start, "stop": stop, **size, "poses": _poses(spec, timing, start, stop)}
        warped.append(build_subtask(f"warp-{i}", "warp", where, seen))
    for i, views in enumerate(warped):
        near = {"before": warped[i - 1 : i], "after": warped[i + 1 : i + 2]}
        params = {
            **{name: views.params[name] for name in ("start", "stop", "width", "height", "poses")},
            **{name: bool(found) for name, found in near.items()},
        }
        given = {
            "views": views,
            **seen,
            **{name: found[0] for name, found in near.items() if found},
        }
        refined.append(build_subtask(f"refine_views-{i}", "refine_views", params, given))
    done = refined if timing.times == 1 else _retimed(timing, size, runs, refined)
    large = done
    if (spec.width, spec.height) != (size["width"], size["height"]):
        large = [
            _upscaled(spec, timing, run, i, task)
            for i, (run, task) in enumerate(zip(runs, done, strict=True))
        ]
    encoded = [
        _encoded(spec.width, spec.height, spec.fps, CRF, _out(timing, run), i, task)
        for i, (run, task) in enumerate(zip(runs, large, strict=True))
    ]
    groups = [warped, refined, done, large, encoded]
    return [group for k, group in enumerate(groups) if group not in groups[:k]]


def _poses(spec: VideoTo4D, timing: _Timing, start: int, stop: int) -> list[list[float]]:
    at = (spec.camera.at(i * timing.times / spec.fps) for i in range(start, stop))
    return [[round(value, 5) for value in pose] for pose in at]


def _out(timing: _Timing, run: tuple[int, int]) -> int:
    """Frames of the video that a run of views becomes."""
    return min(run[1] * timing.times, timing.total) - run[0] * timing.times


def _retimed(
    timing: _Timing, size: Mapping[str, int], runs: list[tuple[int, int]], refined: list[Subtask]
) -> list[Subtask]:
    tasks = []
    for i, run in enumerate(runs):
        following = refined[i + 1 : i + 2]
        params = {"start": run[0], "stop": run[1], **size, "times": timing.times}
        params |= {"out": _out(timing, run), "after": bool(following)}
        given = {"frames": refined[i], **({"after": following[0]} if following else {})}
        tasks.append(build_subtask(f"retime_views-{i}", "retime_views", params, given))
    return tasks


def _upscaled(
    spec: VideoTo4D, timing: _Timing, run: tuple[int, int], number: int, task: Subtask
) -> Subtask:
    params = {"start": 0, "stop": _out(timing, run), "width": spec.width, "height": spec.height}
    return build_subtask(f"upscale-{number}", "upscale", params, {"frames": task})


def _encoded(
    width: int, height: int, fps: int, crf: int, frames: int, number: int, task: Subtask
) -> Subtask:
    params = {"width": width, "height": height, "fps": fps, "crf": crf, "frames": frames}
    return build_subtask(f"encode_video-{number}", "encode_video", params, {"frames": task})


def _layers(
    spec: VideoTo4D,
    timing: _Timing,
    size: Mapping[str, int],
    seen: Mapping[str, Subtask],
    first: int,
) -> list[list[Subtask]]:
    runs = list(pairwise(cuts(timing.views, LAYER_RUN)))
    layers, encoded = [], []
    wide, high = 2 * size["width"], 2 * size["height"]
    for i, (start, stop) in enumerate(runs):
        params = {"start": start, "stop": stop, **size}
        layers.append(build_subtask(f"view_layers-{i}", "view_layers", params, seen))
        encoded.append(
            _encoded(wide, high, spec.views, LAYER_CRF, stop - start, first + i, layers[-1])
        )
    return [layers, encoded]


def _join(spec: VideoTo4D, number: int, segments: list[Subtask]) -> Subtask:
    params = {"fps": (spec.fps, spec.views)[number], "segments": len(segments)}
    params["segment_mb"] = -(-segments[0].bytes_out // MIB)
    return build_subtask(
        f"assemble-{number}",
        "assemble",
        params,
        {f"segment-{i}": segment for i, segment in enumerate(segments)},
    )
