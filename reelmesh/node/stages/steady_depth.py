"""steady_depth: each frame's depth → one scale for the clip, smooth in time, sharp at edges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import ModelFree, StageContext, bad_input, one_thread_opencv
from .fourd.depth_video import Disparities, read_depth, write_depth
from .frames import Picture, Pictures, read_frames
from .media import MediaLimits

Plane = NDArray[np.float32]  # [H, W]

_EASE = 6.0  # frames, standard deviation: over these a frame's own mean and contrast are evened
_REACH = 2  # frames to either side that depth is smoothed over, along motion
_ALIKE = 14.0  # grey levels: a place of another frame that differs by more is another thing
_FLOW_SIDE = 192
_LOW, _HIGH = 2, 99  # percentiles of the clip that become 0 and 1
_GROUND = 0.3
"""How far depth leans on one rule of thumb, that what is lower in a picture is nearer: it keeps
pictures unlike any that the network has seen from being torn into pieces."""
_EDGE = 0.06  # of the clip's range: a larger change over a few pixels is made a clean jump
_MARGIN = 5  # pixels, odd: how wide a blurred edge may be


class SteadyDepth(ModelFree):
    """Inputs `frames` and `depth-*`, output `depth`: the whole clip, 0 far and 1 near.

    The trajectory holds one digest a frame.
    """

    name = "steady_depth"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Steadies. Raises StageFailed ("bad_input"), StageCancelled."""
        size = (params.height, params.width)
        limits = MediaLimits(params.stop, params.width, params.height)
        frames = read_frames(inputs["frames"], limits, 0, params.stop)
        runs = [inputs[f"depth-{i}"] for i in range(params.runs)]
        raw = np.concatenate([read_depth(path, params.stop, *size) for path in runs])
        if len(raw) != len(frames):
            raise bad_input(f"there are {len(raw)} frames of depth for {len(frames)} frames")
        with one_thread_opencv():
            steady = steady_clip(frames, raw, ctx)
        out = write_depth(ctx.workdir / "depth.mkv", steady)
        ctx.progress(1.0)
        return {"depth": out}


def steady_clip(frames: Pictures, raw: Disparities, ctx: StageContext) -> Disparities:
    """Disparity float32 [T, H, W] in 0..1 for a clip, from each frame's own."""
    even_out(raw)
    smooth = np.empty_like(raw)
    flows = _Flows(frames)
    for number in range(len(raw)):
        ctx.progress(number / len(raw), f"frame {number + 1} of {len(raw)}")
        smooth[number] = _over_time(raw, flows, number)
    sample = smooth[:, ::4, ::4]
    low, high = np.percentile(sample, [_LOW, _HIGH])
    ramp = np.linspace(0, _GROUND, raw.shape[1], dtype=np.float32)[:, None]
    for number in range(len(smooth)):
        plane = np.clip((smooth[number] - low) / max(high - low, 1e-3), 0, 1)
        plane = plane * (1 - _GROUND) + ramp
        smooth[number] = sharpen(plane.astype(np.float32))
        ctx.step(smooth[number].tobytes())
    return smooth


def even_out(raw: Disparities) -> None:
    """Hold each frame's mean and contrast to those of the frames around it, in place."""
    means = raw.mean(axis=(1, 2), dtype=np.float64)
    spreads = raw.std(axis=(1, 2), dtype=np.float64) + 1e-3
    times = np.arange(len(raw))
    near = np.exp(-0.5 * ((times[:, None] - times) / _EASE) ** 2)
    near /= near.sum(axis=1, keepdims=True)
    wanted_mean, wanted_spread = near @ means, near @ spreads
    for i in range(len(raw)):
        scale = np.float32(np.clip(wanted_spread[i] / spreads[i], 0.5, 2))
        raw[i] = (raw[i] - np.float32(means[i])) * scale + np.float32(wanted_mean[i])


def sharpen(plane: Plane) -> Plane:
    """Blurred steps become jumps: where depth changes much, a pixel joins the nearer end.

    A mesh tears cleanly along a jump; along a slope it would stretch one side over the other.
    """
    plane = cv2.medianBlur(plane, 5)  # type: ignore[assignment]
    kernel = np.ones((_MARGIN, _MARGIN), np.uint8)
    high, low = cv2.dilate(plane, kernel), cv2.erode(plane, kernel)
    jump = np.where(plane * 2 > high + low, high, low)
    out: Plane = np.where(high - low > _EDGE, jump, plane).astype(np.float32)
    return cv2.medianBlur(out, 5)  # type: ignore[return-value]


class _Flows:
    """Optical flow between frames of a clip, at a small size."""

    def __init__(self, frames: Pictures) -> None:
        height, width = frames.shape[1:3]
        part = min(1.0, _FLOW_SIDE / max(height, width))
        self.size = (max(16, round(width * part)), max(16, round(height * part)))
        self.small = [self._shrink(frame) for frame in frames]
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def _shrink(self, frame: Picture) -> NDArray[np.uint8]:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, self.size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    def between(self, here: int, there: int) -> tuple[NDArray[np.float32], Plane]:
        """Where each pixel of `here` is in `there`, and how alike the two places look (0..1)."""
        a, b = self.small[here], self.small[there]
        ys, xs = np.mgrid[0 : a.shape[0], 0 : a.shape[1]].astype(np.float32)
        place = np.dstack([xs, ys]) + self._dis.calc(a, b, None)
        seen = cv2.remap(b, place[..., 0], place[..., 1], cv2.INTER_LINEAR)
        gap = cv2.blur(cv2.absdiff(a, seen).astype(np.float32), (5, 5))
        return place, np.exp(-((gap / _ALIKE) ** 2)).astype(np.float32)


def _over_time(raw: Disparities, flows: _Flows, number: int) -> Plane:
    """The mean over neighbouring frames, each brought here along motion, as far as it fits."""
    height, width = raw.shape[1:]
    total, weight = raw[number].copy(), np.ones((height, width), np.float32)
    for other in range(max(0, number - _REACH), min(len(raw), number + _REACH + 1)):
        if other == number:
            continue
        place, alike = flows.between(number, other)
        scale = np.array([width / flows.size[0], height / flows.size[1]], np.float32)
        wide = cv2.resize((place + 0.5) * scale - 0.5, (width, height))
        share = cv2.resize(alike, (width, height))
        moved = cv2.remap(
            raw[other],
            wide[..., 0],
            wide[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        total += moved * share
        weight += share
    mean: Plane = (total / weight).astype(np.float32)
    return mean
