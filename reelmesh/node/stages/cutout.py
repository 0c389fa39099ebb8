"""One thing on a plain background: cut out of a picture, and moved along another thing's course.

Path, change of size and turning are relative to where the picture has its own object, and are taken
back so far that it stays in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .frames import Picture, Pictures
from .track import Image, Track, follow, matte_of

if TYPE_CHECKING:
    from .course import Course

Matrix = NDArray[np.float64]  # [2, 3], a point's place at the start → its place later
Plane = NDArray[np.float32]  # [H, W]

_EDGE = 0.02  # of the border's length: what an object may take of it on a plain background
_MARGIN = 0.02  # of the picture's side, left free around the object
_FILLED = 0.9  # of the picture's side, at most, by an object that grows
_LEAST_SHARE = 0.25  # of the path, even where it leads out of the picture
_BINS, _TURN_BINS = 180, 20  # angles are counted in steps of 2°, turns a frame up to 40°
_LIKER = 0.7  # of the difference without a turn: below it a turn is believed
_WHOLE_TURN = 90.0  # degrees over the clip: less is a wobble of the model


@dataclass(frozen=True)
class Cutout:
    """A picture in two layers: `picture` = background where the object is not, object over it.

    background, thing: float32 [H, W, 3]; the object's colours are multiplied by its cover.
    cover: float32 [H, W], 0..1. centre: (x, y) of the object, in pixels.
    """

    background: Image
    thing: Image
    cover: Plane
    centre: NDArray[np.float64]

    def moved(self, matrix: Matrix) -> Picture:
        """The picture with its object somewhere else: uint8 [H, W, 3]."""
        size = (self.cover.shape[1], self.cover.shape[0])
        # Linear: a sharper filter would overshoot at the cut-out's edge.
        thing: Any = cv2.warpAffine(self.thing, matrix, size, flags=cv2.INTER_LINEAR)
        cover: Any = cv2.warpAffine(self.cover, matrix, size, flags=cv2.INTER_LINEAR)
        out = self.background * (1 - cover[..., None]) + thing
        picture: Picture = np.clip(np.rint(out), 0, 255).astype(np.uint8)
        return picture


def cut_out(picture: Picture) -> Cutout | None:
    """The one object in a picture, or None where there is not one on a plain background."""
    image = picture.astype(np.float32)
    cover, track = matte_of(image), follow([image])
    if cover is None or track is None:
        return None
    edge = np.concatenate([cover[0], cover[-1], cover[:, 0], cover[:, -1]])
    if float((edge > 0).mean()) > _EDGE:
        return None
    background = _without(image, cover)
    thing = image - background * (1 - cover[..., None])
    return Cutout(background, thing, cover, track.centre[0])


def _without(image: Image, cover: Plane) -> Image:
    """The background, filled in behind the object from what is around it."""
    free = (cv2.dilate(cover, np.ones((5, 5), np.uint8)) <= 0).astype(np.float32)
    spread = image.shape[0] / 8
    known: Any = cv2.GaussianBlur(image * free[..., None], (0, 0), spread)
    weight: Any = cv2.GaussianBlur(free, (0, 0), spread)
    filled = known / np.maximum(weight, 1e-4)[..., None]
    out: Image = np.where((cover > 0)[..., None], filled, image).astype(np.float32)
    return out


def path_of(course: Course, cutout: Cutout) -> list[Matrix]:
    """The object's place in each frame of a video; in frame 0 where the picture has it."""
    side = cutout.cover.shape[0]
    away = course.away * side
    ratio = np.exp(course.log_size)
    ys, xs = np.nonzero(cutout.cover > 0.5)
    reach = np.array([[xs.min(), xs.max()], [ys.min(), ys.max()]], float) - cutout.centre[:, None]
    ratio = _bounded_growth(ratio, _FILLED * side / float(np.ptp(reach, axis=1).max()))
    away = away * _share_of_path(away, ratio, reach, cutout.centre, side)
    motions = zip(away, ratio, course.turn, strict=True)
    return [_similarity(cutout.centre, *motion) for motion in motions]


def _bounded_growth(ratio: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    largest = float(ratio.max())
    if largest <= 1 or largest <= most:
        return ratio
    return ratio ** max(0.0, float(np.log(max(most, 1.0)) / np.log(largest)))


def _share_of_path(
    away: NDArray[np.float64],
    ratio: NDArray[np.float64],
    reach: NDArray[np.float64],
    centre: NDArray[np.float64],
    side: int,
) -> float:
    """How much of the way can be gone (0..1) until the object touches the picture's edge."""
    share, margin = 1.0, _MARGIN * side
    for (x, y), size in zip(away, ratio, strict=True):
        for axis, way in ((0, x), (1, y)):
            low, high = centre[axis] + size * reach[axis]
            room = (side - 1 - margin - high) if way > 0 else (low - margin)
            if abs(way) > 1:
                share = min(share, max(0.0, float(room)) / abs(float(way)))
    return max(share, _LEAST_SHARE)


def _similarity(
    centre: NDArray[np.float64], away: NDArray[np.float64], ratio: float, turn: float
) -> Matrix:
    c, s = ratio * np.cos(turn), ratio * np.sin(turn)
    linear = np.array([[c, -s], [s, c]])
    return np.column_stack([linear, centre + away - linear @ centre])


def turns(clip: Pictures, track: Track) -> NDArray[np.float64]:
    """Degrees by which the object is turned in each frame against the first, clockwise.

    All zero unless it turns on and on: how a shape looks says little about small turns.
    """
    rings = []
    for number, frame in enumerate(clip):
        cover: Any = matte_of(frame.astype(np.float32))
        centre, size = track.at(number)
        middle = (float(centre[0]), float(centre[1]))
        how = cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
        rings.append(cv2.warpPolar(cover, (24, _BINS), middle, 2.2 * size, how))
    steps = np.array([_turn(a, b) for a, b in pairwise(rings)])
    total = float(steps.sum())
    steady = float((steps * np.sign(total) > 0).mean())
    if abs(total) < _WHOLE_TURN or steady < 0.8:
        return np.zeros(len(clip))
    return np.concatenate([[0.0], np.cumsum(steps)])


def _turn(before: Any, after: Any) -> float:
    tried = list(range(-_TURN_BINS, _TURN_BINS + 1))
    costs = [float(np.abs(np.roll(before, shift, axis=0) - after).mean()) for shift in tried]
    best = int(np.argmin(costs))
    if costs[best] >= _LIKER * costs[_TURN_BINS]:
        return 0.0
    return tried[best] * 360.0 / _BINS
