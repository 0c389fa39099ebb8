"""Following one object over a plain background: where its centre is and how large it is.

A small shape on a flat background gives optical flow nothing to hold on to except its
outline. Its centroid and spread are known far better, and also tell how to curve its path
between two frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # [H, W, 3], 0..255
Points = NDArray[np.float64]

# Colour distances (0..255) from the background: noise below the first, object above the second.
_NOISE, _OBJECT = 12.0, 40.0
# Shares of the picture that an object may cover.
_LEAST, _MOST = 0.001, 0.6


@dataclass(frozen=True, slots=True)
class Track:
    """centre [T, 2] as (x, y) in pixels, log_size [T]: log of the object's RMS radius."""

    centre: Points
    log_size: Points

    def at(self, time: float) -> tuple[Points, float]:
        """Centre and size at a time in 0..T-1, on a smooth curve through every frame."""
        centre = np.array([_catmull_rom(self.centre[:, i], time) for i in range(2)])
        return centre, float(np.exp(_catmull_rom(self.log_size, time)))


def follow(images: Iterable[Image]) -> Track | None:
    """The track of the one object in all images, or None where there is no such thing."""
    centres, sizes = [], []
    for image in images:
        found = _moments(image)
        if found is None:
            return None
        centres.append(found[0])
        sizes.append(found[1])
    return Track(np.array(centres), np.log(np.array(sizes)))


def matte_of(image: Image) -> NDArray[np.float32] | None:
    """How far each pixel is the object's (0..1), or None where there is no such thing."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    background = np.median(edge, axis=0)
    distance = np.sqrt(((image - background) ** 2).sum(axis=2))
    matte: NDArray[np.float32] = np.clip((distance - _NOISE) / (_OBJECT - _NOISE), 0, 1).astype(
        np.float32
    )
    share = float(matte.sum(dtype=np.float64)) / matte.size
    return matte if _LEAST <= share <= _MOST else None


def _moments(image: Image) -> tuple[Points, float] | None:
    matte = matte_of(image)
    if matte is None:
        return None
    weight = matte.astype(np.float64)
    total = float(weight.sum())
    ys, xs = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    x, y = float((weight * xs).sum() / total), float((weight * ys).sum() / total)
    spread = float((weight * ((xs - x) ** 2 + (ys - y) ** 2)).sum() / total)
    return np.array([x, y]), max(1.0, spread**0.5)


def _catmull_rom(values: Points, time: float) -> float:
    last = len(values) - 1
    k = min(int(time), last - 1)
    t = time - k
    p1, p2 = float(values[k]), float(values[k + 1])
    # Beyond the ends the motion goes on as it was.
    p0 = float(values[k - 1]) if k > 0 else 2 * p1 - p2
    p3 = float(values[k + 2]) if k + 2 <= last else 2 * p2 - p1
    m1, m2 = (p2 - p0) / 2, (p3 - p1) / 2
    return (
        (2 * t**3 - 3 * t**2 + 1) * p1
        + (t**3 - 2 * t**2 + t) * m1
        + (3 * t**2 - 2 * t**3) * p2
        + (t**3 - t**2) * m2
    )
