"""Making a picture between two pictures, along the motion between them.

Several explanations of the motion are tried at every pixel: the tracked object's path,
optical flow forwards and backwards (DIS: Kroeger et al., "Fast Optical Flow using Dense
Inverse Search", ECCV 2016), and standing still. An explanation names, for each pixel of the
new picture, the place it was at before and the place it will be at; it is believed as far
as the two places look alike. One is chosen for a neighbourhood, never an average of
several, so that nothing is seen twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .track import Image, Track

Field = NDArray[np.float32]  # [H, W, 2], displacement (x, y) in pixels
Plane = NDArray[np.float32]  # [H, W]

# Mean colour differences (0..255) that a later explanation must be better by, in order.
# A moving object comes before standing still: between two places of a thin part that has
# moved further than its own width, both explanations look perfect, and only one is right.
_HANDICAP = {"object": 0.0, "flow": 1.5, "still": 3.0}
_MEAN = np.full((1, 3), 1 / 3, np.float32)
_GOOD = 40.0  # an explanation nowhere worse than this is taken without trying the next
_NEIGHBOURHOOD = 4.0  # pixels, standard deviation
_SHARPNESS = 1.5  # per grey level: how decidedly the better explanation wins
_TRUST = 2.0  # pixels of disagreement between flows at which one is no longer believed


@dataclass(frozen=True)
class Pair:
    """Two neighbouring pictures of equal size; `number` is the first one's."""

    number: int
    first: Image
    second: Image

    @cached_property
    def flows(self) -> tuple[Field, Field]:
        """Where the first picture's pixels go to, and where the second's come from."""
        dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(1)
        dis.setPatchSize(12)
        dis.setPatchStride(4)
        a, b = _grey(self.first), _grey(self.second)
        return dis.calc(a, b, None), dis.calc(b, a, None)


@dataclass(frozen=True, slots=True)
class _View:
    """One explanation's two pictures, and how far each is to be believed (0..1)."""

    before: Image
    after: Image
    believe_before: Plane | float
    believe_after: Plane | float
    handicap: float


def between(pair: Pair, t: float, track: Track | None) -> Image:
    """The picture at time t in 0..1 of the way from `first` to `second`: [H, W, 3], 0..255."""
    shape = pair.first.shape[:2]
    ys, xs = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    grid = np.stack([xs, ys], axis=2)
    costs, pictures = [], []
    for view in _views(pair, t, track, grid):
        difference = cv2.transform(cv2.absdiff(view.before, view.after), _MEAN)
        costs.append(cv2.GaussianBlur(difference, (0, 0), _NEIGHBOURHOOD) + view.handicap)
        w0 = np.maximum((1 - t) * view.believe_before, 1e-4)
        w1 = np.maximum(t * view.believe_after, 1e-4)
        share = np.broadcast_to(w1 / (w0 + w1), shape)[:, :, None]
        pictures.append(view.before + (view.after - view.before) * share)
        if costs[-1].max() < _GOOD:
            break
    cost = np.stack(costs)
    weight = np.exp(-_SHARPNESS * (cost - cost.min(axis=0)))
    weight /= weight.sum(axis=0)
    out: Image = (weight[..., None] * np.stack(pictures)).sum(axis=0).astype(np.float32)
    return out


def _views(pair: Pair, t: float, track: Track | None, grid: Field) -> Iterator[_View]:
    if track is not None:
        yield _object_view(pair, t, track, grid)
    yield _flow_view(pair, t, grid, from_second=False)
    yield _flow_view(pair, t, grid, from_second=True)
    yield _View(pair.first, pair.second, 1.0, 1.0, _HANDICAP["still"])


def _object_view(pair: Pair, t: float, track: Track, grid: Field) -> _View:
    centre, size = track.at(pair.number + t)
    from_centre = (grid - centre.astype(np.float32)) / np.float32(size)
    pictures = []
    for source, number in ((pair.first, pair.number), (pair.second, pair.number + 1)):
        there, size_there = track.at(number)
        place = from_centre * np.float32(size_there) + there.astype(np.float32)
        pictures.append(_sample(source, place))
    return _View(pictures[0], pictures[1], 1.0, 1.0, _HANDICAP["object"])


def _flow_view(pair: Pair, t: float, grid: Field, *, from_second: bool) -> _View:
    """The motion that one picture's flow sends through each pixel at time t."""
    forward, backward = pair.flows
    flow = -backward if from_second else forward
    way = flow
    for _ in range(3):  # a fixed point: the motion is stored where it starts, not where it is
        way = _sample(flow, grid + np.float32(1 - t if from_second else -t) * way)
    before, after = grid - np.float32(t) * way, grid + np.float32(1 - t) * way
    # Where the two flows disagree a place is hidden in one picture: believe the nearer one.
    gap = np.linalg.norm(_sample(forward, before) + _sample(backward, after), axis=2)
    confirmed = np.exp(-((gap / _TRUST) ** 2)).astype(np.float32)
    return _View(
        _sample(pair.first, before),
        _sample(pair.second, after),
        1.0 if t <= 0.5 else confirmed,
        1.0 if t > 0.5 else confirmed,
        _HANDICAP["flow"],
    )


def _sample(source: Image | Field, place: Field) -> NDArray[np.float32]:
    picked: Any = cv2.remap(
        source, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return picked  # type: ignore[no-any-return]


def _grey(image: Image) -> NDArray[np.uint8]:
    # The largest channel difference keeps shapes that differ in colour but not in brightness.
    edge = np.median(np.concatenate([image[0], image[-1]]), axis=0)
    distance = np.abs(image - edge).max(axis=2)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mixed: NDArray[np.uint8] = np.clip(0.5 * grey + 0.5 * distance, 0, 255).astype(np.uint8)
    return mixed
