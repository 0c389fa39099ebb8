"""The course of one thing over a whole video, from several short clips of the model.

A clip lasts as long as its motion does in the world, a video mostly longer. Where the clips' motion
comes back to where it began (bouncing, swaying, going round) their loops follow each other, each
overlapping its neighbours, at the clips' own speed. A motion that goes one way has only as much
room as there is in the picture: it takes the whole video for it. Turning goes on and on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cutout import turns
from .frames import Pictures
from .track import follow

Curve = NDArray[np.float64]  # [T, 3]: x and y in sides of the picture, log of the size

_SHORTEST = 0.5  # of a clip: what a loop takes at least
_CLOSE = 0.2  # of a motion's range: how near to its beginning a loop has to come
_STILL = 0.03  # sides (or log size): a range below it is no motion
_JOINT = 0.12  # of a loop, at either side of a joint, in which two loops are mixed
_FINE = 8  # samples of a curve between two frames of a clip
_SMOOTH_S = 0.04


@dataclass(frozen=True)
class Course:
    """For each frame of a video: where the thing is, against the first one.

    away: [T, 2] as (x, y), in sides of the picture; log_size: [T]; turn: [T], radians, clockwise.
    """

    away: NDArray[np.float64]
    log_size: NDArray[np.float64]
    turn: NDArray[np.float64]


@dataclass(frozen=True)
class _Seen:
    """What one clip shows: its curve, against its first frame, and its whole turn in radians."""

    curve: Curve
    turn: float


def course_of(clips: Sequence[Pictures], total: int, fps: int, clip_s: float) -> Course | None:
    """The course over `total` frames; None where no clip has one thing to follow.

    Args:
        clips: uint8 [16, 64, 64, 3] each.
        clip_s: how long a clip lasts in the world, in seconds.
    """
    seen = [found for found in map(_seen, clips) if found is not None]
    if not seen:
        return None
    times = np.arange(total) / fps
    loops = [loop for loop in (_loop(one.curve) for one in seen) if loop is not None]
    if 2 * len(loops) > len(seen):
        curve = _chain(loops, times, clip_s)
    else:
        mean = np.mean([one.curve for one in seen], axis=0)
        curve = _sample(mean, times / max(times[-1], 1e-9))
    curve = _smoothed(curve, _SMOOTH_S * fps)
    turn = float(np.mean([one.turn for one in seen])) * times / min(clip_s, max(times[-1], 1e-9))
    return Course(curve[:, :2], curve[:, 2], turn)


def _seen(clip: Pictures) -> _Seen | None:
    track = follow([frame.astype(np.float32) for frame in clip])
    if track is None:
        return None
    away = (track.centre - track.centre[0]) / clip.shape[1]
    curve = np.column_stack([away, track.log_size - track.log_size[0]])
    return _Seen(curve, float(np.deg2rad(turns(clip, track)[-1])))


def _sample(curve: Curve, part: NDArray[np.float64]) -> Curve:
    """The curve at parts 0..1 of its length, smooth through every point (Catmull-Rom)."""
    last = len(curve) - 1
    place = np.clip(part, 0, 1) * last
    k = np.minimum(place.astype(int), last - 1)
    t = (place - k)[:, None]
    longer = np.vstack([2 * curve[0] - curve[1], curve, 2 * curve[-1] - curve[-2]])
    p0, p1, p2, p3 = (longer[k + i] for i in range(4))
    m1, m2 = (p2 - p0) / 2, (p3 - p1) / 2
    out: Curve = (
        (2 * t**3 - 3 * t**2 + 1) * p1
        + (t**3 - 2 * t**2 + t) * m1
        + (3 * t**2 - 2 * t**3) * p2
        + (t**3 - t**2) * m2
    )
    return out


@dataclass(frozen=True)
class _Loop:
    """A closed piece of a clip's curve, from its beginning on; length: its share of the clip."""

    curve: Curve
    length: float

    def at(self, part: NDArray[np.float64]) -> Curve:
        """At times in shares of a clip, over and over."""
        return _sample(self.curve, np.mod(part, self.length) / self.length)


def _loop(curve: Curve) -> _Loop | None:
    """The longest piece that comes back to its beginning having been away, or None."""
    span = float(np.linalg.norm(np.ptp(curve, axis=0)))
    if span < _STILL:
        return None
    fine = _sample(curve, np.linspace(0, 1, _FINE * (len(curve) - 1) + 1))
    gap = np.linalg.norm(fine - fine[0], axis=1)
    for stop in range(len(fine) - 1, int(_SHORTEST * len(fine)), -1):
        least = stop == len(fine) - 1 or gap[stop] <= gap[stop + 1]
        if least and gap[stop] <= gap[stop - 1] and gap[stop] < _CLOSE * span:
            piece = fine[: stop + 1]
            closed = piece - np.linspace(0, 1, stop + 1)[:, None] * (piece[-1] - piece[0])
            return _Loop(closed, stop / (len(fine) - 1))
    return None


def _chain(loops: Sequence[_Loop], times: NDArray[np.float64], clip_s: float) -> Curve:
    """The loops one after another, again from the first after the last; joints are mixed."""
    parts = times / clip_s
    sums = np.zeros((len(times), 3))
    weights = np.zeros(len(times))
    start, number = 0.0, 0
    while start <= parts[-1]:
        loop = loops[number % len(loops)]
        before, after = parts - start, start + loop.length - parts
        joint = _JOINT * loop.length
        rise = np.ones(len(times)) if number == 0 else np.clip(before / joint / 2 + 0.5, 0, 1)
        weight = _eased(rise) * _eased(np.clip(after / joint / 2 + 0.5, 0, 1))
        sums += weight[:, None] * loop.at(before)
        weights += weight
        start += loop.length
        number += 1
    curve: Curve = sums / np.maximum(weights, 1e-9)[:, None]
    return curve


def _eased(part: NDArray[np.float64]) -> NDArray[np.float64]:
    eased: NDArray[np.float64] = part * part * (3 - 2 * part)
    return eased


def _smoothed(curve: Curve, sigma: float) -> Curve:
    """Without jerks, and exactly 0 in the first frame."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    padded = np.pad(curve, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    columns = [np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T]
    out: Curve = np.stack(columns, axis=1)
    out -= out[0].copy()
    return out
