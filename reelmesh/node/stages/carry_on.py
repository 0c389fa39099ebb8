"""carry_on: the last frames of a video → what comes after them, as things moved.

There is no model of the world here. One thing on a plain background keeps its way and its growth.
Of any other picture the camera's motion (a similarity, fitted to the optical flow) and that of what
moves against it are carried on, and come to rest: what they would uncover was never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import ModelFree, StageContext, one_thread_opencv
from .cutout import Cutout, cut_out
from .frames import FrameWriter, Picture, Pictures, read_frames
from .media import MediaLimits
from .track import follow

Matrix = NDArray[np.float64]  # [2, 3]
Shot = Callable[[float], Picture]  # number of a frame after the last, from 1 on

_REST_S = 0.7  # time constant in which the camera and figures come to rest
_MOVES = 0.6  # pixels a frame against the camera: less is noise
_LEAST, _MOST = 0.004, 0.35  # of the picture: what may move by itself
_GROWTH = 0.5  # of its logarithm, at most, by which one thing grows or shrinks
_MARGIN = 0.02


class CarryOn(ModelFree):
    """Input `frames` (`params.seen` of them), output `frames`: `params.frames` new ones."""

    name = "carry_on"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Carries on. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(params.seen, params.width, params.height)
        seen = read_frames(inputs["frames"], limits, 0, params.seen)
        path = ctx.workdir / "frames.mkv"
        with one_thread_opencv(), FrameWriter(path, params.width, params.height) as writer:
            shot = going_on(seen, params.fps, params.frames)
            for number in range(1, params.frames + 1):
                ctx.progress(number / params.frames, f"frame {number} of {params.frames}")
                picture = shot(number)
                ctx.step(picture.tobytes())
                writer.write(picture)
        ctx.progress(1.0)
        return {"frames": path}


def going_on(seen: Pictures, fps: int, frames: int) -> Shot:
    """What makes the frames after uint8 [T >= 3, H, W, 3]."""
    cutout = cut_out(seen[-1])
    track = follow([picture.astype(np.float32) for picture in seen])
    if cutout is not None and track is not None:
        way = (track.centre[-1] - track.centre[-3]) / 2
        growth = float(track.log_size[-1] - track.log_size[-3]) / 2
        return _thing(cutout, way, growth, frames)
    return _scene(seen, fps)


def _thing(cutout: Cutout, way: NDArray[np.float64], growth: float, frames: int) -> Shot:
    """One thing that goes on at its speed, and is turned back where the picture ends."""
    height, width = cutout.cover.shape
    ys, xs = np.nonzero(cutout.cover > 0.5)
    margin = _MARGIN * max(height, width)
    low = np.array([margin - xs.min(), margin - ys.min()], float)
    high = np.array([width - 1 - margin - xs.max(), height - 1 - margin - ys.max()], float)
    growth = float(np.clip(growth, -_GROWTH / frames, _GROWTH / frames))

    def shot(number: float) -> Picture:
        away = [_between(n * number, a, b) for n, a, b in zip(way, low, high, strict=True)]
        size = float(np.exp(growth * number))
        offset = cutout.centre * (1 - size) + away
        return cutout.moved(np.array([[size, 0, offset[0]], [0, size, offset[1]]]))

    return shot


def _between(way: float, low: float, high: float) -> float:
    """A way from 0 that is thrown back at both ends."""
    low, high = min(low, 0.0), max(high, 0.0)
    room = high - low
    if room < 1:
        return 0.0
    place = (way - low) % (2 * room)
    return low + (place if place <= room else 2 * room - place)


def _scene(seen: Pictures, fps: int) -> Shot:
    last = seen[-1]
    height, width = last.shape[:2]
    flows = [_flow(a, b) for a, b in pairwise(seen[-4:])]
    flow = np.median(np.stack(flows), axis=0)
    camera = _camera_of(flow)
    cover, way = _mover(flow, camera)
    hole: Any = cv2.dilate((cover > 0.02).astype(np.uint8), np.ones((7, 7), np.uint8))
    back = last if not hole.any() else cv2.inpaint(last, hole, 5, cv2.INPAINT_TELEA)
    back = np.where(hole[..., None] > 0, back, last).astype(np.float32)
    figure = last.astype(np.float32) - back * (1 - cover[..., None])
    rest = _REST_S * fps
    middle = np.array([(width - 1) / 2, (height - 1) / 2])

    def shot(number: float) -> Picture:
        run = rest * (1 - np.exp(-number / rest))
        moved = _power(camera, run, middle)
        # So near that what lies beyond the border is not needed.
        corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
        shifts = corners @ moved[:, :2].T + moved[:, 2] - corners
        inner = np.where(corners == 0, np.maximum(shifts, 0), np.maximum(-shifts, 0)).max(axis=0)
        zoom = 1 + 2 * float((inner / middle / 2).max())
        near = np.column_stack([np.eye(2) * zoom, middle * (1 - zoom)])
        where = _chained(near, moved)
        size = (width, height)
        out: Any = cv2.warpAffine(
            back, where, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        there = _chained(near, moved + np.array([[0, 0, way[0] * run], [0, 0, way[1] * run]]))
        thing: Any = cv2.warpAffine(figure, there, size)
        shade: Any = cv2.warpAffine(cover, there, size)
        out = out * (1 - shade[..., None]) + thing
        picture: Picture = np.clip(np.rint(out), 0, 255).astype(np.uint8)
        return picture

    return shot


def _flow(a: Picture, b: Picture) -> NDArray[np.float32]:
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (a, b))
    flow: NDArray[np.float32] = dis.calc(*greys, None)
    return flow


def _camera_of(flow: NDArray[np.float32]) -> Matrix:
    """The similarity that most of the picture moves by, in a frame; none where it stands."""
    height, width = flow.shape[:2]
    ys, xs = np.mgrid[4 : height - 4 : 8, 4 : width - 4 : 8]
    start = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32)
    cv2.setRNGSeed(0)
    found, _ = cv2.estimateAffinePartial2D(
        start, start + flow[ys.ravel(), xs.ravel()], ransacReprojThreshold=0.7
    )
    still = np.eye(2, 3)
    return still if found is None else np.asarray(found, np.float64)


def _mover(
    flow: NDArray[np.float32], camera: Matrix
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """How far each pixel moves by itself (0..1), and by how many pixels a frame all that does."""
    height, width = flow.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    own = np.stack(
        [
            flow[..., i] - (camera[i, 0] * xs + camera[i, 1] * ys + camera[i, 2] - place)
            for i, place in enumerate((xs, ys))
        ],
        axis=2,
    )
    moves = (np.linalg.norm(own, axis=2) > _MOVES).astype(np.uint8)
    moves = cv2.morphologyEx(moves, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(moves)
    nothing = np.zeros((height, width), np.float32), np.zeros(2)
    if count < 2:
        return nothing
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    share = float(stats[largest, cv2.CC_STAT_AREA]) / (height * width)
    if not _LEAST <= share <= _MOST:
        return nothing
    one = labels == largest
    whole: Any = cv2.morphologyEx(one.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    soft: Any = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), 1.5)
    return np.minimum(soft, np.float32(1)), np.median(own[one], axis=0)


def _power(matrix: Matrix, times: float, middle: NDArray[np.float64]) -> Matrix:
    """A similarity, done `times` times: its turn and growth about the middle, and its shift."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    turn = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    shift = matrix[:, :2] @ middle + matrix[:, 2] - middle
    c, s = (scale**times * f(turn * times) for f in (np.cos, np.sin))
    linear = np.array([[c, -s], [s, c]])
    return np.column_stack([linear, middle + shift * times - linear @ middle])


def _chained(after: Matrix, before: Matrix) -> Matrix:
    linear = after[:, :2] @ before[:, :2]
    return np.column_stack([linear, after[:, :2] @ before[:, 2] + after[:, 2]])
